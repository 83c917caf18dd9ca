"""The work of ``accel-rt live``: a loop, who looks at it, and how it ends."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accel_rt.cli.interrupt import EXIT_INTERRUPTED, Interruption, finishing_on_signals
from accel_rt.cli.options import load_chosen, reading_limits
from accel_rt.cli.text import say, show
from accel_rt.cli.token import TOKEN_VARIABLE, PageToken, changing_on_signal, page_token
from accel_rt.errors import AccelError, UsageError
from accel_rt.live.loop import LiveLoop
from accel_rt.live.networks import LoadSegmenter
from accel_rt.live.recorder import LimitReached, RecordingLimits, Recordings
from accel_rt.live.settings import LiveSettings
from accel_rt.live.stats import LiveStats, Percentiles
from accel_rt.live.web import require_packages
from accel_rt.live.web.address import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    Listener,
    listen,
    new_token,
    parse_address,
)
from accel_rt.live.window import LiveWindow, has_display, open_window
from accel_rt.live.window_process import WindowProcess
from accel_rt.redact import redact
from accel_rt.runtime.settings import SegmenterSettings

if TYPE_CHECKING:
    from accel_rt.live.web import LiveServer

DEFAULT_ADDRESS = f"{DEFAULT_HOST}:{DEFAULT_PORT}"

_POLL_S = 0.2
_LINE_EVERY_S = 10.0


def run_live(
    source: str, settings: LiveSettings, networks: SegmenterSettings, values: dict[str, Any]
) -> int:
    """Run until the source ends, the user stops it or ``values["seconds"]`` are over.

    Returns the exit code: 0, or what the signal that stopped it stands for. Raises what ended the
    run, or a recording before it was whole.
    """
    interruption = Interruption()
    with ExitStack() as stack:
        window, address = _open_views(values, f"accel-rt {redact(source)}", stack)
        token = page_token(values["token"], values["token_file"])
        listener = stack.enter_context(_listen(address, token.text)) if address else None
        loop = LiveLoop(
            source,
            settings,
            networks,
            repeat=values["repeat"],
            recording=values["record"],
            limits=RecordingLimits(
                values["max_recordings"], values["recording_length"], values["keep_free"] * 10**6
            ),
            load=_loader(values),
            palette=values["palette"],
            reading=reading_limits(values),
        )
        served: Future[LiveServer] = Future()
        if listener is not None:  # asked for a new token, it waits until there is a page
            stack.enter_context(
                changing_on_signal(lambda: _change_token(served.result(), values["token_file"]))
            )
        stack.callback(loop.stop)
        say(f"opening {source}")
        loop.start()  # nothing is to be finished yet: a signal ends it at once
        with finishing_on_signals(interruption):
            if listener is not None:
                served.set_result(_serve(loop, listener, token, values, stack))
            if values["record"]:
                loop.record(True)
            if values["seconds"]:
                timer = threading.Timer(values["seconds"], interruption.event.set)
                timer.start()
                stack.callback(timer.cancel)
            if window is not None:
                LiveWindow(loop, window).run(interruption.event)
            else:
                _watch(loop, interruption.event)
            stats = loop.stats()
            stack.close()
    if loop.failure:
        raise loop.failure
    recordings, failure = loop.recordings, loop.recordings.failure
    _report(stats, recordings, values["as_json"], recording=bool(values["record"]))
    if recordings.dropped:
        say(f"note: the encoder was too slow for {recordings.dropped} pictures of recordings")
    if isinstance(failure, LimitReached):  # as it was asked for
        say(f"note: {failure}")
    elif failure:
        raise failure
    return EXIT_INTERRUPTED if interruption.signal else 0


def _open_views(
    values: dict[str, Any], title: str, stack: ExitStack
) -> tuple[WindowProcess | None, str | None]:
    """The window to show pictures in, and the address to serve a page at; None for none."""
    address: str | None = values["serve"]
    if values["window"]:
        return stack.enter_context(open_window(title)), address
    if values["window"] is False or address is not None:
        return None, address
    if has_display():
        try:
            return stack.enter_context(open_window(title)), None
        except UsageError as error:
            say(f"note: {error}")
    return None, DEFAULT_ADDRESS


def _loader(values: dict[str, Any]) -> LoadSegmenter:
    import torch

    if values["threads"]:
        torch.set_num_threads(values["threads"])
    chosen = {**values, "threads": None}
    threads = torch.get_num_threads()  # before any thread takes its share
    return lambda settings, asynchronous: load_chosen(
        settings, chosen, asynchronous=asynchronous, threads=threads
    )


def _listen(address: str, token: str) -> Listener:
    """Take the address before the networks are loaded: what is wrong with it is said at once."""
    require_packages()
    return listen(*parse_address(address), token)


def _serve(
    loop: LiveLoop, listener: Listener, token: PageToken, values: dict[str, Any], stack: ExitStack
) -> LiveServer:
    from accel_rt.live.web import LiveServer

    server = LiveServer(loop, listener, token.text, hosts=values["allow_host"])
    stack.enter_context(server)
    _tell_address(server, token)
    return server


def _change_token(server: LiveServer, file: Path | None) -> None:
    try:
        changed = page_token(None, file)
        if changed.origin == TOKEN_VARIABLE:  # it cannot change while we run
            changed = PageToken(new_token())
        server.change_token(changed.text)
    except AccelError as error:
        say(f"the token stays as it is: {error}")
    else:
        say("the token has changed: viewers must give the new one")
        _tell_address(server, changed)


def _tell_address(server: LiveServer, token: PageToken) -> None:
    if token.origin is None:
        click.echo(f"watch at {server.link}", err=True)  # say() would mask the token
    else:
        say(f"watch at {server.url} with the token of {token.origin}")


def _watch(loop: LiveLoop, stop: threading.Event) -> None:
    """Say how it goes until the end: a line now and then, and whatever changes at once."""
    waited_s, said = _LINE_EVERY_S, ""
    while not stop.wait(_POLL_S) and not loop.ended:
        stats = loop.stats()
        news = f"{stats.state}: {stats.message}" if stats.message else stats.state
        waited_s += _POLL_S
        if news.split(" for ")[0] != said:  # "no frame for 5 s" is no news after 4 s
            said = news.split(" for ")[0]
            say(news)
        elif waited_s >= _LINE_EVERY_S and stats.state == "running":
            waited_s = 0.0
            say(_line(stats))


def _line(stats: LiveStats) -> str:
    return (
        f"{stats.frames} frames, {stats.fps or 0:.1f} of {stats.source_fps or 0:.1f} a second, "
        f"{stats.dropped} dropped, age {_percentiles(stats.age_ms)}, "
        f"frame time {_percentiles(stats.frame_ms)}, {stats.memory_mb:.0f} MB"
    )


def _percentiles(of: Percentiles | None) -> str:
    return "unknown" if of is None else f"{of.p50:.0f}/{of.p95:.0f}/{of.p99:.0f} ms"


def _report(stats: LiveStats, recordings: Recordings, as_json: bool, recording: bool) -> None:
    if as_json:
        show(json.dumps(asdict(stats), indent=2))
        return
    show(f"{stats.source}: {_line(stats)} (p50/p95/p99 of the last frames)")
    if stats.reconnects:
        show(f"the source came back {stats.reconnects} times")
    if files := recordings.files:
        show(f"recorded {', '.join(map(str, files))}")
    elif recording and not stats.frames:
        show("nothing was recorded: no picture came")

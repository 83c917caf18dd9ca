"""``accel-rt live``: segmentation of a camera or stream as it happens."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from accel_rt.cli.fields import Number, field_options, from_values, written_option
from accel_rt.cli.options import (
    palette_option,
    preset_option,
    reading_options,
    segmenter_options,
    segmenter_settings,
    with_preset,
)
from accel_rt.errors import UsageError
from accel_rt.runtime.schedule import LIVE_PRESETS
from accel_rt.video.display import LiveDisplay

# Those of RecordingLimits, whose module is slow to import; a test holds them together.
MAX_RECORDINGS, RECORDING_LENGTH_S, KEEP_FREE_MB = 100, 3600.0, 1000


@click.command()
@click.argument("source", default="0")
@partial(segmenter_options, without=("look_ahead",))
@click.option(
    "--look-ahead",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show pictures N frames late, carried from the keyframe after them, too; a keyframe every "
    "N + 1 frames at most, waited for.",
)
@preset_option(LIVE_PRESETS, None)
@click.option(
    "--async-keyframes/--no-async-keyframes",
    default=True,
    show_default=True,
    help="Run the reference network beside the frames instead of letting them wait for it.",
)
@field_options(LiveDisplay)
@palette_option
@reading_options
@written_option(
    "--record",
    "FILE.mp4",
    "Record what is shown; the file can be played at any time, whatever ends the run.",
)
@click.option(
    "--max-recordings",
    type=click.IntRange(min=1),
    default=MAX_RECORDINGS,
    show_default=True,
    metavar="N",
    help="Files that this run may record, viewers' recordings included.",
)
@click.option(
    "--recording-length",
    type=Number(min=0, min_open=True),
    default=RECORDING_LENGTH_S,
    show_default=True,
    metavar="S",
    help="Go on in another file after S seconds.",
)
@click.option(
    "--keep-free",
    type=click.IntRange(min=0),
    default=KEEP_FREE_MB,
    show_default=True,
    metavar="MB",
    help="Record nothing more once less than this is free on the disk.",
)
@click.option("--window/--no-window", default=None, help="Show a window.  [default: no --serve]")
@click.option(
    "--serve",
    is_flag=False,
    flag_value="127.0.0.1:8770",
    metavar="[HOST:PORT]",
    help="Serve a page for browsers.  [default where there is no display]",
)
@click.option(
    "--token",
    metavar="TEXT",
    help="What viewers must know. Others on this machine can read it: prefer a file or "
    "$ACCEL_RT_TOKEN.  [default: a new one, printed]",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File that holds the token; read again on SIGUSR1.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="A further name of this machine by which browsers may ask for the page.",
)
@click.option("--repeat", is_flag=True, help="Start a file again at its end.")
@click.option("--seconds", type=Number(min=0, min_open=True), metavar="S", help="Stop after S.")
@click.option("--json", "as_json", is_flag=True, help="Print the final numbers as JSON.")
def live(source: str, **values: Any) -> int:
    """Segment SOURCE as it happens and show it in a window or a browser.

    SOURCE is a camera (0, /dev/video0), an RTSP, HTTP, UDP or TCP URL, or a file that is played at
    its own pace. The newest frame is always the next one: a slow machine skips frames.

    The page's token is changed by SIGUSR1: who came by the old one is cut off. It is read again
    from --token-file, else a new one is made and printed.

    Keys in the window: q quit, space pause, s snapshot, r record, m mode, u update scale,
    [ ] interval, - + alpha, l legend, b side by side, h numbers, ? keys.
    """
    from accel_rt.cli.live_run import run_live
    from accel_rt.live.settings import LiveSettings

    values = with_preset(values, LIVE_PRESETS, None)
    if values["look_ahead"]:
        values |= _waiting(values["look_ahead"], values["interval"])
    networks = segmenter_settings(values)
    settings = from_values(LiveSettings, {**values, **vars(networks)})
    return run_live(source, settings, networks, values)


def _waiting(frames: int, interval: int) -> dict[str, Any]:
    """The schedule of results so many ``frames`` late; an interval that was given must fit."""
    source = click.get_current_context().get_parameter_source("interval")
    if source is not ParameterSource.DEFAULT and interval > frames + 1:
        raise UsageError(
            f"with a keyframe every {interval} frames the next one can be {interval - 1} frames "
            f"away: give --look-ahead {interval - 1}, or --interval {frames + 1}"
        )
    return {"look_ahead": True, "interval": min(interval, frames + 1)}

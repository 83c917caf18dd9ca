"""``accel-rt segment`` of many videos, or long ones, by many workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

from accel_rt.cli.chunk_work import SegmentWork
from accel_rt.cli.jobs import check_owner, make_folder
from accel_rt.cli.many import ManyOptions
from accel_rt.cli.progress import make_bar
from accel_rt.cli.segment_run import SegmentOptions
from accel_rt.cli.text import say, show, table
from accel_rt.errors import UsageError
from accel_rt.files import Claim
from accel_rt.models.foreign.open import absolute as absolute_network
from accel_rt.palette import PALETTES
from accel_rt.runtime.load import weights_digests
from accel_rt.runtime.settings import FLOWS, SegmenterSettings
from accel_rt.scale.board import Board, Failure
from accel_rt.scale.drive import drive
from accel_rt.scale.local import LocalCrew
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.place import (
    VIDEO_SUFFIXES,
    Chunks,
    Lines,
    absolute,
    expand,
    identity,
    is_there,
)
from accel_rt.scale.plan import CHUNK_S, Outputs, Video, digest
from accel_rt.threads import free_cores
from accel_rt.video.images import is_image
from accel_rt.video.location import is_read_once, is_url, local_path
from accel_rt.video.masks import check_folder
from accel_rt.video.stats_log import check_stats_suffix
from accel_rt.video.timing import check_suffix
from accel_rt.video.zones import Zones

STATE = ".accel-rt"
"""The folder below the outputs' that has the manifest, and the chunks that are done."""

_LINE_EVERY_S, _JSON_EVERY_S = 5.0, 1.0
_CLUSTER_CORES = 2
_NO_CHANGE = ("limits", "summary")  # settings that change no output
_FORMAT = 2  # of chunks and outputs; those of another one are not done


def run_many(
    inputs: Sequence[str],
    folder: str | None,
    wanted: Outputs,
    settings: SegmenterSettings,
    values: dict[str, Any],
    options: SegmentOptions,
    many: ManyOptions,
    stored: dict[str, Any],
) -> int:
    """Segment all videos of ``inputs`` and return the exit code.

    Outputs go to ``folder``; ``wanted`` says which, those other than the video where one video's
    would go. ``values`` are those of the command, ``stored`` the settings that timings tell.
    """
    if folder is None:
        raise UsageError("many workers need a folder for their outputs: give -o FOLDER")
    if folder.lower().endswith(VIDEO_SUFFIXES) and not os.path.isdir(folder):
        raise UsageError(f"many workers need a folder, got -o '{folder}': give -o FOLDER/")
    if options.zones:
        Zones.read(options.zones)  # what is wrong with them shows before any work
    folder, wanted = absolute(folder), _absolute_outputs(wanted)
    settings, options = _absolute_settings(settings), _absolute_options(options)
    cores = many.cores_per_worker or (
        _CLUSTER_CORES if many.cluster else max(1, free_cores() // (many.workers or 1))
    )
    chunk_s = many.chunk_seconds or CHUNK_S
    weights = weights_digests(settings)
    matters = [_what_matters(settings, options), chunk_s, weights]
    videos = _videos(inputs, folder, wanted, options.masks_format, matters)
    state = f"{folder.rstrip('/')}/{STATE}"
    chunks = Chunks(f"{state}/chunks")
    chosen = {name: values[name] for name in ("weights", "reference")}
    chosen["threads"] = values["threads"] or cores
    work = SegmentWork(settings, chosen, options, chunks, chunk_s, stored, weights)
    with ExitStack() as stack:
        if not is_url(state):
            make_folder(Path(folder))
            make_folder(Path(state))
            stack.callback(Claim(Path(state, "manifest.jsonl")).release)
            chunks.remove_unfinished()
        lines = Lines(state)
        stack.callback(lines.flush)
        manifest = Manifest(lines.read(), lines.write)
        board = _board(videos, manifest, chunks, lines)
        told = stack.enter_context(Told(board, len(videos), many.json_progress))

        def tell() -> None:
            lines.flush()
            told()

        if board.waiting:
            crew = stack.enter_context(_crew(work, many, cores))
            try:
                drive(board, crew, tell)
            except KeyboardInterrupt:
                say(
                    f"{board.done_chunks} of {board.chunks} chunks are done: the same command "
                    "goes on"
                )
                raise
        elapsed_s = told.elapsed_s
    return _report(board, len(videos), elapsed_s, many.json_progress)


def _absolute_outputs(wanted: Outputs) -> Outputs:
    others = {"masks": wanted.masks, "timing": wanted.timing, "stats": wanted.stats}
    return replace(wanted, **{name: path and absolute(path) for name, path in others.items()})


def _absolute_settings(settings: SegmenterSettings) -> SegmenterSettings:
    """``settings`` for workers that run in other folders."""
    return replace(
        settings,
        reference=absolute_network(settings.reference),
        update=absolute_network(settings.update),
        flow=settings.flow if settings.flow in FLOWS else absolute_network(settings.flow),
        map=settings.map and absolute(settings.map),
    )


def _absolute_options(options: SegmentOptions) -> SegmentOptions:
    palette, limits = options.palette, options.limits
    return replace(
        options,
        zones=options.zones and options.zones.absolute(),
        palette=palette if palette is None or palette in PALETTES else absolute(palette),
        limits=replace(limits, allow=tuple(absolute(str(each)) for each in limits.allow)),
    )


def _crew(work: SegmentWork, many: ManyOptions, cores: int) -> Any:
    if many.cluster is None:
        return LocalCrew(work, many.workers or 1)
    from accel_rt.scale.cluster import RayCrew

    gpus = work.settings.device != "cpu"
    return RayCrew(work, many.cluster, many.workers, cores, gpus)


def _board(videos: list[Video], manifest: Manifest, chunks: Chunks, lines: Lines) -> Board:
    there = chunks.names()
    joined = {v.key for v in videos if v.key in manifest.joined and _has_outputs(v.outputs)}
    for key in joined & manifest.plans.keys():  # a run was killed before it removed them
        ids = {chunk.id(key) for chunk in manifest.plans[key].chunks}
        chunks.remove(sorted(ids & there))
    sticky = any(is_url(video.source) for video in videos)

    def drop(names: list[str]) -> None:
        lines.flush()  # first: what they were joined to is on record
        chunks.remove(names)

    return Board(videos, manifest, there, joined, sticky, drop)


def _has_outputs(outputs: Outputs) -> bool:
    return all(is_there(output) for output in vars(outputs).values() if output)


def _what_matters(settings: SegmenterSettings, options: SegmentOptions) -> Any:
    """All settings that change the outputs."""
    shown = {name: value for name, value in asdict(options).items() if name not in _NO_CHANGE}
    parts = [_FORMAT, asdict(settings), {**shown, "zones": None}, options.file_digests()]
    return json.loads(json.dumps(parts, default=str))


def _videos(
    inputs: Sequence[str], folder: str, wanted: Outputs, masks_format: str, matters: Any
) -> list[Video]:
    for text in inputs:
        if is_read_once(text) or (not is_url(text) and is_image(Path(text))):
            raise UsageError(
                f"'{text}' is no video file: it is segmented without --workers and --cluster"
            )
    if wanted.timing:
        check_suffix(Path(wanted.timing))
    if wanted.stats:
        check_stats_suffix(Path(wanted.stats))
    videos: list[Video] = []
    owners: dict[str, str] = {}
    for source, name in expand(list(inputs), folder):
        outputs = Outputs(
            wanted.video and f"{folder.rstrip('/')}/{name}_accel.mp4",
            wanted.masks and f"{wanted.masks.rstrip('/')}/{name}",
            wanted.timing and _of_one(wanted.timing, name),
            wanted.stats and _of_one(wanted.stats, name),
        )
        check_owner(owners, source, vars(outputs).values())
        key = digest([identity(source), asdict(outputs), matters])
        videos.append(Video(source, outputs, key))
        if outputs.masks and not is_url(outputs.masks):
            check_folder(Path(outputs.masks), masks_format)
    sources = {_real(video.source) for video in videos}
    for output in owners:
        if _real(output) in sources:
            raise UsageError(f"the output '{output}' is an input itself: name another folder")
    return videos


def _real(place: str) -> str:
    return place if is_url(place) else os.path.realpath(local_path(place))


def _of_one(path: str, name: str) -> str:
    """The file of the video ``name`` for a ``path`` that several share."""
    folder, _, last = path.rpartition("/")
    above, _, own = name.rpartition("/")
    stem, suffix = Path(last).stem, Path(last).suffix
    return "/".join(filter(None, (folder, above, f"{stem}_{own}{suffix}")))


class Told:
    """How far all videos are: a bar on a terminal, plain or JSON lines elsewhere."""

    def __init__(self, board: Board, videos: int, as_json: bool) -> None:
        self._board, self._videos, self._as_json = board, videos, as_json
        self._bar: Any = None
        self._started = self._last = monotonic()

    @property
    def elapsed_s(self) -> float:
        return monotonic() - self._started

    def __enter__(self) -> Told:
        if sys.stderr.isatty() and not self._as_json:
            self._bar = make_bar()
            self._task = self._bar.add_task("", total=None, kinds="", per_s=0.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self) -> None:
        state = self.state()
        if self._bar:
            self._bar.update(
                self._task,
                description=f"{state['done'] + state['skipped']} of {self._videos} videos",
                completed=state["frames"],
                total=state["total_frames"] or None,
                per_s=state["frames_per_s"],
                kinds=f"{state['running']} running, {state['failed']} failed",
            )
        elif monotonic() - self._last >= (_JSON_EVERY_S if self._as_json else _LINE_EVERY_S):
            self._last = monotonic()
            if self._as_json:
                show(json.dumps(state))
            else:
                say(self.line(state))

    def state(self) -> dict[str, Any]:
        """The state in numbers; ``frames`` count those of earlier runs, too."""
        board = self._board
        frames = board.frames + board.earlier_frames
        per_s = board.frames / max(self.elapsed_s, 1e-9)
        left = max(0, board.total_frames - frames)
        return {
            "videos": self._videos,
            "done": len(board.joined),
            "skipped": len(board.skipped),
            "failed": len(board.failures),
            "running": board.running,
            "frames": frames,
            "total_frames": board.total_frames,
            "frames_per_s": round(per_s, 1),
            "left_s": round(left / per_s) if per_s else None,
        }

    def line(self, state: dict[str, Any]) -> str:
        """The state in words."""
        parts = [
            f"{state['done'] + state['skipped']} of {self._videos} videos",
            f"{state['frames']} of {state['total_frames']} frames",
            f"{state['running']} running, {state['failed']} failed",
            f"{state['frames_per_s']} frames/s",
        ]
        if state["left_s"] is not None:
            parts.append(f"{state['left_s']} s left")
        return ", ".join(parts)


def _report(board: Board, videos: int, elapsed_s: float, as_json: bool) -> int:
    """Say what was done, skipped and failed, and return the exit code."""
    rows = [_row(failure) for failure in board.failures]
    failed = len({failure.task.video.key for failure in board.failures})
    damaged = [video.source for video, done in board.joined if not done.whole]
    damaged += [video.source for video in board.skipped if not board.manifest.joined[video.key]]
    for video, done in board.joined:
        for note in done.notes:
            say(f"note: {video.source}: {note}")
    if as_json:
        names = ("video", "what", "why")
        show(
            json.dumps(
                {
                    "done": [video.source for video, _ in board.joined],
                    "skipped": [video.source for video in board.skipped],
                    "damaged": damaged,
                    "failures": [dict(zip(names, row, strict=True)) for row in rows],
                    "frames": board.frames,
                    "elapsed_s": round(elapsed_s, 3),
                }
            )
        )
    else:
        show(
            f"{len(board.joined)} done, {len(board.skipped)} done before, {failed} failed: "
            f"{board.frames} frames in {elapsed_s:.1f} s, "
            f"{board.frames / max(elapsed_s, 1e-9):.1f} frames/s"
        )
        if rows:
            show(table([("failed", "what", "why"), *rows]))
    for source in damaged:
        say(f"error: {source} could not be read whole: what could be is done")
    if rows:
        say(
            f"error: {failed} of {videos} videos failed, for the reasons told: the same command "
            "tries these again"
        )
    return 1 if rows or damaged else 0


def _row(failure: Failure) -> tuple[str, str, str]:
    task = failure.task
    what = {"plan": "reading it", "join": "joining its chunks"}.get(task.kind, "")
    if task.kind == "chunk" and task.plan is not None:
        chunk, clock = task.plan.chunks[task.chunk], task.plan.clock
        begin = "the beginning" if chunk.start is None else f"{float(chunk.start - clock):.3f} s"
        end = "the end" if chunk.end is None else f"{float(chunk.end - clock):.3f} s"
        what = f"from {begin} to {end}"
    return task.video.source, what, failure.why

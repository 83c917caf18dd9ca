"""The chunks of a video to its outputs: nothing is decoded or coded again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from accel_rt.classes import ClassSet
from accel_rt.errors import InputError
from accel_rt.files import unfinished_path
from accel_rt.redact import redact
from accel_rt.scale.board import Done
from accel_rt.scale.place import REPORT, Chunks, deliver, input_file
from accel_rt.scale.plan import Outputs, Task
from accel_rt.video.encoder import stretched_note
from accel_rt.video.limits import DEFAULT_LIMITS, Limits
from accel_rt.video.location import is_url
from accel_rt.video.masks import MaskWriter, unfinished_folder
from accel_rt.video.reader import open_source
from accel_rt.video.source import Source
from accel_rt.video.stats_log import StatsLog
from accel_rt.video.timing import TimingLog
from accel_rt.video.writer import VideoWriter
from accel_rt.video.zones import Zones

PIECE = "piece"
"""The token of a chunk's unfinished masks, timings and stats, which stay so."""

VIDEO, MASKS, TIMING, STATS = "video.mp4", "masks", "timing.csv", "stats.csv"
"""A chunk's outputs, in its folder."""


@dataclass(frozen=True)
class Joining:
    """What of the settings is needed to join."""

    codec: str = "h264"
    crf: int | None = None
    sound: bool = True
    start: float | None = None
    end: float | None = None
    masks_format: str = "png"
    zones: Path | None = None
    limits: Limits = DEFAULT_LIMITS
    settings: dict[str, Any] = field(default_factory=dict)


def join(task: Task, chunks: Chunks, how: Joining) -> Done:
    """Make the outputs of a video of its chunks, all of which are there.

    An output has its name once it is whole. Raises :class:`~accel_rt.errors.AccelError`.
    """
    plan, outputs = task.plan, task.video.outputs
    assert plan is not None
    frames, whole = 0, True
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accel-rt-")))
        path = input_file(task.video.source)
        limits = vars(how.limits)
        source = stack.enter_context(open_source(path, how.start, how.end, **limits))
        files: _Files | None = None
        for chunk in plan.chunks:
            with chunks.opened(chunk.id(task.video.key)) as folder:
                report = read_report(folder)
                if files is None:
                    files = stack.enter_context(
                        _Files(outputs, scratch, source, report, plan.rate, how)
                    )
                files.take(folder, report, frames, plan.origin)
            frames += report["frames"]
            whole = whole and report["whole"]
        assert files is not None
        name = redact(task.video.source)
        files.finish({**how.settings, "input": name, **report["ran"]}, report["machine"])
        return Done(frames=frames, whole=whole, notes=tuple(files.notes))


def read_report(folder: Path) -> dict[str, Any]:
    """What a chunk's worker noted of it."""
    try:
        return json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"the chunk '{folder}' is not there any more: run again") from error


class _Files:
    """The outputs of one video; a context manager that leaves none of them half done."""

    def __init__(
        self,
        outputs: Outputs,
        scratch: Path,
        source: Source,
        report: dict[str, Any],
        rate: Fraction,
        how: Joining,
    ) -> None:
        self.notes: list[str] = []
        self._stretched = 0
        self._deliveries: list[tuple[Path, str]] = []
        self.video: VideoWriter | None = None
        self.masks: MaskWriter | None = None
        self.timing: TimingLog | None = None
        self.stats: StatsLog | None = None
        self._stack = ExitStack()
        here = self._local(scratch)
        classes = ClassSet.from_json(report["classes"])
        with ExitStack() as stack:
            if outputs.video:
                self.video = VideoWriter(
                    here(outputs.video),
                    tuple(report["size"]),
                    rate,
                    how.codec,
                    how.crf,
                    tracks_from=source,
                    start_s=how.start,
                    end_s=how.end,
                    sound=how.sound,
                )
                stack.callback(self.video.abandon)
            if outputs.masks:
                self.masks = MaskWriter(here(outputs.masks), how.masks_format, classes)
                stack.callback(self.masks.abandon)
            if outputs.timing:
                self.timing = TimingLog(here(outputs.timing))
                stack.callback(self.timing.abandon)
            if outputs.stats:
                zones = Zones.read(how.zones) if how.zones else Zones()
                self.stats = StatsLog(here(outputs.stats), classes, zones)
                stack.callback(self.stats.abandon)
            self._stack = stack.pop_all()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, folder: Path, report: dict[str, Any], first: int, origin: Fraction) -> None:
        """Add a chunk, whose first frame is number ``first``."""
        frames = report["frames"]
        if self.video:
            before = self.video.pictures
            first_pts, end = Fraction(report["first_pts"]), Fraction(report["end"])
            self.video.join(folder / VIDEO, first_pts, origin, end)
            if self.video.pictures - before != report["pictures"]:
                raise InputError(f"the chunk '{folder}' is damaged: remove it and run again")
            self._stretched += report["stretched"]
        if self.masks:
            self.masks.take(unfinished_folder(folder / MASKS, PIECE), frames, first)
        if self.timing:
            self.timing.take(unfinished_path(folder / TIMING, PIECE), first, report["elapsed_s"])
        if self.stats:
            self.stats.take(unfinished_path(folder / STATS, PIECE), frames, first)

    def finish(self, settings: dict[str, Any], machine: dict[str, Any]) -> None:
        """Complete all outputs, then give them their names."""
        if self.video:
            self.video.complete()
            self.notes += self.video.notes + stretched_note(self._stretched)
        if self.timing:
            self.timing.complete(settings, machine)
        for output in (self.masks, self.stats):
            if output:
                output.complete()
        for each in (self.video, self.timing, self.masks, self.stats):
            if each:
                each.commit()
        for made, url in self._deliveries:
            deliver(made, url)

    def _local(self, scratch: Path) -> Callable[[str], Path]:
        """Where to write an output: where it belongs, or to ``scratch`` if that is elsewhere."""

        def here(output: str) -> Path:
            if is_url(output):
                path = scratch / f"{len(self._deliveries)}" / Path(output).name
                self._deliveries.append((path, output))
            else:
                path = Path(output)
            path.parent.mkdir(parents=True, exist_ok=True)
            return path

        return here

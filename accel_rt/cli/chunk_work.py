"""The work of one of many workers of ``accel-rt segment``: to plan, to segment chunks, to join."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

from accel_rt.cli.machine import machine
from accel_rt.cli.options import load_chosen
from accel_rt.cli.outputs import FrameOutputs
from accel_rt.cli.segment_run import SegmentOptions
from accel_rt.errors import InputError, WeightsError
from accel_rt.palette import recolor
from accel_rt.runtime.load import keyframe_policy, weights_digests
from accel_rt.runtime.pipeline import run_pipeline
from accel_rt.runtime.policy import KeyframesAt
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.runtime.style import OverlayStyle
from accel_rt.scale.board import Done
from accel_rt.scale.join import MASKS, PIECE, STATS, TIMING, VIDEO, Joining, join
from accel_rt.scale.place import REPORT, Chunks, input_file
from accel_rt.scale.plan import Plan, Task, cut
from accel_rt.video.masks import MaskWriter
from accel_rt.video.packets import read_packets
from accel_rt.video.picture_writer import PictureWriter
from accel_rt.video.reader import open_source
from accel_rt.video.side_tracks import sound_start
from accel_rt.video.source import Frame, Source
from accel_rt.video.stats_log import StatsLog
from accel_rt.video.timing import TimingLog
from accel_rt.video.writer import VideoWriter
from accel_rt.video.zones import Zones

_JUST_AFTER = Fraction(1, 10**9)


@dataclass
class ChunkFiles:
    """The outputs of a chunk, as :class:`~accel_rt.cli.outputs.FrameOutputs` takes them."""

    video: VideoWriter | PictureWriter | None = None
    masks: MaskWriter | None = None
    timing: TimingLog | None = None
    stats: StatsLog | None = None
    first: int = 0

    def checkpoint(self, frame: Frame, policy_state: dict[str, Any]) -> None:
        """Nothing: a chunk is done or not."""

    def finish(self) -> None:
        """Complete the video; the rest stays unfinished, to be joined."""
        if self.video:
            self.video.complete()
            self.video.commit()
        for each in (self.masks, self.timing, self.stats):
            if each:
                each.leave()

    def abandon(self) -> None:
        """Close all files."""
        for each in (self.video, self.masks, self.timing, self.stats):
            if each:
                each.leave()


@dataclass
class SegmentWork:
    """Does the tasks of ``accel-rt segment``; the networks are loaded once, for the first chunk.

    ``values`` are what :func:`load_chosen` takes; ``stored`` are the settings that timings tell,
    ``weights`` the :func:`weights_digests` that every machine must have (none: whatever it has).
    """

    settings: SegmenterSettings
    values: dict[str, Any]
    options: SegmentOptions
    chunks: Chunks
    chunk_s: float
    stored: dict[str, Any] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)
    load: Callable[..., Any] = load_chosen
    segmenter: Any = None

    def prepare(self) -> None:
        """Load the networks."""
        if self.segmenter is not None:
            return
        if self.weights and weights_digests(self.settings) != self.weights:
            raise WeightsError(
                f"the weights on {platform.node()} are not those that the command found: install "
                "the same ones on every machine"
            )
        if threads := self.values["threads"]:
            import cv2

            cv2.setNumThreads(threads)
        segmenter, options = self.load(self.settings, self.values, overlap=True), self.options
        classes = recolor(segmenter.classes, options.palette)
        classes.indices(options.display.classes or ())  # what is wrong is said before the work
        self._style = OverlayStyle(classes, options.display)
        self.segmenter = segmenter

    def __call__(self, task: Task) -> Done:
        if task.kind == "plan":
            return Done(plan=self._plan(task))
        if task.kind == "chunk":
            report = self.chunks.report(task.id) or self._chunk(task)
            return Done(frames=report["frames"], whole=report["whole"])
        options = self.options
        how = Joining(
            options.codec,
            options.crf,
            not options.no_audio,
            options.start,
            options.end,
            options.masks_format,
            options.zones,
            options.limits,
            self.stored,
        )
        return join(task, self.chunks, how)

    def _plan(self, task: Task) -> Plan:
        path, options = input_file(task.video.source), self.options
        with self._source(path, options.start, options.end) as source:
            origin = first = next(iter(source)).pts
            output = task.video.outputs.video
            if output and not options.start and not options.no_audio:
                sound = sound_start(source, Path(output).suffix)
                origin = origin if sound is None else min(origin, sound)
            info = source.info
        table = read_packets(path, options.limits)
        chunks = cut(table, self.chunk_s, first, options.end)
        return Plan(chunks, origin, table.origin, (info.height, info.width), info.rate)

    def _chunk(self, task: Task) -> dict[str, Any]:
        """Segment a chunk, and return what is noted of it.

        With look-ahead the frames before the next chunk are carried from its first one, too, which
        is a keyframe: it is segmented here, and its result is dropped.
        """
        assert task.plan is not None
        chunk, clock, options = task.plan.chunks[task.chunk], task.plan.clock, self.options
        start = options.start if chunk.start is None else chunk.start - clock
        end = options.end if chunk.end is None else chunk.end - clock
        if chunk.end is not None and self.settings.schedule.look_ahead:
            end = chunk.end - clock + _JUST_AFTER
        policy = KeyframesAt(keyframe_policy(self.settings), set())

        def frames(source: Source) -> Iterator[Frame]:
            for frame in source:
                if chunk.end is not None and frame.pts >= chunk.end:
                    policy.at.add(frame.index)
                yield frame

        began_s, counts = monotonic(), {"frames": 0}
        with ExitStack() as stack:
            folder = stack.enter_context(self.chunks.making(task.id))
            path = input_file(task.video.source)
            source = stack.enter_context(self._source(path, start, end, chunk.start is not None))
            files = self._open(task, folder)
            stack.callback(files.abandon)
            self.segmenter.reset()
            self.segmenter.draw(self._style.overlay if files.video else None)
            self.segmenter.set_policy(policy)
            show = FrameOutputs(self._style, files, {})
            first_pts: list[Fraction] = []

            def output(frame: Frame, result: Any) -> dict[str, float]:
                if frame.index in policy.at:
                    return {}
                first_pts.append(frame.pts) if not first_pts else None
                return show(frame, result)

            def count(row: dict[str, Any]) -> None:
                if row["frame"] not in policy.at:
                    counts["frames"] += 1
                    if files.timing:
                        files.timing.row(row)

            run_pipeline(frames(source), self.segmenter, output, count)
            if not counts["frames"]:  # but for the next chunk's first one
                raise InputError(f"'{source.info.name}' has no frame there that can be read")
            files.finish()
            report = {
                "frames": counts["frames"],
                "pictures": files.video.pictures if files.video else 0,
                "stretched": files.video.stretched if files.video else 0,
                "end": str(files.video.end) if isinstance(files.video, VideoWriter) else None,
                "first_pts": str(first_pts[0] if first_pts else chunk.start),
                "whole": not (source.truncated or source.corrupt_frames),
                "size": self._style.shape(*task.plan.size),
                "elapsed_s": monotonic() - began_s,
                "classes": asdict(self._style.classes),
                "ran": self.segmenter.describe(),
                "machine": machine(),
            }
            (folder / REPORT).write_text(json.dumps(report))
        return report

    def _open(self, task: Task, folder: Path) -> ChunkFiles:
        wanted, options, files = task.video.outputs, self.options, ChunkFiles()
        assert task.plan is not None
        if wanted.video:
            files.video = VideoWriter(
                folder / VIDEO,
                self._style.shape(*task.plan.size),
                task.plan.rate,
                options.codec,
                options.crf,
                token=PIECE,
                piece_of=task.plan.origin,
            )
        if wanted.masks:
            masks = folder / MASKS
            files.masks = MaskWriter(masks, options.masks_format, self._style.classes, PIECE)
        if wanted.timing:
            files.timing = TimingLog(folder / TIMING, PIECE)
        if wanted.stats:
            zones = Zones.read(options.zones) if options.zones else Zones()
            files.stats = StatsLog(folder / STATS, self._style.classes, zones, PIECE)
        return files

    def _source(self, path: Path, start: Any, end: Any, one_clock: bool = False) -> Source:
        rate, limits = self.options.rate, vars(self.options.limits)
        return open_source(path, start, end, rate, **limits, one_clock=one_clock)

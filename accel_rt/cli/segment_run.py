"""The work of ``accel-rt segment``: one input after the other through one segmenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from accel_rt.cli.interrupt import EXIT_INTERRUPTED, Interruption, finishing_on_signals
from accel_rt.cli.jobs import Job
from accel_rt.cli.machine import machine
from accel_rt.cli.outputs import FrameOutputs, OverlayStyle
from accel_rt.cli.progress import Progress
from accel_rt.cli.summary import StageMeans
from accel_rt.cli.text import say, show
from accel_rt.errors import AccelError, OutputError
from accel_rt.runtime.pipeline import run_pipeline
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.video.images import ImageSource
from accel_rt.video.limits import Limits
from accel_rt.video.masks import MaskWriter
from accel_rt.video.reader import exact_rate, open_source
from accel_rt.video.source import Source
from accel_rt.video.timing import TimingLog
from accel_rt.video.whole import is_complete
from accel_rt.video.writer import VideoWriter


@dataclass(frozen=True)
class SegmentOptions:
    """What to read of each input, and how to show and store what comes of it."""

    start: float | None
    end: float | None
    rate: float | None
    timeout: float
    max_pixels: int
    allow: tuple[str, ...]
    classes: tuple[str, ...] | None
    alpha: float
    legend: bool
    codec: str
    crf: int | None
    no_audio: bool
    masks_format: str


def run_jobs(
    jobs: Sequence[Job],
    options: SegmentOptions,
    load: Callable[[], Segmenter],
    skip_existing: bool = False,
) -> int:
    """Segment every input and return the exit code; one that fails does not stop the others.

    ``load`` is called once, when the first input has turned out to be readable. Its errors, and
    those of a lone input, are raised.
    """
    loader, interruption, failures = _Loader(load), Interruption(), 0
    for job in jobs:
        try:
            failures += not _run_job(job, options, loader, interruption, skip_existing)
        except AccelError as error:
            if len(jobs) == 1 or loader.failed:
                raise
            say(f"error: {job.name}: {error}")
            failures += 1
        if interruption.signal is not None:
            return EXIT_INTERRUPTED
    if failures and len(jobs) > 1:
        say(f"error: {failures} of {len(jobs)} inputs failed")
    return 1 if failures else 0


class _Loader:
    """Loads the segmenter when it is first needed; ``failed`` tells its errors from others."""

    def __init__(self, load: Callable[[], Segmenter]) -> None:
        self.failed = False
        self._load = load
        self._segmenter: Segmenter | None = None

    def get(self, names: Sequence[str] | None) -> tuple[Segmenter, list[int] | None]:
        """The segmenter, at its start, and the labels of the classes ``names``."""
        self.failed = True
        if self._segmenter is None:
            self._segmenter = self._load()
        keep = self._segmenter.classes.indices(names) if names else None
        self.failed = False
        self._segmenter.reset()
        return self._segmenter, keep


def _run_job(
    job: Job,
    options: SegmentOptions,
    loader: _Loader,
    interruption: Interruption,
    skip_existing: bool,
) -> bool:
    """Segment one input and return whether all of it could be read.

    What can fail early is opened before the networks are loaded.
    """
    with ExitStack() as stack:
        source = stack.enter_context(_open_source(job, options))
        if skip_existing and job.video and is_complete(job.video, source.info):
            say(f"skipped {job.name}: {job.video} is there and whole")
            return True
        video = stack.enter_context(_open_video(job, options, source)) if job.video else None
        log = stack.enter_context(TimingLog(job.timing)) if job.timing else None
        segmenter, keep = loader.get(options.classes)
        masks = None
        if job.masks:
            masks = MaskWriter(job.masks, options.masks_format, segmenter.classes)
            stack.enter_context(masks)
        style = OverlayStyle(segmenter.classes, options.alpha, options.legend, keep)
        segmenter.draw(style.overlay if video else None)
        outputs, means = FrameOutputs(style, video, masks), StageMeans()
        with (
            finishing_on_signals(interruption),
            Progress(source.info.name, source.info.frame_count) as progress,
        ):

            def count(row: dict[str, Any]) -> None:
                means.add(row)
                progress.add(row["kind"])
                if log:
                    log.row(row)

            failure: Exception | None = None
            try:
                run_pipeline(source, segmenter, outputs, count, stop=interruption.event)
            except OutputError:  # the outputs have seen to themselves
                raise
            except Exception as error:
                if not means.frames:
                    raise
                failure = error  # what was done is finished first
            if video:
                video.finish()
            if masks:
                masks.close()
            if log:
                settings = {**asdict(options), **segmenter.describe()}
                log.close(settings=settings, machine=machine())
        elapsed_s = progress.elapsed_s
    for note in (*source.notes, *(video.notes if video else ()), *outputs.notes):
        say(f"note: {note}")
    if failure is not None:
        say(f"note: the {means.frames} frames before the failure are kept")
        raise failure
    if means.frames:
        _report(job, means, elapsed_s)
    else:  # a source has a first frame, or it would not have opened
        say("interrupted before the first frame")
    whole = not (source.truncated or source.corrupt_frames)
    if not whole:
        say(f"error: {job.name} could not be read whole: what could be is done")
    return whole


def _open_source(job: Job, options: SegmentOptions) -> Source:
    span = options.start, options.end
    limits = Limits(options.timeout, options.max_pixels, options.allow)
    if isinstance(job.source, str):
        return open_source(job.source, *span, options.rate, **vars(limits))
    return ImageSource(job.source, job.name, exact_rate(options.rate), *span, limits)


def _open_video(job: Job, options: SegmentOptions, source: Source) -> VideoWriter:
    assert job.video is not None
    info = source.info
    return VideoWriter(
        job.video,
        (info.width, info.height),
        info.rate,
        options.codec,
        options.crf,
        tracks_from=source,
        start_s=options.start,
        end_s=options.end,
        sound=not options.no_audio,
    )


def _report(job: Job, means: StageMeans, elapsed_s: float) -> None:
    what = f"wrote {job.video}" if job.video else f"segmented {job.name}"
    per_s = means.frames / elapsed_s
    show(f"{what}: {means.frames} frames in {elapsed_s:.1f} s, {per_s:.1f} frames/s")
    show(means.text())

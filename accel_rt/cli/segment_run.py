"""The work of ``accel-rt segment``: one input after the other through one segmenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_rt.cli.interrupt import EXIT_INTERRUPTED, Interruption, finishing_on_signals
from accel_rt.cli.jobs import Job
from accel_rt.cli.machine import machine
from accel_rt.cli.outputs import FrameOutputs
from accel_rt.cli.progress import Progress
from accel_rt.cli.run_files import RunFiles, finish_completed, outputs_complete
from accel_rt.cli.summary import StageMeans, shares_table
from accel_rt.cli.text import say, show
from accel_rt.errors import AccelError, OutputError
from accel_rt.files import contents_digest
from accel_rt.palette import PALETTES, recolor
from accel_rt.redact import redact
from accel_rt.runtime.pipeline import run_pipeline
from accel_rt.runtime.resumable import ResumableSegmenter
from accel_rt.runtime.style import OverlayStyle
from accel_rt.scale.plan import digest
from accel_rt.video.display import FileDisplay
from accel_rt.video.images import ImageSource
from accel_rt.video.limits import Limits
from accel_rt.video.picture_file import is_picture
from accel_rt.video.picture_writer import PictureWriter
from accel_rt.video.reader import exact_rate, open_source
from accel_rt.video.source import Source
from accel_rt.video.writer import VideoWriter
from accel_rt.video.zones import Zones

if TYPE_CHECKING:  # torch takes its time
    from accel_rt.runtime.policy import KeyframePolicy
    from accel_rt.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class SegmentOptions:
    """What to read of each input, and how to show and store what comes of it."""

    display: FileDisplay
    limits: Limits
    start: float | None
    end: float | None
    rate: float | None
    palette: str | None
    codec: str
    crf: int | None
    no_audio: bool
    masks_format: str
    zones: Path | None
    summary: bool

    def file_digests(self) -> dict[str, str]:
        """What tells the contents of the files that these name from others."""
        palette = None if self.palette in PALETTES else self.palette
        named = {"zones": self.zones, "palette": palette and Path(palette)}
        return {name: contents_digest([path]) for name, path in named.items() if path}


@dataclass(frozen=True)
class Choices:
    """How the inputs are run: what segments them, and what becomes of outputs that are there.

    ``load`` makes the segmenter of ``networks`` and ``policy`` its keyframe policy; ``settings``
    are all choices that change the outputs, and ``weights`` gives the digests of its files.
    """

    load: Callable[[], Segmenter]
    weights: Callable[[], list[str]]
    policy: Callable[[], KeyframePolicy]
    networks: str
    settings: dict[str, Any]
    skip_existing: bool = False
    resume: bool = False


def run_jobs(jobs: Sequence[Job], options: SegmentOptions, choices: Choices) -> int:
    """Segment every input and return the exit code; one that fails does not stop the others.

    The segmenter is loaded once, when the first input has turned out to be readable. Its errors,
    and those of a lone input, are raised.
    """
    loader, interruption, failures = _Loader(choices), Interruption(), 0
    for job in jobs:
        try:
            failures += not _run_job(job, options, choices, loader, interruption)
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

    def __init__(self, choices: Choices) -> None:
        self.failed = False
        self._choices = choices
        self._weights: list[str] | None = None
        self._segmenter: Segmenter | None = None

    def settings(self, options: SegmentOptions) -> dict[str, Any]:
        """All choices that change the outputs, with what is in the files that they name."""
        self.failed = True
        if self._weights is None:
            self._weights = self._choices.weights()
        self.failed = False
        files = {"weights": self._weights, **options.file_digests()}
        named = {f"contents of the {name}": digest(value)[:8] for name, value in files.items()}
        return {**self._choices.settings, **named}

    def get(self, options: SegmentOptions) -> tuple[Segmenter, OverlayStyle]:
        """The segmenter, at its start, and how its classes are shown."""
        self.failed = True
        if self._segmenter is None:
            say(f"loading {self._choices.networks}")
            self._segmenter = self._choices.load()
        classes = recolor(self._segmenter.classes, options.palette)
        style = OverlayStyle(classes, options.display)
        classes.indices(options.display.classes or ())  # what is wrong is said before the work
        self.failed = False
        self._segmenter.reset()
        return self._segmenter, style


def _run_job(
    job: Job,
    options: SegmentOptions,
    choices: Choices,
    loader: _Loader,
    interruption: Interruption,
) -> bool:
    """Segment one input and return whether all of it could be read.

    What can fail early is opened before the networks are loaded.
    """
    zones = None
    if job.stats or options.summary:
        zones = Zones.read(options.zones) if options.zones else Zones()
    with ExitStack() as stack:
        source = stack.enter_context(_open_source(job, options))
        if choices.skip_existing and outputs_complete(job, options.masks_format, source):
            there = job.video or job.masks or job.timing or job.stats
            say(f"skipped {job.name}: {there} is there and whole")
            return True

        def open_video(token: str) -> VideoWriter | PictureWriter:
            return _open_video(job, options, loader, source, token)

        settings = loader.settings(options)
        if choices.resume and finish_completed(job, source.info, settings):
            say(f"{job.name} was done but for the names of its outputs: they have them now")
            return True
        files = stack.enter_context(
            RunFiles(job, source, settings, options.masks_format, open_video, choices.resume)
        )
        segmenter, style = loader.get(options)
        files.open_labelled(style.classes, zones)
        segmenter.draw(style.overlay if files.video else None)
        resumable = ResumableSegmenter(segmenter, choices.policy(), files.first, files.policy_state)
        outputs, means = FrameOutputs(style, files, resumable.states), StageMeans()
        if files.first:
            say(f"going on with {job.name} after {files.first} frames")
        with (
            finishing_on_signals(interruption),
            Progress(source.info.name, source.info.frame_count, files.first) as progress,
        ):

            def count(row: dict[str, Any]) -> None:
                if files.timing:
                    files.timing.row(row)
                means.add(row)
                progress.add(row["kind"])

            failure: Exception | None = None
            try:
                run_pipeline(
                    files.frames(source), resumable, outputs, count, stop=interruption.event
                )
            except Exception as error:
                if not means.frames:
                    raise
                failure = error  # what was done is finished first
            frames, finished = files.first + means.frames, True
            if means.frames:
                whole = failure is None and interruption.signal is None
                told = {**choices.settings, "input": redact(job.name), **segmenter.describe()}
                finished = files.finish(told, machine(), whole)
        elapsed_s = progress.elapsed_s
    for note in (*source.notes, *(files.video.notes if files.video else ())):
        say(f"note: {note}")
    if not finished:
        kept = (
            f"{files.kept} of {frames} frames are kept unfinished, for --resume"
            if files.kept
            else f"the {frames} frames of this one are not kept: --resume could not use them"
        )
        say(f"note: the files of an earlier run stay as they are, and {kept}")
    if failure is not None:
        if finished and not isinstance(failure, OutputError):  # which says itself what is kept
            say(f"note: the {frames} frames before the failure are kept")
        raise failure
    if not finished:
        return False
    if means.frames:
        _report(job, frames, means, elapsed_s, segmenter.describe())
        if options.summary and files.stats:
            if files.first and not job.stats:
                say(f"note: the shares are those after frame {files.first}: --stats would keep all")
            shares = files.stats.means
            for zone in (name for name, found in shares.items() if not found):
                say(f"note: the zone '{zone}' has no pixel in the picture")
            show(shares_table(shares, files.stats.frames, segmenter.classes.names))
    else:  # a source has a first frame, or it would not have opened
        say("interrupted before the first frame")
    whole = not (source.truncated or source.corrupt_frames)
    if not whole:
        say(f"error: {job.name} could not be read whole: what could be is done")
    return whole


def _open_source(job: Job, options: SegmentOptions) -> Source:
    span = options.start, options.end
    if isinstance(job.source, str):
        return open_source(job.source, *span, options.rate, **vars(options.limits))
    return ImageSource(job.source, job.name, exact_rate(options.rate), *span, options.limits)


def _open_video(
    job: Job, options: SegmentOptions, loader: _Loader, source: Source, token: str
) -> VideoWriter | PictureWriter:
    assert job.video is not None
    if is_picture(job.video):
        return PictureWriter(job.video, source.info.rate, token)
    info = source.info
    size, display = (info.height, info.width), options.display
    if display.legend or display.show == "side-by-side":  # which needs the classes' names
        size = loader.get(options)[1].shape(*size)
    return VideoWriter(
        job.video,
        size,
        info.rate,
        options.codec,
        options.crf,
        tracks_from=source,
        start_s=options.start,
        end_s=options.end,
        sound=not options.no_audio,
        token=token,
    )


def _report(
    job: Job, frames: int, means: StageMeans, elapsed_s: float, ran: dict[str, Any]
) -> None:
    what = f"wrote {job.video}" if job.video else f"segmented {job.name}"
    speed = f"{means.frames / elapsed_s:.1f} frames/s"
    how = f"{ran['processed']} on {ran['backend']}"
    show(f"{what}: {frames} frames in {elapsed_s:.1f} s, {speed} at {how}")
    show(means.text())

"""The outputs of a run as one thing: claimed, written, gone on with and named together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from accel_rt.classes import ClassSet
from accel_rt.cli.jobs import Job, files_of
from accel_rt.cli.journal import (
    Checkpoint,
    Journal,
    UnfinishedRun,
    difference,
    journal_path,
    unfinished_runs,
)
from accel_rt.cli.text import say
from accel_rt.errors import AccelError, InputError, OutputError, UsageError
from accel_rt.files import Claim, new_token, remove_unfinished, unfinished_path
from accel_rt.video.complete import complete_animation, complete_pictures
from accel_rt.video.images import image_files
from accel_rt.video.join import count_pictures
from accel_rt.video.location import is_read_once, is_url, local_path
from accel_rt.video.masks import (
    COCO_FILE,
    MaskWriter,
    commit_masks,
    count_masks,
    remove_unfinished_masks,
    replaces_masks,
    unfinished_folder,
)
from accel_rt.video.picture_file import is_picture
from accel_rt.video.picture_writer import PictureWriter
from accel_rt.video.source import Frame, Source, SourceInfo
from accel_rt.video.stats_log import StatsLog, commit_stats, count_frames
from accel_rt.video.timing import TimingLog, commit_timing, count_rows
from accel_rt.video.writer import VideoWriter
from accel_rt.video.zones import Zones

CHECKPOINT_FRAMES = 100
"""A run can be gone on with from about every hundredth frame, where its video begins afresh."""

OpenVideo = Callable[[str], VideoWriter | PictureWriter]
"""Opens the video of a run by its token."""


class RunFiles:
    """Everything that a run writes, claimed against other runs; a context manager.

    What has been written is on disk under unfinished names at any moment. :meth:`finish` gives
    all outputs their names; leaving the context without it removes them, or leaves those of a run
    that was gone on with for another try. ``settings`` are all
    choices that change the outputs. With ``resume`` the run goes on where an earlier one with the
    same settings and input was killed, with frame ``first``; ``policy_state`` is what it
    remembered there.

    Raises :class:`OutputError` where another run writes one of the outputs, :class:`UsageError`
    where ``resume`` asks for what cannot be gone on with.
    """

    def __init__(
        self,
        job: Job,
        source: Source,
        settings: dict[str, Any],
        masks_format: str,
        open_video: OpenVideo,
        resume: bool,
    ) -> None:
        self.job = job
        self.video: VideoWriter | PictureWriter | None = None
        self.timing: TimingLog | None = None
        self.masks: MaskWriter | None = None
        self.stats: StatsLog | None = None
        self.first = self.kept = 0
        self.policy_state: dict[str, Any] | None = None
        self._masks_format, self._resume_pts = masks_format, Fraction(0)
        self._journal: Journal | None = None
        self._claims: list[Claim] = []
        self._ended = self._caught_up = self._keeps_earlier = False
        self._adopting: Iterator[None] = iter(())
        self._main = _main_output(job)
        self._token = new_token()
        try:
            for path in _claimed(job):
                self._claims.append(Claim(path))
            identity = source_identity(job, source.info)
            self._keeps_earlier = identity is not None and _replaces(job, masks_format, source)
            self._earlier = unfinished_runs(self._main) if self._main else []
            settings = {**settings, **_named_outputs(job)}
            resumed = self._choose(settings, identity, resume)
            if resumed is None:
                self._begin(settings, identity, open_video)
            else:
                self._resume(*resumed, open_video)
        except BaseException:
            self._abandon()
            raise

    def open_labelled(self, classes: ClassSet, zones: Zones | None) -> None:
        """Open masks and stats (of ``zones``), as far as wanted, once their classes are known."""
        if self.job.masks:
            keep = self.first or None
            self.masks = MaskWriter(
                self.job.masks, self._masks_format, classes, self._token, keep=keep
            )
        if zones is not None:
            self.stats = StatsLog(self.job.stats, classes, zones, self._token, self.first or None)

    def frames(self, source: Source) -> Iterator[Frame]:
        """The frames of ``source`` that are to be done.

        Raises :class:`InputError` if they are not those of the run that is gone on with.
        """
        for frame in source:
            if frame.index >= self.first:
                if frame.index == self.first:
                    self._catch_up(frame)
                yield frame
                continue
            next(self._adopting, None)
            if self.masks:
                self.masks.skip(frame.index, frame.name)

    def checkpoint(self, frame: Frame, policy_state: dict[str, Any]) -> None:
        """Note that the run can go on with ``frame``: to be called once its picture is written."""
        if self._journal is not None:
            pictures = self.video.pictures - 1 if self.video else 0
            self._journal.checkpoint(
                Checkpoint(frame.index, pictures, str(frame.pts), policy_state)
            )

    def finish(self, settings: dict[str, Any], machine: dict[str, Any], whole: bool) -> bool:
        """Give all outputs their names; if ``whole``, remove what earlier runs left of them.

        An output that cannot be completed does not keep the others from it: its error is raised
        in the end, and what was done of it stays under its unfinished name. A part of a run takes
        no earlier file's place where its input can be read again: False is returned then, and it
        is left unfinished as far as it can be gone on with, with frame ``kept``.
        """
        if not whole and self._keeps_earlier:
            self._leave()
            return False
        errors: list[AccelError] = []

        def attempt(action: Callable[[], object], path: Path) -> bool:
            try:
                return action() is not False
            except AccelError as error:
                errors.append(error)
            except Exception as error:  # of a library: the other outputs are done all the same
                why = str(error) or type(error).__name__
                errors.append(OutputError(f"cannot write '{path}': {why}"))
                errors[-1].__cause__ = error
            return False

        job, timing = self.job, self.timing
        completed = {
            output: path
            for output, path, complete in (
                (self.video, job.video, self.video and self.video.complete),
                (timing, job.timing, timing and (lambda: timing.complete(settings, machine))),
                (self.masks, job.masks, self.masks and self.masks.complete),
                (self.stats, job.stats, self.stats and self.stats.complete),
            )
            if output and complete and path and attempt(complete, path)
        }
        if self._journal and not errors:
            attempt(self._journal.done, self._journal.path)
        for output in self._outputs():
            if output in completed:
                attempt(output.commit, completed[output])
            else:
                output.leave()
        self._ended = True
        if self._journal:
            self._journal.remove()
        if whole and not errors:
            self._remove_leftovers()
        if errors:
            left = ", ".join(f"'{path}'" for path in self._unfinished() if path.exists())
            told = f"{errors[0]}{left and f'; what was done is in {left}'}"
            raise type(errors[0])(told) from errors[0]
        return True

    def _leave(self) -> None:
        """Leave the outputs unfinished, or remove them if the run cannot be gone on with."""
        for output in self._outputs():
            output.leave()
        self._ended = True
        runs = unfinished_runs(self._main) if self._main else []
        checkpoint = next((self._usable(run) for run in runs if run.token == self._token), None)
        if checkpoint:
            self.kept = checkpoint.frame
            return
        if self._journal:
            self._journal.remove()
        self._remove(self._token)

    def _outputs(self) -> list[VideoWriter | PictureWriter | TimingLog | MaskWriter | StatsLog]:
        every = (self.video, self.timing, self.masks, self.stats)
        return [output for output in every if output]

    def _unfinished(self) -> Iterator[Path]:
        """The names that unfinished outputs have."""
        for path in (self.job.video, self.job.timing, self.job.stats):
            if path:
                yield unfinished_path(path, self._token)
        if self.job.masks:
            yield unfinished_folder(self.job.masks, self._token)

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon()

    def _abandon(self) -> None:
        """Remove what is unfinished, or leave what was there before; give the claims back."""
        outputs = self._outputs()
        if not self._ended and self.first:
            if self.video and not self._caught_up:
                self.video.abandon()
            for output in outputs:
                output.leave()
        elif not self._ended:
            for output in outputs:
                output.abandon()
            if self._journal:
                self._journal.remove()
        for claim in self._claims:
            claim.release()
        self._ended = True

    def _choose(
        self, settings: dict[str, Any], identity: Any, resume: bool
    ) -> tuple[UnfinishedRun, Checkpoint] | None:
        """The run to go on with, and where; None to begin anew."""
        usable = [run for run in self._earlier if run.source is not None]
        if self.job.video:
            for run in self._earlier:
                if run.source is None:  # nobody can make it again: it is kept
                    left = unfinished_path(self.job.video, run.token)
                    say(f"note: '{left}' is left of a run that was killed: rename or remove it")
        if not usable:
            return None
        if not resume:
            if usable[0].done or self._usable(usable[0]):
                say(
                    f"note: an unfinished run has {usable[0].frames} frames of '{self._main}': "
                    "--resume goes on with it; it is kept until this one has ended"
                )
            return None
        fits = [run for run in usable if run.source == identity and not difference(run, settings)]
        if not fits:
            why = difference(usable[0], settings) or "its input has changed"
            raise UsageError(
                f"cannot go on with the unfinished run of '{self._main}' ({why}): give the same "
                "settings, or begin anew without --resume"
            )
        for run in fits:
            if checkpoint := self._usable(run):
                return run, checkpoint
        say(f"note: too little is left of the unfinished run of '{self._main}': this begins anew")
        return None

    def _usable(self, run: UnfinishedRun) -> Checkpoint | None:
        """Where ``run`` can be gone on with: its last frame before which all is there."""
        there = self._pictures_there(run)
        for checkpoint in reversed(run.checkpoints):
            if checkpoint.frame and checkpoint.pictures <= there:
                return checkpoint
        return None

    def _pictures_there(self, run: UnfinishedRun) -> float:
        if self.job.video is None:
            return float("inf")
        try:
            return count_pictures(unfinished_path(self.job.video, run.token))
        except InputError:
            return 0

    def _begin(self, settings: dict[str, Any], identity: Any, open_video: OpenVideo) -> None:
        if self._main:
            self._journal = Journal(journal_path(self._main, self._token), settings, identity)
        if self.job.video:
            self.video = open_video(self._token)
        if self.job.timing:
            self.timing = TimingLog(self.job.timing, self._token)

    def _resume(self, run: UnfinishedRun, checkpoint: Checkpoint, open_video: OpenVideo) -> None:
        self._earlier.remove(run)
        self._token, self.first = run.token, checkpoint.frame
        self._resume_pts, self.policy_state = Fraction(checkpoint.pts), checkpoint.policy
        if self.job.video:
            video, fresh = self.job.video, f"{run.token}.next"
            remove_unfinished(video, fresh)
            self.video = open_video(fresh)
            left, first_pts = unfinished_path(video, run.token), Fraction(run.checkpoints[0].pts)
            self._adopting = self.video.adopt(left, checkpoint.pictures, first_pts)
        if self.job.timing:
            self.timing = TimingLog(self.job.timing, run.token, keep=self.first)
        self._journal = Journal.reopen(run)

    def _catch_up(self, frame: Frame) -> None:
        """Take over what is left of the pictures before ``frame``, the first to be done."""
        if self.first and frame.pts != self._resume_pts:
            raise InputError(
                f"frame {self.first} of '{self.job.name}' is not where the unfinished run had it: "
                "begin anew without --resume"
            )
        for _ in self._adopting:
            pass
        self._caught_up = True

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left of outputs that are complete now."""
        job = self.job
        inputs = job.source if isinstance(job.source, list) else [job.source]
        for run in self._earlier:
            if run.source is None or any(_is_of_run(path, run) for path in inputs):
                continue
            self._remove(run.token)
            run.path.unlink(missing_ok=True)
        self._remove(self._token)

    def _remove(self, token: str) -> None:
        for path in (self.job.video, self.job.timing, self.job.stats):
            if path:
                remove_unfinished(path, token)
        if self.job.masks:
            remove_unfinished_masks(self.job.masks, token)


def _is_of_run(path: str | Path, run: UnfinishedRun) -> bool:
    """Whether an input is itself something that ``run`` left."""
    return f".{run.token}." in Path(path).name


def finish_completed(job: Job, info: SourceInfo, settings: dict[str, Any]) -> bool:
    """Give the outputs of a run their names that was killed when only this was left to do.

    It must have had the same settings and input.
    """
    main, identity = _main_output(job), source_identity(job, info)
    if main is None or identity is None:
        return False
    settings = {**settings, **_named_outputs(job)}
    done = (run for run in unfinished_runs(main) if run.done and run.source == identity)
    run = next((run for run in done if not difference(run, settings)), None)
    if run is None:
        return False
    claims = [Claim(path) for path in _claimed(job)]
    if job.timing:
        commit_timing(job.timing, run.token)
    if job.masks:
        commit_masks(job.masks, run.token)
    if job.stats:
        commit_stats(job.stats, run.token)
    if job.video:
        with suppress(FileNotFoundError):
            unfinished_path(job.video, run.token).replace(job.video)
    run.path.unlink(missing_ok=True)
    for claim in claims:
        claim.release()
    return True


def outputs_complete(job: Job, masks_format: str, source: Source) -> bool:
    """Whether every output of ``job`` is there, complete, and of as many frames as the others."""
    counts: list[int | None] = []
    info = source.info
    if job.timing:
        counts.append(count_rows(job.timing))
    if job.masks:
        counts.append(count_masks(job.masks, masks_format, source.picture_names()))
    if job.stats:
        counts.append(count_frames(job.stats))
    if job.video and is_picture(job.video):
        # Frames alike, or too fast, may be one there: the other outputs must tell of all the same.
        shown, every = complete_animation(job.video, info), (info.frame_count or 1) - 1
        counts.append(shown and max(shown, every, *(count or 0 for count in counts)))
    elif job.video:
        counts.append(complete_pictures(job.video, info))
    found = counts[0] if counts else None  # without outputs there is nothing to leave
    if found is None or len(set(counts)) > 1:
        return False
    return bool(job.video) or (info.frame_count is not None and found >= info.frame_count - 1)


def _replaces(job: Job, masks_format: str, source: Source) -> bool:
    """Whether something of an earlier run gives way to the outputs of ``job``."""
    if any(path.exists() for path in (job.video, job.timing, job.stats) if path):
        return True
    return job.masks is not None and replaces_masks(job.masks, masks_format, source.picture_names)


def source_identity(job: Job, info: SourceInfo) -> Any:
    """What tells the input from others, as JSON; None for one that cannot be read again."""
    shape = [info.width, info.height, str(info.rate), info.frame_count]
    if isinstance(job.source, list):
        paths = job.source
    elif is_url(job.source):
        if info.kind == "stream":
            return None
        return [hashlib.sha256(job.source.encode(errors="replace")).hexdigest(), *shape]
    elif is_read_once(job.source):
        return None
    else:  # of a folder its pictures alone: a run may write beside them
        files = files_of(job.source)
        paths = files if local_path(job.source).is_file() else image_files(files)
    digest = hashlib.sha256()
    try:
        for path in paths:
            status = os.stat(path)
            digest.update(
                f"{path.name}/{status.st_size}/{status.st_mtime_ns}\n".encode(errors="replace")
            )
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"'{path}' cannot be read ({why}): check the path") from error
    return [digest.hexdigest(), *shape]


def _main_output(job: Job) -> Path | None:
    """The output that the journal lies beside; None if nothing is written."""
    return job.video or (job.masks / "masks" if job.masks else job.timing or job.stats)


def _named_outputs(job: Job) -> dict[str, str | None]:
    """Where the other outputs go, from the main one's folder."""
    main = _main_output(job)
    if main is None:
        return {}
    others = {"masks": job.masks, "timing": job.timing, "stats": job.stats}
    return {
        name: os.path.relpath(path, main.parent) if path else None for name, path in others.items()
    }


def _claimed(job: Job) -> Iterator[Path]:
    if job.video:
        yield job.video
    if job.timing:
        yield job.timing
    if job.stats:
        yield job.stats
    if job.masks:
        yield job.masks / COCO_FILE

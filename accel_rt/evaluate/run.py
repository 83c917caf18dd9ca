"""Evaluate models on footage: in several processes, resuming where an earlier run stopped."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch

from accel_rt.errors import AccelError, OutputError
from accel_rt.evaluate.counts import Counts
from accel_rt.evaluate.footage import Footage, check_length
from accel_rt.evaluate.predict import Predictor, SharedPredictor
from accel_rt.evaluate.schedule import Density, KeyframeSchedule, WorkUnit, work_units
from accel_rt.evaluate.scoring_pass import check_classes, count_unit
from accel_rt.files import replacing, write_whole
from accel_rt.models.foreign.open import load_placed, place
from accel_rt.runtime.load import keyframe_interval, weights_digests
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.version import __version__

MakePredictor = Callable[[Mapping[str, SegmenterSettings], int], Predictor]


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated on what.

    A model's ``interval`` is its longest: shorter ones are evaluated with it; 1 for the mode
    ``deeplab``. ``make_predictor`` takes the models and the depth of
    :class:`~accel_rt.evaluate.predict.SharedPredictor`.
    """

    footage: Footage
    models: Mapping[str, SegmenterSettings]
    density: Density
    make_predictor: MakePredictor = field(default=SharedPredictor, compare=False)

    def schedules(self) -> dict[str, KeyframeSchedule]:
        """Each model's schedule."""
        return {
            name: KeyframeSchedule(self.density, keyframe_interval(settings))
            for name, settings in self.models.items()
        }

    def work_units(self) -> list[WorkUnit]:
        """The work, cut into parts that depend on the footage alone."""
        return list(work_units(self.footage.labelled()))

    def check(self) -> None:
        """Raise what is wrong with footage and models before any work is done."""
        longest = max(schedule.longest for schedule in self.schedules().values())
        check_length(self.footage, self.density, longest)
        names = {settings.reference for settings in self.models.values()}
        known = {name: load_placed(place(name))[1].classes.names for name in sorted(names)}
        check_classes(known, self.footage.classes.names)

    def empty_counts(self, unit: WorkUnit) -> dict[str, Counts]:
        """The counts of every model on ``unit``, before anything is counted."""
        frames = self.footage.clips[unit.sequence].frames[unit.start : unit.stop]
        labelled = sum(frame.labelled for frame in frames)
        ranks, classes = range(unit.rank, unit.rank + labelled), len(self.footage.classes)
        return {name: Counts(how, ranks, classes) for name, how in self.schedules().items()}

    def fingerprint(self) -> str:
        """Changes with everything that the results depend on."""
        weights = {name: weights_digests(settings) for name, settings in self.models.items()}
        frames = [frame.stamp() for clip in self.footage.clips for frame in clip.frames]
        parts = (__version__, torch.__version__, cv2.__version__, self.density, frames)
        text = repr((parts, sorted(self.models.items()), weights, self.footage.classes.names))
        return hashlib.sha256(text.encode()).hexdigest()


def evaluate(
    evaluation: Evaluation, work: Path, workers: int, report: Callable[[str], None]
) -> dict[str, Counts]:
    """The counts of every model.

    Finished parts are kept in the folder ``work`` until :func:`forget`, and taken from it if an
    earlier run with the same inputs left them. Every worker computes on one thread, so that the
    numbers do not depend on how many there are; 1 works in this process.
    """
    units, schedules = evaluation.work_units(), evaluation.schedules()
    parts = _Parts(work, evaluation.fingerprint(), evaluation.empty_counts)
    todo = [(n, unit) for n, unit in enumerate(units) if parts.load(n, unit) is None]
    total = len(units)
    if len(todo) < total:
        report(f"{total - len(todo)} of {total} parts are there from an earlier run")
    done = total - len(todo)
    # Closed at once, or workers would go on for as long as an interruption here is being handled.
    with closing(_results(evaluation, todo, workers, report)) as results:
        for number, arrays in results:
            parts.save(number, arrays)
            done += 1
            report(f"evaluated {done} of {total} parts")
    loaded = [part for n, unit in enumerate(units) if (part := parts.load(n, unit)) is not None]
    if len(loaded) < total:
        raise OutputError(
            f"{total - len(loaded)} of {total} parts in '{work}' are damaged or gone: run the same "
            "command again"
        )
    return {
        name: Counts.join(schedule, [part[name] for part in loaded])
        for name, schedule in schedules.items()
    }


def forget(work: Path) -> None:
    """Remove the parts of an evaluation whose results are written; other files stay."""
    with suppress(OSError):
        for path in work.iterdir():
            if path.name == _INPUTS or _PART.fullmatch(path.name):
                path.unlink()
        work.rmdir()


_INPUTS, _PART = "inputs.json", re.compile(r"part-\d{5}\.npz")
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_Arrays = dict[str, dict[str, np.ndarray]]


def _results(
    evaluation: Evaluation,
    todo: list[tuple[int, WorkUnit]],
    workers: int,
    report: Callable[[str], None],
) -> Generator[tuple[int, _Arrays], None, None]:
    if not todo:
        return
    if workers == 1:
        before = torch.get_num_threads(), cv2.getNumThreads()
        try:
            worker = _Worker(evaluation)
            for number, unit in todo:
                yield number, worker(unit)
        finally:
            torch.set_num_threads(before[0])
            cv2.setNumThreads(before[1])
        return
    context = get_context("spawn")  # a forked torch hangs: its threads are not copied
    with _signals_blocked():  # for good in Python's tracker of semaphores, which starts here
        pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (evaluation,))
    try:
        with _signals_blocked():  # for good in the workers, which start here
            numbers = {pool.submit(_work, unit): number for number, unit in todo}
        try:
            for future in as_completed(numbers):
                yield numbers.pop(future), future.result()
        except KeyboardInterrupt:
            report("interrupted: finishing the parts that were begun")
            pool.shutdown(wait=False, cancel_futures=True)
            for future, number in numbers.items():
                if not future.cancelled():
                    yield number, future.result()
            raise
    except BrokenProcessPool as error:
        raise AccelError(
            "a worker process died (fewer --workers need less memory): run the same command "
            "again, which with --json goes on with the parts that were finished"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep signals to the whole group from processes that start here.

    They are the parent's, which hands out no more work and waits for what was begun. The tracker
    of semaphores blocks only SIGINT and SIGTERM by itself: a hangup would end it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """Works through units one after the other, on one thread."""

    def __init__(self, evaluation: Evaluation) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self._evaluation, self._schedules = evaluation, evaluation.schedules()
        depth = max(schedule.longest for schedule in self._schedules.values())
        self._predictor = evaluation.make_predictor(evaluation.models, depth)

    def __call__(self, unit: WorkUnit) -> _Arrays:
        footage = self._evaluation.footage
        clip, classes = footage.clips[unit.sequence], len(footage.classes)
        self._predictor.reset()
        counted = count_unit(self._predictor, clip, unit, self._schedules, classes)
        return {name: counts.arrays() for name, counts in counted.items()}


_worker: _Worker | None = None  # of a worker process


def _start_worker(evaluation: Evaluation) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be blocked
    _worker = _Worker(evaluation)


def _work(unit: WorkUnit) -> _Arrays:
    assert _worker is not None
    return _worker(unit)


class _Parts:
    """Finished parts on disk; those of other inputs are removed.

    Raises :class:`~accel_rt.errors.OutputError` for a folder of other files.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        empty: Callable[[WorkUnit], dict[str, Counts]],
    ) -> None:
        self._folder, self._empty = folder, empty
        mark = folder / _INPUTS
        try:
            if folder.is_dir() and (found := _read(mark)) != fingerprint:
                if found and _FINGERPRINT.fullmatch(found):
                    forget(folder)
                if folder.is_dir() and any(folder.iterdir()):
                    raise OutputError(
                        f"'{folder}' is where unfinished results go, and holds other files: move "
                        f"it away, or name another output"
                    )
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(mark, json.dumps(fingerprint))
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error

    def path(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.npz"

    def save(self, number: int, arrays: _Arrays) -> None:
        flat = {f"{m}|{name}": a for m, of in arrays.items() for name, a in of.items()}
        with replacing(self.path(number)) as file:
            np.savez_compressed(file, **flat)  # type: ignore[arg-type]

    def load(self, number: int, unit: WorkUnit) -> _Arrays | None:
        """The finished part ``number``, of ``unit``; None for one that is missing or damaged."""
        arrays: _Arrays = {}
        try:
            with np.load(self.path(number)) as stored:
                for key in stored.files:
                    model, _, name = key.rpartition("|")
                    arrays.setdefault(model, {})[name] = stored[key]
        except Exception:  # of a damaged archive numpy and zipfile raise many kinds
            return None
        wanted = {name: _kinds(counts.arrays()) for name, counts in self._empty(unit).items()}
        return arrays if {name: _kinds(own) for name, own in arrays.items()} == wanted else None


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _read(path: Path) -> str | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None

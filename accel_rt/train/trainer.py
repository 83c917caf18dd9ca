"""The loop that every training task shares."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from accel_rt.errors import AccelError, InputError
from accel_rt.jsonfile import member, typed
from accel_rt.models.layers import to_fast_layout
from accel_rt.train.ema import WeightAverage
from accel_rt.train.input import batches, to_device
from accel_rt.train.log import RunLog
from accel_rt.train.optimiser import cosine_rate, load_moments, make_optimiser, set_rate
from accel_rt.train.precision import autocast
from accel_rt.train.processes import Processes, synchronise_batch_norm
from accel_rt.train.run import RunFolder
from accel_rt.train.settings import FREE, TrainingSettings
from accel_rt.train.task import TrainingTask

Report = Callable[[str], None]
Progress = Callable[[int, int], None]
Stop = Callable[[], bool]

_PICTURED = 2  # samples
_DATA = "the training data"  # as a checkpoint has it beside the settings


def never() -> bool:
    """A :data:`Stop` that lets a run go on."""
    return False


class Trainer:
    """Runs a :class:`TrainingTask`, or goes on with it, in the run folder ``out``.

    ``out/checkpoint.pt`` is replaced every ``save_every_s`` seconds and when ``stop`` says so,
    and the same call resumes it at the same sample. ``out/log.csv`` has a row per ``log_every``
    steps, ``out/samples.png`` shows the newest results. The weights written are those that
    validated best, or the last ones where nothing is validated. ``report`` gets lines for the user,
    ``progress`` the steps done and all steps.
    """

    def __init__(
        self,
        task: TrainingTask,
        settings: TrainingSettings,
        out: Path,
        processes: Processes,
        report: Report = print,
        progress: Progress | None = None,
        stop: Stop = never,
    ) -> None:
        self._task, self._settings, self._processes = task, settings, processes
        self._report = report if processes.leads else _unheard
        self._progress = progress if processes.leads else None
        self._stop = stop
        self._folder = RunFolder(out)
        self._model = to_fast_layout(task.model, processes.device)
        self._average = WeightAverage(self._model, settings.ema)
        if settings.sync_bn and processes.world > 1:
            self._model = task.model = synchronise_batch_norm(self._model, processes.device)
        self._optimiser = make_optimiser(task.groups(), settings)
        self._step = 0
        self._best: float | None = None
        self._files: list[Path] = []
        self._unvalidated = False  # whether the validation at the checkpoint's step failed

    def run(self) -> list[Path]:
        """Train to the last step; returns the weight files written, the main one first.

        Raises ``KeyboardInterrupt`` after saving if ``stop`` said so, and
        :class:`~accel_rt.errors.OutputError` if another run is writing the folder.
        """
        with self._folder.claimed() if self._processes.leads else nullcontext():
            return self._run()

    def _run(self) -> list[Path]:
        self._resume()
        settings, task = self._settings, self._task
        for note in task.notes:
            self._report(f"note: {note}")
        samples = task.samples()
        made = batches(samples, settings, self._processes, self._step, task.sample_device)
        with closing(made) as parts, self._open_log() as log:
            first = self._step == 0 and settings.validate_first == 0
            if (first or self._unvalidated) and task.scores and not self._stop():
                self._validate(log, log.row(self._step, 0.0), samples)
            while self._step < settings.steps:
                rate, stopped = self._take_step(parts, log)
                if self._validation_is_due():
                    self._validate(log, log.row(self._step, rate), samples)
                elif self._step % settings.log_every == 0:
                    self._write_row(log, log.row(self._step, rate))
                if self._progress:
                    self._progress(self._step, settings.steps)
                if stopped:
                    self._save()
                    self._report(
                        f"interrupted: saved at step {self._step}; the same command goes on from "
                        f"there"
                    )
                    raise KeyboardInterrupt
                if self._folder.save_is_due(settings.save_every_s):
                    self._save()
        self._save()
        if not task.scores or not self._files:
            self._write({})
        return self._processes.shared(self._files)

    def _resume(self) -> None:
        described = self._described()
        saved = self._folder.load({n: described[n] for n in described if n not in FREE})
        if not saved:
            return
        with self._folder.resuming():
            self._step = saved["step"]
            self._best = member(saved, "best", (float, type(None)), None)
            listed = member(saved, "files", list, [])
            self._files = [self._folder.path / Path(typed(f, str, "a file")).name for f in listed]
            if not all(path.is_file() for path in self._files):  # the best weights are gone
                self._files, self._best = [], None
            self._unvalidated = member(saved, "unvalidated", bool, False)
            self._model.load_state_dict(member(saved, "network", dict))
            self._average.model.load_state_dict(member(saved, "average", dict))
            load_moments(self._optimiser, member(saved, "optimiser", dict))
            if not all(torch.isfinite(p).all() for p in self._model.parameters()):
                raise ValueError("it holds weights that are no finite numbers")
        self._report(f"resumed {self._folder.path} at step {self._step} of {self._settings.steps}")

    def _described(self) -> dict[str, Any]:
        return {**self._settings.described(), _DATA: self._task.drawn_from}

    def _open_log(self) -> Any:
        if not self._processes.leads:
            return _SilentLog()
        settings = self._settings
        return RunLog(
            self._folder, self._task.scores, settings.batch, settings.tensorboard, self._report
        )

    def _take_step(self, parts: Iterator[Any], log: Any) -> tuple[float, bool]:
        """One optimiser step; returns its learning rate, and whether the user wants to stop."""
        settings, processes, task = self._settings, self._processes, self._task
        # Whatever is random in a step depends on the step alone, so a resumed run repeats it.
        drawn = (settings.seed * settings.steps + self._step) * 4096 + processes.rank
        torch.manual_seed(drawn % 2**63)
        if task.begin(self._step) or not hasattr(self, "_shared"):
            self._shared = processes.wrap(self._model)
        sums = torch.zeros(3, device=processes.device)
        self._optimiser.zero_grad(set_to_none=True)
        waited = 0.0
        for part in range(settings.accumulate):
            before = time.monotonic()
            batch = to_device(self._next(parts), processes.device)
            waited += time.monotonic() - before
            with processes.apart(self._shared, part < settings.accumulate - 1):
                with autocast(settings, processes.device):
                    loss, weight = task.loss(self._shared, batch)
                loss.backward()
            sums[0] += loss.detach()
            sums[1] += weight.detach()
        sums[2] = float(self._stop())
        total, weight, stops = processes.total(sums).tolist()
        mean = total / max(weight, 1e-9)
        self._check_finite("loss", mean)
        # Gradients are those of the sum, averaged over processes; the loss is a mean.
        scale = processes.world / max(weight, 1e-9)
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, scale)
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), settings.clip)
        self._check_finite("gradient", float(norm))
        rate = cosine_rate(self._step, settings.steps, settings.rate, settings.warmup)
        set_rate(self._optimiser, rate)
        self._optimiser.step()
        self._average.update(self._model, self._step)
        self._step += 1
        log.add(mean, waited)
        return rate, stops > 0

    def _check_finite(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        if self._step == 0:
            raise AccelError(
                f"the {what} is {value} at the first step, before anything was learnt: check what "
                f"--init names, and the labels"
            )
        raise AccelError(
            f"the {what} is {value} at step {self._step}: a lower --rate (with another --out) may "
            f"keep it finite"
        )

    def _next(self, parts: Iterator[Any]) -> Any:
        """The next part of a batch."""
        # Other labels are other data, see _described().
        with self._saved_if_it_fails(inputs=", but labels that are changed need another --out"):
            return next(parts)

    @contextmanager
    def _saved_if_it_fails(self, inputs: str = "", unvalidated: bool = False) -> Iterator[None]:
        """Save what was trained where a picture cannot be used, of which ``inputs`` is said."""
        try:
            yield
        except Exception as error:
            self._save(unvalidated)
            told = f"saved at step {self._step}; the same command goes on from there"
            self._report(told + (inputs if isinstance(error, InputError) else ""))
            raise

    def _validation_is_due(self) -> bool:
        if not self._task.scores:
            return False
        settings = self._settings
        return self._step % settings.validate_every == 0 or self._step in (
            settings.validate_first,
            settings.steps,
        )

    def _validate(self, log: Any, row: dict[str, Any], samples: Any) -> None:
        model = self._average.model.eval()
        with self._saved_if_it_fails(unvalidated=True), torch.inference_mode():
            scores = self._task.validate(model)
        row.update((name, round(score, 2)) for name, score in scores.items())
        if self._processes.leads:
            batch = default_collate([samples[i] for i in range(_PICTURED)])
            with torch.inference_mode():
                picture = self._task.pictures(model, to_device(batch, self._processes.device))
            if picture is not None:
                log.picture(picture, self._step)
        if self._step and self._is_best(scores[self._task.scores[0]]):
            self._write(scores)
        self._write_row(log, row)

    def _write_row(self, log: Any, row: dict[str, Any]) -> None:
        log.write(row)
        self._report(" ".join(f"{name} {value}" for name, value in row.items() if value != ""))
        log.restart()

    def _is_best(self, score: float) -> bool:
        rank = -score if self._task.least_is_best else score
        if self._best is not None and rank < self._best:
            return False
        self._best = rank
        return True

    def _write(self, scores: dict[str, float]) -> None:
        if self._processes.leads:
            self._files = self._task.write(
                self._average.model, self._folder.path, self._step, scores
            )

    def _save(self, unvalidated: bool = False) -> None:
        if not self._processes.leads:
            return
        self._folder.save(
            {
                "settings": self._described(),
                "step": self._step,
                "best": self._best,
                "files": [path.name for path in self._files],
                "unvalidated": unvalidated,
                "network": self._model.state_dict(),
                "average": self._average.model.state_dict(),
                "optimiser": self._optimiser.state_dict(),
            }
        )


class _SilentLog(nullcontext):
    """Takes what a log takes, for the processes that do not write."""

    def __enter__(self) -> _SilentLog:
        return self

    def add(self, loss: float, waited_s: float) -> None: ...

    def row(self, step: int, rate: float) -> dict[str, Any]:
        return {}

    def write(self, row: dict[str, Any]) -> None: ...

    def restart(self) -> None: ...


def _unheard(message: str) -> None: ...

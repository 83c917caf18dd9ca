"""Batches of samples, the same whatever the number of processes and wherever a run goes on."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from accel_rt.errors import AccelError, UsageError
from accel_rt.train.processes import Processes
from accel_rt.train.settings import TrainingSettings


class StepSampler(Sampler[list[int]]):
    """Step ``s`` takes samples ``s * batch`` onwards, each process its own share in parts.

    Raises :class:`~accel_rt.errors.UsageError` if the batch cannot be shared out evenly.
    """

    def __init__(
        self, first_step: int, steps: int, batch: int, accumulate: int, rank: int, world: int
    ) -> None:
        if batch % (accumulate * world):
            raise UsageError(
                f"a batch of {batch} does not divide among {world} processes in {accumulate} "
                f"parts each: choose a multiple of {accumulate * world}"
            )
        self._steps = range(first_step, steps)
        self._batch, self._part = batch, batch // (accumulate * world)
        self._offsets = range(rank * accumulate, (rank + 1) * accumulate)

    def __len__(self) -> int:
        return len(self._steps) * len(self._offsets)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            for offset in self._offsets:
                start = step * self._batch + offset * self._part
                yield list(range(start, start + self._part))


def batches(
    samples: Dataset,
    settings: TrainingSettings,
    processes: Processes,
    first_step: int,
    device: torch.device | None = None,
) -> Generator[Any, None, None]:
    """The parts of all steps' batches from ``first_step`` on, for this process.

    ``samples`` are made by other processes, or by threads where they lie on ``device``.
    """
    sampler = StepSampler(
        first_step,
        settings.steps,
        settings.batch,
        settings.accumulate,
        processes.rank,
        processes.world,
    )
    made = (
        _by_processes(samples, sampler, settings, processes)
        if device is None
        else _by_threads(samples, sampler, settings, device)
    )
    # Closed at once: an error holds this frame, and workers that are still there when the
    # interpreter ends are waited for forever.
    with closing(made):
        for batch in made:
            if isinstance(batch, AccelError):
                raise batch
            yield batch


def _by_threads(
    samples: Dataset, sampler: StepSampler, settings: TrainingSettings, device: torch.device
) -> Generator[Any, None, None]:
    """Batches that threads make on ``device``, beside what is done with the ones before."""
    guarded = _Guarded(samples)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(numbers: list[int]) -> tuple[Any, torch.cuda.Event | None]:
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            batch = _collated([guarded[number] for number in numbers])
            return batch, None if stream is None else stream.record_event()

    threads = max(2, settings.workers)
    numbers = iter(sampler)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future] = deque(pool.submit(make, n) for n in islice(numbers, 2 * threads))
        while waiting:
            batch, ready = waiting.popleft().result()
            waiting.extend(pool.submit(make, n) for n in islice(numbers, 1))
            if ready is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(ready)
                for tensor in batch if not isinstance(batch, AccelError) else ():
                    tensor.record_stream(current)  # the memory is not used again before
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _by_processes(
    samples: Dataset, sampler: StepSampler, settings: TrainingSettings, processes: Processes
) -> Generator[Any, None, None]:
    loader = DataLoader(
        _Guarded(samples),
        batch_sampler=sampler,
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        pin_memory=processes.device.type == "cuda",
        collate_fn=_collated,
        worker_init_fn=_leave_signals_alone,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise AccelError(
            f"a process that makes samples ended ({error}): fewer --workers need less memory"
        ) from error


class _Guarded(Dataset):
    """Samples, or the error in place of one that cannot be made.

    As a value it comes out of a worker process as it is, instead of as text with a traceback.
    """

    def __init__(self, samples: Dataset) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> Any:
        try:
            return self._samples[index]
        except AccelError as error:
            return error


def _collated(samples: list[Any]) -> Any:
    failure = next((sample for sample in samples if isinstance(sample, AccelError)), None)
    return default_collate(samples) if failure is None else failure


def _leave_signals_alone(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, SIGTERM and SIGHUP those of a job.

    The one that trains decides what they mean; workers end when it is done with them.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def to_device(batch: Any, device: torch.device) -> Any:
    """``batch``, a tensor or a nest of tuples, lists and dictionaries of them, on ``device``."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    return [to_device(value, device) for value in batch]

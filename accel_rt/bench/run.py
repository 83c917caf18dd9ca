"""The whole benchmark: from a few choices to all measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import cv2
import torch

from accel_rt.bench import memory, ops, stream
from accel_rt.bench.harness import Effort
from accel_rt.bench.models import MODELS, QUICK_MODELS, with_weights
from accel_rt.device import resolve_device, resolve_precision
from accel_rt.errors import UsageError
from accel_rt.models.exported import ENGINES
from accel_rt.runtime.settings import Precision

Part = Literal["ops", "e2e", "all"]

FRAME_SIZE = (360, 480)
"""Height and width of the streams' frames in pixels."""

_FRAMES = 10


@dataclass(frozen=True)
class BenchSettings:
    """What to measure and how.

    ``precision`` auto measures the operators in float32 and the device's fast type, and the
    models in the latter. ``threads`` None leaves torch's number. ``only`` leaves out operators'
    cases without that text in their name.
    """

    part: Part = "all"
    quick: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    only: str = ""

    @property
    def ops_effort(self) -> Effort:
        """For one case."""
        return Effort(0.4, 2, 50) if self.quick else Effort(1.5, 3, 200, warm_up_s=0.4)

    @property
    def stream_effort(self) -> Effort:
        """For all models together."""
        return Effort(7, 2, 4) if self.quick else Effort(35, 3, 10)


@dataclass(frozen=True)
class Results:
    """What was measured; parts that were not asked for are empty."""

    operators: list[ops.Measured]
    models: list[stream.ModelTimes]
    device: str
    precision: str
    threads: int


def run(settings: BenchSettings, report: Callable[[str], None]) -> Results:
    """Measure; ``report`` is told what comes next.

    Raises :class:`~accel_rt.errors.UsageError` for a device or precision that is not there.
    """
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    with threads_set_to(settings.threads) as threads:
        operators = models = None
        if settings.part != "e2e":
            operators = _operators(settings, device, dtype, report)
        if settings.part != "ops":
            models = _models(settings, threads, report)
        precision = str(dtype).removeprefix("torch.")
        return Results(operators or [], models or [], str(device), precision, threads)


@contextmanager
def threads_set_to(threads: int | None) -> Iterator[int]:
    """Give torch and OpenCV ``threads`` threads (None: as many as torch has) for a while."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    threads = threads or before[0]
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _operators(
    settings: BenchSettings,
    device: torch.device,
    dtype: torch.dtype,
    report: Callable[[str], None],
) -> list[ops.Measured]:
    auto = settings.precision == "auto"
    bench = ops.Bench(
        device,
        tuple(dict.fromkeys((torch.float32, dtype))) if auto else (dtype,),
        ops.QUICK_SHAPES if settings.quick else ops.FULL_SHAPES,
        thorough=not settings.quick,
    )
    measured = []
    for case in ops.cases(bench):
        name = f"{case.op} {case.shape} {str(case.dtype).removeprefix('torch.')}"
        if settings.only not in name:
            continue
        report(name)
        measured.append(ops.measure(case, settings.ops_effort, synchroniser(device)))
    if not measured:
        raise UsageError(
            f"no operator's case has '{settings.only}' in its name: try flow_warp, 64x128, float32"
        )
    return measured


def _models(
    settings: BenchSettings, threads: int, report: Callable[[str], None]
) -> list[stream.ModelTimes]:
    on_cpu = resolve_device(settings.device).type == "cpu"
    models = [
        model.on(settings.device, settings.precision)
        for model in with_weights(QUICK_MODELS if settings.quick else MODELS, report)
        if on_cpu or model.settings.backend not in ENGINES
    ]
    report("rendering frames and loading networks")
    frames = stream.street_frames(_FRAMES, FRAME_SIZE)
    streams = list(stream.make_streams(models, frames))
    report(f"{len(models)} models in turn, an interval each")
    times = stream.measure(streams, settings.stream_effort)
    if settings.quick:
        return times
    del streams
    report("peak memory of each model in a process of its own")
    peaks = memory.peak_memory_mb(models, FRAME_SIZE, threads)
    return [times_of.with_memory(peaks[times_of.model.name]) for times_of in times]


def synchroniser(device: torch.device) -> Callable[[], None]:
    """What waits until ``device`` has finished."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None

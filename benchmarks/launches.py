"""How often the host launches something for a frame of each preset for files, on a GPU.

Frames run on tensors without values, on a device that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel_rt.classes import CITYSCAPES
from accel_rt.flow.source import FlowSource
from accel_rt.runtime.cuda_launch import CudaLauncher
from accel_rt.runtime.look_ahead import LookAheadSegmenter
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.schedule import PRESETS, Schedule
from benchmarks.network_costs import META, Counter, Model, as_on_cuda, program_of

LIGHT = Model("light pair", "efficientnet_lite2", "efficientnet_lite0")


class _Counting:
    """A :class:`~accel_rt.runtime.cuda_device.Device` without streams, and what it was given."""

    def __init__(self) -> None:
        self.kernels = self.launches = 0
        self._graphs: list[Callable[[], None]] = []

    def stream(self) -> Any:
        return SimpleNamespace(wait_event=lambda event: None)

    def event(self) -> Any:
        return SimpleNamespace(
            record=lambda stream: None, synchronize=lambda: None, elapsed_time=lambda end: 0.0
        )

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def run(self, stream: Any, work: Callable[[], None]) -> None:
        if getattr(work, "__name__", "") == "copy":  # between the host and no values
            self.launches += 1
            return
        with Counter() as counter:
            work()
        self.kernels += len(counter.costs)
        self.launches += 1 if work in self._graphs else len(counter.costs)

    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        self._graphs.append(lambda: work())
        return self._graphs[-1]

    def synchronize(self) -> None:
        pass


def of_presets(size: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Kernels and launches per frame of ``size`` ``(height, width)`` by preset, of the light pair,
    once everything has been captured."""
    with as_on_cuda():
        program, flow = program_of(LIGHT)
        return {name: _count(program, flow, one, size) for name, one in PRESETS.items()}


def _count(
    program: FrameProgram, flow: FlowSource | None, schedule: Schedule, size: tuple[int, int]
) -> tuple[float, float]:
    counting = _Counting()
    segmenter = LookAheadSegmenter(
        CITYSCAPES,
        FixedInterval(schedule.interval, schedule.update_every),
        program,
        flow,
        schedule,
        size=size,
        launcher=CudaLauncher(META, cuda=counting),
    )
    black = np.zeros((*size, 3), np.uint8)
    for number in range(3 * schedule.interval + 1):
        if number == 2 * schedule.interval + 1:
            counting.kernels = counting.launches = 0
        segmenter.push(black)
    return counting.kernels / schedule.interval, counting.launches / schedule.interval

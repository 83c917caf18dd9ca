"""Models frame by frame: time per stage and kind of frame, in streams that take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_rt.bench.baseline import PlainDeepLab
from accel_rt.bench.harness import Effort, Samples, interleave
from accel_rt.bench.models import Built, Model, Networks, random_network
from accel_rt.runtime.result import FrameKind

INTERVALS = (1, 2, 5, 10)
"""The keyframe intervals that are reported."""

STAGES = ("flow", "network", "output")


@dataclass(frozen=True)
class FrameTime:
    """Milliseconds of one frame.

    ``branch`` is the update network alone, 0 on keyframes: what the network stage has beyond it
    is preparing its input, warping, scoring and fusing.
    """

    kind: FrameKind
    step: float
    branch: float = 0.0
    stages: dict[str, float] | None = None

    def stage(self, name: str) -> float:
        """Milliseconds of a stage, 0 where the frame has none of that name."""
        return (self.stages or {}).get(name, 0.0)


@dataclass(frozen=True)
class ModelTimes:
    """What was measured of one model: its frames in order, and its stream interval by interval.

    ``memory_mb`` is the peak of a process that runs nothing else, None where it was not measured.
    """

    model: Model
    frames: tuple[FrameTime, ...]
    stream: Samples
    memory_mb: float | None = None

    def with_memory(self, memory_mb: float) -> ModelTimes:
        """The same with its peak memory."""
        return replace(self, memory_mb=memory_mb)

    def step(self, kind: FrameKind) -> Samples:
        """Times of whole frames of one kind; empty where there are none."""
        return Samples(tuple(frame.step for frame in self.frames if frame.kind == kind))

    def stage(self, kind: FrameKind, name: str) -> float:
        """Median milliseconds of a stage in frames of one kind."""
        return Samples(tuple(f.stage(name) for f in self.frames if f.kind == kind)).median

    def mean_ms(self, interval: int) -> float:
        """Milliseconds a frame at ``interval``, from the medians of keyframes and of the rest."""
        key = self.step("key").median
        if interval == 1 or self.model.interval == 1:
            return key
        return (key + (interval - 1) * self.step("update").median) / interval

    def measured_ms(self) -> float:
        """Milliseconds a frame of the stream as it ran, at ``model.interval``."""
        return self.stream.median / self.model.interval

    def other_share(self) -> float | None:
        """The share of an intermediate frame that is neither a network nor the flow."""
        updates = [frame for frame in self.frames if frame.kind == "update"]
        shares = [1 - (frame.branch + frame.stage("flow")) / frame.step for frame in updates]
        return float(np.median(shares)) if shares else None


class Stream:
    """Steps through ``frames`` there and back for ever, an interval at a time."""

    def __init__(
        self, model: Model, step: Callable[[np.ndarray], FrameTime], frames: Sequence[np.ndarray]
    ) -> None:
        self.model = model
        self.times: list[FrameTime] = []
        self._step = step
        self._frames = there_and_back(frames)

    def __call__(self) -> None:
        for _ in range(self.model.interval):
            self.times.append(self._step(next(self._frames)))


def there_and_back(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """An endless shot from a few frames, in which neighbours stay neighbours."""
    there = list(frames)
    return chain.from_iterable(repeat(there + there[-2:0:-1]))


def street_frames(number: int, size: tuple[int, int] = (480, 360)) -> list[np.ndarray]:
    """Frames uint8 BGR of a rendered drive; ``size`` is ``(width, height)``."""
    from accel_street import StreetDrive

    return [frame.image_bgr for frame in StreetDrive(seed=7, size=size).frames(number)]


def make_streams(
    models: Iterable[Model],
    frames: Sequence[np.ndarray],
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[Stream]:
    """A stream of each model over the same frames; plain ones in float32."""
    networks = Networks(device, dtype)
    for model in models:
        if model.plain:
            plain = PlainDeepLab(random_network(model.reference), device)
            yield Stream(model, _timed_plain(plain), frames)
        else:
            yield Stream(model, _timed(networks.build(model), device), frames)


def measure(streams: Sequence[Stream], effort: Effort) -> list[ModelTimes]:
    """Let the streams take turns, an interval each, after an interval to warm up."""
    samples = interleave({stream.model.name: stream for stream in streams}, effort)
    return [
        ModelTimes(
            stream.model,
            tuple(stream.times[stream.model.interval :]),
            samples[stream.model.name],
        )
        for stream in streams
    ]


def _timed_plain(plain: PlainDeepLab) -> Callable[[np.ndarray], FrameTime]:
    def step(frame_bgr: np.ndarray) -> FrameTime:
        started = perf_counter()
        plain.step(frame_bgr)  # ends in a copy to the CPU: the device has finished
        return FrameTime("key", 1e3 * (perf_counter() - started))

    return step


def _timed(built: Built, device: torch.device) -> Callable[[np.ndarray], FrameTime]:
    # On CUDA the segmenter tells the branch's time: a hook in it would wait amid the frame.
    clock = _ModuleClock(built.update) if device.type == "cpu" else None

    def step(frame_bgr: np.ndarray) -> FrameTime:
        if clock is not None:
            clock.ms = 0.0
        started = perf_counter()
        result = built.segmenter.step(frame_bgr)
        ms = 1e3 * (perf_counter() - started)
        branch = result.timings.get("branch", 0.0) if clock is None else clock.ms
        return FrameTime(result.kind, ms, branch, result.timings)

    return step


class _ModuleClock:
    """Milliseconds of the calls of a module (none for None) since ``ms`` was set to zero."""

    def __init__(self, module: nn.Module | None) -> None:
        self.ms = 0.0
        if module is not None:
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._started = perf_counter()

    def _stop(self, *_: Any) -> None:
        self.ms += 1e3 * (perf_counter() - self._started)

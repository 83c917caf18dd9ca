"""Models frame by frame: time per stage and kind of frame, in streams that take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import nn

from accel_rt.bench.baseline import PlainDeepLab
from accel_rt.bench.harness import Effort, Samples, interleave
from accel_rt.bench.models import Model
from accel_rt.device import resolve_device
from accel_rt.models.foreign.open import load_placed, place
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo
from accel_rt.runtime.load import load_segmenter, update_place
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.schedule import FrameKind

INTERVALS = (1, 2, 5, 10)
"""The keyframe intervals that are reported."""

STAGES = ("flow", "network", "output")


@dataclass(frozen=True)
class FrameTime:
    """Milliseconds of one frame.

    ``branch`` is the update network alone, 0 on keyframes: what the network stage has beyond it
    is preparing its input, warping, scoring and fusing. None where a backend runs the networks,
    which are not timed by themselves.
    """

    kind: FrameKind
    step: float
    branch: float | None = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str) -> float:
        """Milliseconds of a stage, 0 where the frame has none of that name."""
        return self.stages.get(name, 0.0)


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
        shares = [
            1 - (frame.branch + frame.stage("flow")) / frame.step
            for frame in self.frames
            if frame.kind == "update" and frame.branch is not None
        ]
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


def street_frames(number: int, size: tuple[int, int] = (360, 480)) -> list[np.ndarray]:
    """Frames uint8 BGR of a rendered drive; ``size`` is ``(height, width)``."""
    from accel_street import StreetDrive

    return [frame.image_bgr for frame in StreetDrive(seed=7, size=size).frames(number)]


def make_streams(models: Iterable[Model], frames: Sequence[np.ndarray]) -> Iterator[Stream]:
    """A stream of each model over the same frames; what two models have in common loads once.

    Raises as :func:`~accel_rt.runtime.load.load_segmenter`.
    """
    networks = _Networks()
    for model in models:
        device = resolve_device(model.settings.device)
        if model.plain:
            network, _ = load_placed(place(model.settings.reference))
            yield Stream(model, _timed_plain(PlainDeepLab(network, device)), frames)
            continue
        segmenter = load_segmenter(model.settings, load=networks.load)
        # A backend's network is another one than that which was loaded.
        in_torch = segmenter.describe()["backend"] == "torch"
        # On CUDA the segmenter tells the branch's time: a hook in it would wait amid the frame.
        has_branch = model.settings.mode == "accel" and in_torch and device.type == "cpu"
        clock = networks.clock(update_place(model.settings)) if has_branch else None
        yield Stream(model, _timed(segmenter, clock, in_torch), frames)


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


def _timed(
    segmenter: FrameSegmenter, clock: _ModuleClock | None, in_torch: bool
) -> Callable[[np.ndarray], FrameTime]:
    def step(frame_bgr: np.ndarray) -> FrameTime:
        if clock is not None:
            clock.ms = 0.0
        started = perf_counter()
        result = segmenter.step(frame_bgr)
        ms = 1e3 * (perf_counter() - started)
        branch: float | None = 0.0
        if result.kind == "update":
            branch = result.timings.get("branch", 0.0) if clock is None else clock.ms
        return FrameTime(result.kind, ms, branch if in_torch else None, dict(result.timings))

    return step


class _Networks:
    """Loads each network once and keeps a clock on it."""

    def __init__(self) -> None:
        self._loaded: dict[Path | str, tuple[Network, ModelInfo]] = {}
        self._clocks: dict[Path | str, _ModuleClock] = {}

    def load(self, found: Path | str) -> tuple[Network, ModelInfo]:
        """What :func:`~accel_rt.models.foreign.open.load_placed` gives."""
        if found not in self._loaded:
            self._loaded[found] = load_placed(found)
            self._clocks[found] = _ModuleClock(self._loaded[found][0])
        return self._loaded[found]

    def clock(self, found: Path | str) -> _ModuleClock | None:
        """The clock on a network that was loaded."""
        return self._clocks.get(found)


class _ModuleClock:
    """Milliseconds of the calls of a module since ``ms`` was set to zero."""

    def __init__(self, module: nn.Module) -> None:
        self.ms = 0.0
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._started = perf_counter()

    def _stop(self, *_: Any) -> None:
        self.ms += 1e3 * (perf_counter() - self._started)

"""Where the frame program runs, and the order of its steps when keyframes are waited for or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.policy import Decision
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import FrameKind


@dataclass(frozen=True)
class FrameData:
    """A frame's results on the host, and milliseconds by stage.

    ``labels`` is uint8 ``[H, W]``, ``margin`` float32 ``[H, W]``, ``picture`` uint8 BGR
    ``[H, W, 3]``, all at the source's size; ``scores`` are on the network's grid, ``flow`` is as in
    :class:`~accel_rt.runtime.result.FrameResult`.
    """

    labels: np.ndarray
    margin: np.ndarray | None
    picture: np.ndarray | None
    timings: dict[str, float]
    scores: Tensor | None = None
    flow: str = "none"


class Executor(Protocol):
    """Runs a :class:`~accel_rt.runtime.program.FrameProgram` frame by frame and keeps its state.

    For each frame: :meth:`load`, then :meth:`key`, :meth:`update` or :meth:`carry`, then
    :meth:`finish`.
    """

    program: FrameProgram

    @property
    def has_state(self) -> bool:
        """Whether there is a keyframe's state to go on from."""

    @property
    def has_pending(self) -> bool:
        """Whether a keyframe is being computed beside the frames."""

    def start(self, geometry: Geometry) -> None:
        """Forget everything: frames of this geometry follow."""

    def drop_state(self) -> None:
        """Forget the state, and make nothing of a keyframe that is being computed."""

    def load(self, frame_bgr: np.ndarray, motion: Motion | None = None) -> None:
        """Take the next frame, uint8 ``[H, W, 3]``, and its motion since the one before."""

    def key(self) -> None:
        """Compute a keyframe, and wait for it."""

    def carry(self, request: bool = False) -> None:
        """Move the state, and the scores of the frame before, to this frame."""

    def update(self, request: bool = False) -> None:
        """Move the state to this frame and merge it with the update branch's view of it.

        Without a state the update branch stands alone. With ``request`` this frame also begins to
        be computed as a keyframe beside the frames.
        """

    def take_pending(self) -> bool:
        """Let the keyframe beside the frames, if it is done, become the state; whether it did.

        Raises what went wrong with it.
        """

    def finish(self) -> Callable[[], FrameData]:
        """Begin to fetch the frame's results; what is returned waits for them.

        The next frame may be loaded before, but not the one after that.
        """

    def draw(self, overlay: Overlay | None) -> bool:
        """Draw on every frame from the next on; False if that is not done here."""

    def describe(self) -> dict[str, Any]:
        """What runs and how, ready for a report."""

    def close(self) -> None:
        """Release what runs beside the frames; a second call does nothing."""


def describe(program: FrameProgram, flow: FlowSource | None) -> dict[str, Any]:
    """Device, precision, threads and flow, ready for a report."""
    return {
        "device": str(program.device),
        "precision": str(program.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "flow": flow.name if flow is not None else None,
    }


@dataclass(frozen=True)
class Step:
    """What became of a frame, and whether a keyframe was begun with it."""

    kind: FrameKind
    begins_keyframe: bool


Order = Callable[[Executor, Decision], Step]
"""Runs a loaded frame; :func:`in_turn` or :func:`in_background`."""


def in_turn(executor: Executor, decision: Decision) -> Step:
    """A keyframe where one is wanted, and the wait for it."""
    if decision.kind == "key" or not executor.has_state:
        executor.key()
        return Step("key", True)
    if decision.kind == "carry":
        executor.carry()
    else:
        executor.update()
    return Step(decision.kind, False)


def in_background(executor: Executor, decision: Decision) -> Step:
    """Keyframes beside the frames: these go on with the state there is until a new one is done.

    Flow is composed from the pending keyframe on, so its state is moved to the frame of the moment
    when it takes over; that frame counts as the keyframe. One is computed at a time: the next
    begins, if it is due, as soon as there is none. While there is no state at all, at the start
    and after a cut, the update branch's scores are used alone: what is shown fits the picture and
    does not stall. A model without such scores has to wait.
    """
    if decision.cut:
        executor.drop_state()
    arrived = executor.take_pending()
    if not executor.has_state and not executor.program.update_stands_alone:
        executor.key()
        return Step("key", True)
    wanted = decision.kind == "key" or not executor.has_state
    request = wanted and not executor.has_pending
    if decision.kind == "carry" and executor.has_state and not arrived:
        executor.carry(request)
        return Step("carry", request)
    executor.update(request)
    return Step("key" if arrived else "update", request)


class StageClock:
    """Adds up milliseconds per stage: ``with clock("network"): ...``."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + 1000 * (time.perf_counter() - started)

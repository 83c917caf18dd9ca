"""Segmenting from a frame in the middle of a video as if the frames before had been seen."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from accel_rt.flow.motion import Motion
from accel_rt.runtime.policy import KeyframePolicy
from accel_rt.runtime.result import FrameResult, FrameSegmenter


class ResumableSegmenter:
    """Runs a segmenter, with keyframes placed by ``policy``, and remembers where one can go on.

    A keyframe's result depends on its own picture alone, and a segmenter begins with a keyframe;
    what is left of the frames before is what the policy has gathered. ``states`` holds, for each
    keyframe by its index, the policy's state after it; whoever wants one takes it out.

    ``first`` is the index of the first frame to come, a keyframe of the run to go on with, and
    ``state`` what that run remembered for it.
    """

    def __init__(
        self,
        segmenter: FrameSegmenter,
        policy: KeyframePolicy,
        first: int = 0,
        state: dict[str, Any] | None = None,
    ) -> None:
        segmenter.set_policy(policy)
        self._segmenter, self._policy = segmenter, policy
        self._next, self._state = first, state
        self.states: dict[int, dict[str, Any]] = {}

    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> list[FrameResult]:
        """Segment the next frame; see the segmenter's own ``push``."""
        results = self._segmenter.push(frame_bgr, pts, motion)
        if self._state is not None:
            restore_state(self._policy, self._state)
            self._state = None
        if self._segmenter.kind == "key":
            self.states[self._next] = state_of(self._policy)
        self._next += 1
        return results

    def flush(self) -> list[FrameResult]:
        """The results of the frames that are waited for."""
        return self._segmenter.flush()


def state_of(policy: Any) -> dict[str, Any]:
    """The attributes of a policy, and of policies inside it, as JSON can hold them.

    float32 arrays and numbers keep their values exactly.
    """
    return {name: _packed(value) for name, value in vars(policy).items()}


def restore_state(policy: Any, state: dict[str, Any]) -> None:
    """Give ``policy`` the attributes that :func:`state_of` read from one like it."""
    for name, value in state.items():
        current = getattr(policy, name)
        if isinstance(value, dict) and "array" in value:
            setattr(policy, name, np.array(value["array"], value["type"]))
        elif isinstance(value, dict):
            restore_state(current, value)
        else:
            setattr(policy, name, value)


def _packed(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "type": str(value.dtype)}
    return state_of(value)

"""A frame program whose networks see each frame once, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from accel_rt.models.accel import FeatureFusion, ProbabilityFusion
from accel_rt.runtime.program import FrameProgram, State

T = TypeVar("T")


class RememberedProgram(FrameProgram):
    """Takes what a network made of a frame from ``memory``, which programs share.

    The same frames then can be gone through again and again, by other schedules of the same
    networks, at the price of what is done between these.
    """

    def __init__(self, *args: Any, memory: dict[Any, Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self._memory = memory

    def key(self, frame: Tensor) -> tuple[State, Tensor]:
        return self._once(self.model.reference, frame, super().key)

    def refresh(self, frame: Tensor) -> Tensor:
        return self._once(self.model.update, frame, super().refresh)

    def _once(self, network: Any, frame: Tensor, run: Callable[[Tensor], T]) -> T:
        fusion = self.model.fusion
        whole = fusion if isinstance(fusion, FeatureFusion) else None
        seen = hash(frame.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        # What a network of others scores is made probabilities for such a fusion alone.
        blends = isinstance(fusion, ProbabilityFusion)
        name = run.__name__, id(network), id(whole), blends, frame.shape, seen
        if name not in self._memory:
            self._memory[name] = network, run(frame)  # the network stays, and its id with it
        return self._memory[name][1]

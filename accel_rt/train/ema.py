"""Averages of weights: over the steps of training, and with those it started from."""

from __future__ import annotations

import copy
from typing import Generic

import torch
from torch import Tensor, nn

from accel_rt.models.layers import ModelT


class WeightAverage(Generic[ModelT]):
    """Averages parameters and batch-norm statistics; ``model`` is the averaged copy.

    The decay grows with the steps taken, ``min(decay, (1 + step) / (10 + step))``, so that the
    random start is forgotten early.
    """

    def __init__(self, model: ModelT, decay: float) -> None:
        self.model: ModelT = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards ``model`` after optimiser step ``step`` (from 0)."""
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(_floats(self.model), _floats(model), weight)


@torch.no_grad()
def blended(model: ModelT, other: nn.Module, share: float) -> ModelT:
    """A copy of ``model`` whose weights and batch-norm statistics are moved ``share`` of the way to
    those of ``other``, which is built alike."""
    result = copy.deepcopy(model)
    torch._foreach_lerp_(_floats(result), _floats(other), share)
    return result


def _floats(model: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers; what two modules share comes once."""
    return [
        *model.parameters(),
        *(buffer for buffer in model.buffers() if buffer.is_floating_point()),
    ]

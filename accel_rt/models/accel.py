"""The networks of one model: a reference branch, an update branch, and their fusion.

What is done with them frame by frame is :mod:`accel_rt.runtime.program`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.models.layers import resize_grid, zero_bias
from accel_rt.models.network import DeconvTaskNetwork, Network, TaskNetwork


@dataclass(frozen=True)
class Gate:
    """How far the update branch alone is trusted, by how wrong the flow from the keyframe is.

    The share is ``sigmoid(residual * r + inconsistency * c + bias)``, with ``r`` the difference of
    colours after warping, 0 to 255, and ``c`` how far the flow and its inverse miss each other, in
    pixels of the processed frame. The defaults are by CamVid's validation video.
    """

    residual: float = 1 / 8
    inconsistency: float = 0.0
    bias: float = -30 / 8

    def share(self, residual: Tensor, inconsistency: Tensor | None) -> Tensor:
        """0 to 1 in each cell, ``[N, 1, h, w]``; both are maps of this shape."""
        odds = self.residual * residual + self.bias
        if inconsistency is not None:
            odds = odds + self.inconsistency * inconsistency
        return torch.sigmoid(odds)


class ScoreFusion(nn.Module):
    """SF: a 1x1 convolution from both branches' scores to fused scores (weights C x 2C).

    Starts as the branches' mean. ``gate`` is for schedules that ask for one; the fusion itself does
    without.
    """

    gate = Gate()

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * classes, classes, 1)
        half = 0.5 * torch.eye(classes)
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([half, half], 1)[:, :, None, None])
        zero_bias(self.conv)
        self.fused_halves: nn.Module | None = None  # for inference, see accel_rt.models.fuse

    def forward(self, reference_scores: Tensor, update_scores: Tensor) -> Tensor:
        """Two score maps ``[N, C, h, w]`` of one extent, fused on the finer of their grids."""
        size = max(reference_scores.shape[-2:], update_scores.shape[-2:])
        dtype = self.conv.weight.dtype
        both = [resize_grid(scores.to(dtype), size) for scores in (reference_scores, update_scores)]
        if self.fused_halves is not None:
            return self.fused_halves(*both)
        return self.conv(torch.cat(both, 1))


class ProbabilityFusion(nn.Module):
    """The mean of both branches' probabilities, whose scores may be of any scale.

    ``known`` says of each class whether the update network can tell it; None for all. Of others
    the reference's probability is taken, and the rest of it shared out as the update has it. What
    either does not tell, because its probabilities sum to less than one, is left to the other.
    """

    known: Tensor | None

    def __init__(self, known: Sequence[bool] | None = None) -> None:
        super().__init__()
        self.register_buffer("known", None if known is None else torch.tensor(known)[:, None, None])

    def forward(self, reference_scores: Tensor, update_scores: Tensor) -> Tensor:
        """Two score maps ``[N, C, h, w]`` of one extent to probabilities on the finer grid."""
        first, second = probabilities(reference_scores), probabilities(update_scores)
        size = max(first.shape[-2:], second.shape[-2:])
        first, second = resize_grid(first, size), resize_grid(second, size)
        first, rest = filled(first, second), _untold(second) * first
        if self.known is not None:
            told = (first * self.known).sum(1, keepdim=True)
            second = torch.where(self.known, second * told + rest, first)
        else:
            second = second + rest
        return torch.lerp(first, second, 0.5)


def probabilities(scores: Tensor) -> Tensor:
    """Scores ``[N, C, h, w]`` to probabilities, which pictures that are such already stay."""
    already = are_probabilities(scores)
    return torch.where(already, scores, scores.float().softmax(1).to(scores.dtype))


def are_probabilities(scores: Tensor) -> Tensor:
    """Of each picture's scores ``[N, C, h, w]`` whether all are probabilities, ``[N, 1, 1, 1]``.

    They sum to one, or less where a class is not known. A picture is judged as a whole, since
    scores of any scale may look like probabilities here and there.
    """
    lowest = scores.amin((1, 2, 3), keepdim=True)
    most = scores.sum(1, keepdim=True).amax((2, 3), keepdim=True)
    return (lowest > -0.001) & (most < 1.02)


def filled(told: Tensor, other: Tensor) -> Tensor:
    """Probabilities ``[N, C, h, w]`` that sum to one, of those ``told`` and, for what these leave
    open, of ``other``."""
    return told + _untold(told) * other


def _untold(told: Tensor) -> Tensor:
    return (1 - told.sum(1, keepdim=True)).clamp(min=0)


class FeatureFusion(nn.Module):
    """Both branches' features to fused features by a 1x1 convolution, before one task network.

    The convolution is split by branch, ``A f^R + B f^U + b``, so that each branch's half can be
    projected on its own grid: the reference's half is cached and warped as ``P A f^R``. Where a
    warp gives zeros outside the frame the bias is the update's, since it must not be warped.
    """

    def __init__(self, reference: Network, update: Network) -> None:
        super().__init__()
        task = reference.task
        if not isinstance(task, TaskNetwork) or not isinstance(update.task, TaskNetwork):
            raise UsageError(
                "feature fusion needs two networks with the paper's task network: train such with "
                "'accel-rt train deeplab --task paper', or use score fusion"
            )
        self._projection = task.projection
        width = task.projection.in_channels
        warps_zeros = isinstance(task, DeconvTaskNetwork)
        width_u = update.task.projection.in_channels
        self.reference_half = nn.Conv2d(width, width, 1, bias=not warps_zeros)
        self.update_half = nn.Conv2d(width_u, width, 1, bias=warps_zeros)
        nn.init.dirac_(self.reference_half.weight)
        nn.init.normal_(self.update_half.weight, std=0.01)
        zero_bias(self.reference_half)
        zero_bias(self.update_half)

    def reference_state(self, features: Tensor) -> Tensor:
        """``P A f^R`` with the biases that may be warped: the cached half of the projection."""
        return self._projection(self.reference_half(features))

    def update_state(self, features: Tensor) -> Tensor:
        """``P B f^U`` with the bias that may not be warped."""
        return F.conv2d(self.update_half(features), self._projection.weight)


class Accel(nn.Module):
    """The branches of one model; ``update`` and ``fusion`` are None for Deep Feature Flow."""

    def __init__(
        self,
        reference: Network,
        update: Network | None = None,
        fusion: ScoreFusion | FeatureFusion | ProbabilityFusion | None = None,
    ) -> None:
        super().__init__()
        if (update is None) != (fusion is None):
            raise UsageError("an update network and a fusion come together: give both or neither")
        self.reference = reference
        self.update = update
        self.fusion = fusion

    @property
    def cell(self) -> int:
        """Pixels that the frames' height and width must be multiples of."""
        return max(self.reference.cell, self.update.cell if self.update is not None else 1)

    @property
    def foreign(self) -> bool:
        """Whether a branch is someone else's."""
        return self.reference.foreign or (self.update is not None and self.update.foreign)

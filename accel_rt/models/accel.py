"""Accel: a reference branch on keyframes, an update branch between them, and their fusion.

Everything here works on the branches' low-resolution grids. With ``W`` the bilinear warp and
``U`` the bilinear upsampling, both linear with weights that sum to one:

- ``proj(W(f)) = W(proj(f))``, so the cache holds projected features (:mod:`.network`);
- ``SF([U s^R, U s^U]) = U SF([s^R, s^U])``, so scores are fused before they are upsampled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.errors import UsageError
from accel_rt.models.layers import resize_grid, zero_bias
from accel_rt.models.network import Network, TaskNetwork


class ScoreFusion(nn.Module):
    """SF: a 1x1 convolution from both branches' scores to fused scores (weights C x 2C).

    Starts as the branches' mean.
    """

    UNPREPARED = ("conv",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * classes, classes, 1)
        half = 0.5 * torch.eye(classes)
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([half, half], 1)[:, :, None, None])
        zero_bias(self.conv)

    def forward(self, reference_scores: Tensor, update_scores: Tensor) -> Tensor:
        """Two score maps ``[N, C, h, w]`` of one extent, fused on the finer of their grids."""
        size = (
            max(reference_scores.shape[-2], update_scores.shape[-2]),
            max(reference_scores.shape[-1], update_scores.shape[-1]),
        )
        dtype = self.conv.weight.dtype
        both = [resize_grid(scores.to(dtype), size) for scores in (reference_scores, update_scores)]
        return self.conv(torch.cat(both, 1))


class FeatureFusion(nn.Module):
    """Both branches' features to fused features by a 1x1 convolution, before one task network.

    The convolution is split by branch, ``A f^R + B f^U + b``, so that each branch's half can be
    projected on its own grid: the reference's half is cached and warped as ``P A f^R``.
    """

    UNPREPARED = ("_projection",)

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
        self.reference_half = nn.Conv2d(width, width, 1)
        self.update_half = nn.Conv2d(update.task.projection.in_channels, width, 1, bias=False)
        nn.init.dirac_(self.reference_half.weight)
        nn.init.normal_(self.update_half.weight, std=0.01)
        zero_bias(self.reference_half)

    def reference_state(self, features: Tensor) -> Tensor:
        """``P A f^R`` with every bias: the cached half of the projection."""
        return self._projection(self.reference_half(features))

    def update_state(self, features: Tensor) -> Tensor:
        """``P B f^U`` without bias."""
        return F.conv2d(self.update_half(features), self._projection.weight)


class Accel(nn.Module):
    """The branches of one model, in the fast form that the runtime and joint training share.

    ``update`` and ``fusion`` are None for Deep Feature Flow and DeepLab. A *state* is what a
    keyframe leaves in the cache: a tensor on the reference's grid.
    """

    def __init__(
        self,
        reference: Network,
        update: Network | None = None,
        fusion: ScoreFusion | FeatureFusion | None = None,
    ) -> None:
        super().__init__()
        if (update is None) != (fusion is None):
            raise UsageError("an update network and a fusion come together: give both or neither")
        self.reference = reference
        self.update = update
        self.fusion = fusion

    def keyframe(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Keyframe ``[N, 3, H, W]`` to ``(state, scores)``: ``S_k = N_task^R(N_feat^R(I_k))``."""
        if isinstance(self.fusion, FeatureFusion):
            features = self.reference.feature(frame)
            scores = self.reference.score(features)
            return self.fusion.reference_state(features[-1]), scores
        state = self.reference.encode(frame)
        return state, self.reference.decode(state)

    def intermediate(
        self, state: Tensor, flow: Tensor | None, update_frame: Tensor | None = None
    ) -> Tensor:
        """Scores of a frame between keyframes (equations 1 and 2, then SF).

        ``flow`` is ``[N, 2, h, w]`` backward flow from the state's frame, in cells of its grid,
        or None if the state already is where it belongs; ``update_frame`` is the frame
        ``[N, 3, H', W']`` at the update branch's resolution, needed if there is an update branch.
        """
        if self.update is None:
            return self._reference_scores(state, flow)
        assert update_frame is not None
        return self.fuse(state, flow, self.refresh(update_frame))

    def refresh(self, update_frame: Tensor) -> Tensor:
        """What the update branch alone makes of a frame: scores, or features to be fused."""
        assert self.update is not None
        if isinstance(self.fusion, FeatureFusion):
            return self.fusion.update_state(self.update.feature(update_frame)[-1])
        return self.update(update_frame)

    def fuse(self, state: Tensor, flow: Tensor | None, fresh: Tensor) -> Tensor:
        """Scores from a keyframe's state, its flow to this frame, and this frame's refresh."""
        if isinstance(self.fusion, FeatureFusion):
            warped = state if flow is None else ops.flow_warp(state, flow)
            fresh = resize_grid(fresh, warped.shape[-2:])
            return self.reference.decode(warped + fresh)
        assert self.fusion is not None
        return self.fusion(self._reference_scores(state, flow), fresh)

    def _reference_scores(self, state: Tensor, flow: Tensor | None) -> Tensor:
        if flow is None:
            return self.reference.decode(state)
        return self.reference.decode_warped(state, flow)

"""The paper's forward pass line by line: slow, and the yardstick for the fast one.

Whole features are warped, each branch's scores are upsampled, fusion runs at full resolution,
then softmax and argmax. Plain PyTorch operators throughout. The x16 deconvolution with bilinear
weights is written as bilinear interpolation: the two agree but for the outermost half cell,
where the deconvolution fades every score towards zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.models.accel import Accel, FeatureFusion
from accel_rt.models.layers import Features
from accel_rt.models.network import Network
from accel_rt.ops import eager


def task_network(network: Network, features: Features, size: tuple[int, int]) -> Tensor:
    """N_task: features to scores ``[N, C, H, W]`` at ``size``."""
    return F.interpolate(network.score(features), size, mode="bilinear", align_corners=False)


def warp_features(features: Features, flow: Tensor) -> Features:
    """W: all feature maps warped by flow ``[N, 2, h, w]`` in cells of the stride-16 grid."""
    stride4, stride8, stride16 = features
    return (
        _warp_finer(stride4, flow, 4),
        _warp_finer(stride8, flow, 2),
        eager.flow_warp(stride16, flow),
    )


def _warp_finer(features: Tensor, flow: Tensor, times: int) -> Tensor:
    """``features`` on a grid ``times`` as fine as the flow's."""
    size = features.shape[-2:]
    fine = times * F.interpolate(flow, size, mode="bilinear", align_corners=False)
    return eager.flow_warp(features, fine)


class PaperForward:
    """Streams frames through :class:`Accel`'s networks as section 3 of the paper states it.

    The cache holds features and is overwritten by its warped self (incremental warping).
    """

    def __init__(self, model: Accel) -> None:
        self._model = model
        self._features: Features | None = None

    def keyframe(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Frame ``[N, 3, H, W]`` to ``(probabilities [N, C, H, W], labels [N, H, W])``."""
        self._features = self._model.reference.feature(frame)
        scores = task_network(
            self._model.reference, self._features, (frame.shape[-2], frame.shape[-1])
        )
        return output_block(scores)

    def intermediate(self, frame: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Frame and flow ``O(I_{i-1}, I_i)`` (stride-16 cells) to probabilities and labels."""
        assert self._features is not None
        model, size = self._model, (frame.shape[-2], frame.shape[-1])
        self._features = warp_features(self._features, flow)
        if model.update is None:
            return output_block(task_network(model.reference, self._features, size))
        update_features = model.update.feature(frame)
        if isinstance(model.fusion, FeatureFusion):
            fused = model.fusion.reference_half(self._features[-1])
            fused = fused + model.fusion.update_half(update_features[-1])
            features = (*self._features[:-1], fused)
            return output_block(task_network(model.reference, features, size))
        assert model.fusion is not None
        reference_scores = task_network(model.reference, self._features, size)
        update_scores = task_network(model.update, update_features, size)
        return output_block(model.fusion.conv(torch.cat([reference_scores, update_scores], 1)))


def output_block(scores: Tensor) -> tuple[Tensor, Tensor]:
    """P: scores ``[N, C, H, W]`` to softmax probabilities and the arg max, int64 ``[N, H, W]``."""
    probabilities = scores.softmax(1)
    return probabilities, probabilities.argmax(1)

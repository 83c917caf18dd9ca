"""Learning from trained networks: soft scores of a teacher beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.models import store
from accel_rt.models.inference import for_inference
from accel_rt.models.network import Network
from accel_rt.models.weights import load_network
from accel_rt.runtime.device import has_fast_bf16

_CELL = 32  # pixels; a multiple of every network's deepest stride


class Teacher:
    """The mean prediction of trained networks, over a frame and its mirror image at some scales."""

    def __init__(
        self,
        networks: Sequence[Network],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self._networks = [
            for_inference(network, device or torch.device("cpu"), dtype) for network in networks
        ]
        self._dtype, self._scales = dtype, scales

    @classmethod
    def load(
        cls,
        names: Sequence[str],
        device: torch.device,
        scales: Sequence[float] = (1.0,),
    ) -> Teacher:
        """From installed names or weight files, in bfloat16 where ``device`` is fast at it."""
        dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
        return cls([load_network(store.find(name))[0] for name in names], dtype, device, scales)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Normalised ``[N, 3, H, W]`` to class probabilities float32 ``[N, C, H/8, W/8]``."""
        size = images.shape[-2] // 8, images.shape[-1] // 8
        total = torch.zeros((), device=images.device)
        for scale in self._scales:
            scaled = self._scaled(images, scale)
            for network, mirrored in product(self._networks, (False, True)):
                seen = scaled.flip(-1) if mirrored else scaled
                scores = network(seen.to(self._dtype)).float()
                scores = scores.flip(-1) if mirrored else scores
                scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
                total = total + scores.softmax(1)
        return total / (2 * len(self._networks) * len(self._scales))

    @staticmethod
    def _scaled(images: Tensor, scale: float) -> Tensor:
        """Images at about ``scale``: a multiple of the networks' cells."""
        if scale == 1:
            return images
        size = [max(1, round(side * scale / _CELL)) * _CELL for side in images.shape[-2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def distillation_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of scores ``[N, C, h, w]`` against probabilities ``[N, C, H, W]``.

    Scores are upsampled to the target's grid; the mean is over cells (Hinton et al. 2015 at
    temperature 1).
    """
    upsampled = F.interpolate(scores, target.shape[-2:], mode="bilinear", align_corners=False)
    return -(target * upsampled.log_softmax(1)).sum(1).mean()

"""Learning from trained networks: a teacher's soft scores, and its features, beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.classes import ClassSet
from accel_rt.data.augment import TEACHER_STRIDE
from accel_rt.device import has_fast_bf16
from accel_rt.models import store
from accel_rt.models.fuse import for_inference
from accel_rt.models.layers import Features, resize_grid
from accel_rt.models.network import Network
from accel_rt.models.weights import load_network
from accel_rt.normalise import pad_to
from accel_rt.train.sources import check_network


class Lesson(NamedTuple):
    """What a teacher makes of frames ``[N, H, W, 3]``.

    ``probabilities`` are float32 ``[N, C, H/4, W/4]``; ``features`` those of the first network
    at the first scale, unmirrored, of its type: ``[N, K, H/s, W/s]`` for the strides s 4, 8 and
    16 at scale 1.
    """

    probabilities: Tensor
    features: Features


class Teacher:
    """The mean prediction of trained networks, over a frame and its mirror image at some scales."""

    def __init__(
        self,
        networks: Sequence[Network],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self._device = device or torch.device("cpu")
        self._networks = [for_inference(network, self._device, dtype) for network in networks]
        self._step = 2 * max(network.cell for network in self._networks)
        self._dtype, self._scales = dtype, scales

    @classmethod
    def load(
        cls,
        names: Sequence[str],
        classes: ClassSet,
        device: torch.device,
        scales: Sequence[float] = (1.0,),
    ) -> Teacher:
        """From installed names or weight files, in bfloat16 where ``device`` is fast at it.

        Raises :class:`~accel_rt.errors.UsageError` for one of other classes than ``classes``.
        """
        paths = [store.find(name) for name in names]
        for name, path in zip(names, paths, strict=True):
            check_network(name, path, classes)
        dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
        return cls([load_network(path)[0] for path in paths], dtype, device, scales)

    @property
    def channels(self) -> tuple[int, int, int]:
        """Widths of the features that a lesson has."""
        return self._networks[0].feature.channels

    @torch.no_grad()
    def __call__(self, frames_bgr: Tensor) -> Lesson:
        """What there is to learn of frames uint8 BGR ``[N, H, W, 3]``."""
        size = frames_bgr.shape[1] // TEACHER_STRIDE, frames_bgr.shape[2] // TEACHER_STRIDE
        total = torch.zeros((), device=frames_bgr.device)
        kept: Features | None = None
        for scale, network in product(self._scales, self._networks):
            scaled = self._scaled(network.normalisation(frames_bgr), scale).to(self._dtype)
            for mirrored in (False, True):
                features = network.feature(scaled.flip(-1) if mirrored else scaled)
                kept = kept or features
                scores = network.score(features).float()
                scores = scores.flip(-1) if mirrored else scores
                scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
                total = total + scores.softmax(1)
        assert kept is not None
        return Lesson(total / (2 * len(self._networks) * len(self._scales)), kept)

    def of_frame(self, frame_bgr: np.ndarray) -> np.ndarray:
        """What it says of a frame uint8 BGR ``[H, W, 3]`` of any size: probabilities uint8
        ``[C, H/4, W/4]`` in 255ths, rounded up to whole cells."""
        height, width = frame_bgr.shape[:2]
        padded = pad_to(frame_bgr, (height + -height % self._step, width + -width % self._step))
        lesson = self(torch.from_numpy(padded)[None].to(self._device))
        rows, columns = -(-height // TEACHER_STRIDE), -(-width // TEACHER_STRIDE)
        return (
            (255 * lesson.probabilities[0, :, :rows, :columns])
            .round()
            .to(torch.uint8)
            .cpu()
            .numpy()
        )

    def _scaled(self, images: Tensor, scale: float) -> Tensor:
        """Images at about ``scale``: sides are multiples of twice the networks' cells."""
        if scale == 1:
            return images
        step = self._step
        size = [max(1, round(side * scale / step)) * step for side in images.shape[-2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def distillation_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of scores ``[N, C, h, w]`` against probabilities ``[N, C, H, W]``.

    Scores are upsampled to the target's grid; the mean is over cells (Hinton et al. 2015 at
    temperature 1), weighed by the sum of their probabilities: 0 where nothing is known.
    """
    upsampled = F.interpolate(scores, target.shape[-2:], mode="bilinear", align_corners=False)
    return -(target * upsampled.log_softmax(1)).sum() / target.sum().clamp(min=1)


class HintedNetwork(nn.Module):
    """A network with what guesses a teacher's features from its own, for training only.

    The guesses are 1x1 convolutions of the features at strides 4, 8 and 16 (the hints of FitNets,
    Romero et al. 2015), standardised as their targets are, so that the scale of the features does
    not matter. What a small data set's labels say too little about, such as textures and parts of
    things, a teacher trained on far more images says at every position.
    """

    def __init__(self, network: Network, teacher_channels: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.guesses = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(own, taught, 1, bias=False), nn.BatchNorm2d(taught, affine=False)
            )
            for own, taught in zip(network.feature.channels, teacher_channels, strict=True)
        )

    def forward(self, frame: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Frame to the network's scores, and to guesses of the teacher's features."""
        features = self.network.feature(frame)
        scores = self.network.score(features)
        return scores, [guess(own) for guess, own in zip(self.guesses, features, strict=True)]


def hint_loss(guesses: Sequence[Tensor], features: Features) -> Tensor:
    """Mean squared error of guesses of a teacher's features, each channel of which is
    standardised over the batch: 1 is what guessing its mean gives."""
    errors = []
    for guess, taught in zip(guesses, features, strict=True):
        target = resize_grid(taught.float(), guess.shape[-2:])  # at teacher scales other than 1
        target = F.batch_norm(target, None, None, training=True)
        errors.append(F.mse_loss(guess.float(), target))
    return torch.stack(errors).mean()

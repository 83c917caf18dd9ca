"""Augmentation: random views (scale, rotation, crop, flip, colour) and mixes of two samples.

Views are of pictures in memory, by OpenCV, or of tensors on any device; both give the same but for
how they round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.corrupt import to_bytes
from accel_rt.normalise import IMAGENET

P = TypeVar("P", np.ndarray, Tensor)

_SOFT = np.array([0.25, 0.5, 0.25])  # its middle is a pixel: an even one would move the image

Sample = tuple[Tensor, ...]
"""An image uint8 BGR ``[H, W, 3]`` and its labels uint8 ``[H, W]``; where it is asked for, what a
teacher says of it, too: probabilities float32 ``[C, H/4, W/4]``."""

TEACHER_STRIDE = 4
"""Pixels between a teacher's probabilities: of 8 little is left of what is thin."""


@dataclass(frozen=True)
class View:
    """One draw of an :class:`Augmentation`: what frames, labels and flow of a snippet share.

    ``matrix`` float64 ``[2, 3]`` gives the source position that each pixel of the crop shows;
    ``crop`` is its ``(height, width)``; ``colour`` float64 ``[3, 4]`` maps BGR to BGR, or is None.
    """

    matrix: np.ndarray
    crop: tuple[int, int]
    colour: np.ndarray | None

    def image(self, image_bgr: P) -> P:
        """uint8 ``[H, W, 3]`` to the crop; mean colour where it reaches beyond the image."""
        if isinstance(image_bgr, Tensor):
            return self._tensor_image(image_bgr)
        if self._shrinks:
            image_bgr = cv2.sepFilter2D(image_bgr, -1, _SOFT, _SOFT)
        seen = self._sample(image_bgr, cv2.INTER_LINEAR, IMAGENET.padding_bgr)
        return seen if self.colour is None else cv2.transform(seen, self.colour)

    def labels(self, labels: P) -> P:
        """uint8 ``[H, W]`` to the crop; ignored where it reaches beyond."""
        if isinstance(labels, Tensor):
            seen = self._sample_tensor(labels[None].float(), "nearest", IGNORE_LABEL)
            return seen[0].to(torch.uint8)
        return self._sample(labels, cv2.INTER_NEAREST, IGNORE_LABEL)

    def probabilities(self, planes: Tensor) -> Tensor:
        """A teacher's, float32 ``[C, H/4, W/4]``, to those of the crop; 0 beyond the image."""
        middle = (TEACHER_STRIDE - 1) / 2  # of a cell, in pixels
        matrix = self.matrix.copy()
        matrix[:, 2] = (self.matrix @ (middle, middle, 1) - middle) / TEACHER_STRIDE
        crop = self.crop[0] // TEACHER_STRIDE, self.crop[1] // TEACHER_STRIDE
        return replace(self, matrix=matrix, crop=crop)._sample_tensor(planes, "bilinear", 0)

    def flow(self, flow: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Backward flow ``[H, W, 2]`` between two frames of this view, and where it is valid.

        Valid pixels (bool ``[H, W]``) are those of ``valid`` whose point is in the crop of the
        frame before, too.
        """
        linear = np.linalg.inv(self.matrix[:, :2]).astype(np.float32)
        seen = self._sample(flow, cv2.INTER_NEAREST, 0) @ linear.T
        known = self._sample(valid.astype(np.uint8), cv2.INTER_NEAREST, 0) > 0
        return seen, known & stays_inside(seen)

    def _sample(
        self, picture: np.ndarray, method: int, outside: float | tuple[int, ...]
    ) -> np.ndarray:
        return cv2.warpAffine(
            picture,
            self.matrix,
            self.crop[::-1],
            flags=method | cv2.WARP_INVERSE_MAP,
            borderValue=outside,
        )

    @property
    def _shrinks(self) -> bool:
        return abs(np.linalg.det(self.matrix[:, :2])) > 0.75**-2

    def _tensor_image(self, image_bgr: Tensor) -> Tensor:
        seen = image_bgr.permute(2, 0, 1).float()
        if self._shrinks:
            padded = F.pad(seen, (1, 1, 1, 1), mode="reflect")
            seen = F.avg_pool2d(F.avg_pool2d(padded, 2, 1), 2, 1)  # by _SOFT
        outside = seen.new_tensor(IMAGENET.padding_bgr)[:, None, None]
        seen = self._sample_tensor(seen, "bilinear", outside)
        if self.colour is not None:
            colour = seen.new_tensor(self.colour)
            seen = torch.einsum("ij,jhw->ihw", colour[:, :3], seen) + colour[:, 3, None, None]
        return to_bytes(seen).permute(1, 2, 0)

    def _sample_tensor(self, planes: Tensor, mode: str, outside: float | Tensor) -> Tensor:
        """:meth:`_sample` of float32 ``[C, H, W]``."""
        height, width = planes.shape[1:]
        crop_h, crop_w = self.crop
        matrix = planes.new_tensor(self.matrix)
        u = torch.arange(crop_w, device=planes.device)[None, :, None]
        v = torch.arange(crop_h, device=planes.device)[:, None, None]
        places = matrix[:, 0] * u + matrix[:, 1] * v + matrix[:, 2]
        grid = (2 * places + 1) / planes.new_tensor((width, height)) - 1
        # Outside of the picture grid_sample sees zeros.
        planes = (planes - outside)[None]
        return F.grid_sample(planes, grid[None], mode, "zeros", align_corners=False)[0] + outside


def stays_inside(flow: np.ndarray) -> np.ndarray:
    """bool ``[H, W]``: the position that the flow ``[H, W, 2]`` points to is in the frame."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from; ``crop`` is ``(height, width)`` in pixels.

    ``scale`` is drawn log-uniformly, but a share ``whole`` of the crops shows all of a frame;
    ``turn`` bounds the rotation in degrees; ``upright`` False mirrors top and bottom as well;
    ``colour`` bounds the relative change of brightness, contrast and saturation, and (a quarter of
    it, in turns) of hue.
    """

    crop: tuple[int, int] = (240, 320)
    scale: tuple[float, float] = (0.5, 1.75)
    flip: bool = True
    colour: float = 0.3
    turn: float = 0.0
    upright: bool = True
    whole: float = 0.0

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> View:
        """A view of frames of ``size`` ``(height, width)``."""
        (height, width), (full_h, full_w) = self.crop, size
        scale = np.exp(rng.uniform(*np.log(self.scale)))
        if self.whole and rng.random() < self.whole:
            scale = min(height / full_h, width / full_w)
        # Crop before resizing: only what is kept is resampled.
        source_w, source_h = width / scale, height / scale
        left = rng.uniform(min(0, full_w - source_w), max(0, full_w - source_w))
        top = rng.uniform(min(0, full_h - source_h), max(0, full_h - source_h))
        mirrored = self.flip and rng.random() < 0.5
        # Pixel (x, y) of the crop shows source pixel (x + 0.5) / scale - 0.5 + left.
        matrix = np.array(
            [[1 / scale, 0, 0.5 / scale - 0.5 + left], [0, 1 / scale, 0.5 / scale - 0.5 + top]]
        )
        if mirrored:
            matrix[0] = [-1 / scale, 0, matrix[0, 2] + (width - 1) / scale]
        if not self.upright and rng.random() < 0.5:
            matrix[1] = [0, -1 / scale, matrix[1, 2] + (height - 1) / scale]
        if self.turn:
            middle = (width - 1) / 2, (height - 1) / 2
            turn = cv2.getRotationMatrix2D(middle, rng.uniform(-self.turn, self.turn), 1)
            matrix = matrix @ np.vstack([turn, (0, 0, 1)])
        return View(matrix, self.crop, draw_colour(self.colour, rng) if self.colour else None)


def draw_colour(amount: float, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, saturation and hue as one colour matrix ``[3, 4]``."""
    brightness, contrast, saturation = 1 + rng.uniform(-amount, amount, 3)
    angle = 2 * np.pi * rng.uniform(-amount, amount) / 4
    luma = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = luma + np.cos(angle) * (np.eye(3) - luma) + np.sin(angle) * axis
    matrix = luma + saturation * (hue - luma)
    matrix *= brightness * contrast
    offset = 128 * brightness * (1 - contrast)
    return np.column_stack([matrix, np.full(3, offset)])


def some_classes(labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Where half of the classes of ``labels`` uint8 ``[H, W]``, drawn at random, are: bool.

    Pasted into another sample they are ClassMix (Olsson et al. 2021, with labels in place of
    predictions). Ignored pixels are never among them.
    """
    # What is drawn is an order of all classes, so that no device has to say which are there.
    order = torch.from_numpy(rng.permutation(IGNORE_LABEL)).to(labels.device)
    present = torch.zeros(256, dtype=torch.bool, device=labels.device)
    present[labels.long()] = True
    ranked = present[order]
    chosen = torch.zeros_like(present)
    chosen[order] = ranked & (ranked.cumsum(0) <= (ranked.sum() + 1) // 2)
    return chosen[labels.long()]


def some_box(labels: Tensor, rng: np.random.Generator) -> Tensor:
    """A box in ``[H, W]``, of half its area on average: bool.

    Pasted into another sample it is CutMix (Yun et al. 2019; French et al. 2020).
    """
    height, width = labels.shape
    share, narrow = rng.uniform(0.25, 0.75), rng.uniform(0, 1)
    box_h = round(height * share**narrow)
    box_w = round(width * share ** (1 - narrow))
    top, left = int(rng.integers(height - box_h + 1)), int(rng.integers(width - box_w + 1))
    box = torch.zeros_like(labels, dtype=torch.bool)
    box[top : top + box_h, left : left + box_w] = True
    return box


MIXES = {"class": some_classes, "box": some_box}
"""What of one sample can be pasted into another."""


def paste(sample: Sample, other: Sample, where: Tensor) -> Sample:
    """``other`` where bool ``[H, W]`` says so, else ``sample``, which is of the same size.

    Where a part of a teacher's cell is pasted, its probabilities are mixed by that part.
    """
    image = torch.where(where[..., None], other[0], sample[0])
    labels = torch.where(where, other[1], sample[1])
    if len(sample) == 2:
        return image, labels
    parts = F.avg_pool2d(where[None].float(), TEACHER_STRIDE)
    return image, labels, torch.lerp(sample[2], other[2], parts)

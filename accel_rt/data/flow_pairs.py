"""An endless, reproducible stream of augmented image pairs with exact flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from accel_rt.data.augment import Augmentation
from accel_rt.data.dataset import read_image
from accel_rt.data.flow_files import FlowFiles, FlowPair
from accel_rt.data.sampling import WeightedSources
from accel_rt.data.synthetic_motion import Layer, film


class PairSource(Protocol):
    """Draws one pair of frames with known flow."""

    def draw(self, rng: np.random.Generator) -> FlowPair:
        """A pair of any size."""


class PictureSource(Protocol):
    """Draws one picture."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """uint8 BGR ``[H, W, 3]`` of any size."""


class FilePairs:
    """Pairs on disk."""

    def __init__(self, files: Sequence[FlowFiles]) -> None:
        self._files = files

    def draw(self, rng: np.random.Generator) -> FlowPair:
        return self._files[int(rng.integers(len(self._files)))].read()


class Pictures:
    """Image files, kept in memory once they are read (up to ``kept`` of them)."""

    def __init__(self, paths: Sequence[Path], kept: int = 1000) -> None:
        self._paths, self._kept = paths, kept
        self._cache: dict[int, np.ndarray] = {}

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One of them, uint8 BGR ``[H, W, 3]``.

        Raises :class:`~accel_rt.errors.InputError` if it cannot be read.
        """
        index = int(rng.integers(len(self._paths)))
        if index not in self._cache:
            picture = read_image(self._paths[index])
            if len(self._cache) >= self._kept:
                return picture
            self._cache[index] = picture
        return self._cache[index]


class MovingPairs:
    """Pictures of ``source`` moved by random affine maps, with crops of others moving before them.

    Flow is up to some tens of pixels at ``size`` ``(height, width)``: the background's motion is
    drawn first, each crop's (2 to 6 blobs, of a twelfth to a half of the frame's width across)
    relative to it.
    """

    def __init__(self, source: PictureSource, size: tuple[int, int] = (240, 320)) -> None:
        self._source, self._size = source, size

    def draw(self, rng: np.random.Generator) -> FlowPair:
        size = height, width = self._size
        image = self._source.draw(rng)
        zoom = max(width / image.shape[1], height / image.shape[0]) * rng.uniform(1, 2)
        place = _pose(image, zoom, rng.uniform(-0.2, 0.2, 2) * (width, height), size)
        camera = _motion(size, rng, shift_px=8, turn=2, stretch=0.04)
        layers = [Layer(image, None, None, [place, _then(place, camera)])]
        for _ in range(rng.integers(2, 7)):
            image = self._source.draw(rng)
            across = width * np.exp(rng.uniform(np.log(1 / 12), np.log(1 / 2)))
            side = min(image.shape[:2])
            left, top = rng.integers(0, (image.shape[1] - side + 1, image.shape[0] - side + 1))
            crop = np.ascontiguousarray(image[top : top + side, left : left + side])
            where = rng.uniform(-0.55, 0.55, 2) * (width, height)
            pose = _pose(crop, across / side, where, size)
            own = _motion(size, rng, shift_px=8, turn=5, stretch=0.08, about=where)
            poses = [pose, _then(_then(pose, own), camera)]
            layers.append(Layer(crop, None, _blob(side, rng), poses))
        snippet = film(layers, size)
        previous, current = snippet.frames
        return FlowPair(previous, current, snippet.flows[0], snippet.visible[0])


def _pose(
    picture: np.ndarray, scale: float, offset: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """``[2, 3]``: the picture scaled, its middle ``offset`` from that of a frame of ``size``."""
    middle = (np.array(size[::-1]) - 1) / 2 + offset
    own = (np.array(picture.shape[1::-1]) - 1) / 2
    return np.column_stack([scale * np.eye(2), middle - scale * own])


def _motion(
    size: tuple[int, int],
    rng: np.random.Generator,
    shift_px: float,
    turn: float,
    stretch: float,
    about: np.ndarray | None = None,
) -> np.ndarray:
    """A random affine motion ``[2, 3]``; small ones are as frequent as large ones."""
    strength = rng.choice([0.1, 0.4, 1.0, 2.5], p=[0.2, 0.3, 0.35, 0.15])
    middle = (np.array(size[::-1]) - 1) / 2 + (0 if about is None else about)
    turn, zoom = rng.normal(0, turn * strength), 1 + rng.normal(0, stretch * strength)
    turned = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), turn, max(0.5, zoom))
    shift = rng.normal(0, shift_px * strength, 2)
    return turned + np.column_stack([np.zeros((2, 2)), shift])


def _then(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return second @ np.vstack([first, (0, 0, 1)])


def _blob(side: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth closed shape, 1 in a uint8 ``[side, side]`` of zeros."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full(48, rng.uniform(0.5, 0.9))
    for order in range(1, 5):
        wave = np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        radius = radius * (1 + rng.normal(0, 0.25 / order) * wave)
    squeeze = rng.uniform(0.4, 1)
    radius = radius.clip(0.1, 1) * side / 2
    points = np.stack([radius * np.cos(angle), squeeze * radius * np.sin(angle)], 1) + side / 2
    mask = np.zeros((side, side), np.uint8)
    return cv2.fillPoly(mask, [points.astype(np.int32)], 1)


class PairMixture(Dataset):
    """Sample ``i`` depends on ``(seed, i)`` alone, so a run resumes at any step exactly.

    Each item is ``(previous uint8 BGR [h, w, 3], current likewise, flow float32 [2, h, w], valid
    bool [h, w])`` at the crop's size. Both frames get the same view; brightness differs a little
    between them, and each has noise of its own.
    """

    def __init__(
        self,
        sources: Sequence[tuple[PairSource, float]],
        augmentation: Augmentation,
        length: int,
        seed: int,
    ) -> None:
        self._sources = WeightedSources(sources)
        self._augmentation = augmentation
        self._length = length
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cv2.setNumThreads(0)  # loader processes share the cores with training
        rng = np.random.default_rng((self._seed, index))
        pair = self._sources.choose(rng).draw(rng)
        view = self._augmentation.draw(pair.valid.shape, rng)
        flow, valid = view.flow(pair.flow, pair.valid)
        frames = (_exposed(view.image(f), rng) for f in (pair.previous_bgr, pair.current_bgr))
        previous, current = (torch.from_numpy(frame) for frame in frames)
        flow_chw = np.ascontiguousarray(flow.transpose(2, 0, 1))
        return previous, current, torch.from_numpy(flow_chw), torch.from_numpy(valid)


def _exposed(image_bgr: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame with its own brightness (within some 5%) and sensor noise."""
    noise = rng.standard_normal(image_bgr.shape, np.float32) * np.float32(rng.uniform(0, 4))
    exposed = image_bgr * np.float32(rng.normal(1, 0.02)) + noise
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)

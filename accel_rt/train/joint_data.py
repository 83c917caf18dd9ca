"""Samples of joint training: a labelled frame, its keyframes, and the flow between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from accel_rt.data.augment import Augmentation
from accel_rt.data.corrupt import draw_robust
from accel_rt.data.dataset import DataSet
from accel_rt.data.sampling import FrameCache, WeightedSources
from accel_rt.data.street_samples import StreetSnippets
from accel_rt.data.synthetic_motion import Snippet, moving_snippet
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.grid import Grid
from accel_rt.train.sources import TrainingData


class SnippetSource(Protocol):
    """Draws runs of consecutive frames."""

    def draw(self, length: int, rng: np.random.Generator, after: int = 0) -> Snippet:
        """``length`` frames, of which the last one is labelled, and ``after`` more."""


class DataSetSnippets:
    """Snippets about a data set's labelled frames.

    The frames before and after a labelled one are the video's own where there are enough of them;
    else the camera is made to move through the labelled image. Labelled frames stay in memory.
    """

    def __init__(self, dataset: DataSet) -> None:
        self._places = [
            (sequence, index) for sequence in dataset.sequences for index in sequence.labelled()
        ]
        self._labelled, self._classes = FrameCache(dataset.labelled()), dataset.classes

    def draw(self, length: int, rng: np.random.Generator, after: int = 0) -> Snippet:
        chosen, other = (int(i) for i in rng.integers(len(self._places), size=2))
        sequence, index = self._places[chosen]
        image, labels = self._labelled.read(chosen)
        if index + 1 >= length and index + after < len(sequence.frames):
            before = [f.image_bgr() for f in sequence.frames[index + 1 - length : index]]
            later = [f.image_bgr() for f in sequence.frames[index + 1 : index + 1 + after]]
            return Snippet([*before, image, *later], labels, after=after)
        return moving_snippet(
            image, labels, self._labelled.read(other), self._classes, length, rng, after
        )


class SnippetMixture:
    """Snippets of up to ``longest`` frames from all of a run's data, by their shares."""

    def __init__(self, data: TrainingData, longest: int) -> None:
        sources: list[tuple[SnippetSource, float]] = [
            (DataSetSnippets(dataset), share) for dataset, share in data.sets
        ]
        if data.street:
            sources.append((StreetSnippets(longest), data.street))
        self._sources = WeightedSources(sources)

    def draw(self, length: int, rng: np.random.Generator, after: int = 0) -> Snippet:
        return self._sources.choose(rng).draw(length, rng, after)


class JointSamples(Dataset):
    """Sample ``i`` depends on ``(seed, i)`` alone: its source, distance, scale and augmentation.

    ``distances`` holds, for each distance from the keyframe that is drawn, in frames, how far ahead
    the next keyframe is; 0 for none. Augmentation is the same for all frames of a snippet, and so
    is what corrupts a share ``robust`` of the snippets. See
    :meth:`.joint_model.JointModel.forward` for what an item holds, without the first dimension;
    and ``labels`` uint8 ``[H, W]``.
    """

    def __init__(
        self,
        source: SnippetSource,
        augmentation: Augmentation,
        distances: Mapping[int, int],
        scales: Sequence[float],
        stride: int,
        every_frame: bool,
        length: int,
        seed: int,
        robust: float = 0.0,
    ) -> None:
        self._source = source
        self._augmentation = augmentation
        self._distances, self._scales, self._stride = distances, scales, stride
        self._every_frame = every_frame
        self._length, self._seed, self._robust = length, seed, robust

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(0)  # loader processes share the cores with training
        rng = np.random.default_rng((self._seed, index))
        distance = int(rng.choice(list(self._distances)))
        ahead = self._distances[distance]
        scale = float(rng.choice(self._scales))
        snippet = self._source.draw(distance + 1, rng, ahead)
        view = self._augmentation.draw(snippet.labels.shape, rng)
        frames = [view.image(frame) for frame in snippet.frames]
        corrupt = draw_robust(self._robust, index / self._length, rng)
        if corrupt is not None:
            frames = [corrupt(torch.from_numpy(frame), rng).numpy() for frame in frames]
        before, after = max(self._distances) - distance, max(self._distances.values()) - ahead
        moves = torch.zeros(before + distance + ahead + after, dtype=torch.bool)
        moves[before : before + distance + ahead] = True
        if self._every_frame:
            flows = torch.zeros(len(moves), 2, 0, 0)
            kept = [frames[0]] * before + frames + [frames[-1]] * after
        else:
            flows = torch.zeros(len(moves), 2, *self._grid.cells)
            if len(frames) > 1:
                flows[moves] = torch.cat(self._flows(frames))
            kept = [frames[0], frames[distance]]
            kept += [frames[-1]] if any(self._distances.values()) else []
        return {
            "frames": torch.from_numpy(np.stack(kept)),
            "labels": torch.from_numpy(view.labels(snippet.labels)),
            "flows": flows,
            "moves": moves,
            "scales": torch.tensor(scale),
            "shares": torch.tensor(distance / (distance + ahead) if ahead else 0.0),
        }

    @property
    def _grid(self) -> Grid:
        crop = height, width = self._augmentation.crop
        cells = height // self._stride, width // self._stride
        return Grid(crop, cells, self._stride)

    def _flows(self, frames: list[np.ndarray]) -> list[Tensor]:
        dis = DISFlow()
        views = [dis.view(frame) for frame in frames]
        pairs = itertools.pairwise(views)
        return [dis.between(*pair, self._grid) for pair in pairs]

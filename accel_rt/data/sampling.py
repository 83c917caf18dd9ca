"""Sampling: labelled frames drawn from several sources by their shares, reproducibly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from accel_rt.data.augment import MIXES, TEACHER_STRIDE, Augmentation, Sample, paste
from accel_rt.data.corrupt import draw_robust
from accel_rt.data.dataset import DataSet, DatasetFrame

S = TypeVar("S")


class WeightedSources(Generic[S]):
    """Sources with the shares of the samples that come from each; shares need not add up to 1."""

    def __init__(self, sources: Sequence[tuple[S, float]]) -> None:
        self._sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources], np.float64)
        self._probabilities = shares / shares.sum()

    def choose(self, rng: np.random.Generator) -> S:
        """One of them, by its share."""
        return self._sources[rng.choice(len(self._sources), p=self._probabilities)]


class FrameSource(Protocol):
    """Draws one labelled frame."""

    def draw(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """A frame uint8 BGR ``[H, W, 3]`` and its labels uint8 ``[H, W]``, arrays or tensors.

        Where there is a teacher that knows the frame, what it says of it, too: probabilities uint8
        ``[C, H/4, W/4]`` in 255ths.
        """


class FrameCache:
    """Labelled frames by number, kept in memory as long as they fit into ``budget`` bytes.

    With a ``device`` they are tensors there, and kept in its memory.
    """

    def __init__(
        self,
        frames: Sequence[DatasetFrame],
        budget: int = 2**30,
        device: torch.device | None = None,
    ) -> None:
        self._frames, self._left, self._device = frames, budget, device
        self._kept: dict[int, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, index: int) -> tuple[Any, Any]:
        """Image uint8 BGR ``[H, W, 3]`` and labels uint8 ``[H, W]``."""
        if index in self._kept:
            return self._kept[index]
        image, labels = (placed(picture, self._device) for picture in self._frames[index].read())
        size = image.nbytes + labels.nbytes
        if size <= self._left:
            self._left -= size
            self._kept[index] = image, labels
        return image, labels


def placed(picture: Any, device: torch.device | None) -> Any:
    """A picture as samples are made of it: an array for OpenCV, or a tensor on ``device``."""
    if device is None:
        return picture
    tensor = torch.as_tensor(picture, device=device)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # it may be used on other streams
    return tensor


class Answers(Protocol):
    """What a teacher says of frames by their number: probabilities uint8 ``[C, H/4, W/4]``, in
    255ths."""

    def __getitem__(self, number: int, /) -> np.ndarray: ...


class DataSetSource:
    """A data set's labelled frames; see :class:`FrameCache`. ``taught`` is what a teacher says of
    each of them."""

    def __init__(
        self,
        dataset: DataSet,
        device: torch.device | None = None,
        taught: Answers | None = None,
    ) -> None:
        budget = 2**30 if device is None else 2**33
        self._frames = FrameCache(dataset.labelled(), budget, device)
        self._taught = taught

    def draw(self, rng: np.random.Generator) -> tuple[Any, ...]:
        index = int(rng.integers(len(self._frames)))
        frame = self._frames.read(index)
        return frame if self._taught is None else (*frame, self._taught[index])


class Mixture(Dataset):
    """Sample ``i`` depends on ``(seed, i)`` alone, so a run resumes at any step exactly.

    Each item is ``(image uint8 BGR [h, w, 3], labels uint8 [h, w])`` at the crop's size; a share
    ``mix`` of them has classes, or a box, of another sample pasted in (``mix_with``), and a share
    ``robust`` is corrupted as :func:`.corrupt.draw_robust` draws it. With ``taught_classes``,
    C, a third part is a teacher's probabilities of them, float32 ``[C, h/4, w/4]``: the labels' own
    where no teacher knows the frame, and zero beyond it. With a ``device`` all that is done there,
    to the same samples but for rounding and for what noise is made of.
    """

    def __init__(
        self,
        sources: Sequence[tuple[FrameSource, float]],
        augmentation: Augmentation,
        length: int,
        seed: int,
        mix: float = 0.0,
        mix_with: str = "class",
        robust: float = 0.0,
        device: torch.device | None = None,
        taught_classes: int = 0,
    ) -> None:
        self._sources = WeightedSources(sources)
        self._augmentation = augmentation
        self._length = length
        self._seed = seed
        self._mix, self._pasted = mix, MIXES[mix_with]
        self._robust = robust
        self._device = device
        self._taught_classes = taught_classes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        cv2.setNumThreads(0)  # loader processes share the cores with training
        rng = np.random.default_rng((self._seed, index))
        sample = self._draw(rng)
        if rng.random() < self._mix:
            other = self._draw(rng)
            sample = paste(sample, other, self._pasted(other[1], rng))
        corrupt = draw_robust(self._robust, index / self._length, rng)
        return sample if corrupt is None else (corrupt(sample[0], rng), *sample[1:])

    def _draw(self, rng: np.random.Generator) -> Sample:
        image, labels, *answer = (
            placed(part, self._device) for part in self._sources.choose(rng).draw(rng)
        )
        view = self._augmentation.draw((labels.shape[0], labels.shape[1]), rng)
        sample = torch.as_tensor(view.image(image)), torch.as_tensor(view.labels(labels))
        if not self._taught_classes:
            return sample
        if answer:
            return *sample, view.probabilities(torch.as_tensor(answer[0]).float() / 255)
        classes = torch.arange(self._taught_classes, device=self._device)[:, None, None]
        return *sample, F.avg_pool2d((sample[1] == classes).float(), TEACHER_STRIDE)

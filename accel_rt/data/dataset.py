"""A labelled video data set: sequences of frames, of which some have labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.data.labels import Coding
from accel_rt.errors import InputError
from accel_rt.files import contents_digest
from accel_rt.video.pictures import read_image_bgr


@dataclass(frozen=True)
class DatasetFrame:
    """One frame, read on demand; ``label_path`` is None where it has no labels.

    Larger ones are reduced to ``shorter`` pixels on their shorter side.
    """

    image_path: Path
    label_path: Path | None
    coding: Coding
    shorter: int | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        return self.image_path.stem

    @property
    def labelled(self) -> bool:
        return self.label_path is not None

    def stamp(self) -> tuple:
        """A value that changes when its files do, or what their labels mean."""
        paths = [path for path in (self.image_path, self.label_path) if path]
        files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
        return repr(self.coding), self.shorter, *files

    def labels_digest(self) -> str:
        """What tells its labels from others, wherever its files are."""
        if self.label_path is None:
            return ""
        meaning = hashlib.sha256(repr(self.coding).encode()).hexdigest()
        return meaning + contents_digest([self.label_path])

    def image_bgr(self) -> np.ndarray:
        """The frame, uint8 ``[H, W, 3]``."""
        return self._reduced(read_image(self.image_path), cv2.INTER_AREA)

    def labels(self) -> np.ndarray:
        """The labels, uint8 ``[H, W]``: indices of the classes, and 255 where none counts.

        They are as large as on disk. Raises :class:`~accel_rt.errors.InputError` if the label map
        cannot be read or holds values outside the data set's.
        """
        assert self.label_path is not None, f"{self.image_path} has no labels"
        return self.coding.read(self.label_path)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Image and labels; raises :class:`InputError` if they differ in size, too."""
        image, labels = read_image(self.image_path), self.labels()
        if image.shape[:2] != labels.shape:
            raise InputError(
                f"{self.label_path} is {labels.shape[1]}x{labels.shape[0]} and its image "
                f"{self.image_path} {image.shape[1]}x{image.shape[0]}: they must have one size"
            )
        labels = self._reduced(labels, cv2.INTER_NEAREST_EXACT)  # takes middles
        return self._reduced(image, cv2.INTER_AREA), labels

    def _reduced(self, picture: np.ndarray, how: int) -> np.ndarray:
        height, width = picture.shape[:2]
        if self.shorter is None or min(height, width) <= self.shorter:
            return picture
        scale = self.shorter / min(height, width)
        return cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=how)


@dataclass(frozen=True)
class FrameSequence:
    """Consecutive frames of one video in time order (a still image is a sequence of one)."""

    name: str
    frames: tuple[DatasetFrame, ...]

    def labelled(self) -> Iterator[int]:
        """Indices of the labelled frames."""
        return (i for i, frame in enumerate(self.frames) if frame.labelled)


@dataclass(frozen=True)
class DataSet:
    """One split of a data set: its sequences in order, and the classes of its labels."""

    name: str
    split: str
    sequences: tuple[FrameSequence, ...]
    classes: ClassSet

    def labelled(self) -> list[DatasetFrame]:
        """Every labelled frame, in order."""
        return [sequence.frames[i] for sequence in self.sequences for i in sequence.labelled()]

    def reduced(self, shorter: int) -> DataSet:
        """With frames of at most so many pixels on their shorter side."""
        sequences = (
            replace(s, frames=tuple(replace(frame, shorter=shorter) for frame in s.frames))
            for s in self.sequences
        )
        return replace(self, sequences=tuple(sequences))


def read_image(path: Path) -> np.ndarray:
    """An image file, uint8 BGR ``[H, W, 3]``, as :func:`~accel_rt.video.pictures.read_image_bgr`.

    Raises :class:`~accel_rt.errors.InputError` if it cannot be read.
    """
    image = read_image_bgr(path)
    if image is None:
        raise InputError(f"cannot read the image {path}: restore or remove it")
    return image


def read_text(path: Path) -> str:
    """A text file in UTF-8; raises :class:`~accel_rt.errors.InputError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}): restore it, as text in UTF-8") from error


def numbered_sequences(
    frames: Iterable[tuple[str, int, DatasetFrame]], max_step: int
) -> tuple[FrameSequence, ...]:
    """Sequences from ``(recording, frame number, frame)`` in any order.

    A recording is cut where the number grows by more than ``max_step``.
    """
    recordings: dict[str, list[tuple[int, DatasetFrame]]] = {}
    for recording, number, frame in frames:
        recordings.setdefault(recording, []).append((number, frame))
    sequences = []
    for recording in sorted(recordings):
        ordered = sorted(recordings[recording], key=lambda item: item[0])
        cuts = [i + 1 for i, (a, b) in enumerate(pairwise(ordered)) if b[0] - a[0] > max_step]
        for start, end in pairwise([0, *cuts, len(ordered)]):
            run = ordered[start:end]
            name = f"{recording}_{run[0][0]}"
            sequences.append(FrameSequence(name, tuple(frame for _, frame in run)))
    return tuple(sequences)

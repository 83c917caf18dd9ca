"""Labelled video to evaluate on: a data set's folder, or rendered street drives."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import torch

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.data.corrupt import CORRUPTIONS
from accel_rt.data.open import Layout, open_dataset
from accel_rt.errors import InputError, UsageError
from accel_rt.evaluate.schedule import Density

if TYPE_CHECKING:
    from accel_street import Driving, StreetDrive, StreetFrame

STREET = "street"
"""Name that stands for rendered drives, as in ``street:7:60`` (seed and number of frames); the
camera of ``street:7:60:stops`` stands still and drives on, again and again, that of
``street:7:60:overtakes`` passes the vehicles ahead."""

_STREET_SEED, _STREET_FRAMES, _STREET_SIZE, _STREET_RATE = 7, 60, (360, 480), 15
_RATES = {"CamVid": 30.0, "Cityscapes": 17.0}
"""Frames per second of the recordings; CamVid's numbers count them."""


class FootageFrame(Protocol):
    """One frame, read on demand; a :class:`~accel_rt.data.dataset.DatasetFrame` is one."""

    @property
    def name(self) -> str: ...

    @property
    def labelled(self) -> bool: ...

    def image_bgr(self) -> np.ndarray:
        """The frame, uint8 ``[H, W, 3]``."""

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The frame and its labels, uint8 ``[H, W]``, 255 where none counts."""

    def stamp(self) -> tuple:
        """A value that changes when the frame's files do."""


@dataclass(frozen=True)
class RenderedFrame:
    """A frame of a procedural drive."""

    seed: int
    index: int
    driving: Driving = "steady"

    labelled = True

    @property
    def name(self) -> str:
        return f"{STREET}{self.seed}_{self.index:05d}"

    def image_bgr(self) -> np.ndarray:
        return _frame(self.seed, self.driving, self.index).image_bgr

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        frame = _frame(self.seed, self.driving, self.index)
        return frame.image_bgr, frame.labels

    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact flow float32 ``[H, W, 2]`` back to the frame before, in pixels, and where what is
        seen was not in sight there, bool ``[H, W]``."""
        frame = _frame(self.seed, self.driving, self.index)
        return frame.flow, frame.occluded

    def stamp(self) -> tuple:
        return self.seed, self.index, self.driving, _STREET_SIZE, _STREET_RATE


@dataclass(frozen=True)
class CorruptFrame:
    """A frame after one of :data:`.corrupt.CORRUPTIONS`; each is the same whenever it is read."""

    frame: FootageFrame
    corruption: str
    strength: float
    clip: int
    index: int

    @property
    def name(self) -> str:
        return self.frame.name

    @property
    def labelled(self) -> bool:
        return self.frame.labelled

    def image_bgr(self) -> np.ndarray:
        return self._corrupt(self.frame.image_bgr())

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self.frame.read()
        return self._corrupt(image), labels

    def stamp(self) -> tuple:
        return self.corruption, self.strength, *self.frame.stamp()

    def _corrupt(self, image_bgr: np.ndarray) -> np.ndarray:
        video = np.random.default_rng(self.clip)
        corrupt = CORRUPTIONS[self.corruption].draw(self.strength, video)
        rng = np.random.default_rng((self.clip, self.index))
        return corrupt(torch.from_numpy(image_bgr), rng).numpy()


@lru_cache(maxsize=1)
def _drive(seed: int, driving: Driving) -> StreetDrive:
    from accel_street import StreetDrive

    return StreetDrive(seed=seed, size=_STREET_SIZE, rate=_STREET_RATE, driving=driving)


@lru_cache(maxsize=1)
def _frame(seed: int, driving: Driving, index: int) -> StreetFrame:
    return _drive(seed, driving).frame(index)


_FRAME_NUMBER = re.compile(r"(?<!\d\.)(?<!\d)(\d+)(?:_[A-Za-z]\w*)?$")
"""Of a frame's name; digits behind a decimal point are a fraction of a second."""


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one video."""

    name: str
    frames: tuple[FootageFrame, ...]


@dataclass(frozen=True)
class Footage:
    """Clips with labels of ``classes``; ``rate`` is frames per second, None if unknown."""

    name: str
    clips: tuple[Clip, ...]
    classes: ClassSet
    rate: float | None

    def labelled(self) -> list[list[bool]]:
        """Which frames of each clip have labels."""
        return [[frame.labelled for frame in clip.frames] for clip in self.clips]

    def corrupted(self, corruption: str, strength: float) -> Footage:
        """The same with every frame corrupted, as its clip is."""
        clips = tuple(
            Clip(
                clip.name,
                tuple(
                    CorruptFrame(frame, corruption, strength, number, index)
                    for index, frame in enumerate(clip.frames)
                ),
            )
            for number, clip in enumerate(self.clips)
        )
        return replace(self, name=f"{self.name}, {corruption} {strength:g}", clips=clips)

    def longest_dense(self) -> tuple[FootageFrame, ...]:
        """The longest clip of which every frame is labelled; nothing if there is none."""
        dense = [clip.frames for clip in self.clips if all(f.labelled for f in clip.frames)]
        return max(dense, key=len, default=())

    def density(self) -> Density:
        """``dense`` if at least half of the frames are labelled."""
        flags = [flag for flags in self.labelled() for flag in flags]
        return "dense" if 2 * sum(flags) >= len(flags) else "sparse"


def open_footage(place: str, split: str = "val", layout: Layout = "auto") -> Footage:
    """The labelled video at ``place``: a folder, or ``street[:SEED[:FRAMES[:DRIVING]]]``.

    Raises as :func:`accel_rt.data.open.open_dataset`, and
    :class:`~accel_rt.errors.InputError` if frames are missing within a clip.
    """
    if place.split(":")[0] == STREET and not Path(place).is_dir():
        return _street(place)
    data = open_dataset(Path(place), split, layout)
    clips = tuple(Clip(sequence.name, sequence.frames) for sequence in data.sequences)
    steps = Counter(step for clip in clips if (step := frame_step(clip)))
    rate = _RATES.get(data.name)
    if rate is not None and data.name == "CamVid" and steps:
        rate /= steps.most_common(1)[0][0]
    return Footage(f"{data.name} {split}", clips, data.classes, rate)


def _street(place: str) -> Footage:
    from accel_street import DRIVINGS

    match = re.fullmatch(rf"{STREET}(?::(\d+)(?::(\d+)(?::([a-z]+))?)?)?", place)
    if not match or match[2] == "0" or match[3] not in (None, *DRIVINGS):
        raise UsageError(f"'{place}' is no street: give street:SEED:FRAMES, such as street:7:60")
    seed, frames = int(match[1] or _STREET_SEED), int(match[2] or _STREET_FRAMES)
    driving = cast("Driving", match[3] or "steady")
    rendered = tuple(RenderedFrame(seed, index, driving) for index in range(frames))
    clip = Clip(f"{STREET}{seed}", rendered)
    return Footage(f"street {seed}", (clip,), CAMVID, float(_STREET_RATE))


def frame_step(clip: Clip) -> int | None:
    """By how much the frames' numbers grow; None if they have none, or are named by times.

    Raises :class:`~accel_rt.errors.InputError` where frames are missing: flow and keyframe
    distances would be wrong there.
    """
    numbers = [_FRAME_NUMBER.search(frame.name) for frame in clip.frames]
    if len(numbers) < 2 or not all(numbers):
        return None
    steps = [int(b[1]) - int(a[1]) for a, b in pairwise(numbers) if a and b]
    usual, count = Counter(steps).most_common(1)[0]
    if 2 * count < len(steps):  # counters grow by the same step; times by whatever passed
        return None
    for index, step in enumerate(steps):
        if step != usual:
            raise InputError(
                f"frames are missing in {clip.name} between {clip.frames[index].name} and "
                f"{clip.frames[index + 1].name} (numbers grow by {usual} elsewhere): restore "
                f"them, or keep the parts in folders of their own"
            )
    return usual


def check_length(footage: Footage, density: Density, longest: int) -> None:
    """Raise :class:`~accel_rt.errors.InputError` if a clip is too short for an interval.

    Densely labelled clips need as many frames as the interval; sparsely labelled ones, as many up
    to each labelled frame.
    """
    for clip in footage.clips:
        if density == "dense":
            if len(clip.frames) < longest and any(frame.labelled for frame in clip.frames):
                frames = len(clip.frames)
                if frames == 1:
                    raise InputError(
                        f"{clip.name} is a single picture, not a video with a keyframe interval of "
                        f"{longest}: choose --mode deeplab"
                    )
                raise InputError(
                    f"{clip.name} has {frames} frames, fewer than the keyframe interval "
                    f"{longest}: choose an interval up to {frames}"
                )
            continue
        for index, frame in enumerate(clip.frames):
            if frame.labelled and index + 1 < longest:
                raise InputError(
                    f"the labelled frame {frame.name} has {index} frames before it in its "
                    f"snippet {clip.name}, and the keyframe interval {longest} needs "
                    f"{longest - 1}: add them, or choose an interval up to {index + 1}"
                )

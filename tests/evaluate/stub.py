"""Footage and a predictor whose every answer is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.evaluate.footage import Clip, Footage
from accel_rt.runtime.settings import SegmenterSettings

CLASSES = ClassSet(("still", "wrong", "other"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
SIZE = (40, 64)


@dataclass(frozen=True)
class StubFrame:
    """A grey frame; labels are class 0 above and 2 below, 255 in the first row."""

    index: int
    labelled: bool = True

    @property
    def name(self) -> str:
        return f"stub_{self.index:04d}"

    def image_bgr(self) -> np.ndarray:
        rng = np.random.default_rng(0)  # the same texture in every frame: nothing moves
        return rng.integers(0, 256, (*SIZE, 3), np.uint8)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        labels = truth()
        labels[0] = 255
        return self.image_bgr(), labels

    def stamp(self) -> tuple:
        return (self.index, self.labelled)


def truth() -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[SIZE[0] // 2 :] = 2
    return labels


def footage(*clips: list[bool]) -> Footage:
    """Clips by which of their frames are labelled."""
    made = [
        Clip(f"clip{number}", tuple(StubFrame(index, flag) for index, flag in enumerate(flags)))
        for number, flags in enumerate(clips)
    ]
    return Footage("stub", tuple(made), CLASSES, 10.0)


class AgeingPredictor:
    """At distance ``d`` the first ``d`` columns are class 1; notes what it was asked for."""

    def __init__(self, models: dict[str, SegmenterSettings], depth: int) -> None:
        self.depth = depth
        self.asked: list[tuple[int, str, int]] = []
        self.reset()

    def reset(self) -> None:
        self.observed = 0

    def observe(self, frame_bgr: np.ndarray) -> None:
        self.observed += 1

    def labels(self, model: str, offset: int) -> np.ndarray:
        assert offset < min(self.depth, self.observed), "asked for a keyframe that was not seen"
        self.asked.append((self.observed, model, offset))
        labels = truth()
        labels[:, :offset] = 1
        return labels

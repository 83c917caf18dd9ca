"""Short runs of consecutive frames whose last one is labelled.

Where a data set has only single images, a snippet is made from one: the camera moves through it
smoothly (as a forward-driving car's would) while objects cut from another image cross it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from accel_rt.data.classes import CAMVID, IGNORE_LABEL
from accel_rt.data.street import StreetDrive

_MOVERS = CAMVID.indices(["car", "pedestrian", "bicyclist"])
_FRAME_RATE = 15  # of the real video that the motion imitates


@dataclass(frozen=True)
class Snippet:
    """Consecutive frames uint8 BGR ``[H, W, 3]`` and the last one's labels uint8 ``[H, W]``."""

    frames: list[np.ndarray]
    labels: np.ndarray


def street_snippet(length: int, size: tuple[int, int], rng: np.random.Generator) -> Snippet:
    """``length`` consecutive frames of a procedural drive; ``size`` is ``(width, height)``."""
    drive = StreetDrive(seed=int(rng.integers(2**31)), size=size, rate=_FRAME_RATE)
    frames = list(drive.frames(length, start=int(rng.integers(300))))
    return Snippet([frame.image_bgr for frame in frames], frames[-1].labels)


def moving_snippet(
    image_bgr: np.ndarray,
    labels: np.ndarray,
    objects: tuple[np.ndarray, np.ndarray],
    length: int,
    rng: np.random.Generator,
) -> Snippet:
    """Drive through a labelled image; movers of ``objects`` (image, labels) cross the view.

    Each frame moves by a constant zoom (0 to 3%, mostly forward), shift and roll with a little
    jitter.
    """
    height, width = labels.shape
    mover_image, mover_labels = objects
    mover_labels = np.where(np.isin(mover_labels, _MOVERS), mover_labels, IGNORE_LABEL)
    zoom = 1 + rng.uniform(-0.005, 0.03)
    velocity = rng.normal(0, (2.0, 0.5))  # pixels a frame
    roll = rng.normal(0, 0.1)  # degrees a frame
    crossing = rng.normal(0, (3.0, 0.7)) + velocity
    start = rng.uniform(-0.2, 0.2, 2) * (width, height)
    centre = (width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.55))
    frames = []
    for t in range(length):
        jitter = rng.normal(0, 0.4, 2) if t else np.zeros(2)
        camera = np.array(cv2.getRotationMatrix2D(centre, roll * t, zoom**t), np.float64)
        camera[:, 2] += velocity * t + jitter
        mover = np.array([[1.0, 0, 0], [0, 1, 0]])
        mover[:, 2] = start + crossing * t + jitter
        seen = _move(labels, camera, cv2.INTER_NEAREST)
        frame = _move(image_bgr, camera, cv2.INTER_LINEAR)
        moved = _move(mover_labels, mover, cv2.INTER_NEAREST, IGNORE_LABEL)
        inside = moved != IGNORE_LABEL
        frame[inside] = _move(mover_image, mover, cv2.INTER_LINEAR)[inside]
        seen[inside] = moved[inside]
        frames.append(frame)
    return Snippet(frames, seen)


def _move(
    picture: np.ndarray, matrix: np.ndarray, method: int, outside: int | None = None
) -> np.ndarray:
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    size = picture.shape[1], picture.shape[0]
    return cv2.warpAffine(
        picture, matrix, size, flags=method, borderMode=border, borderValue=outside or 0
    )

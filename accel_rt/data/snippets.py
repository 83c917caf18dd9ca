"""Short runs of consecutive frames whose last one is labelled, with exact flow.

Where a data set has only single images, a snippet is made from one: the camera moves through it
smoothly (as a forward-driving car's would) while objects cut from another image cross it.
"""

from __future__ import annotations

import cv2
import numpy as np

from accel_rt.classes import CAMVID
from accel_rt.data.augment import View
from accel_rt.data.motion import Layer, Snippet, film
from accel_rt.data.street import StreetDrive

_MOVERS = CAMVID.indices(["car", "pedestrian", "bicyclist"])
_FRAME_RATE = 15  # of the real video that the motion imitates


def street_snippet(
    length: int, size: tuple[int, int], rng: np.random.Generator, rate: float = _FRAME_RATE
) -> Snippet:
    """``length`` consecutive frames of a procedural drive; ``size`` is ``(width, height)``."""
    drive = StreetDrive(seed=int(rng.integers(2**31)), size=size, rate=rate)
    frames = list(drive.frames(length, start=int(rng.integers(300))))
    return Snippet(
        [frame.image_bgr for frame in frames],
        frames[-1].labels,
        [frame.flow for frame in frames[1:]],
        [~frame.occluded for frame in frames[1:]],
    )


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
    mask = np.isin(mover_labels, _MOVERS).astype(np.uint8)
    zoom = 1 + rng.uniform(-0.005, 0.03)
    velocity = rng.normal(0, (2.0, 0.5))  # pixels a frame
    roll = rng.normal(0, 0.1)  # degrees a frame
    crossing = rng.normal(0, (3.0, 0.7)) + velocity
    start = rng.uniform(-0.2, 0.2, 2) * (width, height)
    centre = (width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.55))
    cameras, movers = [], []
    for t in range(length):
        jitter = rng.normal(0, 0.4, 2) if t else np.zeros(2)
        camera = np.array(cv2.getRotationMatrix2D(centre, roll * t, zoom**t), np.float64)
        camera[:, 2] += velocity * t + jitter
        cameras.append(camera)
        movers.append(np.column_stack([np.eye(2), start + crossing * t + jitter]))
    return film(
        [
            Layer(image_bgr, labels, None, cameras),
            Layer(mover_image, mover_labels, mask, movers),
        ],
        (width, height),
    )


def augmented(snippet: Snippet, view: View) -> Snippet:
    """The snippet as ``view`` shows it: all frames, the labels and the flow alike."""
    flows = [view.flow(f, v) for f, v in zip(snippet.flows, snippet.visible, strict=True)]
    return Snippet(
        [view.image(frame) for frame in snippet.frames],
        view.labels(snippet.labels),
        [flow for flow, _ in flows],
        [visible for _, visible in flows],
    )

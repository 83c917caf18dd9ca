"""Snippets made of still images: layers with known affine motion, exact flow and occlusion.

Where a data set has only single images, a snippet is made from one: the camera moves through it
smoothly (as a forward-driving car's would) while objects cut from another image cross it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.data.augment import stays_inside

MOVERS = frozenset(
    [
        "car",
        "van",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "motorbike",
        "bicycle",
        "bicyclist",
        "rider",
        "pedestrian",
        "person",
    ]
)
"""Names of classes that move by themselves, of whatever data set."""


@dataclass(frozen=True)
class Snippet:
    """Consecutive frames uint8 BGR ``[H, W, 3]`` and the labels uint8 ``[H, W]`` of one of them.

    That is the last one, or the one that ``after`` more come after.
    ``flows[i]`` float32 ``[H, W, 2]`` is the exact backward flow of frame ``i + 1``: where the
    point that a pixel shows was in frame ``i``, as (dx, dy) in pixels. ``visible[i]`` bool
    ``[H, W]`` is True where that point was in sight there. Real video has neither.
    """

    frames: list[np.ndarray]
    labels: np.ndarray
    flows: list[np.ndarray] = field(default_factory=list)
    visible: list[np.ndarray] = field(default_factory=list)
    after: int = 0


@dataclass(frozen=True)
class Layer:
    """A picture that moves as a whole.

    ``image_bgr`` uint8 ``[h, w, 3]``; ``labels`` uint8 ``[h, w]``, or None for none that count;
    ``mask`` uint8 ``[h, w]``, 1 where there is something to see, or None for a background, which
    goes on mirrored beyond its edges; ``poses``: for each frame the affine map ``[2, 3]`` from
    the picture's pixels to the frame's.
    """

    image_bgr: np.ndarray
    labels: np.ndarray | None
    mask: np.ndarray | None
    poses: Sequence[np.ndarray]


def moving_snippet(
    image_bgr: np.ndarray,
    labels: np.ndarray,
    objects: tuple[np.ndarray, np.ndarray],
    classes: ClassSet,
    length: int,
    rng: np.random.Generator,
    after: int = 0,
) -> Snippet:
    """Drive through a labelled image; :data:`MOVERS` of ``objects`` (image, labels) cross the view.

    There are ``length`` frames up to the labelled one, and ``after`` more.
    Each frame moves by a constant zoom (0 to 3%, mostly forward), shift and roll with a little
    jitter.
    """
    height, width = labels.shape
    mover_image, mover_labels = objects
    indices = [index for index, name in enumerate(classes.names) if name in MOVERS]
    mask = np.isin(mover_labels, indices).astype(np.uint8)
    zoom = 1 + rng.uniform(-0.005, 0.03)
    velocity = rng.normal(0, (2.0, 0.5))  # pixels a frame
    roll = rng.normal(0, 0.1)  # degrees a frame
    crossing = rng.normal(0, (3.0, 0.7)) + velocity
    start = rng.uniform(-0.2, 0.2, 2) * (width, height)
    centre = (width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.55))
    cameras, movers = [], []
    for t in range(length + after):
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
        (height, width),
        after,
    )


def film(layers: Sequence[Layer], size: tuple[int, int], after: int = 0) -> Snippet:
    """The snippet of ``size`` ``(height, width)`` that shows ``layers``, the first one behind."""
    length = len(layers[0].poses)
    frames, owners = [], []
    for t in range(length):
        frame, owner = _picture(layers, t, size)
        frames.append(frame)
        owners.append(owner)
    labelled = length - 1 - after
    labels = np.full(owners[labelled].shape, IGNORE_LABEL, np.uint8)
    for index, layer in enumerate(layers):
        if layer.labels is not None:
            own = owners[labelled] == index
            labels[own] = _move(layer.labels, layer, labelled, size, cv2.INTER_NEAREST)[own]
    flows, visible = [], []
    for t in range(1, length):
        flow = _flow(layers, t, owners[t])
        flows.append(flow)
        visible.append(_seen_before(flow, owners[t], owners[t - 1]))
    return Snippet(frames, labels, flows, visible, after)


def _picture(
    layers: Sequence[Layer], t: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Frame ``t`` and, for each of its pixels, the index of the layer it belongs to."""
    frame = _move(layers[0].image_bgr, layers[0], t, size, cv2.INTER_LINEAR)
    owner = np.zeros(frame.shape[:2], np.uint8)
    for index, layer in enumerate(layers[1:], 1):
        assert layer.mask is not None, "only the first layer is a background"
        inside = _move(layer.mask, layer, t, size, cv2.INTER_NEAREST) > 0
        frame[inside] = _move(layer.image_bgr, layer, t, size, cv2.INTER_LINEAR)[inside]
        owner[inside] = index
    return frame, owner


def _move(
    picture: np.ndarray, layer: Layer, t: int, size: tuple[int, int], method: int
) -> np.ndarray:
    border = cv2.BORDER_REFLECT_101 if layer.mask is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, layer.poses[t], size[::-1], flags=method, borderMode=border)


def _flow(layers: Sequence[Layer], t: int, owner: np.ndarray) -> np.ndarray:
    """Backward flow of frame ``t``: through the owner's picture to the frame before."""
    height, width = owner.shape
    to_before = np.stack(
        [
            _square(layer.poses[t - 1]) @ np.linalg.inv(_square(layer.poses[t])) - np.eye(3)
            for layer in layers
        ]
    ).astype(np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    a, b, c = np.moveaxis(to_before[:, :2], 2, 0)  # each [layers, 2]
    return a[owner] * x[:, None] + b[owner] * y[:, None] + c[owner]


def _square(affine: np.ndarray) -> np.ndarray:
    return np.vstack([affine, (0, 0, 1)])


def _seen_before(flow: np.ndarray, owner: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where a pixel's point lay inside the frame before and belonged to the same layer there."""
    height, width = owner.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return stays_inside(flow) & (cv2.remap(before, x, y, cv2.INTER_NEAREST) == owner)

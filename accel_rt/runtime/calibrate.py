"""A network's file with the same network in 8-bit integers beside its weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from accel_rt.errors import InputError, UsageError
from accel_rt.models import store
from accel_rt.models.accel import Accel
from accel_rt.models.int8 import in_integers
from accel_rt.models.weights import content_hash, load_network, save_int8
from accel_rt.runtime.backends import exported
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram
from accel_rt.video.reader import open_source


def pack_int8(weights: str, calibrate: str, count: int, output: Path) -> None:
    """Write the network ``weights`` to ``output``, quantised by frames of ``calibrate``.

    Raises as :func:`~accel_rt.models.store.find`, :func:`~accel_rt.video.reader.open_source` and
    :func:`~accel_rt.models.int8.in_integers`, and :class:`~accel_rt.errors.UsageError` for a
    network that takes frames of one size only.
    """
    path = store.find(weights)
    made_of = content_hash(path)
    network, info = load_network(path)
    if network.cell == 1:
        raise UsageError(f"'{weights}' cannot be packed in integers: its frames are of any size")
    file = exported(path, network, info)
    steps = FrameProgram(Accel(network), torch.device("cpu"), torch.float32)
    with open_source(calibrate) as source:
        chosen = spread((frame.image_bgr for frame in source), count)
    if not chosen:
        raise InputError(f"'{calibrate}' has no frames to calibrate by")
    pictures = []
    for image in chosen:
        geometry = steps.plan(image.shape[:2], info.size, None)
        picture = steps.prepare(resize_frame(image, geometry.processed), geometry)
        pictures.append(picture.contiguous().numpy())
    save_int8(output, path, in_integers(file, pictures), made_of)


def spread(frames: Iterable[np.ndarray], count: int) -> list[np.ndarray]:
    """About ``count`` of ``frames``, evenly spread over all, however many there are."""
    kept: list[np.ndarray] = []
    step = 1
    for index, frame in enumerate(frames):
        if index % step == 0:
            kept.append(frame)
        if len(kept) == 2 * count:
            kept, step = kept[::2], 2 * step
    count = min(count, len(kept))
    return [kept[index * len(kept) // count] for index in range(count)]

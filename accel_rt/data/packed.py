"""One file of a data set's labelled splits, small enough to carry to another machine.

It is a tar archive of the layout :mod:`.folders`, with JPEG images and PNG label maps: unpack it
with ``tar -xf FILE`` and give the folder to any command.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.dataset import DatasetFrame, FrameSequence
from accel_rt.data.folders import CLASSES_FILE
from accel_rt.data.layouts import Layout
from accel_rt.data.open import check_validation, open_dataset, open_training
from accel_rt.files import replacing


def pack_data(
    data: Path, out: Path, layout: Layout = "auto", shorter: int | None = None, quality: int = 92
) -> dict[str, int]:
    """Write the labelled frames of ``data``'s training and validation splits to ``out``.

    ``quality`` is JPEG's; images are reduced to ``shorter`` pixels on their shorter side. Returns
    the number of frames of each split. Raises as :func:`~accel_rt.data.open.open_dataset`, and
    :class:`~accel_rt.errors.OutputError` if ``out`` cannot be written.
    """
    training = open_training(data, layout, shorter)
    validation = check_validation(training.classes, open_dataset(data, "val", layout, shorter))
    splits = {"train": training, "val": validation}
    counts = {}
    with replacing(out) as file, tarfile.open(fileobj=file, mode="w") as archive:
        classes = training.classes
        listed = [
            {"name": name, "color": list(color)}
            for name, color in zip(classes.names, classes.colors_rgb, strict=True)
        ]
        described = {"classes": listed, "ignore": [IGNORE_LABEL]}
        _add(archive, CLASSES_FILE, json.dumps(described, indent=1).encode())
        for split, dataset in splits.items():
            counts[split] = len(dataset.labelled())
            used: set[str] = set()
            for sequence, run in chain.from_iterable(map(_runs, dataset.sequences)):
                folder = f"{split}/{_unused(sequence.name, used)}"
                for frame in run:
                    image, labels = frame.read()
                    jpeg = _coded(image, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, quality))
                    _add(archive, f"images/{folder}/{frame.name}.jpg", jpeg)
                    _add(archive, f"labels/{folder}/{frame.name}.png", _coded(labels, ".png"))
    return counts


def _runs(sequence: FrameSequence) -> Iterator[tuple[FrameSequence, list[DatasetFrame]]]:
    """Labelled frames that follow each other: what lies in one folder is taken for neighbours."""
    run: list[DatasetFrame] = []
    for frame in sequence.frames:
        if frame.labelled:
            run.append(frame)
        elif run:
            yield sequence, run
            run = []
    if run:
        yield sequence, run


def _unused(name: str, used: set[str]) -> str:
    """``name``, with a number where it was used: pictures of several folders may share it."""
    numbered = (f"{name}_{number}" for number in count(2))
    found = next(one for one in chain([name], numbered) if one not in used)
    used.add(found)
    return found


def _coded(picture: np.ndarray, suffix: str, options: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))

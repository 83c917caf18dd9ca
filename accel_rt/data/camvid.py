"""CamVid folder layout: frames in ``<split>/`` and label maps of their names in ``<split>annot/``.

CamVid: Brostow, Fauqueur, Cipolla, "Semantic object classes in video" (2009), University of
Cambridge; in the common 480x360 version with 11 classes and label 11 for unlabelled pixels.
"""

from __future__ import annotations

import re
from pathlib import Path

from accel_rt.classes import CAMVID
from accel_rt.data.dataset import DataSet, DatasetFrame, numbered_sequences
from accel_rt.data.labels import class_coding, label_maps
from accel_rt.errors import InputError
from accel_rt.video.images import image_files

CODING = class_coding(len(CAMVID), (11,), "CamVid labels are 0 to 10, and 11 for unlabelled")
_MAX_STEP = 4  # frames of the 30 Hz recording: seconds apart, motion is not followed


def camvid(root: Path, split: str) -> DataSet:
    """Split ``train`` or ``val``; a frame without a label map is an unlabelled one.

    Frames of one recording (``0016E5_07959``: recording and frame number) at most four numbers
    apart are one sequence. Raises :class:`~accel_rt.errors.InputError` if a folder is missing, no
    frame is labelled, or a label map has no frame.
    """
    frames, maps = _frames(root, split)
    if maps:
        lone = min(maps.values())
        raise InputError(f"{lone} has no frame {root / split / lone.name}: add it")
    numbered = [(*_number(frame.name), frame) for frame in frames]
    return DataSet("CamVid", split, numbered_sequences(numbered, _MAX_STEP), CAMVID)


def _frames(root: Path, split: str) -> tuple[list[DatasetFrame], dict[Path, Path]]:
    """The frames in the order of their names, and the label maps that are no frame's."""
    images, labels = root / split, root / f"{split}annot"
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(
                f"no folder {folder}: a CamVid copy has {split}/ and {split}annot/ in it"
            )
    paths = sorted(image_files(images.iterdir()))
    if not paths:
        raise InputError(f"{images} holds no images")
    maps = label_maps(labels)
    return [DatasetFrame(path, maps.pop(Path(path.stem), None), CODING) for path in paths], maps


def _number(stem: str) -> tuple[str, int]:
    """Recording and frame number; a name without a number is a recording by itself."""
    match = re.fullmatch(r"(.*?)_?f?(\d+)", stem)
    return (match[1], int(match[2])) if match else (stem, 0)

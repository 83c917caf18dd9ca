"""Cityscapes folder layout: ``leftImg8bit_sequence`` or ``leftImg8bit``, and ``gtFine``.

Cityscapes: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding"
(CVPR 2016). Files are ``<kind>/<split>/<city>/<city>_<recording>_<frame>_<kind>.png``; snippets
have 30 frames of which the 20th is labelled.
"""

from __future__ import annotations

import re
from pathlib import Path

from accel_rt.classes import CITYSCAPES, IGNORE_LABEL
from accel_rt.data.dataset import DataSet, DatasetFrame, numbered_sequences
from accel_rt.data.labels import LabelCoding, class_coding
from accel_rt.errors import InputError
from accel_rt.video.images import image_files

_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Of the classes in order: what ``labelIds`` maps hold; others up to 33 do not count."""

_CODINGS = {
    "labelIds": LabelCoding(
        {
            **dict.fromkeys((*range(34), IGNORE_LABEL), IGNORE_LABEL),
            **{value: label for label, value in enumerate(_LABEL_IDS)},
        },
        "Cityscapes labelIds are 0 to 33",
    ),
    "labelTrainIds": class_coding(
        len(CITYSCAPES), (), "Cityscapes trainIds are 0 to 18, and 255 for unlabelled"
    ),
}


def cityscapes(root: Path, split: str) -> DataSet:
    """Split ``train``, ``val`` or ``test`` with ``labelIds`` or else ``labelTrainIds`` maps.

    Where ``leftImg8bit_sequence`` is there its snippets are the sequences; single labelled images
    otherwise. Raises :class:`~accel_rt.errors.InputError` if a folder is missing or label maps
    and images do not belong together.
    """
    images, single = _image_folder(root, split)
    labels, ids = _label_maps(root, split)
    frames = []
    for path in sorted(image_files(images.glob("*/*.png"))):
        match = re.fullmatch(r"(.+_\d+)_(\d+)_leftImg8bit\.png", path.name)
        if not match:
            raise InputError(
                f"{path} is not named as Cityscapes images are: city_000000_000019_leftImg8bit.png"
            )
        label = labels.pop(f"{path.parent.name}/{match[1]}_{match[2]}", None)
        if label is None and single:
            raise InputError(f"{path} has no {ids} label map in {root / 'gtFine' / split}")
        frames.append((match[1], int(match[2]), DatasetFrame(path, label, _CODINGS[ids])))
    if not frames:
        raise InputError(f"{images} holds no CITY/*_leftImg8bit.png images")
    if labels:
        raise InputError(f"{next(iter(labels.values()))} has no image in {images}: add it")
    sequences = numbered_sequences(frames, max_step=0 if single else 1)
    return DataSet("Cityscapes", split, sequences, CITYSCAPES)


def _image_folder(root: Path, split: str) -> tuple[Path, bool]:
    """The folder of images, and whether they are single ones."""
    for kind in ("leftImg8bit_sequence", "leftImg8bit"):
        if (root / kind / split).is_dir():
            return root / kind / split, kind == "leftImg8bit"
    raise InputError(
        f"no folder {root / 'leftImg8bit_sequence' / split}, nor leftImg8bit/{split}: a "
        f"Cityscapes copy has its images there"
    )


def _label_maps(root: Path, split: str) -> tuple[dict[str, Path], str]:
    """Label maps by ``city/city_recording_frame``, and which kind they are."""
    folder = root / "gtFine" / split
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: a Cityscapes copy has its label maps there")
    for ids in _CODINGS:
        end = f"_gtFine_{ids}.png"
        found = sorted(image_files(folder.glob(f"*/*{end}")))
        if found:
            return {f"{p.parent.name}/{p.name.removesuffix(end)}": p for p in found}, ids
    raise InputError(f"{folder} holds no */*_gtFine_labelIds.png or */*_gtFine_labelTrainIds.png")

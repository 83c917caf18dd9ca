"""Open a data set, whichever known layout its folder has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.data.camvid import camvid
from accel_rt.data.cityscapes import cityscapes
from accel_rt.data.coco import annotation_files, coco, split_of
from accel_rt.data.cvat import LABELMAP_FILE, MASK_FOLDER, XML_FILE, cvat, voc, voc_lists
from accel_rt.data.dataset import DataSet
from accel_rt.data.folders import CLASSES_FILE, folders, has_validation
from accel_rt.data.layouts import LAYOUTS, Layout
from accel_rt.data.split import split_off
from accel_rt.errors import InputError, UsageError

_READERS: dict[str, Callable[[Path, str], DataSet]] = {
    "camvid": camvid,
    "cityscapes": cityscapes,
    "folders": folders,
    "coco": coco,
    "cvat": cvat,
    "voc": voc,
}
_VALIDATION: dict[str, Callable[[Path], bool]] = {
    "camvid": lambda root: (root / "val").is_dir(),
    "cityscapes": lambda root: True,
    "folders": has_validation,
    "coco": lambda root: any(split_of(path, root) == "val" for path in annotation_files(root)),
    "cvat": lambda root: False,
    "voc": lambda root: bool(voc_lists(root, "val")),
}
"""Whether a data set comes with a validation split."""


def open_dataset(
    path: Path, split: str, layout: Layout = "auto", shorter: int | None = None
) -> DataSet:
    """Split ``split`` (``train``, ``val``, ...) of the data set in folder ``path``.

    ``layout`` ``auto`` tells by the folders that are there. Where there is no ``val``, it is what
    :func:`open_training` holds out. Files are only listed; images and label maps are read, and
    checked, frame by frame, and reduced to ``shorter`` pixels on their shorter side where they have
    more. Raises :class:`~accel_rt.errors.UsageError` for an unknown layout, and
    :class:`~accel_rt.errors.InputError` for a folder that has none of them, lacks a part, or has
    no labelled frame.
    """
    name = _layout(path, layout)
    if split == "val" and not _VALIDATION[name](path):
        dataset = split_off(_READERS[name](path, "train"))["val"]
        if not dataset.labelled():
            raise InputError(
                f"{path} has too few frames with labels to hold any back for validation: label "
                f"two at least"
            )
    else:
        dataset = _READERS[name](path, split)
    return _checked(dataset, path, shorter)


def open_training(path: Path, layout: Layout = "auto", shorter: int | None = None) -> DataSet:
    """What to train on: ``train``, less what is held out of it where there is no ``val``.

    Else as :func:`open_dataset`; see :func:`~accel_rt.data.split.split_off`.
    """
    name = _layout(path, layout)
    dataset = _READERS[name](path, "train")
    if not _VALIDATION[name](path):
        dataset = split_off(dataset)["train"]
    return _checked(dataset, path, shorter)


def _checked(dataset: DataSet, path: Path, shorter: int | None) -> DataSet:
    if not dataset.labelled():
        raise InputError(f"no frame of {path}'s split '{dataset.split}' has labels: add label maps")
    return dataset if shorter is None else dataset.reduced(shorter)


def _layout(path: Path, layout: Layout) -> Layout:
    if layout not in LAYOUTS:
        raise UsageError(f"unknown data layout '{layout}': choose from {', '.join(LAYOUTS)}")
    if not path.is_dir():
        raise InputError(f"no folder {path}: give the folder that holds the data set")
    return _recognise(path) if layout == "auto" else layout


def _recognise(path: Path) -> Layout:
    if (path / XML_FILE).is_file():
        return "cvat"
    if (path / LABELMAP_FILE).is_file() or (path / MASK_FOLDER).is_dir():
        return "voc"
    if not (path / CLASSES_FILE).is_file() and annotation_files(path):
        return "coco"
    if (path / CLASSES_FILE).is_file() or (path / "images").is_dir():
        return "folders"
    if any((path / name).is_dir() for name in ("leftImg8bit_sequence", "leftImg8bit", "gtFine")):
        return "cityscapes"
    if any(path.glob("*annot")):
        return "camvid"
    raise InputError(
        f"{path} has no known layout: it needs images/ and labels/, train/ and trainannot/ "
        f"(CamVid), leftImg8bit_sequence/ or leftImg8bit/ and gtFine/ (Cityscapes), or an export "
        f"of CVAT or COCO"
    )


def check_validation(training: ClassSet, validation: DataSet) -> DataSet:
    """``validation``; raises :class:`~accel_rt.errors.UsageError` for other classes than
    ``training``'s, and :class:`~accel_rt.errors.InputError` if no pixel of it has a label."""
    if validation.classes.names != training.names:
        raise UsageError(
            f"the training pictures have the classes {', '.join(training.names)}, and those of "
            f"'{validation.split}' {', '.join(validation.classes.names)}: both need the same"
        )
    if not any((frame.labels() != IGNORE_LABEL).any() for frame in validation.labelled()):
        raise InputError(
            f"no pixel of {validation.name}'s split '{validation.split}' has a label of its "
            f"classes: there is nothing to measure by"
        )
    return validation

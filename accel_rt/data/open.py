"""Open a data set, whichever known layout its folder has."""

from __future__ import annotations

from pathlib import Path

from accel_rt.data.camvid import camvid
from accel_rt.data.cityscapes import cityscapes
from accel_rt.data.dataset import DataSet
from accel_rt.data.folders import CLASSES_FILE, folders
from accel_rt.data.layouts import LAYOUTS, Layout
from accel_rt.errors import InputError, UsageError


def open_dataset(path: Path, split: str, layout: Layout = "auto") -> DataSet:
    """Split ``split`` (``train``, ``val``, ...) of the data set in folder ``path``.

    ``layout`` ``auto`` tells by the folders that are there. Files are only listed; images and
    label maps are read, and checked, frame by frame. Raises
    :class:`~accel_rt.errors.UsageError` for an unknown layout, and
    :class:`~accel_rt.errors.InputError` for a folder that has none of them, lacks a part, or has
    no labelled frame.
    """
    readers = {"camvid": camvid, "cityscapes": cityscapes, "folders": folders}
    if layout not in LAYOUTS:
        raise UsageError(f"unknown data layout '{layout}': choose from {', '.join(LAYOUTS)}")
    if not path.is_dir():
        raise InputError(f"no folder {path}: give the folder that holds the data set")
    dataset = readers[_recognise(path, split) if layout == "auto" else layout](path, split)
    if not dataset.labelled():
        raise InputError(f"no frame of {path}'s split '{split}' has labels: add label maps")
    return dataset


def _recognise(path: Path, split: str) -> str:
    if (path / CLASSES_FILE).is_file() or (path / "images").is_dir():
        return "folders"
    if any((path / name).is_dir() for name in ("leftImg8bit_sequence", "leftImg8bit", "gtFine")):
        return "cityscapes"
    if any(path.glob("*annot")):
        return "camvid"
    raise InputError(
        f"{path} has no known layout: it needs {split}/ and {split}annot/ (CamVid), "
        f"leftImg8bit_sequence/ or leftImg8bit/ and gtFine/ (Cityscapes), or images/{split}/, "
        f"labels/{split}/ and {CLASSES_FILE}"
    )

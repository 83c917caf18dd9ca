"""COCO's layout, as CVAT, Roboflow and others export it: JSON with polygons or run lengths.

Every ``.json`` of the folder that holds ``images``, ``annotations`` and ``categories`` is read; a
``train`` or ``val`` (``valid``) in its name or its folder's says the split. Pixels that nothing
covers are ``background``; of two things on one place the smaller one shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accel_rt.classes import ClassSet
from accel_rt.data.dataset import DataSet, FrameSequence
from accel_rt.data.drawn import NO_CODING, DrawnFrame, Images, Shape, class_set
from accel_rt.data.folders import spread_color
from accel_rt.errors import InputError
from accel_rt.jsonfile import member, read_json, typed
from accel_rt.video.images import folders_in, natural_key

_SPLITS = ("train", "val", "test")  # words in names begin so


def annotation_files(root: Path) -> list[Path]:
    """The annotation files in ``root`` and the folders in it, told by how they begin and end."""
    paths = sorted(p for folder in (root, *folders_in(root)) for p in folder.glob("[!.]*.json"))
    return [path for path in paths if _looks_right(path)]


def _looks_right(path: Path) -> bool:
    if path.name.endswith("_annotations.coco.json") or path.parent.name == "annotations":
        return True
    try:
        stored = read_json(path) if path.stat().st_size < 2**28 else None
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and {"images", "annotations", "categories"} <= stored.keys()


def split_of(path: Path, root: Path) -> str:
    """The split that an annotation file is of, by its name, or else those of its folders from
    the inside out; ``train`` where none says one."""
    parts = reversed(path.relative_to(root).parts)  # a folder may hold files of several splits
    words = (word for part in parts for word in re.split("[^a-z]+", part.lower()))
    named = (split for word in words for split in _SPLITS if word.startswith(split))
    return next(named, "train")


def coco(root: Path, split: str) -> DataSet:
    """The split's pictures.

    Raises :class:`~accel_rt.errors.InputError` if an annotation file cannot be used, or names an
    image that is not there.
    """
    files = [path for path in annotation_files(root) if split_of(path, root) == split]
    if not files:
        raise InputError(f"no annotation file in {root} is of the split '{split}'")
    images, frames, classes = Images(root), [], None
    for path in files:
        try:
            stored = read_json(path)
            found, rest, labels = _categories(stored)
            if classes is not None and found != classes:
                raise ValueError(f"its categories are not those of {files[0].name}")
            classes = found
            frames += list(_frames(stored, path, split, images, rest, labels))
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"cannot use {path} ({error}): it is no export of COCO") from error
    assert classes is not None
    frames.sort(key=lambda frame: natural_key(frame.image_path))
    sequences = tuple(FrameSequence(frame.name, (frame,)) for frame in frames)
    return DataSet(root.resolve().name, split, sequences, classes)


def _categories(stored: Any) -> tuple[ClassSet, int, dict[int, int]]:
    """The classes, the label of what nothing covers, and each category's label."""
    names = {
        member(category, "id", int): member(category, "name", str)
        for category in member(stored, "categories", list)
    }
    ordered = list(dict.fromkeys(names[key] for key in sorted(names)))
    classes, rest = class_set(ordered, map(spread_color, range(len(ordered))))
    return classes, rest, {key: classes.names.index(name) for key, name in names.items()}


def _frames(
    stored: Any, path: Path, split: str, images: Images, rest: int, labels: dict[int, int]
) -> Iterator[DrawnFrame]:
    shapes: dict[int, list[tuple[float, Shape]]] = {}
    sizes = {
        member(image, "id", int): (member(image, "height", int), member(image, "width", int))
        for image in member(stored, "images", list)
    }
    for annotation in member(stored, "annotations", list):
        image = member(annotation, "image_id", int)
        category = member(annotation, "category_id", int)
        if image not in sizes or category not in labels:
            raise ValueError(f"an annotation is of image {image} and category {category}")
        covered = annotation.get("segmentation") or [_box(member(annotation, "bbox", list))]
        shape = _shape(covered, labels[category], sizes[image])
        area = member(annotation, "area", float, 0.0) or shape.area()
        shapes.setdefault(image, []).append((-area, shape))
    for image in member(stored, "images", list):
        key = image["id"]
        drawn = sorted(shapes.get(key, []), key=lambda item: item[0])
        yield DrawnFrame(
            images.find(member(image, "file_name", str), split, path),
            path,
            NO_CODING,
            tuple(shape for _, shape in drawn),
            sizes[key],
            rest,
        )


def _box(stored: list[Any]) -> list[float]:
    """``[left, top, width, height]`` as a polygon."""
    left, top, width, height = (typed(value, float, "a side of 'bbox'") for value in stored)
    right, bottom = left + width, top + height
    return [left, top, right, top, right, bottom, left, bottom]


def _shape(segmentation: Any, label: int, size: tuple[int, int]) -> Shape:
    if isinstance(segmentation, list):
        return Shape(label, tuple(map(_polygon, segmentation)))
    counts = member(segmentation, "counts", (list, str))
    if member(segmentation, "size", list) != list(size):
        raise ValueError("run lengths are of another size than their image")
    if isinstance(counts, list):
        counts = tuple(typed(run, int, "a run length") for run in counts)
    return Shape(label, (), counts, (0, 0, size[1], size[0]), by_column=True)


def _polygon(stored: Any) -> tuple[tuple[float, float], ...]:
    """``[x, y, x, y, ...]`` as corners."""
    row = [typed(value, float, "a corner") for value in typed(stored, list, "a polygon")]
    return tuple(zip(row[::2], row[1::2], strict=True))

"""A layout for anyone's data: ``images/SPLIT/``, ``labels/SPLIT/`` and ``classes.json``.

Without splits they are ``images/`` and ``labels/``; ``masks/`` is ``labels/``, too. Label maps in
colour, or indexed with a palette, do without ``classes.json``: see :mod:`.colors`. It looks like
this:
``{"classes": [{"name": "road", "color": [128, 64, 128]}], "ignore": [255]}``. A
class's label is its place in the list; ``"id"`` says which value label maps have for it where
that is another one, such as 255 in masks of black and white. Values in ``ignore`` do not count,
nor does 255 where it is no class's. Colours are optional, but where label maps are in colour they
say which class is which; black does not count there unless it is a class's.

Each folder in ``images/SPLIT`` is a video, its frames in the natural order of their names;
images that lie in ``images/SPLIT`` itself are single pictures. The label map of
``images/SPLIT/drive/0007.jpg`` is ``labels/SPLIT/drive/0007.png``, or another of
:data:`.labels.LABEL_SUFFIXES`; a frame without one is unlabelled.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accel_rt.classes import IGNORE_LABEL, ClassSet, color_rgb
from accel_rt.data.colors import classes_by_color, given_colors, is_rgb
from accel_rt.data.dataset import DataSet, DatasetFrame, FrameSequence
from accel_rt.data.labels import LABEL_SUFFIXES, Coding, LabelCoding, label_maps
from accel_rt.errors import InputError
from accel_rt.jsonfile import member, read_json, typed
from accel_rt.video.images import IMAGE_SUFFIXES, folders_in, image_files

CLASSES_FILE = "classes.json"
_EXAMPLE = '{"classes": [{"name": "road", "color": [128, 64, 128]}], "ignore": [255]}'


def folders(root: Path, split: str) -> DataSet:
    """The split's videos and single pictures.

    Raises :class:`~accel_rt.errors.InputError` if a folder or ``classes.json`` is missing or
    wrong, or a label map has no image.
    """
    images, labels = _folders(root, split)
    maps = label_maps(labels)
    if not maps and not (root / CLASSES_FILE).exists():
        raise InputError(f"{labels} holds no label maps ({', '.join(LABEL_SUFFIXES)})")
    classes, coding = _classes(root, labels, maps)
    sequences = []
    for folder in (images, *folders_in(images)):
        frames = tuple(
            DatasetFrame(path, maps.pop(path.relative_to(images).with_suffix(""), None), coding)
            for path in image_files(folder.iterdir())
        )
        if folder == images:
            sequences += [FrameSequence(frame.name, (frame,)) for frame in frames]
        elif frames:
            sequences.append(FrameSequence(str(folder.relative_to(images)), frames))
    if not sequences:
        raise InputError(f"{images} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    if maps:
        raise InputError(f"{min(maps.values())} has no image in {images}: add it")
    return DataSet(root.resolve().name, split, tuple(sequences), classes)


def has_validation(root: Path) -> bool:
    """Whether the data set has a folder of its own for validation."""
    return (root / "images" / "val").is_dir()


def _folders(root: Path, split: str) -> tuple[Path, Path]:
    """Those of the images and the label maps."""
    images, labels = root / "images", _labels(root)
    if split != "train" or (images / split).is_dir():
        images, labels = images / split, labels / split
    else:
        other = next((s for s in ("val", "valid", "test") if (images / s).is_dir()), None)
        if other is not None:
            raise InputError(
                f"{images} has a folder {other} and none of training pictures: move these to "
                f"{images / 'train'}, and their label maps to {labels / 'train'}"
            )
    for folder in (images, labels):
        if not folder.is_dir():
            raise InputError(
                f"no folder {folder}: a data set has images/{split}/ and labels/{split}/, or "
                f"images/ and labels/"
            )
    return images, labels


def _labels(root: Path) -> Path:
    labels, masks = root / "labels", root / "masks"
    return masks if masks.is_dir() and not labels.is_dir() else labels


def _classes(root: Path, labels: Path, maps: Mapping[Path, Path]) -> tuple[ClassSet, Coding]:
    """What ``classes.json`` says, or the colours in the label maps of all splits do: one may be
    in one of them alone. ``maps`` are those in ``labels``."""
    path = root / CLASSES_FILE
    if path.exists():
        classes, coding = read_classes(path)
        first = next(iter(maps.values()), None)
        if first and is_rgb(first):
            return classes, given_colors(classes, _colorless(path), path)
        return classes, coding
    everything = maps if labels == _labels(root) else label_maps(_labels(root))
    return classes_by_color(list(everything.values()), path)


def _colorless(path: Path) -> list[str]:
    """The classes that ``classes.json`` gives no colour."""
    entries = (_class(stored, 0) for stored in read_json(path)["classes"])
    return [name for _, name, color in entries if color is None]


def read_classes(path: Path) -> tuple[ClassSet, LabelCoding]:
    """The class set and label values of a ``classes.json``.

    Raises :class:`~accel_rt.errors.InputError` if it cannot be read or says something else.
    """
    try:
        content = read_json(path)
        entries = [
            _class(stored, place) for place, stored in enumerate(member(content, "classes", list))
        ]
        ignored = [typed(v, int, "an ignored value") for v in member(content, "ignore", list, [])]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot use {path} ({error}): it looks like {_EXAMPLE}") from error
    values = [value for value, _, _ in entries]
    names = tuple(name for _, name, _ in entries)
    checked: tuple[tuple[str, list[Any]], ...] = (
        ("value", [*values, *ignored]),
        ("name", list(names)),
    )
    for what, items in checked:
        twice = next((item for item in items if items.count(item) > 1), None)
        if twice is not None:
            raise InputError(f"{path} gives the {what} {twice!r} twice: every class needs its own")
    wrong = next((value for value in (*values, *ignored) if not 0 <= value <= 255), None)
    if not 1 <= len(entries) <= 255 or wrong is not None:
        raise InputError(
            f"{path} must list 1 to 255 classes with values 0 to 255, got "
            f"{len(entries)} classes{'' if wrong is None else f' and the value {wrong}'}"
        )
    colors = [color or spread_color(place) for place, (_, _, color) in enumerate(entries)]
    uncounted = {*ignored, IGNORE_LABEL} - {*values}
    coding = LabelCoding(
        {
            **dict.fromkeys(uncounted, IGNORE_LABEL),
            **{value: label for label, value in enumerate(values)},
        },
        f"{path.name} lists {_ranges(values)} as classes and "
        f"{_ranges(uncounted) or 'none'} as ignored",
    )
    return ClassSet(names, tuple(colors)), coding


def _class(stored: Any, place: int) -> tuple[int, str, tuple[int, int, int] | None]:
    if isinstance(stored, str):
        return place, stored, None
    name = member(stored, "name", str)
    color = member(stored, "color", (list, type(None)), None)
    try:
        return member(stored, "id", int, place), name, None if color is None else color_rgb(color)
    except ValueError as error:
        raise ValueError(f"class '{name}': {error}") from error


def spread_color(place: int) -> tuple[int, int, int]:
    """A colour unlike its neighbours': hues a golden angle apart."""
    red, green, blue = colorsys.hsv_to_rgb(place * 0.618 % 1, 0.55 + 0.4 * (place % 2), 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ranges(values: Iterable[int]) -> str:
    """``0 to 3, 7`` for 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and runs[-1][1] == value - 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)

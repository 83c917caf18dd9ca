"""Class sets that networks of other people commonly have, and colours for those that are not."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from accel_rt.classes import CAMVID, CITYSCAPES, ClassSet
from accel_rt.errors import UsageError
from accel_rt.jsonfile import read_json

Classes = ClassSet | Sequence[str] | int | str
"""A class set, the names of one, how many it has, or the name of one that is :func:`known`."""

_GOLDEN = 0.618034  # turns of the colour circle that stay apart for any number of classes


@cache
def known() -> dict[str, ClassSet]:
    """Class sets by name: ``camvid``, ``cityscapes``, ``ade20k``, ``voc`` and ``coco-stuff``."""
    stored = read_json(Path(__file__).with_suffix(".json"))
    sets = {"camvid": CAMVID, "cityscapes": CITYSCAPES}
    for name in ("ade20k", "voc", "coco-stuff"):
        colors = [bytes.fromhex(text[1:]) for text in stored[name].values()]
        sets[name] = ClassSet(tuple(stored[name]), tuple((c[0], c[1], c[2]) for c in colors))
    return sets


def class_set(classes: Classes) -> ClassSet:
    """``classes`` as a class set.

    Names get the colours of a known set that they are the names of, a number the known set of so
    many classes; else colours are made that differ.
    Raises :class:`~accel_rt.errors.UsageError` for an unknown name, and for what are no classes.
    """
    if isinstance(classes, ClassSet):
        return classes
    if isinstance(classes, str):
        if classes not in known():
            raise UsageError(f"unknown class set '{classes}': choose from {', '.join(known())}")
        return known()[classes]
    if isinstance(classes, int):
        same = [found for found in known().values() if len(found) == classes]
        return same[0] if same else class_set([f"class {n}" for n in range(classes)])
    if not isinstance(classes, Iterable):
        raise UsageError(f"classes are a number, names or a known set, got {classes}")
    names = tuple(map(str, classes))
    lower = tuple(name.strip().lower() for name in names)
    for found in known().values():
        if found.names == lower:
            return ClassSet(names, found.colors_rgb)
    return ClassSet(names, tuple(map(_color, range(len(names)))))


def _color(number: int) -> tuple[int, int, int]:
    brightness = (0.95, 0.7, 0.45)[number % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)

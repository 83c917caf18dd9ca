"""Which colours classes are shown in: a palette by name, or a file of your own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accel_rt.classes import CAMVID, CITYSCAPES, ClassSet, color_rgb
from accel_rt.errors import InputError, UsageError
from accel_rt.jsonfile import read_json, typed

Color = tuple[int, int, int]

PALETTES: dict[str, Mapping[str, Color]] = {
    "clear": {
        "sky": (173, 171, 248),
        "building": (124, 12, 7),
        "pole": (19, 6, 31),
        "road": (86, 77, 133),
        "pavement": (255, 225, 226),
        "tree": (48, 255, 6),
        "sign": (0, 0, 188),
        "fence": (129, 117, 0),
        "car": (2, 100, 251),
        "pedestrian": (203, 82, 92),
        "bicyclist": (184, 255, 153),
    },
    "camvid": dict(zip(CAMVID.names, CAMVID.colors_rgb, strict=True)),
    "cityscapes": dict(zip(CITYSCAPES.names, CITYSCAPES.colors_rgb, strict=True)),
}
"""Colours by the classes' names; ``clear`` was chosen by ``benchmarks/palette.py``."""


def recolor(classes: ClassSet, palette: str | None = None) -> ClassSet:
    """``classes`` in the colours of a palette of :data:`PALETTES`, or of a JSON file.

    None is ``clear`` where it knows every class, and the classes' own colours elsewhere. A file
    holds an object of class names, each with ``"#rrggbb"`` or ``[r, g, b]``; classes that a
    palette does not name keep their colours.

    Raises :class:`UsageError` if there is no such palette or it names none of the classes, and
    :class:`InputError` for a file that cannot be used.
    """
    if palette is None:
        return (
            recolor(classes, "clear") if set(classes.names) <= PALETTES["clear"].keys() else classes
        )
    colors = PALETTES[palette] if palette in PALETTES else _read(Path(palette))
    if not colors.keys() & set(classes.names):
        raise UsageError(
            f"the palette '{palette}' names none of the classes {', '.join(classes.names)}"
        )
    pairs = zip(classes.names, classes.colors_rgb, strict=True)
    return replace(classes, colors_rgb=tuple(colors.get(name, own) for name, own in pairs))


def _read(path: Path) -> dict[str, Color]:
    if not os.path.isfile(path):
        raise UsageError(
            f"there is no palette and no file '{path}': choose from {', '.join(PALETTES)} or name "
            "a JSON file"
        )
    try:
        stored = typed(read_json(path), dict, "a palette")
        return {name: _color(color) for name, color in stored.items()}
    except (OSError, ValueError) as error:
        raise InputError(
            f'\'{path}\' is not a palette such as {{"road": "#806040"}}: {error}'
        ) from error


def _color(stored: Any) -> Color:
    if not isinstance(stored, (str, list)):
        raise ValueError(f"a colour is written like #806040 or [128, 96, 64], got {stored}")
    if isinstance(stored, str):
        if not re.fullmatch("#[0-9a-fA-F]{6}", stored):
            raise ValueError(f"the colour '{stored}' is not written like #806040")
        red, green, blue = bytes.fromhex(stored[1:])
        return red, green, blue
    return color_rgb(stored)

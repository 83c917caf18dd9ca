"""Label maps in colour: each class has one, from a list or from the maps themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.data.labels import Coding, read_label_values
from accel_rt.errors import InputError
from accel_rt.palette import PALETTES, Color

_LOOKED_AT = 200  # label maps
_MOST = 64  # colours of label maps; photographs have thousands
_BLACK: Color = (0, 0, 0)


@dataclass(frozen=True)
class ColorCoding:
    """``labels`` gives each colour's label, :data:`IGNORE_LABEL` where it does not count."""

    labels: Mapping[Color, int]
    legend: str

    def read(self, path: Path) -> np.ndarray:
        """As :meth:`.labels.Coding.read`; ``path`` is a colour picture, or indexed."""
        colors, places = _colors(path)
        unknown = [color for color in colors if color not in self.labels]
        if unknown:
            listed = ", ".join(map(_written, unknown[:8]))
            raise InputError(
                f"{path} holds the colours {listed}, which are no class's: {self.legend}"
            )
        table = np.array([self.labels[color] for color in colors], np.uint8)
        return table[places]


def classes_by_color(
    maps: Sequence[Path], classes_file: Path, uncounted: Sequence[Color] = ()
) -> tuple[ClassSet, Coding]:
    """Classes made of the colours in the label maps ``maps``, some hundred of which are read.

    Colours of a well-known palette get its names, and others are called by their colour; those of
    ``uncounted`` are no class's. Raises
    :class:`~accel_rt.errors.InputError` for grey maps, asking for ``classes_file``, with an example
    of the values that were found.
    """
    found: set[Color] = set()
    for path in maps[:: max(1, len(maps) // _LOOKED_AT)]:
        if _is_grey(path):
            raise _ask(maps, classes_file)
        found |= set(_colors(path)[0])
        if len(found) > _MOST:
            raise InputError(
                f"{path} and the maps before it hold more than {_MOST} colours: label maps show "
                f"each class in one colour, without smooth edges"
            )
    names, ignored = _names(found)
    for color in uncounted:  # only now: maps that have such are in no well-known palette
        names.pop(color, None)
    labels = {color: label for label, color in enumerate(names)}
    labels.update(dict.fromkeys([*ignored, *uncounted], IGNORE_LABEL))
    legend = "the classes are the colours found in the label maps, of which some hundred are read"
    return ClassSet(tuple(names.values()), tuple(names)), ColorCoding(labels, legend)


def given_colors(classes: ClassSet, colorless: Sequence[str], classes_file: Path) -> ColorCoding:
    """Label maps in the colours that ``classes_file`` gives ``classes``; black does not count if it
    is no class's.

    Raises :class:`~accel_rt.errors.InputError` for classes without a colour, or of one colour.
    """
    if colorless:
        raise InputError(
            f"the label maps are in colour, and {classes_file} gives the class '{colorless[0]}' "
            f'none: add "color", such as [128, 64, 128], to each'
        )
    twice = [color for color in classes.colors_rgb if classes.colors_rgb.count(color) > 1]
    if twice:
        raise InputError(
            f"the label maps are in colour, and {classes_file} gives two classes the colour "
            f"{_written(twice[0])}: every class needs its own"
        )
    labels = {_BLACK: IGNORE_LABEL}
    labels.update((color, label) for label, color in enumerate(classes.colors_rgb))
    return ColorCoding(labels, f"{classes_file.name} gives each class its colour")


def is_rgb(path: Path) -> bool:
    """Whether a label map is in colour, without being indexed; False where it cannot be read."""
    with suppress(InputError):
        return _mode(path) in ("RGB", "RGBA")
    return False


def _names(found: set[Color]) -> tuple[dict[Color, str], set[Color]]:
    """The classes' names by their colours, and the colours that do not count."""
    for palette in ("camvid", "cityscapes"):
        known = {color: name for name, color in PALETTES[palette].items()}
        if (others := found - {_BLACK}) and others <= known.keys():
            return {c: name for c, name in known.items() if c in found}, found & {_BLACK}
    ordered = sorted(found)
    return {c: "background" if c == _BLACK else _written(c) for c in ordered}, set()


def _colors(path: Path) -> tuple[list[Color], np.ndarray]:
    """The colours in a picture, and which of them each pixel has, ``[H, W]``."""
    with _opened(path) as image:
        rgb = np.asarray(image.convert("RGB"), np.uint32)
    packed, places = np.unique(rgb @ np.array([65536, 256, 1], np.uint32), return_inverse=True)
    colors = [(int(p) >> 16, int(p) >> 8 & 255, int(p) & 255) for p in packed]
    return colors, places.reshape(rgb.shape[:2])


def _is_grey(path: Path) -> bool:
    return _mode(path) not in ("P", "RGB", "RGBA")


def _mode(path: Path) -> str:
    with _opened(path) as image:
        return image.mode


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # decoders of damaged and of huge files raise many kinds
        raise InputError(f"cannot read the label map {path} ({error})") from error


def _ask(maps: Sequence[Path], classes_file: Path) -> InputError:
    """A request for ``classes.json`` that shows how it could look for these label maps."""
    values: set[int] = set()
    for path in maps[:: max(1, len(maps) // _LOOKED_AT)]:
        values |= set(np.unique(read_label_values(path)).tolist())
    example = [{"name": f"NAME OF {v}", "id": v} for v in sorted(values)]
    return InputError(
        f"no {classes_file} says what the values of the label maps mean: write it, such as "
        f"{json.dumps({'classes': example, 'ignore': []})}"
    )


def _written(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)

"""Label maps on disk: single-channel or indexed images, decoded to labels of a class set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from accel_rt.classes import IGNORE_LABEL
from accel_rt.errors import InputError
from accel_rt.video.images import folders_in, image_files
from accel_rt.video.pictures import largest_of_pnm

LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm")
"""Of files that keep every value as it is, in lower case."""

_INTEGERS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one whole number
_SPREAD = {"L;2": 85, "L;4": 17}  # what Pillow multiplies grey of few bits with, to fill 8 bits
_UNKNOWN = -1
_NAMED = 8  # wrong values that an error message lists


class Coding(Protocol):
    """Reads label maps of one kind."""

    def read(self, path: Path) -> np.ndarray:
        """The labels in a file, uint8 ``[H, W]``; :data:`IGNORE_LABEL` where none counts.

        Raises :class:`~accel_rt.errors.InputError` naming ``path`` and what is wrong.
        """


@dataclass(frozen=True)
class LabelCoding:
    """What the values of a data set's label maps mean.

    ``labels`` gives each value's label (:data:`IGNORE_LABEL` for pixels that do not count); a
    value that is not in it is an error, in which ``legend`` says what values there may be.
    """

    labels: Mapping[int, int]
    legend: str

    def read(self, path: Path) -> np.ndarray:
        """As :meth:`Coding.read`."""
        return self.decode(read_label_values(path), path)

    def decode(self, values: np.ndarray, path: Path) -> np.ndarray:
        """uint8 ``[H, W]`` as on disk to labels.

        Raises :class:`~accel_rt.errors.InputError` naming ``path`` and the values outside.
        """
        table = np.full(256, _UNKNOWN, np.int16)
        for value, label in self.labels.items():
            table[value] = label
        decoded = table[values]
        if (decoded == _UNKNOWN).any():
            wrong = np.unique(values[decoded == _UNKNOWN])
            listed = ", ".join(str(value) for value in wrong[:_NAMED])
            more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            noun = "label" if len(wrong) == 1 else "labels"
            raise InputError(f"{path} holds {noun} {listed}{more}: {self.legend}")
        return decoded.astype(np.uint8)


def class_coding(classes: int, ignored: tuple[int, ...], legend: str) -> LabelCoding:
    """Values 0 to ``classes`` - 1 are labels; ``ignored`` ones and 255 do not count."""
    labels = {**dict.fromkeys((*ignored, IGNORE_LABEL), IGNORE_LABEL)}
    labels.update((value, value) for value in range(classes))
    return LabelCoding(labels, legend)


def label_maps(root: Path) -> dict[Path, Path]:
    """Label maps by the relative path, without suffix, of their images.

    Raises :class:`~accel_rt.errors.InputError` for two of one image, and for pictures of a kind
    that does not keep values.
    """
    maps: dict[Path, Path] = {}
    for folder in (root, *folders_in(root)):
        for path in image_files(folder.iterdir()):
            if path.suffix.lower() not in LABEL_SUFFIXES:
                raise InputError(
                    f"{path} cannot be a label map, whose values must be kept exactly: save it as "
                    f"one of {', '.join(LABEL_SUFFIXES)}"
                )
            of = path.relative_to(root).with_suffix("")
            if of in maps:
                raise InputError(f"{maps[of]} and {path} are label maps of one image: remove one")
            maps[of] = path
    return maps


def read_label_values(path: Path) -> np.ndarray:
    """The values of a label map as on disk, uint8 ``[H, W]``; of an indexed image, the indices.

    Images of 1, 2 and 4 bits hold 0 and 1, 0 to 3 and 0 to 15; 16 bits will do if the values do
    not need them. Raises :class:`~accel_rt.errors.InputError` if the file cannot be read, is a
    colour picture, or holds other values than 0 to 255.
    """
    try:
        with Image.open(path) as image:
            spread, largest = _SPREAD.get(_raw_mode(image), 1), largest_of_pnm(image)
            integers, values = image.mode in _INTEGERS, np.asarray(image)
            if integers and largest is not None:  # Pillow spreads these over 8 or 16 bits
                full = 255 if image.mode == "L" else 65535
                values = np.rint(values * (largest / full)).astype(np.int64)
    except OSError as error:
        why = error.strerror or "it is no image, or a damaged one"
        raise InputError(f"cannot read the label map {path} ({why})") from error
    except Exception as error:  # decoders of damaged files raise many kinds
        raise InputError(f"cannot read the label map {path} ({error})") from error
    if not integers:
        raise InputError(
            f"{path} is a picture of {'x'.join(map(str, values.shape))} {values.dtype}: a label "
            f"map has one channel that holds the labels"
        )
    if values.dtype not in (np.uint8, np.bool_) and values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise InputError(f"{path} holds values {low} to {high}: labels are 0 to 255")
    return values.astype(np.uint8) // np.uint8(spread)


def _raw_mode(image: Image.Image) -> str:
    """How the pixels of a file that is open, but not yet read, are stored; empty if unsaid."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)

"""Label maps on disk: single-channel or indexed 8-bit images, decoded to labels of a class set."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.errors import InputError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE_AT = 25  # byte of the header chunk; 3 is indexed, 0 is grey
_INDEXED, _GREY = 3, 0
_UNKNOWN = -1
_NAMED = 8  # wrong values that an error message lists


@dataclass(frozen=True)
class LabelCoding:
    """What the values of a data set's label maps mean.

    ``labels`` gives each value's label (:data:`IGNORE_LABEL` for pixels that do not count); a
    value that is not in it is an error, in which ``legend`` says what values there may be.
    """

    labels: Mapping[int, int]
    legend: str

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


def read_label_values(path: Path) -> np.ndarray:
    """The values of a label map as on disk, uint8 ``[H, W]``; of an indexed PNG, the indices.

    Raises :class:`~accel_rt.errors.InputError` if the file cannot be read, is a colour picture,
    or has more than 8 bits a pixel.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the label map {path}: {error.strerror}") from error
    buffer = np.frombuffer(_indices_as_grey(data), np.uint8)
    values = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if buffer.size else None
    if values is None:
        raise InputError(f"cannot read the label map {path}: restore or remove it")
    if values.ndim != 2 or values.dtype != np.uint8:
        raise InputError(
            f"{path} is a picture of {'x'.join(map(str, values.shape))} {values.dtype}: a label "
            f"map has one 8-bit channel that holds the labels"
        )
    return values


def _indices_as_grey(data: bytes) -> bytes:
    """An 8-bit indexed PNG as a grey one: OpenCV would give colours, and labels are indices."""
    bits, colour_type = data[24:26] if len(data) > 33 else (0, 0)
    if not data.startswith(_PNG_SIGNATURE) or (bits, colour_type) != (8, _INDEXED):
        return data
    header = data[12:_COLOUR_TYPE_AT] + bytes([_GREY]) + data[_COLOUR_TYPE_AT + 1 : 29]
    grey = [data[:12], header, struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at + 8 <= len(data):
        length = 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"PLTE", b"tRNS"):
            grey.append(data[at : at + length])
        at += length
    return b"".join(grey)

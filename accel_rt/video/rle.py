"""COCO's compressed run lengths of a label map, one mask per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassMask:
    """Where one class is: COCO's compressed ``counts``, the area and ``[x, y, w, h]`` in pixels."""

    label: int
    counts: str
    area: int
    box_xywh: list[int]


def class_masks(labels: np.ndarray, classes: int) -> Iterator[ClassMask]:
    """The masks of the classes below ``classes`` that occur in uint8 ``labels`` ``[H, W]``.

    Runs go down the columns, as COCO has them; they are found once for all classes.
    """
    height = labels.shape[0]
    flat = labels.T.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1))
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    for label in range(classes):
        chosen = values == label
        if chosen.any():
            begin, end = starts[chosen], ends[chosen]
            yield ClassMask(
                label,
                compress_counts(_counts(begin, end, flat.size)),
                int((end - begin).sum()),
                _box(begin, end, height),
            )


def _counts(begin: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """Lengths of alternating runs of outside and inside, the first of them outside."""
    edges = np.stack((begin, end), 1).ravel()
    edges = np.concatenate(([0], edges, [size]))
    counts = np.diff(edges)
    return counts if counts[-1] else counts[:-1]


def _box(begin: np.ndarray, end: np.ndarray, height: int) -> list[int]:
    last = end - 1
    left, right = int(begin[0] // height), int(last[-1] // height)
    one_column = begin // height == last // height
    if one_column.all():
        top, bottom = int((begin % height).min()), int((last % height).max())
    else:  # a run that goes on into the next column touches both the lower and the upper edge
        top, bottom = 0, height - 1
    return [left, top, right - left + 1, bottom - top + 1]


def compress_counts(counts: np.ndarray) -> str:
    """COCO's text form: differences to the count before last, 5 bits a character from 48 on.

    The lowest bits come first; bit 5 says that more follow, and the last character's bit 4 is
    the sign.
    """
    values = np.asarray(counts, np.int64).copy()
    values[3:] -= np.asarray(counts, np.int64)[1:-2]
    pieces, alive = [], []
    more = np.ones(len(values), bool)
    while more.any():
        low = values & 31
        values = values >> 5
        last = np.where(low & 16, values == -1, values == 0)
        pieces.append(low | np.where(last, 0, 32))
        alive.append(more)
        more = more & ~last
    characters = np.stack(pieces, 1) + 48
    return characters[np.stack(alive, 1)].astype(np.uint8).tobytes().decode("ascii")

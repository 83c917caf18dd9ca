"""Sizes: source frame, processed frame, its padding, and what a score map covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_rt.flow.grid import Grid
from accel_rt.size import wxh

_LONGEST_SIDE = 2048  # pixels; very long strips are processed smaller
_SHORTEST_SIDE = 16
# Pictures up to 4/3 as wide as trained (16:9 of 4:3) gain nothing by more pixels. At 3/2 (2:1)
# those of another camera gained four points of mIoU by a third more; rendered streets did not.
_WIDER, _MUCH_WIDER, _ENLARGED = 4 / 3, 3 / 2, 4 / 3


@dataclass(frozen=True)
class Geometry:
    """How a source frame maps to the processed frame; all sizes are ``(height, width)``.

    The source is resized to ``processed`` and extended right and below to ``padded``, of which
    every branch sees a whole number of cells, so a cell covers the same pixels at every size.
    Networks that take any size see it without padding, and their last cells reach beyond it.
    """

    source: tuple[int, int]
    processed: tuple[int, int]
    padded: tuple[int, int]

    @property
    def extent(self) -> tuple[float, float]:
        """The padded frame's size in source pixels: what a score map covers."""
        return (
            self.padded[0] * self.source[0] / self.processed[0],
            self.padded[1] * self.source[1] / self.processed[1],
        )

    def thinned(self, source: np.ndarray) -> np.ndarray:
        """Every n-th pixel of a source frame ``[H, W, ...]``: about as many as are processed."""
        every = max(1, min(self.source) // min(self.processed))
        return source[::every, ::every]

    def describe(self) -> dict[str, str]:
        """What the networks see, for a report."""
        return {"processed": wxh(self.processed)}

    def grid(self, stride: int) -> Grid:
        """The feature grid of a network with output stride ``stride``."""
        cells = -(-self.padded[0] // stride), -(-self.padded[1] // stride)
        return Grid(self.processed, cells, stride)


def plan(
    source: tuple[int, int],
    trained: tuple[int, int] | None,
    size: tuple[int, int] | None,
    update_scale: float,
    cell: int,
    pad: bool = True,
) -> Geometry:
    """Choose the processing size for frames of size ``source``.

    ``size`` is the user's choice; None keeps the source's shape with its shorter side as long as
    the shorter side of ``trained``, the size the weights were trained for, up to a third longer for
    much wider pictures, or the source's own where ``trained`` is None. Sides of the padded frame,
    and of the update branch's ``update_scale`` of it, are multiples of ``cell`` pixels; without
    ``pad`` it is resized to such.
    """
    if size is not None:
        processed = size
    else:
        wanted = min(trained or source) / min(source)
        wanted = max(wanted, min(wanted * _enlarged(source, trained or source), 1.0))
        scale, least = min(wanted, _LONGEST_SIDE / max(source)), max(cell, _SHORTEST_SIDE)
        processed = max(least, round(source[0] * scale)), max(least, round(source[1] * scale))
    multiple = round(cell / update_scale)
    if not pad:
        height, width = (max(multiple, round(n / multiple) * multiple) for n in processed)
        processed = height, width
    padded = processed[0] + -processed[0] % multiple, processed[1] + -processed[1] % multiple
    return Geometry(source, processed, padded)


def _enlarged(source: tuple[int, int], trained: tuple[int, int]) -> float:
    """By how much frames of ``source`` are larger than networks of ``trained`` would have them."""
    wider = (source[1] / source[0]) / (trained[1] / trained[0])
    share = (wider - _WIDER) / (_MUCH_WIDER - _WIDER)
    return 1 + (_ENLARGED - 1) * min(max(share, 0.0), 1.0)

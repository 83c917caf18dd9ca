"""What a video's own motion vectors say of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK_PX = 8
"""Side of the smallest block that has a vector of its own."""

_LONGEST = 16  # frames; over more, composed vectors are no better than a search


@dataclass(frozen=True)
class Motion:
    """Where the blocks of a decoded picture were in one before it.

    ``picture`` is the picture's number, no other's of any source, and ``since`` the number of the
    one that the vectors lead to; None if there are none that can be relied on. ``fields`` hold
    them from there on, picture by picture: float32 ``[h, w, 2]`` in pixels, backward, for blocks
    of :data:`BLOCK_PX`, NaN where a block has none. ``size`` is the picture's ``(height, width)``
    in the pixels that are meant.
    """

    picture: int
    since: int | None
    fields: tuple[np.ndarray, ...]
    size: tuple[int, int]

    def over(self, dropped: Motion | None) -> Motion:
        """This motion where the picture before it, ``dropped``, is not seen: it leads past it."""
        follows = dropped is not None and self.since is not None and self.since == dropped.picture
        if dropped is None or not follows or dropped.since is None or dropped.size != self.size:
            return Motion(self.picture, None, (), self.size)
        fields = (*dropped.fields, *self.fields)
        if len(fields) > _LONGEST:
            return Motion(self.picture, None, (), self.size)
        return Motion(self.picture, dropped.since, fields, self.size)


def motion_field(vectors: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """FFmpeg's vectors of a picture of ``size`` as a field of :class:`Motion`.

    ``vectors`` has the fields of ``AVMotionVector``; ``dst_x`` and ``dst_y`` are middles of blocks.
    """
    height, width = (-(-side // BLOCK_PX) for side in size)
    field = np.full((height + 1, width + 1, 2), np.nan, np.float32)  # with room for what is cropped
    tall, wide = vectors["h"] > BLOCK_PX, vectors["w"] > BLOCK_PX
    y = (vectors["dst_y"] - vectors["h"] // 2) // BLOCK_PX
    x = (vectors["dst_x"] - vectors["w"] // 2) // BLOCK_PX
    moved = np.stack([vectors["motion_x"], vectors["motion_y"]], 1)
    moved = moved / np.maximum(vectors["motion_scale"], 1)[:, None].astype(np.float32)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        some = inside & (tall | (down == 0)) & (wide | (right == 0))
        field[y[some] + down, x[some] + right] = moved[some]
    return field[:height, :width]

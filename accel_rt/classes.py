"""Class sets: names, display colours and the ignore label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel_rt.errors import UsageError
from accel_rt.jsonfile import member, typed

if TYPE_CHECKING:
    import numpy as np

IGNORE_LABEL = 255
"""Label of pixels that neither train nor count."""


@dataclass(frozen=True)
class ClassSet:
    """An ordered set of classes; a class's index is its label.

    ``colors_rgb`` holds one ``(r, g, b)`` triple in 0..255 per name.
    """

    names: tuple[str, ...]
    colors_rgb: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors_rgb):
            raise UsageError(
                f"a class set needs one colour per name: got {len(self.names)} names "
                f"and {len(self.colors_rgb)} colours"
            )
        if not 1 <= len(self.names) <= IGNORE_LABEL:
            raise UsageError(f"a class set holds 1 to 255 classes, got {len(self.names)}")
        for name, color in zip(self.names, self.colors_rgb, strict=True):
            if len(color) != 3 or not all(0 <= part <= 255 for part in color):
                raise UsageError(f"the colour {color} of '{name}' is not three numbers 0 to 255")

    @classmethod
    def from_json(cls, stored: Any) -> ClassSet:
        """What ``dataclasses.asdict`` made of a class set; raises ``ValueError`` if it did not."""
        names = [typed(name, str, "a class name") for name in member(stored, "names", list)]
        colors = [color_rgb(color) for color in member(stored, "colors_rgb", list)]
        return cls(tuple(names), tuple(colors))

    def __len__(self) -> int:
        return len(self.names)

    def palette_bgr(self) -> np.ndarray:
        """Colours as uint8 ``[256, 3]`` in BGR; labels without a class are black."""
        import numpy as np  # slow to import: the command line's help does without

        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = np.asarray(self.colors_rgb, np.uint8)[:, ::-1]
        return palette

    def indices(self, names: Iterable[str]) -> list[int]:
        """Labels of ``names``.

        Raises :class:`UsageError` naming the classes there are if one is unknown.
        """
        found = []
        for name in names:
            if name not in self.names:
                raise UsageError(f"unknown class '{name}': choose from {', '.join(self.names)}")
            found.append(self.names.index(name))
        return found


def color_rgb(stored: Any) -> tuple[int, int, int]:
    """Three whole numbers of a JSON file; raises ``ValueError`` for anything else."""
    parts = [typed(part, int, "a part of a colour") for part in typed(stored, list, "a colour")]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise ValueError(f"the colour {parts} is not three numbers 0 to 255")
    return parts[0], parts[1], parts[2]


CAMVID = ClassSet(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colors_rgb=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
"""CamVid's 11 classes in the order and colours of common use (label 11 on disk is ignored)."""

CITYSCAPES = ClassSet(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    colors_rgb=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)
"""Cityscapes' 19 evaluated classes in the order of their trainIds, in its own colours."""

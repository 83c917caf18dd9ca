"""How a frame's classes are shown. Imports nothing slow: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from accel_rt.option import inherited, option

SHOWN = ("overlay", "mask", "side-by-side")


@dataclass(frozen=True)
class Display:
    """What is drawn of the classes; of all of them where ``classes`` is None."""

    classes: tuple[str, ...] | None = option(
        "Colour these classes only, such as road,car.", None, kind="names", metavar="A,B"
    )
    alpha: float = option("Strength of the class colours.", 0.5, low=0, high=1)
    outline: bool = option("Draw the borders of the classes, too.", False)
    legend: bool = option("Name the classes and their share, beside the picture.", False)


@dataclass(frozen=True)
class FileDisplay(Display):
    """The same for files that are written."""

    show: str = option(
        "The colours over the frame, alone, or over it and beside it.", "overlay", choices=SHOWN
    )


@dataclass(frozen=True)
class LiveDisplay(Display):
    """The same for pictures to watch."""

    legend: bool = inherited(Display, "legend", True)
    side_by_side: bool = option("Show the frame itself beside the result.", False)

    @property
    def show(self) -> str:
        return "side-by-side" if self.side_by_side else "overlay"

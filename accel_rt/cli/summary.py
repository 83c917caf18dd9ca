"""What a finished run says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from accel_rt.cli.text import table
from accel_rt.runtime.pipeline import STAGES

_COLUMNS = (*STAGES, "total")


class StageMeans:
    """Mean milliseconds per stage and kind of frame; its size does not grow with the video."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._sums: dict[str, list[float]] = {}

    @property
    def frames(self) -> int:
        return sum(self.counts.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row of the timing log."""
        kind = row["kind"]
        sums = self._sums.setdefault(kind, [0.0] * len(_COLUMNS))
        for number, column in enumerate(_COLUMNS):
            sums[number] += row[f"{column}_ms"]
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def text(self) -> str:
        """A table with a line per kind."""
        rows: list[tuple[str, ...]] = [("mean ms", "frames", *_COLUMNS)]
        for kind in sorted(self._sums):
            means = (f"{total / self.counts[kind]:.1f}" for total in self._sums[kind])
            rows.append((f"  {kind}", str(self.counts[kind]), *means))
        return table(rows, right=range(1, len(_COLUMNS) + 2))


def shares_table(
    means: Mapping[str, Mapping[str, float] | None], frames: int, classes: Iterable[str]
) -> str:
    """A line per class and a column per zone: mean shares in percent, ``-`` where none is known."""
    rows: list[tuple[str, ...]] = [(f"mean % of {frames} frames", *means)]
    for name in classes:
        shown = (f"{100 * shares[name]:.1f}" if shares else "-" for shares in means.values())
        rows.append((f"  {name}", *shown))
    return table(rows, right=range(1, len(means) + 1))

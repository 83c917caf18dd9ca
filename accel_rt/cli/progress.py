"""How far a run is: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from accel_rt.cli.text import say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_LINE_EVERY_S = 5.0


class Progress:
    """Counts the frames of one input and shows them on stderr; a context manager.

    ``total`` is the expected number of frames, None where nobody knows.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.total = total
        self.counts = {"key": 0, "update": 0}
        self._bar: RichProgress | None = None
        self._started = self._last_line = monotonic()

    @property
    def frames(self) -> int:
        return sum(self.counts.values())

    @property
    def elapsed_s(self) -> float:
        return monotonic() - self._started

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = _make_bar()
            self._task = self._bar.add_task(self.name, total=self.total, key=0, update=0, per_s=0.0)
            self._bar.start()
        self._started = self._last_line = monotonic()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def add(self, kind: str) -> None:
        """Count one finished frame of ``kind``, ``key`` or ``update``."""
        self.counts[kind] += 1
        if self._bar:
            self._bar.update(
                self._task,
                advance=1,
                per_s=self._per_s(),
                key=self.counts["key"],
                update=self.counts["update"],
            )
        elif monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = monotonic()
            say(self.line())

    def line(self) -> str:
        """The state in one line."""
        of = f" of {self.total}" if self.total else ""
        parts = [
            f"{self.name}: {self.frames}{of} frames",
            f"{self._per_s():.1f} frames/s",
            f"{self.counts['key']} key, {self.counts['update']} update",
        ]
        if self.total and self.frames:
            left = max(0, self.total - self.frames) * self.elapsed_s / self.frames
            parts.append(f"{left:.0f} s left")
        return ", ".join(parts)

    def _per_s(self) -> float:
        return self.frames / max(self.elapsed_s, 1e-9)


def _make_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[per_s]:.1f} frames/s"),
        TextColumn("{task.fields[key]} key {task.fields[update]} update"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )

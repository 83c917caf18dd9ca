"""How far a run is: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from accel_rt.cli.text import plain, say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_LINE_EVERY_S = 5.0


class Progress:
    """Counts the frames of one input and shows them on stderr; a context manager.

    ``total`` is the expected number of frames, None where nobody knows; ``done`` of them were
    there before.
    """

    def __init__(self, name: str, total: int | None, done: int = 0) -> None:
        self.name = name
        self.done = done
        self.total = total
        self.counts: Counter[str] = Counter()
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
            self._bar = make_bar()
            self._task = self._bar.add_task(
                plain(self.name), total=self.total, completed=self.done, kinds="", per_s=0.0
            )
            self._bar.start()
        self._started = self._last_line = monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def add(self, kind: str) -> None:
        """Count one finished frame of a kind, see :data:`~accel_rt.runtime.schedule.FrameKind`."""
        self.counts[kind] += 1
        if self._bar:
            self._bar.update(
                self._task,
                advance=1,
                per_s=self._per_s(),
                kinds=self._kinds(),
            )
        elif monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = monotonic()
            say(self.line())

    def line(self) -> str:
        """The state in one line."""
        of = f" of {self.total}" if self.total else ""
        parts = [
            f"{self.name}: {self.done + self.frames}{of} frames",
            f"{self._per_s():.1f} frames/s",
            self._kinds(),
        ]
        if self.total and self.frames:
            left = max(0, self.total - self.done - self.frames) * self.elapsed_s / self.frames
            parts.append(f"{left:.0f} s left")
        return ", ".join(parts)

    def _kinds(self) -> str:
        kinds = ["key", "update", *(["carry"] if self.counts["carry"] else [])]
        return ", ".join(f"{self.counts[kind]} {kind}" for kind in kinds)

    def _per_s(self) -> float:
        return self.frames / max(self.elapsed_s, 1e-9)


def make_bar() -> RichProgress:
    """A bar of frames with the fields ``per_s`` and ``kinds``."""
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
        TextColumn("{task.fields[kinds]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@contextmanager
def steps_bar(title: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A function for messages and one for ``(steps done, all steps)``.

    On a terminal the steps are a bar with the time left under the messages; elsewhere the time
    left is added to the messages about a step.
    """
    left = TimeLeft()
    if not sys.stderr.isatty():
        yield (lambda message: say(message + left.text() * message.startswith("step"))), left.update
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
    )
    task = bar.add_task(title, total=None, left="")

    def update(done: int, total: int) -> None:
        left.update(done, total)
        bar.update(task, completed=done, total=total, left=left.text())

    with bar:
        yield (
            (lambda message: bar.console.print(plain(message), markup=False, highlight=False)),
            update,
        )


class TimeLeft:
    """Estimates the time left of a run from the pace of this session's steps."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._left_s: float | None = None

    def update(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` steps are done."""
        now = monotonic()
        if self._first is None:
            self._first = done, now
            return
        steps = max(1, done - self._first[0])
        self._left_s = (total - done) * (now - self._first[1]) / steps

    def text(self) -> str:
        """Such as ``, 1:02:03 left``; empty while nothing is known."""
        if not self._left_s:
            return ""
        minutes, seconds = divmod(round(self._left_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {hours}:{minutes:02}:{seconds:02} left"

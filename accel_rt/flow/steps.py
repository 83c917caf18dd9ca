"""Flow from each frame of a video to the next."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from accel_rt.flow.grid import Grid
from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource


class FlowSteps:
    """Remembers for ``source`` the frame before; None gives no flow. ``ran`` is what gave the
    latest frame's, in a word."""

    def __init__(self, source: FlowSource | None) -> None:
        self.source, self.ran = source, "none"
        self.restart()

    def restart(self) -> None:
        """The next frame has none before it."""
        self._view: Any = None

    def look(self, frame: Any, motion: Motion | None) -> None:
        """Take a frame as the one before the next; nothing leads to it."""
        self.ran = "none"
        if self.source is not None:
            self._view = self.source.view(frame, motion)

    def step(self, frame: Any, motion: Motion | None, grid: Grid) -> Tensor | None:
        """:meth:`look`, and the flow in cells of ``grid`` from the frame before, if any."""
        before = self._view
        self.look(frame, motion)
        if self.source is None or before is None:
            return None
        flow = self.source.between(before, self._view, grid)
        self.ran = self.source.latest
        return flow

"""What every source of optical flow offers."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from accel_rt.flow.grid import Grid
from accel_rt.flow.motion import Motion
from accel_rt.normalise import Normalisation


class FlowSource(Protocol):
    """Backward flow between any two frames, without memory of its own."""

    @property
    def normalisation(self) -> Normalisation | None:
        """How frames are to be normalised that are taken as tensors on the networks' device.

        None: they are taken as arrays on the CPU.
        """

    latest: str
    """What computed the flow that :meth:`between` gave last, in a word."""

    @property
    def name(self) -> str:
        """Which flow runs, for a report."""

    def view(self, frame: Any, motion: Motion | None = None) -> Any:
        """What is kept of a frame to compute flow from and to it.

        ``frame`` is the processed frame without padding: uint8 BGR ``[H, W, 3]``, or, on the
        device, RGB ``[1, 3, H, W]``, normalised. ``motion`` is what its video says of
        it, for sources that use that.
        """

    def between(self, previous: Any, current: Any, grid: Grid) -> Tensor:
        """Flow ``[1, 2, *grid.cells]`` in cells from two views.

        It says for each cell of the current frame where that was in the previous one.
        """

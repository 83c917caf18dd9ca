"""Figures by matplotlib, which is an extra: nothing else here needs it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from accel_rt.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib() -> None:
    """Raise :class:`~accel_rt.errors.UsageError` if it is not installed."""
    if find_spec("matplotlib") is None:
        raise UsageError("figures are drawn by matplotlib: pip install 'accel-rt[report]'")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn without a window or any global state.

    Raises :class:`~accel_rt.errors.UsageError` if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")

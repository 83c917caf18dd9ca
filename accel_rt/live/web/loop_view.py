"""What the page needs of a running loop; :class:`accel_rt.live.LiveLoop` is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from accel_rt.classes import ClassSet
from accel_rt.live.stats import LivePicture, LiveStats


class LoopView(Protocol):
    """A loop that can be watched and changed from any thread."""

    @property
    def classes(self) -> ClassSet | None:
        """The classes that are told apart; None while the loop is not ready."""

    def choices(self) -> Mapping[str, Sequence[Any]]:
        """The values that settings with a choice can take, by the settings' names."""

    def wait_picture(self, after_index: int, timeout: float) -> LivePicture | None:
        """The newest picture with an index above ``after_index``, None after ``timeout`` s."""

    def stats(self) -> LiveStats:
        """The loop at this moment."""

    def change(self, name: str, value: Any) -> None:
        """Set one setting; raises :class:`accel_rt.errors.UsageError`."""

    def snapshot(self) -> bytes:
        """The newest picture as PNG."""

    def record(self, on: bool) -> None:
        """Start or stop recording."""

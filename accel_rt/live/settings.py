"""What can be changed while a live run goes on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from accel_rt.errors import UsageError
from accel_rt.runtime.settings import (
    DEFAULT_UPDATE,
    MODES,
    UPDATE_SCALES,
    Mode,
    SegmenterSettings,
)
from accel_rt.video.display import LiveDisplay


@dataclass(frozen=True)
class LiveSettings(LiveDisplay):
    """How a live run segments and shows frames; the values are checked on construction.

    - ``interval``: frames from keyframe to keyframe, 1 to 1000.
    - ``mode``: ``accel``, ``dff``, ``copy`` or ``deeplab``.
    - ``update``: name of the update network; ``update_scale``: linear size of its input, 1, 0.5
      or 0.25.
    - ``async_keyframes``: the reference network runs beside the frames instead of between them.
    - ``paused``: the picture stands still; frames that come meanwhile are not segmented.
    - ``classes``: names of those in colour, a tuple or list, None for all; ``alpha``: how strongly,
      0 to 1; ``outline``, ``legend`` and ``side_by_side`` are drawn, too.

    Raises :class:`~accel_rt.errors.UsageError` with one sentence for a value outside these.
    """

    interval: int = 5
    mode: Mode = "accel"
    update: str = DEFAULT_UPDATE
    update_scale: float = 1.0
    async_keyframes: bool = True
    paused: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.classes, list):
            object.__setattr__(self, "classes", tuple(self.classes))
        whole = isinstance(self.interval, int) and not isinstance(self.interval, bool)
        if not whole or not 1 <= self.interval <= 1000:
            raise UsageError(
                f"the interval must be a whole number from 1 to 1000, got {self.interval}"
            )
        if self.mode not in MODES:
            raise UsageError(f"unknown mode '{self.mode}': choose from {', '.join(MODES)}")
        if not isinstance(self.update, str) or not self.update:
            raise UsageError(f"the update network must be a name, got {self.update!r}")
        if not _is_number(self.update_scale) or self.update_scale not in UPDATE_SCALES:
            raise UsageError(f"the update scale must be 1, 0.5 or 0.25, got {self.update_scale}")
        if not _is_number(self.alpha) or not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha must be a number from 0 to 1, got {self.alpha}")
        if self.classes is not None and not _are_names(self.classes):
            raise UsageError(f"classes must be a list of names, got {self.classes!r}")
        for name in ("async_keyframes", "outline", "legend", "side_by_side", "paused"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, got {getattr(self, name)!r}")

    def changed(self, name: str, value: Any) -> LiveSettings:
        """These settings with ``name`` set to ``value``.

        Raises :class:`~accel_rt.errors.UsageError` for an unknown name or a bad value.
        """
        names = [field.name for field in fields(self)]
        if name not in names:
            raise UsageError(f"there is no setting '{name}': choose from {', '.join(names)}")
        return replace(self, **{name: value})

    @classmethod
    def of(cls, networks: SegmenterSettings) -> LiveSettings:
        """Those that begin with the interval, mode and update network of ``networks``."""
        return cls(
            interval=networks.interval,
            mode=networks.mode,
            update=networks.update,
            update_scale=networks.update_scale,
        )

    def segmenter(self, base: SegmenterSettings) -> SegmenterSettings:
        """``base`` with the network choices of these settings."""
        return replace(
            base,
            interval=self.interval,
            mode=self.mode,
            update=self.update,
            update_scale=self.update_scale,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)

"""What each frame is: keyframe, update or carried, and whether later frames are waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accel_rt.errors import UsageError

FrameKind = Literal["key", "update", "carry"]
"""What was computed of a frame: the reference network (``key``); the update network, where there is
one, and the keyframe's state moved here (``update``); or nothing but flow (``carry``)."""


@dataclass(frozen=True)
class Schedule:
    """How often the networks run, and what becomes of the frames between.

    - ``interval``: frames from keyframe to keyframe, at least 1; the reference network runs there.
    - ``update_every``: the update network runs on every n-th frame after a keyframe; scores of the
      others are carried on from the frame before by flow. 1 is the paper's schedule.
    - ``fuse_keyframes``: the update network runs on keyframes, too, and is fused there.
    - ``look_ahead``: frames are also carried back from the next keyframe or update, so that results
      come up to ``interval`` frames late.

    Raises :class:`~accel_rt.errors.UsageError` for a value out of range.
    """

    interval: int = 5
    update_every: int = 1
    fuse_keyframes: bool = False
    look_ahead: bool = False

    def __post_init__(self) -> None:
        for name in ("interval", "update_every"):
            if getattr(self, name) < 1:
                what = {"interval": "the keyframe interval"}.get(name, "--update-every")
                raise UsageError(f"{what} must be at least 1, got {getattr(self, name)}")

    @property
    def carries(self) -> bool:
        """Whether there are frames on which no network runs."""
        return self.update_every > 1 and self.interval > 1

    def describe(self) -> str:
        """In words, for a report."""
        parts = [f"keyframe every {self.interval}"]
        if self.fuse_keyframes:
            parts[0] += " (fused)"
        if self.update_every >= self.interval:
            parts.append("others carried")
        elif self.update_every > 1:
            parts.append(f"update every {self.update_every}, others carried")
        if self.look_ahead:
            parts.append("from both sides")
        return ", ".join(parts)

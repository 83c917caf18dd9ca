"""What each frame is: keyframe, update or carried, and whether later frames are waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from accel_rt.errors import UsageError

FrameKind = Literal["key", "update", "carry"]
"""What was computed of a frame: the reference network (``key``); the update network, where there is
one, and the keyframe's state moved here (``update``); or nothing but flow (``carry``)."""

PolicyName = Literal["fixed", "adaptive", "budget"]
POLICIES: tuple[str, ...] = get_args(PolicyName)


@dataclass(frozen=True)
class Schedule:
    """How often the networks run, and what becomes of the frames between.

    - ``interval``: frames from keyframe to keyframe, at least 1; the reference network runs there.
    - ``update_every``: the update network runs on every n-th frame after a keyframe; scores of the
      others are carried on from the frame before by flow. 1 is the paper's schedule.
    - ``fuse_keyframes``: the update network runs on keyframes, too, and is fused there.
    - ``gate``: where the picture does not look as the flow says it should, because something came
      into view since, the update network, or the other side, is trusted instead.
    - ``look_ahead``: frames are also carried back from the next keyframe or update, so that results
      come up to ``interval - 1`` frames late.
    - ``policy``: ``fixed`` keeps to the interval; ``adaptive`` keeps to it on average and places
      keyframes where the picture changes, ``budget`` where they are learnt to help most.

    Raises :class:`~accel_rt.errors.UsageError` for a value out of range, and for what does not go
    together.
    """

    interval: int = 5
    update_every: int = 1
    fuse_keyframes: bool = False
    look_ahead: bool = False
    gate: bool = False
    policy: PolicyName = "fixed"

    def __post_init__(self) -> None:
        for name in ("interval", "update_every"):
            if getattr(self, name) < 1:
                what = {"interval": "the keyframe interval"}.get(name, "--update-every")
                raise UsageError(f"{what} must be at least 1, got {getattr(self, name)}")
        if self.policy != "fixed" and self.look_ahead:
            raise UsageError(
                f"--policy {self.policy} does not know when the next keyframe comes, and "
                f"--look-ahead waits for it: choose --policy fixed or --no-look-ahead"
            )

    @property
    def updates(self) -> bool:
        """Whether the update network runs at all."""
        return self.interval > 1 and (self.fuse_keyframes or self.update_every < self.interval)

    @property
    def fused_after(self) -> tuple[int, ...]:
        """Frames from a keyframe to where both networks' scores are fused, 0 for itself."""
        between = range(self.update_every, self.interval, self.update_every)
        return (0, *between) if self.fuse_keyframes else tuple(between)

    @property
    def delay(self) -> int:
        """By how many frames results come late, at most."""
        return self.interval - 1 if self.look_ahead else 0

    @property
    def carries(self) -> bool:
        """Whether there are frames on which no network runs."""
        return self.update_every > 1 and self.interval > 1

    def describe(self) -> str:
        """In words, for a report."""
        parts = [f"keyframe every {self.interval}"]
        if self.fuse_keyframes:
            parts[0] += " (fused)"
        if self.policy != "fixed" and self.interval > 1:
            parts[0] += f" on average ({self.policy})"
        if self.update_every >= self.interval > 1:
            parts.append("others carried")
        elif 1 < self.update_every < self.interval:
            parts.append(f"update every {self.update_every}, others carried")
        if self.look_ahead:
            parts.append(f"from both sides, up to {self.delay} frames late")
        if self.gate:
            parts.append("gated")
        return ", ".join(parts)


PresetName = Literal["accurate", "balanced", "fast", "fastest"]

PRESETS: dict[PresetName, Schedule] = {
    "accurate": Schedule(5, 1, fuse_keyframes=True, look_ahead=True, gate=True),
    "balanced": Schedule(8, 4, fuse_keyframes=True, look_ahead=True, gate=True),
    "fast": Schedule(10, 5, look_ahead=True, gate=True),
    "fastest": Schedule(10, 10, look_ahead=True, gate=True),
}
"""Schedules for files by what is wanted of them, as measured (README, "What to expect")."""

LIVE_PRESETS: dict[PresetName, Schedule] = {
    "accurate": Schedule(5, 1, fuse_keyframes=True, gate=True),
    "balanced": Schedule(6, 3, fuse_keyframes=True, gate=True),
    "fast": Schedule(10, 4, fuse_keyframes=True, gate=True),
    "fastest": Schedule(10, 5, gate=True),
}
"""Schedules without look-ahead, for what happens now."""

NAMED: dict[str, Schedule] = {
    **{f"{name}": schedule for name, schedule in PRESETS.items()},
    **{f"live-{name}": schedule for name, schedule in LIVE_PRESETS.items()},
}
"""Both, by names that do not collide."""

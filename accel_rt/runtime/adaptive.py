"""Keyframes where the picture can no longer be carried, as many as a fixed interval would take."""

from __future__ import annotations

import math

from accel_rt.runtime.watching import LONGEST, Signs, Watching

_GAIN = 0.15


class Adaptive(Watching):
    """A keyframe once enough has gone wrong since the last one.

    What goes wrong is the square root of the residual, summed up since the keyframe: where things
    change at a rate, the sum of losses is least if every interval brings the same sum. (A bound on
    the last residual alone spends too much on quick motion, whose keyframes soon are of no use.)

    The bound is what the first interval sums up to, and then rises with every keyframe and falls
    with every frame, so that over some dozens of keyframes the average holds.
    """

    def reset(self) -> None:
        super().reset()
        self._bound: float | None = None
        self._sum = 0.0

    def _enough(self, signs: Signs, since_keyframe: int) -> bool:
        if since_keyframe == 1:
            self._sum = 0.0
        self._sum += math.sqrt(signs.residual)
        factor = math.exp(_GAIN * self._spent)
        if self._bound is None:
            if since_keyframe < self._interval:
                return False
            self._bound = self._sum / factor
        return self._sum >= self._bound * factor or since_keyframe >= LONGEST * self._interval

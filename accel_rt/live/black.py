"""Pictures without light, as of a covered lens."""

from __future__ import annotations

import numpy as np

_SAMPLE = 16  # one pixel in so many, in both directions
_BLACK = 24  # of 255; above the noise of a dark sensor, and above the black of limited range
_BLACK_LASTS_S = 1.0


class BlackPictures:
    """Notices them; ``lasting`` after a second of them."""

    lasting = False

    def __init__(self) -> None:
        self._since: float | None = None

    def ends(self, frame_bgr: np.ndarray, captured_at: float) -> bool:
        """Take the next frame; whether it is the first that shows something again."""
        if int(frame_bgr[::_SAMPLE, ::_SAMPLE].max()) > _BLACK:
            ended, self.lasting, self._since = self.lasting, False, None
            return ended
        self._since = captured_at if self._since is None else self._since
        self.lasting = captured_at - self._since >= _BLACK_LASTS_S
        return False

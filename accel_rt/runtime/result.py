"""What the segmenter returns for a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

FrameKind = Literal["key", "update"]


@dataclass(frozen=True)
class FrameResult:
    """One segmented frame.

    ``labels`` is uint8 ``[H, W]`` at the source frame's size; ``pts`` is the presentation time in
    seconds given to ``step`` (None if none was); ``timings`` holds milliseconds per stage
    (``flow``, ``network``, ``output``); ``margin`` is float32 ``[H, W]``, the best class's score
    less the second best's, for segmenters that were asked for it.
    """

    index: int
    pts: Fraction | None
    kind: FrameKind
    labels: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    margin: np.ndarray | None = None

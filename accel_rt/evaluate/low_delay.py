"""A video as IP cameras and low-latency encoders send it, with its motion vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from accel_rt.errors import UsageError
from accel_rt.size import wxh
from accel_rt.video.reader import open_source
from accel_rt.video.source import Frame

_LOW_DELAY = {"tune": "zerolatency", "preset": "veryfast", "refs": "1", "g": "1000"}
_RATE = 15  # frames a second; nothing depends on it


def low_delay_copy(images: Sequence[np.ndarray], crf: int = 20) -> list[Frame]:
    """``images`` (uint8 BGR ``[H, W, 3]``) as H.264 whose pictures are each predicted from the one
    before, by x264 at its quality ``crf``, 0 (the best) to 51, and decoded again.

    Raises :class:`~accel_rt.errors.UsageError` for sides of an odd number of pixels.
    """
    height, width = images[0].shape[:2]
    if height % 2 or width % 2:
        raise UsageError(
            f"a low-delay copy needs an even width and height, and these frames are "
            f"{wxh((height, width))}: leave out --low-delay"
        )
    with TemporaryDirectory(prefix="accel-rt-") as folder:
        path = Path(folder) / "copy.mp4"
        with av.open(str(path), "w") as container:
            options = {**_LOW_DELAY, "crf": str(crf)}
            stream = container.add_stream("libx264", rate=_RATE, options=options)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuv420p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
            container.mux(stream.encode(None))
        with open_source(path) as source:
            return list(source)

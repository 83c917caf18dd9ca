"""Names for the channel layouts of sound, without what makes PyAV free one twice."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from typing import Any, cast

import av
import numpy as np

_NAMES = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")  # FFmpeg's own defaults
_STREAM = re.compile(r"Stream #\d+:(\d+)\D.*?Audio: .*? Hz, ([^,\n]+)")
_UNNAMED = re.compile(r"(\d+) channels")
_logging = threading.Lock()


def layout_name(text: str) -> str:
    """``text``, FFmpeg's description of a layout, or a usual name where it has none."""
    unnamed = _UNNAMED.match(text)
    if unnamed is None:
        return text
    channels = int(unnamed[1])
    return _NAMES[channels - 1] if 1 <= channels <= len(_NAMES) else f"{channels} channels"


def name_layouts(container: av.container.InputContainer) -> None:
    """Name the layout of every sound stream of ``container``, before any of it is decoded.

    PyAV's ``AudioLayout`` shares the channel map of a layout whose channels are in an order of
    their own (as in ProRes masters) and frees it with every object: a decoded frame corrupts the
    heap, and so does a look at ``codec_context.layout``. FFmpeg's description is safe to read.
    A decoder that finds another layout in the stream itself uses that.
    """
    described = dict(_STREAM.findall(_description(container)))
    for stream in container.streams.audio:
        text = described.get(str(stream.index))
        if text and stream.codec_context is not None:
            with suppress(ValueError):  # a name that FFmpeg writes but does not read
                stream.codec_context.layout = layout_name(text)


def with_named_layout(frame: av.AudioFrame) -> av.AudioFrame:
    """``frame``, or a copy whose layout has a name; of more than 8 channels the first two."""
    unnamed = _UNNAMED.match(frame.layout.name)
    if unnamed is None:
        return frame
    channels = int(unnamed[1])
    (packed,) = av.AudioResampler("flt", frame.layout.name, frame.sample_rate).resample(frame)
    samples, name = packed_samples(packed), layout_name(frame.layout.name)
    if channels > len(_NAMES):
        samples, name = samples[:, :2], "stereo"
    return packed_frame(samples, name, frame.sample_rate)


def packed_samples(frame: av.AudioFrame) -> np.ndarray:
    """The samples ``[samples, channels]`` of a frame whose format is packed.

    Planar ones are not for PyAV, which finds more than there are of 8 and more planes.
    """
    return frame.to_ndarray().reshape(-1, frame.layout.nb_channels)


def packed_frame(samples: np.ndarray, layout: str, rate: int) -> av.AudioFrame:
    """A frame of ``samples``, float32 ``[samples, channels]``."""
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
    frame.sample_rate = rate
    return frame


def _description(container: av.container.InputContainer) -> str:
    """FFmpeg's own lines about ``container``, which it tells its log."""
    with _logging:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            return str(cast(Any, container).dumps_format())  # not in PyAV's stubs
        except UnicodeDecodeError:
            return ""
        finally:
            av.logging.set_level(level)

"""Pictures to coded pictures: conversion, padding and the encoder itself."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from accel_rt.errors import OutputError
from accel_rt.size import wxh
from accel_rt.video.codecs import Codec
from accel_rt.video.color import BT709, EXACT

_LIMITED = 1
_TICKS_PER_S = 90_000
_SAME_SHAPE = 0.01  # aspect ratios that differ by rounding alone


def fit(frame_bgr: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """A picture scaled to ``size``, ``(height, width)``, and whether its shape changed by it."""
    if frame_bgr.shape[:2] == size:
        return frame_bgr, False
    (height, width), (own_height, own_width) = size, frame_bgr.shape[:2]
    smaller = own_height * own_width > width * height
    aspect = own_width * height / (own_height * width)
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    scaled = cv2.resize(frame_bgr, (width, height), interpolation=method)
    return scaled, abs(aspect - 1) > _SAME_SHAPE


def stretched_note(pictures: int) -> list[str]:
    """What is told of so many pictures whose shape changed; nothing of none."""
    if not pictures:
        return []
    several = f"{pictures} pictures of another shape were"
    return [f"{'1 picture of another shape was' if pictures == 1 else several} stretched to fit"]


class PictureEncoder:
    """Encodes BGR pictures into ``stream`` of an output container, as 8-bit yuv420p.

    ``size`` is ``(height, width)`` of the pictures; others are scaled to it, and ``stretched``
    counts those of another shape. ``coded_size`` is
    even and at least the codec's smallest: the last column and row are repeated on the right and
    below. ``options`` are the codec's own. After :meth:`restart` nothing depends on the pictures
    before.

    Raises :class:`OutputError` for an encoder that is missing from this build or cannot encode
    the size.
    """

    def __init__(
        self,
        container: av.container.OutputContainer,
        choice: Codec,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        options: dict[str, str],
        tag: str | None,
    ) -> None:
        self.coded_size = coded_size(choice, size)
        self.stretched = 0
        rate = min(rate, Fraction(choice.max_rate))
        self._choice, self._size, self._rate = choice, size, rate
        self._time_base, self._options, self._tag = time_base, options, tag
        self._reformatter = VideoReformatter()
        try:
            self.stream = cast(av.VideoStream, container.add_stream(choice.encoder, rate=rate))
        except av.codec.codec.UnknownCodecError as error:
            raise OutputError(
                f"the encoder {choice.encoder} is missing from this build of PyAV: "
                "choose another codec"
            ) from error
        self.stream.time_base = time_base
        self._context = self.stream.codec_context
        self._flags = self._context.flags
        self._open()

    def encode(self, picture: av.VideoFrame) -> list[av.Packet]:
        """The packets that are ready once ``picture`` of :meth:`convert` has been taken in."""
        return self._of_stream(self._context.encode(picture))

    def flush(self) -> list[av.Packet]:
        """The packets still held back; only :meth:`restart` may follow."""
        return self._of_stream(self._context.encode(None))

    def restart(self) -> None:
        """Begin anew with an encoder that knows of no earlier picture; flush the old one first."""
        self._context = cast(
            av.VideoCodecContext, av.CodecContext.create(self._choice.encoder, "w")
        )
        self._context.flags, self._context.framerate = self._flags, self._rate
        self._open()

    def convert(self, frame_bgr: np.ndarray) -> av.VideoFrame:
        """uint8 BGR ``[H, W, 3]`` scaled, padded and converted, BT.709 in limited range."""
        height, width = self._size
        frame_bgr, stretched = fit(frame_bgr, self._size)
        self.stretched += stretched
        if self.coded_size != self._size:
            below, right = self.coded_size[0] - height, self.coded_size[1] - width
            frame_bgr = cv2.copyMakeBorder(frame_bgr, 0, below, 0, right, cv2.BORDER_REPLICATE)
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_bgr), format="bgr24"),
            format="yuv420p",
            dst_colorspace=BT709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT,
        )

    def _open(self) -> None:
        context, choice = self._context, self._choice
        context.height, context.width = self.coded_size
        context.pix_fmt = "yuv420p"
        context.time_base = self._time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = _LIMITED
        context.options = {**self._options}
        if self._tag:
            context.codec_tag = self._tag
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 has no other way to be quiet
        try:
            context.open(strict=False)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"{choice.encoder} cannot encode {wxh(self.coded_size)} pixels: "
                "choose another codec or size"
            ) from error

    def _of_stream(self, packets: list[av.Packet]) -> list[av.Packet]:
        for packet in packets:
            packet.stream = self.stream
        return packets


def coded_size(choice: Codec, size: tuple[int, int]) -> tuple[int, int]:
    """``size``, made even and at least the smallest that ``choice`` takes."""
    height, width = (max(choice.min_size, side + side % 2) for side in size)
    return height, width


def time_base(rate: Fraction) -> Fraction:
    """A grid of 90,000 or more ticks a second on which frames of ``rate`` fall exactly."""
    if rate.numerator > 1_000_000:
        return Fraction(1, _TICKS_PER_S)
    return Fraction(1, rate.numerator * math.ceil(_TICKS_PER_S / rate.numerator))

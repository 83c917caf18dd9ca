"""From decoded frames in any pixel format to 8-bit BGR the way round and as wide as shown.

What is done, in this order:

* Range and matrix: limited or full range as tagged (limited where YUV is untagged); BT.601,
  BT.709, BT.2020, SMPTE 240M or FCC as tagged, and untagged BT.709 from 1280 wide or 577 high
  on, BT.601 below. The colours of wide-gamut SDR sources are not mapped to BT.709.
* HDR (PQ and HLG): brought to linear light, compressed per channel by the extended Reinhard
  curve (1000 cd/m2 becomes white, the reference white of 203 cd/m2 half of it), BT.2020
  primaries become BT.709's, and the result is encoded with a display gamma of 2.4.
* Alpha is dropped. Interlaced frames are not deinterlaced.
* Sample aspect ratio: pixels are made square by enlarging the shorter side, so that networks
  and viewers see the proportions that a player shows.
* Rotation and mirroring from the display matrix, in steps of 90 degrees.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

# Rounding and full chroma resolution: without them swscale darkens a round trip by 2 levels.
# These are swscale's flags, which older versions of PyAV take but do not name: bilinear,
# accurate rounding, full chroma interpolation on output, full chroma on input.
EXACT = 0x2 | 0x40000 | 0x2000 | 0x4000

REFERENCE_WHITE_NITS = 203.0
PEAK_NITS = 1000.0

# swscale knows matrices by the numbers of ITU-T H.273, which frames are tagged with too, but
# has one number only for both of BT.601's and for both of BT.2020's.
BT709, _BT601, _BT2020 = 1, 5, 9
_MATRIX_OF_TAG = {BT709: BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: _BT2020, 10: _BT2020}
_PRIMARIES_BT2020 = 9
_TRANSFER_PQ = 16
_TRANSFER_HLG = 18

# Linear BT.2020 to linear BT.709 (ITU-R BT.2087), rows and columns in RGB order.
_BT2020_TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    np.float32,
)


class FrameConverter:
    """Turns decoded frames into BGR pictures; ``saw_hdr`` says that tone mapping was used."""

    def __init__(self, sample_aspect: Fraction | None = None) -> None:
        self.saw_hdr = False
        self._sample_aspect = _sane_aspect(sample_aspect)
        self._reformatter = VideoReformatter()
        self._tone_curves: dict[int, np.ndarray] = {}
        self._rotation: float | None = None
        self._display_matrix: list[int] | None = None

    def shown_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of a picture with square pixels, before it is turned."""
        height, width = size
        if self._sample_aspect >= 1:
            return height, round(width * self._sample_aspect)
        return round(height / self._sample_aspect), width

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """``frame`` as uint8 BGR ``[H, W, 3]``, C-contiguous."""
        transfer = int(frame.color_trc)
        hdr = transfer in (_TRANSFER_PQ, _TRANSFER_HLG)
        height, width = self.shown_size((frame.height, frame.width))
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp16le" if hdr else "bgr24",  # packed rgb48 comes out wrong with EXACT
            src_colorspace=_matrix(frame),
            src_color_range=_color_range(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        )
        image: np.ndarray = converted.to_ndarray()
        if hdr:
            self.saw_hdr = True
            image = self._tone_map(image, transfer)
        elif frame.format.name.startswith("gray") and int(frame.color_range) == ColorRange.MPEG:
            # swscale takes every grey format as full range, whatever its tag says.
            image = cv2.LUT(image, _LIMITED_TO_FULL)
        return np.ascontiguousarray(_orient(image, self._display_matrix_of(frame)))

    def _display_matrix_of(self, frame: av.VideoFrame) -> list[int] | None:
        """The frame's display matrix, read when the rotation changes.

        A frame whose side data were looked at refers to itself, and its pixels stay in memory
        until garbage is collected.
        """
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            data: Any = frame.side_data.get("DISPLAYMATRIX")
            self._display_matrix = None if data is None else np.frombuffer(data, np.int32).tolist()
        return self._display_matrix

    def _tone_map(self, rgb16: np.ndarray, transfer: int) -> np.ndarray:
        if transfer not in self._tone_curves:
            self._tone_curves[transfer] = _tone_curve(transfer)
        linear = self._tone_curves[transfer][rgb16]
        linear = np.clip(cv2.transform(linear, _BT2020_TO_BT709), 0.0, 1.0)
        return _DISPLAY_GAMMA[(linear[..., ::-1] * 65535.0).astype(np.uint16)]


def _sane_aspect(aspect: Fraction | None) -> Fraction:
    """``aspect``, or 1 where it is unknown or absurd."""
    return aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _matrix(frame: av.VideoFrame) -> int | None:
    if frame.format.is_rgb:
        return None
    tagged = _MATRIX_OF_TAG.get(int(frame.colorspace))
    if tagged is not None:
        return tagged
    if int(frame.color_primaries) == _PRIMARIES_BT2020:
        return _BT2020
    high_definition = frame.width >= 1280 or frame.height > 576
    return BT709 if high_definition else _BT601


def _color_range(frame: av.VideoFrame) -> ColorRange:
    tagged = int(frame.color_range)
    if tagged in (ColorRange.MPEG, ColorRange.JPEG):
        return ColorRange(tagged)
    full = frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray", "pal"))
    return ColorRange.JPEG if full else ColorRange.MPEG


def _orient(image: np.ndarray, matrix: list[int] | None) -> np.ndarray:
    """Apply the display matrix: ``x' = a x + c y``, ``y' = b x + d y`` in 16.16 fixed point."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        image, mirror_x, mirror_y = cv2.transpose(image), c < 0, b < 0
    else:
        mirror_x, mirror_y = a < 0, d < 0
    if mirror_x and mirror_y:
        return cv2.flip(image, -1)
    if mirror_x or mirror_y:
        return cv2.flip(image, 1 if mirror_x else 0)
    return image


def _tone_curve(transfer: int) -> np.ndarray:
    """16-bit code value to tone-mapped linear light in 0..1, float32 ``[65536]``."""
    code = np.linspace(0.0, 1.0, 65536)
    nits = _pq_to_nits(code) if transfer == _TRANSFER_PQ else _hlg_to_nits(code)
    light = np.minimum(nits, PEAK_NITS) / REFERENCE_WHITE_NITS
    peak = PEAK_NITS / REFERENCE_WHITE_NITS
    return (light * (1 + light / peak**2) / (1 + light)).astype(np.float32)


def _pq_to_nits(code: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084's EOTF."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = code ** (1 / m2)
    return 10000.0 * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_to_nits(code: np.ndarray) -> np.ndarray:
    """ARIB STD-B67's inverse OETF and a 1.2 system gamma, taken per channel, for 1000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return PEAK_NITS * scene**1.2


_DISPLAY_GAMMA = np.rint(255 * np.linspace(0.0, 1.0, 65536) ** (1 / 2.4)).astype(np.uint8)
_LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)

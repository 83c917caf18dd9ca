"""Clips for the video tests, made with PyAV's muxers alone, and an independent reader."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = Fraction(25)
SAMPLE_RATE = 48000


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture that says its number: 8 vertical bars, dark or bright, are its bits."""
    bits = [(number >> bit) & 1 for bit in range(8)]
    row = np.array([40 + 170 * bits[x * 8 // width] for x in range(width)], np.uint8)
    return np.repeat(np.tile(row, (height, 1))[:, :, None], 3, axis=2)


def picture_number(image_bgr: np.ndarray) -> int:
    """The number that :func:`picture` drew."""
    width = image_bgr.shape[1]
    middles = [round((bit + 0.5) * width / 8) for bit in range(8)]
    row = image_bgr[image_bgr.shape[0] // 2, :, 1]
    return sum(int(row[x] > 125) << bit for bit, x in enumerate(middles))


def write_clip(
    path: Path,
    times: list[Fraction] | None = None,
    images: list[np.ndarray] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction = RATE,
    time_base: Fraction = Fraction(1, 12800),
    audio_s: float = 0.0,
    audio_codec: str = "aac",
    audio_start_s: Fraction = Fraction(0),
    beep_s: float | None = None,
    options: dict[str, str] | None = None,
    mux: dict[str, str] | None = None,
    format: str | None = None,
    context: dict[str, object] | None = None,
) -> Path:
    """A clip of numbered pictures at ``times`` (20 at ``rate`` for None), keyframes every 5.

    ``audio_s`` seconds of sound start at ``audio_start_s``: silence, with a loud tone of 0.1 s
    from ``beep_s`` on.
    """
    times = times or [n / rate for n in range(len(images or range(20)))]
    images = images or [picture(n) for n in range(len(times))]
    with av.open(str(path), "w", format=format, options=mux or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"g": "5"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        sound = None
        if audio_s:
            sound = container.add_stream(audio_codec, rate=SAMPLE_RATE, layout="mono")
        for time, image in zip(times, images, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            _write_sound(container, sound, audio_s, audio_start_s, beep_s)
    return path


def _write_sound(container, stream, length_s, start_s, beep_s) -> None:
    time = np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros(len(time), np.float32)
    if beep_s is not None:
        loud = (time >= beep_s) & (time < beep_s + 0.1)
        wave[loud] = 0.8 * np.sin(2 * np.pi * 1000 * time[loud])
    for begin in range(0, len(wave), 1024):
        samples = (wave[None, begin : begin + 1024] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = begin + round(start_s * SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@dataclass
class Probe:
    """What a plain demux and decode of a file finds."""

    codec: str
    pix_fmt: str
    times: list[Fraction]
    images: list[np.ndarray]
    audio_codec: str | None
    audio_start_s: float | None
    audio_end_s: float | None
    beep_s: float | None


def probe(path: Path) -> Probe:
    """Read a file with PyAV's own loop, independent of the package's reader."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        codec, pix_fmt = stream.codec_context.name, stream.codec_context.pix_fmt
        times = [frame.pts * frame.time_base for frame in frames]
        images = [frame.to_ndarray(format="bgr24") for frame in frames]
        if not container.streams.audio:
            return Probe(codec, pix_fmt, times, images, None, None, None, None)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        start = end = beep = None
        for frame in container.decode(stream):
            wave = frame.to_ndarray().astype(np.float32).reshape(-1)
            wave /= 32768 if frame.format.name.startswith("s16") else 1
            at = float(frame.pts * frame.time_base)
            start = at if start is None else start
            end = at + frame.samples / frame.sample_rate
            loud = np.flatnonzero(np.abs(wave) > 0.3)
            if beep is None and len(loud):
                beep = at + loud[0] / frame.sample_rate
        name = stream.codec_context.name
    return Probe(codec, pix_fmt, times, images, name, start, end, beep)


def boxes(path: Path) -> list[str]:
    """The names of an MP4's top-level boxes, in order."""
    data, at, names = path.read_bytes(), 0, []
    while at + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode("latin1"))
        if size == 1:
            size = struct.unpack(">Q", data[at + 8 : at + 16])[0]
        at += size or len(data)
    return names


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the video track's display matrix in an MP4 (1, 0, 0, 1 is upright)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: after times, id, reserved, volume
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)

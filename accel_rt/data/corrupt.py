"""What cameras, weather and codecs do to pictures: for training, and to measure what it costs.

A corruption is drawn once for a video and then done to each of its frames, so that what stays the
same (a blur's direction, the fog) does, while noise is drawn anew. Strengths grow with the harm but
for ``jpeg``, whose strength is the usual quality.

Frames may lie on any device: only what codecs do to them is done on the CPU, and noise is drawn
where the frame is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.errors import UsageError

Random = np.random.Generator
Corrupt = Callable[[Tensor, Random], Tensor]
"""A frame uint8 BGR ``[H, W, 3]`` of a video to the same, on its device."""


def _fog(density: float, rng: Random) -> Corrupt:
    """Air light over ``density`` of the contrast at the horizon, less towards the camera."""
    horizon, light = rng.uniform(0.35, 0.6), rng.uniform(170, 230)

    def corrupt(frame: Tensor, rng: Random) -> Tensor:
        below = np.linspace(0, 1, len(frame), dtype=np.float32) - horizon
        nearness = np.where(below > 0, below / (1 - horizon), -0.3 * below)
        return _scaled(frame, (1 - density * (1 - nearness) ** 2)[:, None, None], light)

    return corrupt


def _rain(amount: float, rng: Random) -> Corrupt:
    """Streaks of ``amount`` of the brightness, all of one slant, and a veil of a third of it."""
    slant = _line(int(rng.integers(9, 20)), rng.uniform(70, 110))

    def corrupt(frame: Tensor, rng: Random) -> Tensor:
        drops = _uniform((*frame.shape[:2], 1), frame, rng) > 0.99
        streaks = filtered(255 * drops.to(torch.uint8), slant * len(slant)) / 255
        return _scaled(frame, 1 - amount * (streaks + 0.3) / 1.3, 200.0)

    return corrupt


def _dark(stops: float, rng: Random) -> Corrupt:
    """Underexposed by ``stops``, with the noise of a picture that was brightened in part."""
    noise = _noise(2 * stops, rng)
    share = 2 ** (-stops / 2.2)
    return lambda frame, rng: noise((frame * share).to(torch.uint8), rng)


def _white(amount: float, rng: Random) -> Corrupt:
    """Blue and red are scaled apart by up to ``1 + amount``, either way."""
    warmth, tint = rng.choice((-1, 1)) * np.log1p(amount), rng.uniform(-0.3, 0.3) * amount
    gains = np.exp((-warmth / 2, tint, warmth / 2)).astype(np.float32)
    return lambda frame, rng: _scaled(frame, gains)


def _bands(amount: float, rng: Random) -> Corrupt:
    """Bands of ``amount`` of the brightness roll through: lamps, under a rolling shutter."""
    waves = rng.uniform(0.5, 3)

    def corrupt(frame: Tensor, rng: Random) -> Tensor:
        angles = np.linspace(0, 2 * np.pi * waves, len(frame), dtype=np.float32)
        angles += np.float32(rng.uniform(0, 2 * np.pi))
        return _scaled(frame, (1 + amount * np.sin(angles))[:, None, None])

    return corrupt


def _blur(length_px: float, rng: Random) -> Corrupt:
    """Motion of so many pixels in one direction, mostly sideways, while the shutter was open."""
    kernel = _line(round(length_px), rng.normal(0, 35))
    return lambda frame, rng: filtered(frame, kernel)


def _focus(diameter_px: float, rng: Random) -> Corrupt:
    """Out of focus: each point is a disk."""
    half = int(np.ceil(diameter_px / 2))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = np.clip(diameter_px / 2 + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return lambda frame, rng: filtered(frame, disk / disk.sum())


def _noise(sigma: float, rng: Random) -> Corrupt:
    """Read noise: of standard deviation ``sigma`` of 255, alike everywhere."""
    return lambda frame, rng: _added(frame, _normal(frame, rng) * sigma)


def _shot(sigma: float, rng: Random) -> Corrupt:
    """Shot noise: of standard deviation ``sigma`` where white, less with the root of the light."""
    return lambda frame, rng: _added(frame, _normal(frame, rng) * ((frame / 255.0).sqrt() * sigma))


def _video(quantiser: float, rng: Random) -> Corrupt:
    """A frame that MPEG-4 predicted from one that was a little elsewhere, at this quantiser."""
    shift = np.array([[1, 0, rng.normal(0, 3)], [0, 1, rng.normal(0, 1)]])

    def coded(frame: np.ndarray) -> np.ndarray:
        size = frame.shape[1::-1]
        before = cv2.warpAffine(frame, shift, size, borderMode=cv2.BORDER_REPLICATE)
        return _coded([before, frame], round(quantiser))

    return lambda frame, rng: _on_cpu(frame, coded)


def _jpeg(quality: float, rng: Random) -> Corrupt:
    """Saved as JPEG of this ``quality``, 1 to 100."""

    def coded(frame: np.ndarray) -> np.ndarray:
        _, file = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, round(quality)))
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert decoded is not None
        return decoded

    return lambda frame, rng: _on_cpu(frame, coded)


@dataclass(frozen=True)
class Corruption:
    """One kind: how it is drawn, its ``bounds``, and from ``mild`` to ``severe`` in training."""

    draw: Callable[[float, Random], Corrupt]
    bounds: tuple[float, float]
    mild: float
    severe: float


CORRUPTIONS = {
    "fog": Corruption(_fog, (0, 1), 0.1, 0.8),
    "rain": Corruption(_rain, (0, 1), 0.1, 0.7),
    "dark": Corruption(_dark, (0, 8), 0.3, 3.0),
    "white": Corruption(_white, (0, 4), 0.05, 0.5),
    "bands": Corruption(_bands, (0, 1), 0.05, 0.4),
    "blur": Corruption(_blur, (1, 99), 2, 11),
    "focus": Corruption(_focus, (0, 99), 1.5, 6),
    "shot": Corruption(_shot, (0, 255), 2, 25),
    "noise": Corruption(_noise, (0, 255), 1, 18),
    "video": Corruption(_video, (1, 31), 3, 24),
    "jpeg": Corruption(_jpeg, (1, 100), 90, 15),
}
"""By name, in the order in which they befall a picture: from the scene to the file."""


def parse_corruptions(text: str) -> tuple[tuple[str, float], ...]:
    """``noise:10,jpeg:30`` as names and strengths.

    Raises :class:`~accel_rt.errors.UsageError` for what is no such list, or names one twice.
    """
    found = tuple(_parse(part.strip()) for part in text.split(","))
    if len(set(found)) < len(found):
        raise UsageError(f"'{text}' names a corruption twice: give each strength once")
    return found


def _parse(part: str) -> tuple[str, float]:
    name, _, strength = part.partition(":")
    if name not in CORRUPTIONS:
        raise UsageError(
            f"'{part}' is no corruption: give NAME:STRENGTH with one of {', '.join(CORRUPTIONS)}"
        )
    low, high = CORRUPTIONS[name].bounds
    try:
        value = float(strength)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise UsageError(f"'{part}' must be {name}:STRENGTH with a strength of {low} to {high}")
    return name, value


_RAMP = 0.25
"""Share of a run after which corruptions are drawn up to their full strength."""


def draw_robust(share: float, progress: float, rng: Random) -> Corrupt | None:
    """For a ``share`` of samples, what :func:`draw_corruptions` makes of them; else None.

    ``progress`` is how much of the run is behind: strength grows with it at first.
    """
    if rng.random() >= share:
        return None
    return draw_corruptions(min(1.0, progress / _RAMP), rng)


def draw_corruptions(level: float, rng: Random) -> Corrupt:
    """One to three corruptions, one after the other, each from mild up to ``level`` of severe."""
    count = 1 + rng.binomial(2, 0.35)
    chosen = np.sort(rng.choice(len(CORRUPTIONS), count, replace=False))
    steps = []
    for kind in (tuple(CORRUPTIONS.values())[i] for i in chosen):
        strength = kind.mild + level * rng.uniform() * (kind.severe - kind.mild)
        steps.append(kind.draw(strength, rng))

    def corrupt(frame: Tensor, rng: Random) -> Tensor:
        for step in steps:
            frame = step(frame, rng)
        return frame

    return corrupt


def _line(length: int, degrees: float) -> np.ndarray:
    """A kernel float32 that spreads a point along a line of ``length`` pixels."""
    half = length // 2
    along = np.linspace(-length / 2, length / 2, 8 * length + 1)[1:-1]
    x, y = half + along * np.cos(np.deg2rad(degrees)), half + along * np.sin(np.deg2rad(degrees))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    np.add.at(kernel, (y.round().astype(int), x.round().astype(int)), 1)
    return kernel / kernel.sum()


def filtered(frame: Tensor, kernel: np.ndarray) -> Tensor:
    """A frame uint8 ``[H, W, C]`` by a kernel float32 of odd sides; borders are mirrored."""
    if frame.device.type == "cpu":
        return torch.from_numpy(cv2.filter2D(frame.numpy(), -1, kernel)).reshape(frame.shape)
    return filtered_on_device(frame, kernel)


def filtered_on_device(frame: Tensor, kernel: np.ndarray) -> Tensor:
    """:func:`filtered` wherever the frame lies."""
    y, x = kernel.shape[0] // 2, kernel.shape[1] // 2
    planes = F.pad(frame.permute(2, 0, 1)[:, None].float(), (x, x, y, y), mode="reflect")
    seen = F.conv2d(planes, torch.from_numpy(kernel).to(frame.device)[None, None])[:, 0]
    return to_bytes(seen).permute(1, 2, 0)


def to_bytes(picture: Tensor) -> Tensor:
    """Values of 0 to 255, rounded and cut off there, as uint8."""
    return (picture + 0.5).clamp(0, 255).to(torch.uint8)


def _scaled(frame: Tensor, gain: np.ndarray | Tensor, light: float = 0.0) -> Tensor:
    """``gain`` of the frame, and as much of ``light`` as is missing from it."""
    gain = torch.as_tensor(gain, device=frame.device)
    return to_bytes(frame * gain + light * (1 - gain))


def _added(frame: Tensor, noise: Tensor) -> Tensor:
    return to_bytes(frame + noise)


def _normal(frame: Tensor, rng: Random) -> Tensor:
    if frame.device.type == "cpu":
        return torch.from_numpy(rng.standard_normal(frame.shape, np.float32))
    return torch.randn(frame.shape, generator=_generator(frame, rng), device=frame.device)


def _uniform(shape: tuple[int, ...], frame: Tensor, rng: Random) -> Tensor:
    if frame.device.type == "cpu":
        return torch.from_numpy(rng.random(shape, np.float32))
    return torch.rand(shape, generator=_generator(frame, rng), device=frame.device)


def _generator(frame: Tensor, rng: Random) -> torch.Generator:
    return torch.Generator(frame.device).manual_seed(int(rng.integers(2**62)))


def _on_cpu(frame: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    return torch.from_numpy(change(frame.cpu().numpy())).to(frame.device)


def _coded(frames_bgr: list[np.ndarray], quantiser: int) -> np.ndarray:
    """The last of two frames as an MPEG-4 decoder gives it."""
    height, width = frames_bgr[0].shape[:2]
    coder = av.CodecContext.create("mpeg4", "w")
    coder.width, coder.height = width + width % 2, height + height % 2
    coder.pix_fmt, coder.time_base, coder.thread_count = "yuv420p", Fraction(1, 25), 1
    coder.options = {"qmin": str(quantiser), "qmax": str(quantiser)}
    decoder = av.CodecContext.create("mpeg4", "r")
    decoder.thread_count = 1
    shown: list[av.VideoFrame] = []
    for frame in (*frames_bgr, None):
        picture = None
        if frame is not None:
            even = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            picture = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), "bgr24").reformat(
                format="yuv420p"
            )
        for packet in coder.encode(picture):
            shown += decoder.decode(packet)
    shown += decoder.decode(None)
    return shown[-1].to_ndarray(format="bgr24")[:height, :width]

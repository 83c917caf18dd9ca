"""How far reading may go: waiting, sizes, and what a playlist may name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accel_rt.errors import InputError
from accel_rt.size import wxh

TIMEOUT_S, STREAM_TIMEOUT_S = 15.0, 8.0  # of files and pipes, and of live streams
MAX_PIXELS = 100_000_000
MIN_RATE, MAX_RATE = 0.001, 1000.0


@dataclass(frozen=True)
class Limits:
    """How far reading may go.

    ``timeout_s`` bounds how long a URL or a pipe may take to open or to send something, None for
    no bound. A picture of more than ``max_pixels`` is refused before it is decoded. ``allow``
    lists the files, folders and beginnings of URLs that a playlist may name; one that came from a
    server may name more of the same server.
    """

    timeout_s: float | None = TIMEOUT_S
    max_pixels: int = MAX_PIXELS
    allow: Sequence[str | Path] = ()

    @property
    def of_decoder(self) -> dict[str, str]:
        """The options that hold FFmpeg's decoders to it, which count whole blocks of pixels."""
        return {"max_pixels": str(2 * self.max_pixels + (1 << 16))}

    def check_size(self, name: str, size: tuple[int, int]) -> None:
        """Raise :class:`InputError` if a picture of ``name`` is too large."""
        if size[0] * size[1] > self.max_pixels:
            raise InputError(
                f"'{name}' declares pictures of {wxh(size)} pixels, more than the "
                f"{self.max_pixels:,} that are allowed: raise --max-pixels if that is right"
            )


DEFAULT_LIMITS = Limits()

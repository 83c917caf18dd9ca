"""Files that went wrong once, made anew: each is segmented like every other damaged file."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
from PIL import Image

from tests.live.conftest import ffmpeg_path
from tests.video.clips import picture, write_clip

PICTURES = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.5"]


def _ffmpeg(path: Path, *arguments: str) -> None:
    command = [ffmpeg_path(), "-nostdin", "-y", "-loglevel", "error", *PICTURES, *arguments]
    subprocess.run([*command, str(path)], check=True)


def _sound(codec: str, channels: int, rate: int, into: Path, name: str) -> None:
    """A file whose sound has this codec, so many channels and this rate."""
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=0.5:r=48000:a=0.1"]
    coding = ["-c:v", "mpeg4", "-c:a", codec, "-ac", str(channels), "-ar", str(rate)]
    _ffmpeg(into / name, *sound, *coding)


def _tag(text: bytes, into: Path) -> None:
    """A Matroska file whose video says that it lasts ``text``."""
    path = write_clip(into / "tag.mkv", audio_s=0.4)
    data = path.read_bytes()
    at = data.index(b"DURATION") + 11
    assert data[at : at + 6] == b"00:00:"
    path.write_bytes(data[:at] + text + data[at + len(text) :])


def _huge_png(into: Path) -> None:
    """A few bytes that claim a picture of 4 GB."""
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 38_000, 38_000, 8, 2, 0, 0, 0)]
    parts += [b"IDAT" + zlib.compress(bytes(100_000)), b"IEND"]
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    (into / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _title_of_bytes(into: Path) -> None:
    """A title that is no UTF-8, with a terminal's escape sequence in it."""
    _ffmpeg(into / "title.mp4", "-metadata", "title=ABCDEFGHIJ")
    data = (into / "title.mp4").read_bytes()
    (into / "title.mp4").write_bytes(
        data.replace(b"ABCDEFGHIJ", b"\xff\xfe\xc3\x28\x1b[2J\x07\x80")
    )


def _joined(into: Path) -> None:
    """Two recordings in one: all clocks are set back, and the sound goes from mono to stereo."""
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=0.5:r=48000:a=0.1", "-c:v", "libx264", "-c:a", "aac"]
    pieces = []
    for channels in ("1", "2"):
        _ffmpeg(into / "piece.ts", *sound, "-ac", channels)
        pieces.append((into / "piece.ts").read_bytes())
    (into / "piece.ts").unlink()
    (into / "joined.ts").write_bytes(b"".join(pieces))


def _equal_times(into: Path) -> None:
    """One picture in five has the time of the one before."""
    source = write_clip(into / "source.mkv", options={"bf": "0"})
    with av.open(str(source)) as old, av.open(str(into / "equal.mkv"), "w") as new:
        stream, before = new.add_stream_from_template(old.streams.video[0]), 0
        for number, packet in enumerate(p for p in old.demux() if p.pts is not None):
            if number % 5 == 4:
                packet.pts = packet.dts = before
            before, packet.stream = packet.pts, stream
            new.mux(packet)
    source.unlink()


def _unknown_sound(into: Path) -> None:
    """A sound track that no decoder knows."""
    path = write_clip(into / "unknown.mp4", audio_s=0.4)
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))


def _channels_nobody_knows(into: Path) -> None:
    """AAC whose setup asks for a set-up of channels that does not exist."""
    path = into / "channels.flv"
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=0.5:r=44100:a=0.1", "-c:v", "flv1", "-c:a", "aac"]
    _ffmpeg(path, *sound)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xaf\x00\x12") + 3] |= 0x78
    path.write_bytes(data)


def _mac_folder(into: Path) -> None:
    """A folder with a Mac's resource files beside the pictures."""
    for number in range(3):
        Image.fromarray(picture(number)).save(into / f"IMG_{number}.jpg")
        (into / f"._IMG_{number}.jpg").write_bytes(
            b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(99)
        )


REGRESSIONS: dict[str, Callable[[Path], None]] = {
    "pcm in avi": partial(_sound, "pcm_s16le", 1, 16_000, name="s.avi"),
    "mp3 in avi": partial(_sound, "libmp3lame", 2, 44_100, name="s.avi"),
    "g.711 in mkv": partial(_sound, "pcm_mulaw", 1, 8_000, name="s.mkv"),
    "an odd rate": partial(_sound, "flac", 1, 11_024, name="s.mkv"),
    "eight channels": partial(_sound, "pcm_s24le", 8, 48_000, name="s.mov"),
    "unknown sound": _unknown_sound,
    "aac with unknown channels": _channels_nobody_knows,
    "a duration of a hundred million digits": partial(_tag, b"00:00:1e0099999999"),
    "a duration of one by nothing": partial(_tag, b"00:00:000000001/00"),
    "a huge png": _huge_png,
    "a title of bytes": _title_of_bytes,
    "two recordings joined": _joined,
    "equal times": _equal_times,
    "a mac's folder": _mac_folder,
}

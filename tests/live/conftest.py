"""FFmpeg as the far end of a stream."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.video.clips import picture, write_clip

Send = Callable[..., subprocess.Popen]


def ffmpeg_path() -> str:
    """FFmpeg's program: that of the system, or of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(scope="session")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of numbered pictures at 25 frames a second, for repeating."""
    images = [picture(number) for number in range(50)]
    return write_clip(tmp_path_factory.mktemp("reel") / "reel.mp4", images=images)


@pytest.fixture
def port() -> int:
    """A port of 127.0.0.1 that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def send(reel: Path) -> Iterator[Send]:
    """``send(*output arguments)`` streams the reel for ever at its own pace."""
    senders: list[subprocess.Popen] = []

    def send(*output: str) -> subprocess.Popen:
        source = ["-re", "-stream_loop", "-1", "-i", str(reel), "-an"]
        command = [ffmpeg_path(), "-loglevel", "error", "-nostdin", *source, *output]
        senders.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        return senders[-1]

    yield send
    for sender in senders:
        sender.kill()
        sender.communicate()

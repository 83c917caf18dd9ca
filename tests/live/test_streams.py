"""Streams of another process over loopback, cut off and restored while the loop runs."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.live import LiveLoop
from accel_rt.live.stats import LiveStats
from accel_rt.live.stream import StreamSource
from tests.live.conftest import Send, ffmpeg_path
from tests.live.fake import FakeSegmenter, wait_until
from tests.need import need
from tests.video.clips import picture_number

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "12")

Outputs = Callable[[int], tuple[str, tuple[str, ...]]]
"""A port to the URL to open and FFmpeg's output arguments for it."""


def tcp(port: int) -> tuple[str, tuple[str, ...]]:
    listen = f"tcp://127.0.0.1:{port}?listen=1"
    return f"tcp://127.0.0.1:{port}", (*H264, "-f", "mpegts", listen)


def udp(port: int) -> tuple[str, tuple[str, ...]]:
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    return f"udp://127.0.0.1:{port}", (*H264, "-f", "mpegts", url)


def mjpeg(port: int) -> tuple[str, tuple[str, ...]]:
    url = f"http://127.0.0.1:{port}/camera"
    return url, ("-c:v", "mjpeg", "-q:v", "3", "-f", "mpjpeg", "-listen", "1", url)


OUTPUTS = pytest.mark.parametrize("outputs", [tcp, udp, mjpeg])


def open_source(url: str) -> StreamSource:
    """The source, once whoever sends it is ready."""
    sources: list[StreamSource] = []

    def opens() -> bool:
        try:
            sources.append(StreamSource(url, timeout_s=2.0))
        except InputError:
            return False
        return True

    wait_until(opens)
    return sources[0]


@OUTPUTS
def test_a_stream_is_read_as_it_comes(send: Send, port: int, outputs: Outputs) -> None:
    url, arguments = outputs(port)
    send(*arguments)
    source = open_source(url)
    for _ in range(30):  # those that came while it was probed arrive at once
        source.read()
    frames = [source.read() for _ in range(30)]
    source.close()
    numbers = [picture_number(frame.picture()) for frame in frames]
    steps = [(b - a) % 50 for a, b in pairwise(numbers)]
    assert steps.count(1) >= 27, numbers  # UDP may lose one
    times = [frame.captured_at for frame in frames]
    assert times == sorted(times)
    assert 0.5 < times[-1] - times[0] < 3


def lost(stats: LiveStats) -> bool:
    """Whether the source was given up; after a silence alone it may go on as it is, over UDP."""
    return stats.state == "reconnecting" and "no frame for" not in stats.message


@OUTPUTS
def test_a_stream_that_is_cut_off_comes_back(send: Send, port: int, outputs: Outputs) -> None:
    """Killed in the middle, the sender is replaced by another one of another size."""
    url, arguments = outputs(port)
    first = send(*arguments)
    made: list[FakeSegmenter] = []

    def load(*settings) -> FakeSegmenter:
        made.append(FakeSegmenter(*settings))
        return made[-1]

    loop = LiveLoop(url, load=load, open_source=lambda: open_source(url))
    with loop:
        wait_until(lambda: loop.stats().frames >= 5)
        assert loop.stats().size == (48, 64)
        first.kill()
        wait_until(lambda: lost(loop.stats()))
        send("-vf", "scale=96:64", *arguments)
        wait_until(lambda: loop.stats().size == (64, 96) and loop.stats().state == "running")
        before = loop.stats().frames
        wait_until(lambda: loop.stats().frames >= before + 5)
        assert loop.stats().reconnects >= 1
        assert made[0].resets >= 1
    assert loop.failure is None


@pytest.fixture
def web_folder(reel: Path, port: int) -> Iterator[str]:
    """The URL of an HTTP server for the reel's folder."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(reel.parent))

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()
        thread.join()


def test_a_recording_behind_a_url_is_played_at_its_own_pace(web_folder: str) -> None:
    with pytest.raises(InputError, match="declares pictures of 64x48 pixels, more than the 3,000"):
        StreamSource(f"{web_folder}/reel.mp4", max_pixels=3000)
    source = StreamSource(f"{web_folder}/reel.mp4")
    frames = [source.read() for _ in range(11)]
    source.close()
    assert frames[10].captured_at - frames[0].captured_at == pytest.approx(0.4, abs=0.01)


def test_a_recording_behind_a_url_has_an_end(web_folder: str) -> None:
    loop = LiveLoop(f"{web_folder}/reel.mp4", load=FakeSegmenter)
    states = set()
    with loop:
        while not loop.ended:
            states.add(loop.stats().state)
    assert states <= {"running", "ended"}
    assert loop.failure is None
    again = StreamSource(f"{web_folder}/reel.mp4", repeat=True)
    assert again.live
    again.close()


def serve_once(port: int, data: bytes) -> threading.Thread:
    """Send ``data`` to the first who connects, and hang up."""
    server = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with server:
            client, _ = server.accept()
            with client:
                client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_stream_shorter_than_what_is_probed_is_shown_whole(reel: Path, port: int) -> None:
    command = [ffmpeg_path(), "-loglevel", "error", "-i", str(reel), *H264, "-f", "mpegts", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < 300_000
    thread = serve_once(port, data)
    source = StreamSource(f"tcp://127.0.0.1:{port}")
    numbers = [picture_number(frame.picture()) for frame in iter(source.read, None)]
    source.close()
    thread.join()
    assert numbers == list(range(50))


def test_a_live_stream_that_ends_without_a_frame_is_an_error(reel: Path, port: int) -> None:
    command = [ffmpeg_path(), "-loglevel", "error", "-i", str(reel), "-t", "0.4", *H264]
    stream = subprocess.run([*command, "-f", "mpegts", "-"], capture_output=True, check=True)
    headers = stream.stdout[: 3 * 188] + bytes(64)
    thread = serve_once(port, headers)
    loop = LiveLoop(f"tcp://127.0.0.1:{port}", load=FakeSegmenter)
    with pytest.raises(InputError, match="127.0.0.1"):
        loop.start()
    thread.join()


def test_segments_whose_clock_jumps_go_on(
    reel: Path, web_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an advertisement."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1"]
    for start in (10, 5000):
        options = ("-t", "0.4", "-output_ts_offset", str(start), "-f", "mpegts")
        name = f"jump-{start}.ts"
        command = [ffmpeg_path(), "-y", "-loglevel", "error", "-i", str(reel), *H264, *options]
        subprocess.run([*command, str(reel.parent / name)], check=True)
        lines += ["#EXTINF:0.4,", name, "#EXT-X-DISCONTINUITY"]
    (reel.parent / "jump.m3u8").write_text("\n".join([*lines[:-1], "#EXT-X-ENDLIST"]))
    source = StreamSource(f"{web_folder}/jump.m3u8")
    slept: list[float] = []
    monkeypatch.setattr("accel_rt.live.source.time.sleep", slept.append)
    frames = list(iter(source.read, None))
    source.close()
    assert max(slept) < 2
    assert len(frames) == 20
    assert max(b.pts - a.pts for a, b in pairwise(frames)) > 4000


def transport_stream(*codecs: str) -> bytes:
    """Two seconds of large pictures, and of silence where there are two codecs."""
    noise = np.random.default_rng(0)
    with io.BytesIO() as file:
        with av.open(file, "w", format="mpegts") as container:
            video, *sound = [container.add_stream(codec) for codec in codecs]
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
            video.codec_context.time_base, video.codec_context.bit_rate = Fraction(1, 25), 10**7
            for number in range(50):
                image = noise.integers(0, 256, (120, 160, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(image)
                frame.pts = number
                container.mux(video.encode(frame))
                for stream in sound:
                    silence = av.AudioFrame(samples=1152)
                    silence.sample_rate, silence.pts = 48000, 1920 * number
                    container.mux(stream.encode(silence))
            for stream in (video, *sound):
                container.mux(stream.encode())
        return file.getvalue()


def test_sound_may_come_later(port: int) -> None:
    alone = transport_stream("mpeg2video")
    assert len(alone) > 500_000, "more than what is probed"
    thread = serve_once(port, alone + transport_stream("mpeg2video", "mp2"))
    source = StreamSource(f"tcp://127.0.0.1:{port}")
    frames = list(iter(source.read, None))
    source.close()
    thread.join()
    assert len(frames) == 100


def test_what_is_no_url(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'rtsp://\*\*\*@\[::1/x' is not a URL"):
        StreamSource("rtsp://admin:hunter2@[::1/x")
    with pytest.raises(UsageError, match="'foo://' is no kind of URL that can be read"):
        StreamSource("foo://X")


def test_what_is_no_stream(web_folder: str) -> None:
    with pytest.raises(InputError, match="none.mp4"):
        StreamSource(f"{web_folder}/none.mp4")
    with pytest.raises(InputError, match="cannot open"):
        StreamSource(f"{web_folder}/")


def test_a_damaged_stream_goes_on(reel: Path, port: int) -> None:
    """One byte in 3,000 is wrong; what can be decoded arrives, the rest is counted."""
    command = [ffmpeg_path(), "-loglevel", "error", "-stream_loop", "5", "-i", str(reel), *H264]
    stream = subprocess.run([*command, "-f", "mpegts", "-"], capture_output=True, check=True)
    data = np.frombuffer(stream.stdout, np.uint8).copy()
    rng = np.random.default_rng(3)
    wrong = rng.integers(len(data) // 10, len(data), len(data) // 3000)
    data[wrong] = rng.integers(0, 256, len(wrong))
    thread = serve_once(port, data.tobytes())
    source = StreamSource(f"tcp://127.0.0.1:{port}")
    frames = list(iter(source.read, None))
    thread.join()
    source.close()
    assert 100 < len(frames) < 300
    assert source.damaged > 0


def test_rtsp(port: int) -> None:
    """A stream over RTSP, where GStreamer's server is installed for the system's Python."""
    script = Path(__file__).with_name("rtsp_server.py")
    server = subprocess.Popen(
        [need("rtsp-server"), script, str(port)], stdout=subprocess.PIPE, env={}
    )
    try:
        assert server.stdout.readline() == b"ready\n"
        loop = LiveLoop(f"rtsp://127.0.0.1:{port}/camera", load=FakeSegmenter)
        with loop:
            wait_until(lambda: loop.stats().frames >= 10)
            assert loop.stats().size == (240, 320)
            server.kill()
            wait_until(lambda: loop.stats().state == "reconnecting")
    finally:
        server.kill()
        server.communicate()


def test_a_sender_that_stalls_is_noticed(send: Send, port: int) -> None:
    url, arguments = tcp(port)
    sender = send(*arguments)
    source = open_source(url)
    source.read()
    sender.send_signal(signal.SIGSTOP)
    with pytest.raises(InputError, match="has sent nothing for 2 s"):
        list(iter(source.read, None))
    source.close()

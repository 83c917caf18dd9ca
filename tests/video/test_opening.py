"""What is opened for a name, what is not, and how long anything may take."""

from __future__ import annotations

import http.server
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.video.allowed import AllowedOpener
from accel_rt.video.limits import Limits
from accel_rt.video.local_file import open_local
from accel_rt.video.location import is_read_once, is_url, local_path, protocols_of, source_name
from accel_rt.video.opening import open_container
from accel_rt.video.reader import open_source
from tests.video.clips import RATE, picture, picture_number, write_clip

ROOT = Path(__file__).parents[2]


def read(source, **options):
    with open_source(source, **options) as opened:
        return opened, [picture_number(frame.image_bgr) for frame in opened]


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(tmp_path):
    """Serves ``tmp_path / "served"``; ``(address, paths asked for)``."""
    asked = []
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def write_playlist(path, names, end=True):
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
    for name in names:
        lines += ["#EXTINF:0.4,", str(name)]
    path.write_text("\n".join([*lines, *["#EXT-X-ENDLIST"] * end]) + "\n")
    return path


def write_segments(folder, count=2):
    """``0.ts``, ``1.ts`` ...: ten frames each, one after the other."""
    for number in range(count):
        frames = range(10 * number, 10 * number + 10)
        times = [n / RATE for n in frames]
        write_clip(folder / f"{number}.ts", times, [picture(n) for n in frames])
    return [f"{number}.ts" for number in range(count)]


# Names


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01T10:30:00.mp4",
        "10:30.mp4",
        "http:127.0.0.1:8080?x.mp4",
        "concat:a.mp4|b.mp4",
        "subfile,,start,0,end,9,,:a.mp4",
        "data:video.mp4",
        "file:a.mp4",
        "pipe:0",
        "rtsp:x.mp4",
        "%d.mp4",
        "a?b#c.mp4",
        "ünï 猫.mp4",
        os.fsdecode(b"caf\xe9.mp4"),
    ],
)
def test_a_name_of_a_file_is_that_file_whatever_it_looks_like(inside, name):
    shutil.copy(write_clip(inside / "clip.mp4"), inside / name)
    (inside / "clip.mp4").unlink()
    for source in (name, Path(name), inside / name):
        assert read(source)[1] == list(range(20))


def test_no_request_is_made_for_a_file_name_that_looks_like_one(inside, server):
    address, asked = server
    name = address.replace("//", "") + "?x.mp4"
    with pytest.raises(InputError, match="matches nothing"):
        open_source(name)
    (inside / name).write_bytes(b"not a video")
    with pytest.raises(InputError, match="is not a video or image"):
        open_source(name)
    assert asked == []


def test_a_colon_alone_makes_no_url():
    assert not any(map(is_url, ("10:30.mp4", "http:x", "c:/x.mp4", "file:///x.mp4", "a://"[:2])))
    assert is_url("RTSP://camera/1")
    assert local_path("file:///a%20b.mp4") == Path("/a b.mp4")
    assert source_name("http://host/a%20b.mp4?k=1") == "a b.mp4"
    assert source_name("rtsp://user:secret@host") == "host"
    assert source_name("-") == "standard input"


@pytest.mark.parametrize("scheme", ["file", "concat", "data", "gopher", "crypto+http", "weird"])
def test_other_schemes_are_no_sources(scheme):
    with pytest.raises(UsageError, match="is no kind of URL that can be read"):
        protocols_of(f"{scheme}://x")


@pytest.mark.parametrize("url", ["http://[bad/x.mp4", "file://[bad/x.mp4"])
def test_what_is_no_url(url):
    with pytest.raises(UsageError, match=r"//\[bad/x.mp4' is not a URL"):
        open_source(url)


def test_a_kind_of_url_that_is_not_read_is_wrong_usage():
    with pytest.raises(UsageError, match="'s3://' is no kind .* one of http, https, "):
        open_source("s3://bucket/X.mp4")


def test_https_never_falls_back_to_http():
    assert "http" not in protocols_of("https://x").split(",")
    assert "https" in protocols_of("http://x").split(",")
    for url in ("http://x", "https://x", "rtsp://x", "rtmp://x"):
        assert not {"file", "data", "concat", "crypto"} & set(protocols_of(url).split(","))


# Playlists


def test_a_playlist_names_what_is_allowed_alone(inside):
    segments = inside / "segments"
    segments.mkdir()
    names = write_segments(segments)
    playlist = write_playlist(inside / "list.m3u8", [f"segments/{name}" for name in names])
    with pytest.raises(InputError, match=r"segments/0\.ts', which it may not open"):
        open_source(playlist)
    with pytest.raises(InputError, match="which it may not open"):
        open_source(playlist, allow=[inside / "other"])
    assert read(playlist, allow=[segments])[1] == list(range(20))
    assert read(playlist, allow=["segments"])[1] == list(range(20))


def test_a_playlist_does_not_climb_out_of_what_is_allowed(inside):
    (inside / "allowed").mkdir()
    write_segments(inside)
    (inside / "allowed" / "link.ts").symlink_to(inside / "0.ts")
    for name in ("../0.ts", str(inside / "0.ts"), "link.ts"):
        playlist = write_playlist(inside / "allowed" / "list.m3u8", [name])
        with pytest.raises(InputError, match="which it may not open"):
            open_source(playlist, allow=["allowed"])


def test_a_playlist_makes_no_request(inside, server):
    address, asked = server
    playlist = write_playlist(inside / "list.m3u8", [f"{address}/0.ts"])
    with pytest.raises(InputError, match=f"give --allow '{address}/'"):
        open_source(playlist)
    assert asked == []
    write_segments(inside / "served")
    assert read(playlist, allow=[address])[1] == list(range(10))


def test_a_playlist_of_a_server_names_more_of_that_server_alone(inside, server):
    address, _ = server
    served = inside / "served"
    write_playlist(served / "list.m3u8", write_segments(served))
    assert read(f"{address}/list.m3u8")[1] == list(range(20))
    write_clip(inside / "secret.ts")
    for name in (inside / "secret.ts", f"file://{inside}/secret.ts", "http://127.0.0.1:9/0.ts"):
        write_playlist(served / "list.m3u8", [name])
        with pytest.raises(InputError, match="which it may not open|file not found"):
            open_source(f"{address}/list.m3u8")


def test_a_redirect_leads_nowhere_that_is_not_allowed(inside, server):
    address, _ = server

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", f"{address}/0.ts")
            self.end_headers()

        def log_message(self, *_):
            pass

    write_segments(inside / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        away = f"http://127.0.0.1:{other.server_port}"
        with pytest.raises(InputError, match="is not allowed"):
            AllowedOpener("list", [away], 5)(f"{away}/x.ts", 0, {})
        with AllowedOpener("list", [away, address], 5)(f"{away}/x.ts", 0, {}) as answer:
            assert answer.read(1) == b"G"
        other.shutdown()
        thread.join()


def test_a_script_of_cuts_names_what_is_allowed_alone(inside):
    (inside / "it's").mkdir()
    write_clip(inside / "it's" / "a b.mp4")
    script = inside / "cuts.ffconcat"
    script.write_text("ffconcat version 1.0\nfile 'it'\\''s/a b.mp4'\nfile it\\'s/a\\ b.mp4\n")
    with pytest.raises(InputError, match="which it may not open"):
        open_source(script)
    assert read(script, allow=["it's"])[1] == [*range(20), *range(20)]
    inner = inside / "it's" / "inner.ffconcat"
    inner.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    for name in (inner, "http://127.0.0.1:9/x.mp4", "concat:/etc/passwd|x", "/etc/passwd"):
        script.write_text(f"ffconcat version 1.0\nfile {shlex.quote(str(name))}\n")
        with pytest.raises(InputError, match=r"may not open|another script|names a URL"):
            open_source(script, allow=["it's"])


def test_a_server_may_not_begin_another_name():
    opener = AllowedOpener("list", ["http://good/films"], None)
    opener.check("http://good/films/1.ts")
    for name in (
        "http://good.evil/films/1.ts",
        "http://good@evil/films/1.ts",
        "https://good/films/1.ts",
        "http://good:81/films/1.ts",
        "http://good/filmsecrets",
        "http://good/films/../secret",
        "ftp://good/films/1.ts",
    ):
        with pytest.raises(InputError):
            opener.check(name)


# Waiting


def test_a_pipe_that_nobody_writes_is_given_up(inside):
    os.mkfifo(inside / "pipe")
    with pytest.raises(InputError, match=r"'pipe' sent nothing for 0\.2 s"):
        open_source("pipe", timeout_s=0.2)


def test_a_pipe_that_falls_silent_is_given_up(inside):
    clip = write_clip(inside / "a.ts").read_bytes()
    os.mkfifo(inside / "pipe")
    done = threading.Event()

    def write():
        with open("pipe", "wb") as pipe:
            pipe.write(clip[: len(clip) // 2])
            pipe.flush()
            done.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with pytest.raises(InputError, match="sent nothing"):
            open_source("pipe", timeout_s=0.3)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("start", [b"", b"#EXTM3U\n", b"\x47\x40"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(start):
    """Something comes all the time, and yet nothing ever begins."""
    done = threading.Event()

    class Drip(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(start)
            with suppress(OSError):
                while not done.wait(0.05):
                    self.wfile.write(b"\n")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Drip) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            with pytest.raises(InputError, match="did not answer|cannot open|cannot be opened"):
                open_source(f"http://127.0.0.1:{running.server_port}/x.ts", timeout_s=0.5)
        finally:
            done.set()
            running.shutdown()
            thread.join()


def test_a_playlist_without_an_end_is_given_up(inside):
    playlist = write_playlist(inside / "list.m3u8", write_segments(inside), end=False)
    assert read(playlist, allow=["."], timeout_s=1)[1] == list(range(20))


def test_an_interrupt_ends_the_wait(inside):
    """Ctrl-C while a server, a pipe or standard input is silent."""
    os.mkfifo(inside / "pipe")
    program = [sys.executable, "-m", "accel_rt", "segment", "pipe", "--timeout", "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(program, stderr=subprocess.PIPE, env=environment, text=True)
    with open("pipe", "wb"):  # waits for the reader
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said


# Read once


def feed(path, data):
    """Write ``data`` to a pipe at ``path`` once somebody reads it."""
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: Path(path).write_bytes(data), daemon=True)
    thread.start()


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_a_pipe_is_read_from_its_beginning_to_its_end(inside, name):
    clip = write_clip(inside / name, mux={"movflags": "faststart"} if name == "a.mp4" else {})
    feed("pipe", clip.read_bytes())
    assert is_read_once("pipe")
    source, numbers = read("pipe")
    assert numbers == list(range(20))
    assert source.info.kind == "stream"
    assert not source.truncated


def test_a_span_of_a_pipe(inside):
    feed("pipe", write_clip(inside / "a.mkv").read_bytes())
    assert read("pipe", start_s=0.4, end_s=0.6)[1] == list(range(10, 15))


def test_standard_input(inside, monkeypatch):
    with open(write_clip(inside / "a.mkv"), "rb") as file:
        saved = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            source, numbers = read("-")
        finally:
            os.dup2(saved, 0)
            os.close(saved)
    assert numbers == list(range(20))
    assert source.info.name == "standard input"


def test_an_mp4_whose_index_comes_last_is_no_pipe(inside):
    noise = np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3), np.uint8)
    feed("pipe", write_clip(inside / "a.mp4", images=list(noise)).read_bytes())
    with pytest.raises(InputError, match="if its index is at the end"):
        open_source("pipe")


def test_images_named_like_a_pipe_are_read_as_a_stream(inside):
    import cv2

    feed("pipe.png", cv2.imencode(".png", picture(7))[1].tobytes())
    assert read("pipe.png")[1] == [7]


def test_files_are_opened_without_their_names_being_parsed(inside):
    write_clip(inside / "a.mp4")
    with open_local("a.mp4") as file:
        assert file.name == "file:a.mp4"
        assert file.seekable()
    with open_container("a.mp4", Limits()) as container:
        assert container.streams.video
    with pytest.raises(av.FFmpegError):
        av.open("http:x", options={"protocol_whitelist": ""})

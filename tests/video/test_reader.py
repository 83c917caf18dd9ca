"""What sources deliver: frames, times, orientation, spans, and clear refusals."""

from __future__ import annotations

import gc
import http.server
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.video.reader import open_source
from tests.video.clips import RATE, picture, picture_number, probe, set_display_matrix, write_clip


def read(source, *span, **options):
    with open_source(source, *span, **options) as opened:
        return opened, list(opened)


def numbers(frames):
    return [picture_number(frame.image_bgr) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", audio_s=0.8)


def test_every_frame_with_its_time(clip):
    source, frames = read(clip)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.pts for frame in frames] == [n / RATE for n in range(20)]
    assert numbers(frames) == list(range(20))
    assert {frame.duration for frame in frames} == {1 / RATE}
    for frame in frames:
        assert frame.image_bgr.dtype == np.uint8
        assert frame.image_bgr.shape == (48, 64, 3)
        assert frame.image_bgr.flags.c_contiguous
    info = source.info
    assert (info.name, info.kind, info.width, info.height) == ("clip.mp4", "video", 64, 48)
    assert (info.rate, info.frame_count, info.duration_s) == (RATE, 20, 0.8)
    assert info.has_audio
    assert info.variable_rate is False
    assert (source.corrupt_frames, source.truncated, source.notes) == (0, False, [])


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60)])
def test_times_are_exact_where_a_frame_is_no_whole_number_of_milliseconds(tmp_path, rate):
    times = [n / rate for n in range(20)]
    path = write_clip(tmp_path / "clip.mp4", times, rate=rate, time_base=1 / (rate * 2))
    source, frames = read(path)
    assert [frame.pts for frame in frames] == times
    assert {frame.duration for frame in frames} == {1 / rate}
    assert source.info.rate == rate
    _, later = read(path, 0.3)
    assert [frame.pts for frame in later] == [time for time in times if time >= Fraction("0.3")]


def test_agrees_with_opencv(clip):
    _, frames = read(clip)
    capture = cv2.VideoCapture(str(clip))
    for frame in frames:
        _, other = capture.read()
        assert np.abs(frame.image_bgr.astype(int) - other).max() <= 3
    assert not capture.read()[0]


def test_variable_rate_times_are_kept(tmp_path):
    times = [Fraction(ms, 1000) for ms in (0, 40, 50, 200, 233, 900, 1300)]
    path = write_clip(tmp_path / "vfr.mp4", times, time_base=Fraction(1, 1000), options={"bf": "0"})
    source, frames = read(path)
    assert [frame.pts for frame in frames] == times
    assert source.info.variable_rate is True
    assert source.info.rate == pytest.approx(7 / 1.34, rel=0.05)
    assert not source.truncated


def test_span_is_exact_between_keyframes(clip):
    source, frames = read(clip, 0.28, 0.6)
    assert numbers(frames) == list(range(7, 15))
    assert [frame.pts for frame in frames] == [n / RATE for n in range(7, 15)]
    assert frames[0].index == 0
    assert source.info.frame_count == 8
    assert source.info.duration_s == pytest.approx(0.32)
    assert not source.truncated


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_span_in_other_containers(tmp_path, suffix):
    times = [n / RATE for n in range(150)]
    path = write_clip(tmp_path / f"long{suffix}", times, options={"g": "50"})
    _, whole = read(path)
    _, frames = read(path, 3.0, 3.2)
    assert numbers(frames) == list(range(75, 80))
    assert [frame.pts for frame in frames] == [frame.pts for frame in whole[75:80]]


def test_start_that_is_not_zero(tmp_path):
    path = write_clip(tmp_path / "late.mkv", [10 + n / RATE for n in range(20)])
    source, frames = read(path)
    assert frames[0].pts == 10
    _, later = read(path, 0.4)
    assert numbers(later) == list(range(10, 20))
    assert later[0].pts == Fraction("10.4")
    assert not source.truncated


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
)
def test_rotation_metadata_is_applied(tmp_path, matrix, turn):
    corner = np.full((48, 64, 3), 60, np.uint8)
    corner[:16, :32] = (40, 200, 220)
    path = write_clip(tmp_path / "turned.mp4", images=[corner] * 2)
    upright = read(path)[1][0].image_bgr
    set_display_matrix(path, *matrix)
    source, frames = read(path)
    assert np.array_equal(frames[0].image_bgr, turn(upright))
    assert frames[0].image_bgr.flags.c_contiguous
    assert (source.info.height, source.info.width) == frames[0].image_bgr.shape[:2]


@pytest.mark.parametrize(("aspect", "shape"), [((4, 3), (48, 85)), ((1, 2), (96, 64))])
def test_pixels_are_made_square(tmp_path, aspect, shape):
    path = write_clip(tmp_path / "wide.mp4", context={"sample_aspect_ratio": Fraction(*aspect)})
    source, frames = read(path)
    assert frames[0].image_bgr.shape[:2] == shape
    assert (source.info.height, source.info.width) == shape
    assert numbers(frames) == list(range(20))


def test_one_frame(tmp_path):
    source, frames = read(write_clip(tmp_path / "one.mp4", images=[picture(5)]))
    assert numbers(frames) == [5]
    assert source.info.frame_count == 1
    assert not source.truncated


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (4320, 7680)])
def test_any_size(tmp_path, size):
    """MJPEG with 4:4:4 holds odd sizes as they are."""
    image = np.full((*size, 3), 90, np.uint8)
    path = write_clip(tmp_path / "any.mov", images=[image], codec="mjpeg", pix_fmt="yuvj444p")
    _, frames = read(path)
    assert frames[0].image_bgr.shape == image.shape
    assert abs(int(frames[0].image_bgr.min()) - 90) <= 2
    assert abs(int(frames[0].image_bgr.max()) - 90) <= 2


def test_size_change_mid_stream(tmp_path):
    small = write_clip(tmp_path / "a.ts", images=[picture(n) for n in range(5)])
    large = write_clip(
        tmp_path / "b.ts",
        [Fraction(1) + n / RATE for n in range(5)],
        [picture(n + 5, 128, 96) for n in range(5)],
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    _, frames = read(joined)
    assert [f.image_bgr.shape[:2] for f in frames] == [(48, 64)] * 5 + [(96, 128)] * 5
    assert numbers(frames) == list(range(10))


def test_clock_set_back_is_joined_up(tmp_path):
    first = write_clip(tmp_path / "a.ts", images=[picture(n) for n in range(10)])
    second = write_clip(tmp_path / "b.ts", images=[picture(n) for n in range(10, 20)])
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    source, frames = read(joined)
    steps = {b.pts - a.pts for a, b in pairwise(frames)}
    assert numbers(frames) == list(range(20))
    assert steps == {1 / RATE}
    assert any("clock" in note for note in source.notes)


@pytest.mark.parametrize("first", [0, 7, 26, 29, 32, 59])
def test_a_span_of_joined_recordings_is_that_of_their_joined_times(tmp_path, first):
    """Their own times occur twice, so that a seek to one could land in either."""
    options = {"g": "12", "bf": "0"}
    parts = [
        write_clip(
            tmp_path / f"{n}.ts", images=[picture(n + k) for k in range(30)], options=options
        )
        for n in (0, 30)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    _, frames = read(joined, start_s=first / 25)
    assert numbers(frames) == list(range(first, 60))


def test_stream_without_times_gets_them_from_the_rate(tmp_path):
    path = write_clip(tmp_path / "raw.h264", format="h264", options={"g": "5", "bf": "0"})
    _, frames = read(path)
    assert numbers(frames) == list(range(20))
    steps = {b.pts - a.pts for a, b in pairwise(frames)}
    assert steps == {1 / RATE}


# Images


def write_images(folder, names, images=None):
    for number, name in enumerate(names):
        image = picture(number) if images is None else images[number]
        assert cv2.imwrite(str(folder / name), image)


def test_folder_in_natural_order(tmp_path):
    order = ["frame1.png", "frame2.png", "frame9.png", "frame10.png", "frame100.png"]
    write_images(tmp_path, order)
    (tmp_path / "readme.txt").write_text("not an image")
    source, frames = read(tmp_path, rate=10)
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert [frame.pts for frame in frames] == [Fraction(n, 10) for n in range(5)]
    info = source.info
    assert (info.kind, info.frame_count, info.rate, info.duration_s) == ("images", 5, 10, 0.5)
    assert (info.width, info.height, info.name) == (64, 48, tmp_path.name)


def test_times_of_images_are_exact(tmp_path):
    write_images(tmp_path, [f"{n}.png" for n in range(5)])
    rate = Fraction(30000, 1001)
    _, frames = read(tmp_path, rate=float(rate))
    assert [frame.pts for frame in frames] == [n / rate for n in range(5)]


def test_glob_and_single_image(tmp_path):
    write_images(tmp_path, ["a1.png", "a2.png", "b1.png"])
    assert numbers(read(str(tmp_path / "a*.png"))[1]) == [0, 1]
    source, frames = read(tmp_path / "b1.png")
    assert numbers(frames) == [2]
    assert source.info.frame_count == 1


def test_image_span(tmp_path):
    write_images(tmp_path, [f"{n}.png" for n in range(20)])
    _, frames = read(tmp_path, 0.2, 0.4, rate=25)
    assert numbers(frames) == list(range(5, 10))
    assert frames[0].pts == Fraction(1, 5)


def test_image_depths_and_channels(tmp_path):
    grey = picture(3)[:, :, 0]
    alpha = np.dstack([picture(3), np.full(grey.shape, 7, np.uint8)])
    low_bytes = np.arange(picture(3).size, dtype=np.uint16).reshape(picture(3).shape) % 256
    deep = picture(3).astype(np.uint16) * 256 + low_bytes
    write_images(
        tmp_path, ["1.png", "2.png", "3.png", "4.pgm", "5.tif"], [grey, alpha, deep, grey, deep]
    )
    _, frames = read(tmp_path)
    assert len(frames) == 5
    for frame in frames:
        assert frame.image_bgr.dtype == np.uint8
        assert np.abs(frame.image_bgr.astype(int) - picture(3)).max() <= 1


def test_exif_orientation(tmp_path):
    """Orientation 6: the picture is shown turned clockwise by 90 degrees."""
    image = np.full((32, 64, 3), 30, np.uint8)
    image[:, :32] = 220
    _, jpeg = cv2.imencode(".jpg", image)
    exif = bytes.fromhex("ffe100224578696600004d4d002a00000008000101120003000000010006000000000000")
    (tmp_path / "turned.jpg").write_bytes(jpeg.tobytes()[:2] + exif + jpeg.tobytes()[2:])
    _, frames = read(tmp_path / "turned.jpg")
    assert frames[0].image_bgr.shape == (64, 32, 3)
    assert frames[0].image_bgr[:20].mean() > 200


def test_images_of_several_sizes(tmp_path):
    write_images(tmp_path, ["1.png", "2.png"], [picture(1), picture(2, 128, 96)])
    _, frames = read(tmp_path)
    assert [frame.image_bgr.shape for frame in frames] == [(48, 64, 3), (96, 128, 3)]


def test_damaged_image_is_skipped_and_counted(tmp_path):
    write_images(tmp_path, [f"{n}.png" for n in range(4)])
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    source, frames = read(tmp_path)
    assert numbers(frames) == [0, 2, 3]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[1].pts == 2 / RATE
    assert source.corrupt_frames == 1
    assert source.notes == ["1 corrupt frame was skipped"]


# URLs


@pytest.fixture
def serve(tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_url(serve, tmp_path):
    write_clip(tmp_path / "my clip.mp4", mux={"movflags": "+faststart"})
    source, frames = read(f"{serve}/my%20clip.mp4")
    assert numbers(frames) == list(range(20))
    assert source.info.name == "my clip.mp4"
    assert source.info.kind == "video"
    with pytest.raises(InputError, match="cannot open 'http"):
        open_source(f"{serve}/missing.mp4")


def test_url_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InputError, match=r"did not answer within 0\.3 s"):
            open_source(f"http://127.0.0.1:{port}/clip.mp4", timeout_s=0.3)


def test_file_url(clip):
    assert len(read(clip.as_uri())[1]) == 20


# Refusals


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (-1, None, "from 0 on, got -1"),
        (float("nan"), None, "got nan"),
        (2, 1, "after the start, got 2 to 1"),
        (0, 0, "after the start"),
        (0.05, 0.07, r"no frame from 0.05 to 0.07 s: the next one is at 0.080 s"),
        (100, None, r"after the end of 'clip\.mp4', which lasts 0\.800 s"),
    ],
)
def test_impossible_spans(clip, start, end, words):
    with pytest.raises(UsageError, match=words):
        open_source(clip, start, end)


def test_image_span_after_the_end(tmp_path):
    write_images(tmp_path, ["1.png"])
    with pytest.raises(UsageError, match="after the end"):
        open_source(tmp_path, 5)


@pytest.mark.parametrize("rate", [0, -1, float("inf")])
def test_impossible_rates(tmp_path, rate):
    with pytest.raises(UsageError, match="image rate"):
        open_source(tmp_path, rate=rate)


def test_missing_sources(tmp_path):
    with pytest.raises(InputError, match=r"no file or folder .*missing\.mp4"):
        open_source(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="holds no images .*: .* of videos go to .*--workers"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="matches nothing"):
        open_source(str(tmp_path / "*.png"))
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InputError, match="matches 1 files but no image: .* of videos go to"):
        open_source(str(tmp_path / "*"))


def test_files_that_are_no_video(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is text, not a video\n" * 50)
    with pytest.raises(InputError, match="not a video or image that can be read"):
        open_source(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InputError, match="is empty"):
        open_source(empty)
    damaged = tmp_path / "only.png"
    damaged.write_bytes(b"not a png")
    with pytest.raises(InputError, match="cannot be read: it is damaged"):
        open_source(damaged)


def test_sound_without_pictures(tmp_path):
    import av

    path = tmp_path / "sound.mka"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="holds no video, only audio"):
        open_source(path)


def test_a_cover_picture_is_no_video(tmp_path, ffmpeg):
    cv2.imwrite(str(tmp_path / "cover.png"), picture(1))
    inputs = ["-f", "lavfi", "-i", "sine=duration=0.2", "-i", tmp_path / "cover.png"]
    cover = ["-map", 0, "-map", 1, "-c:v", "copy", "-disposition:v", "attached_pic"]
    ffmpeg(*inputs, *cover, tmp_path / "a.m4a")
    with pytest.raises(InputError, match="holds no video, only a cover picture and audio"):
        open_source(tmp_path / "a.m4a")


def test_probe_reads_what_the_clip_holds(clip):
    """The tests' own reader is right."""
    found = probe(clip)
    assert [picture_number(image) for image in found.images] == list(range(20))
    assert found.audio_codec == "aac"


def test_frames_leave_memory_at_once(tmp_path: Path) -> None:
    """Not only when garbage is collected, which counts objects and not their megabytes."""
    with open_source(write_clip(tmp_path / "clip.mp4")) as source:
        gc.collect()
        gc.disable()
        try:
            frames = sum(1 for _ in source)
            alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
        finally:
            gc.enable()
    assert frames == 20
    assert alive <= 3


@pytest.mark.parametrize("kind", ["video", "images"])
def test_a_closed_source_says_so(tmp_path: Path, kind: str) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    if kind == "images":
        path = tmp_path / "a.png"
        assert cv2.imwrite(str(path), picture(0))
    with open_source(path) as source:
        frames = iter(source)
        next(frames)
    for left in (frames, source):
        with pytest.raises(UsageError, match=f"'{path.name}' is closed"):
            next(iter(left))
    source.close()


def test_closing_waits_for_the_frame_that_another_thread_reads(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    for _ in range(20):
        source = open_source(path)
        with ThreadPoolExecutor(1) as thread:
            count = thread.submit(lambda source: [frame.index for frame in source], source)
            time.sleep(0.002)
            source.close()
            with suppress(UsageError):
                count.result()


# Packets, streams and rates


@pytest.fixture(scope="session")
def ffmpeg():
    """Runs FFmpeg's program: PyAV's libraries have no encoder for Theora."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def run(*args):
        subprocess.run([program, "-y", "-v", "error", *map(str, args)], check=True)

    return run


def test_a_still_passage_repeats_its_picture(tmp_path, ffmpeg):
    """Theora writes packets of no size where nothing changes: more than 100 in a row."""
    film = "color=gray:s=64x48:r=25:d=8,drawbox=x=8:y=8:w=16:h=16:color=white:t=fill"
    late = f"{film}:enable='gt(t,6)'"
    ffmpeg("-f", "lavfi", "-i", late, "-c:v", "libtheora", "-g", 250, tmp_path / "still.ogv")
    source, frames = read(tmp_path / "still.ogv")
    assert len(frames) >= 151
    assert {b.pts - a.pts for a, b in pairwise(frames)} == {1 / RATE}
    assert np.array_equal(frames[0].image_bgr, frames[149].image_bgr)
    assert frames[-1].image_bgr[12, 12].min() > 200
    assert (source.corrupt_frames, source.truncated, source.notes) == (0, False, [])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("preview_first", [True, False])
def test_a_small_preview_is_not_taken_for_the_film(tmp_path, ffmpeg, suffix, preview_first):
    small = write_clip(tmp_path / "small.mp4", images=[picture(99, 32, 24)] * 20)
    large = write_clip(tmp_path / "large.mp4")
    inputs = [small, large] if preview_first else [large, small]
    path = tmp_path / f"both{suffix}"
    maps = ["-map", "0:v", "-map", "1:v", "-c", "copy"]
    ffmpeg("-i", inputs[0], "-i", inputs[1], *maps, path)
    assert numbers(read(path)[1]) == list(range(20))


def test_the_default_stream_is_taken_though_it_is_smaller(tmp_path, ffmpeg):
    small = write_clip(tmp_path / "small.mp4", images=[picture(7, 32, 24)] * 20)
    large = write_clip(tmp_path / "large.mp4")
    default = ["-disposition:v:0", "0", "-disposition:v:1", "default"]
    maps = ["-map", "0:v", "-map", "1:v", "-c", "copy", *default]
    ffmpeg("-i", large, "-i", small, *maps, tmp_path / "both.mkv")
    assert set(numbers(read(tmp_path / "both.mkv")[1])) == {7}


@pytest.mark.parametrize("bframes", ["0", "2"])
@pytest.mark.parametrize(("codec", "format"), [("libx264", "h264"), ("mjpeg", "mjpeg")])
def test_a_raw_stream_runs_at_the_rate_given(tmp_path, codec, format, bframes):
    path = write_clip(
        tmp_path / f"raw.{format}",
        codec=codec,
        format=format,
        pix_fmt="yuv420p" if codec == "libx264" else "yuvj420p",
        options={"g": "5", "bf": bframes} if codec == "libx264" else {},
    )
    for rate in (10, Fraction(30000, 1001)):
        source, frames = read(path, rate=rate)
        assert numbers(frames) == list(range(20))
        assert {b.pts - a.pts for a, b in pairwise(frames)} == {1 / Fraction(rate)}
        assert source.info.rate == rate
    assert numbers(read(path, 0.4, 0.6, rate=10)[1]) == [4, 5]
    assert numbers(read(path, 0.4)[1]) == list(range(10, 20))


@pytest.mark.parametrize(
    "tag",
    [b"00:00:1e9999999999", b"00:00:1/0000000000", b"999999999:00:00.00", b"99:99:99999:99:999"],
)
def test_absurd_lengths_are_not_believed(tmp_path, tag):
    """A Matroska tag that would be a number of ten thousand million digits."""
    path = write_clip(tmp_path / "a.mkv")
    data = path.read_bytes()
    assert data.count(b"00:00:00.800000000") == 1
    path.write_bytes(data.replace(b"00:00:00.800000000", tag))
    source, frames = read(path)
    assert numbers(frames) == list(range(20))
    assert source.info.duration_s == pytest.approx(0.8)
    assert not source.truncated


def test_a_header_that_promises_centuries_is_not_believed(tmp_path):
    path = write_clip(tmp_path / "a.mp4", mux={"movflags": "+faststart"})
    data = bytearray(path.read_bytes())
    for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        begin = data.index(box) + at
        data[begin : begin + 4] = b"\xff\xff\xff\xfe"
    data[data.index(b"mdhd") + 16 :][:4] = b"\0\0\0\1"
    begin = data.index(b"mvhd") + 16
    data[begin : begin + 4] = b"\0\0\0\1"
    path.write_bytes(data)
    source, frames = read(path)
    assert numbers(frames) == list(range(20))
    assert source.info.duration_s is None or source.info.duration_s < 10 * 366 * 86400


@pytest.mark.parametrize("rate", [1e-7, 1e-320, 0.0009, 1001, float("nan"), Fraction(1, 10**9)])
def test_rates_that_no_film_has(tmp_path, rate):
    with pytest.raises(UsageError, match=r"image rate must be 0\.001 to 1000"):
        open_source(tmp_path, rate=rate)

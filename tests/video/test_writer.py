"""Written files, read back with PyAV's own loop and with OpenCV."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from accel_rt.errors import UsageError
from accel_rt.video.reader import open_source
from accel_rt.video.writer import VideoWriter
from tests.video.clips import RATE, boxes, picture, picture_number, probe, write_clip

SIZE = (48, 64)


def write(path, count=20, size=SIZE, times=None, images=None, rate=RATE, **options):
    times = times or [n / RATE for n in range(count)]
    images = images or [picture(n, *size[::-1]) for n in range(len(times))]
    with VideoWriter(path, size, rate, **options) as writer:
        for image, time in zip(images, times, strict=True):
            writer.write(image, time)
    return writer


def copy(source, target, start_s=None, end_s=None, **options):
    """Source to target, as the segment command does it."""
    with (
        open_source(source, start_s, end_s) as frames,
        VideoWriter(
            target,
            (frames.info.height, frames.info.width),
            frames.info.rate,
            tracks_from=frames,
            start_s=start_s,
            end_s=end_s,
            **options,
        ) as writer,
    ):
        for frame in frames:
            writer.write(frame.image_bgr, frame.pts, frame.duration)
    return writer


def test_plays_everywhere(tmp_path):
    path = tmp_path / "out.mp4"
    writer = write(path)
    found = probe(path)
    assert (found.codec, found.pix_fmt) == ("h264", "yuv420p")
    assert found.times == [n / RATE for n in range(20)]
    assert [picture_number(image) for image in found.images] == list(range(20))
    order = boxes(path)
    assert order.index("moov") < order.index("mdat")
    assert writer.frames == 20
    assert writer.notes == []
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        tags = [context.colorspace, context.color_primaries, context.color_trc]
        assert [int(tag) for tag in tags] == [1, 1, 1]
        assert int(context.color_range) == 1
        assert stream.average_rate == RATE
        assert stream.frames == 20
        assert stream.duration * stream.time_base == Fraction(4, 5)
        assert container.duration == 800_000


def test_opencv_counts_and_shows_the_same(tmp_path):
    write(tmp_path / "out.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    seen = [picture_number(capture.read()[1]) for _ in range(20)]
    assert seen == list(range(20))


@pytest.mark.parametrize(
    ("codec", "suffix", "decoder"),
    [
        ("hevc", ".mp4", "hevc"),
        ("hevc", ".mkv", "hevc"),
        ("vp9", ".webm", "vp9"),
        ("vp9", ".mp4", "vp9"),
        ("av1", ".mp4", "libdav1d"),
        ("av1", ".webm", "libdav1d"),
        ("h264", ".mkv", "h264"),
        ("h264", ".mov", "h264"),
    ],
)
def test_codecs_and_containers(tmp_path, codec, suffix, decoder):
    path = tmp_path / f"out{suffix}"
    write(path, size=(96, 128), codec=codec)
    found = probe(path)
    assert (found.codec, found.pix_fmt) == (decoder, "yuv420p")
    assert [round(time * 1000) for time in found.times] == [n * 40 for n in range(20)]
    assert [picture_number(image) for image in found.images] == list(range(20))


def test_hevc_carries_the_tag_that_safari_wants(tmp_path):
    write(tmp_path / "out.mp4", size=(96, 128), codec="hevc")
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)])
def test_constant_rates_are_exact(tmp_path, rate):
    times = [n / rate for n in range(30)]
    with VideoWriter(tmp_path / "out.mp4", SIZE, rate) as writer:
        for number, time in enumerate(times):
            writer.write(picture(number), time)
    assert probe(tmp_path / "out.mp4").times == times


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_very_fast_cameras(tmp_path, codec):
    """SVT-AV1 takes no more than 240 frames a second; the times of the frames do."""
    times = [Fraction(n, 1000) for n in range(10)]
    images = [picture(n, 128, 96) for n in range(10)]
    with VideoWriter(tmp_path / "out.mp4", (96, 128), Fraction(1000), codec=codec) as writer:
        for image, time in zip(images, times, strict=True):
            writer.write(image, time)
    assert probe(tmp_path / "out.mp4").times == times


def test_variable_rate_is_kept(tmp_path):
    times = [Fraction(ms, 1000) for ms in (0, 40, 50, 200, 233, 900, 1300)]
    write(tmp_path / "out.mp4", times=times)
    assert probe(tmp_path / "out.mp4").times == times


def test_frames_closer_than_a_tick_stay_apart(tmp_path):
    times = [Fraction(0), Fraction(1, 10_000_000), Fraction(1, 25)]
    write(tmp_path / "out.mp4", times=times)
    found = probe(tmp_path / "out.mp4")
    assert len(found.times) == 3
    assert all(b > a for a, b in pairwise(found.times))


def test_time_starts_at_zero(tmp_path):
    write(tmp_path / "out.mp4", times=[1000 + n / RATE for n in range(5)])
    assert probe(tmp_path / "out.mp4").times == [n / RATE for n in range(5)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "hevc.mp4", "av1.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize(
    ("times", "last_s", "length_s"),
    [
        ((0, 0.5, 1), 4, 5),
        ((0, 0.5, 1, 1.5, 2), 4, 6),
        ((0, 0.04, 0.08, 0.12, 0.16, 0.2, 1.2, 2.2, 3.2, 4.2), 0.04, 4.24),
    ],
)
def test_uneven_times_do_not_shorten_the_video(tmp_path, name, times, last_s, length_s):
    codec = {"hevc": "hevc", "av1": "av1", "a": "vp9" if name == "a.webm" else "h264"}
    path = tmp_path / name
    with VideoWriter(path, SIZE, Fraction(25), codec[name.partition(".")[0]]) as writer:
        for number, time in enumerate(times):
            last = Fraction(str(last_s)) if number == len(times) - 1 else None
            writer.write(picture(number), Fraction(str(time)), last)
    assert [float(t) for t in probe(path).times] == pytest.approx(times, abs=2e-3)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(length_s, abs=0.05)


def test_last_frame_lasts_as_long_as_it_is_told(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", SIZE, RATE) as writer:
        writer.write(picture(0), Fraction(0))
        writer.write(picture(1), Fraction(1), Fraction(3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == 4_000_000


@pytest.mark.parametrize(
    ("codec", "size", "padded"),
    [
        ("h264", (1, 1), (2, 2)),
        ("h264", (33, 17), (34, 18)),
        ("h264", (49, 64), (50, 64)),
        ("hevc", (1, 1), (16, 16)),
        ("vp9", (1, 1), (2, 2)),
        ("av1", (33, 17), (64, 64)),
    ],
)
def test_odd_sizes_are_padded(tmp_path, codec, size, padded):
    image = np.full((*size, 3), 40, np.uint8)
    image[:, -1] = image[-1] = 200
    writer = write(
        tmp_path / "out.mp4", size=size, images=[image] * 3, times=None, count=3, codec=codec, crf=1
    )
    (first, *_) = probe(tmp_path / "out.mp4").images
    assert first.shape == (*padded, 3)
    assert writer.size == padded
    assert f"padded from {size[1]}x{size[0]} to {padded[1]}x{padded[0]}" in writer.notes[0]
    if padded[1] > size[1]:
        assert np.abs(first[: size[0], size[1] :].astype(int) - 200).max() <= 8
    assert np.abs(first[size[0] - 1 :, : size[1]].astype(int) - 200).max() <= 8


def test_very_large_frame(tmp_path):
    image = np.full((4320, 7680, 3), 90, np.uint8)
    write(tmp_path / "out.mp4", size=(4320, 7680), images=[image], count=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        (frame,) = container.decode(video=0)
        assert (frame.width, frame.height) == (7680, 4320)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    images = [picture(0), picture(1, 128, 96), picture(2, 33, 17)]
    write(tmp_path / "out.mp4", images=images, count=3)
    found = probe(tmp_path / "out.mp4")
    assert [image.shape for image in found.images] == [(48, 64, 3)] * 3
    assert [picture_number(image) for image in found.images] == [0, 1, 2]


def test_colours_survive_the_round_trip(tmp_path):
    """Flat patches within 3 levels: 8-bit limited-range YUV alone loses up to 2."""
    colours = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = np.kron(colours, np.ones((32, 32, 1), np.uint8))
    write(tmp_path / "out.mp4", size=(192, 256), images=[image] * 2, count=2, crf=4)
    centres = (slice(16, None, 32), slice(16, None, 32))
    with open_source(tmp_path / "out.mp4") as source:
        ours = next(iter(source)).image_bgr
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        theirs = frame.to_ndarray(format="bgr24", src_colorspace=1, dst_color_range=2)
    assert np.abs(ours[centres].astype(int) - colours).max() <= 3
    assert np.abs(theirs[centres].astype(int) - colours).max() <= 5


def test_crf_changes_the_size(tmp_path):
    noise = [
        np.random.default_rng(n).integers(0, 256, (96, 128, 3), dtype=np.uint8) for n in range(5)
    ]
    sizes = []
    for crf in (10, None, 45):
        write(tmp_path / "out.mp4", size=(96, 128), images=noise, count=5, crf=crf)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


# Sound


@pytest.fixture(scope="module")
def talkie(tmp_path_factory):
    """Four seconds of pictures and sound, with a tone at 1.5 s."""
    path = tmp_path_factory.mktemp("clips") / "talkie.mp4"
    return write_clip(path, [n / RATE for n in range(100)], audio_s=4, beep_s=1.5)


ONE_PACKET_S = 1024 / 48000


def test_sound_is_copied_and_in_step(tmp_path, talkie):
    copy(talkie, tmp_path / "out.mp4")
    found, source = probe(tmp_path / "out.mp4"), probe(talkie)
    assert found.times == source.times
    assert found.audio_codec == "aac"
    assert found.beep_s == pytest.approx(source.beep_s, abs=1e-4)
    assert found.audio_end_s == pytest.approx(4, abs=2 * ONE_PACKET_S)
    with av.open(str(talkie)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        packets = [
            [bytes(packet) for packet in container.demux(audio=0) if packet.size]
            for container in (before, after)
        ]
    assert packets[1] == packets[0][: len(packets[1])]
    assert len(packets[1]) >= len(packets[0]) - 1


@pytest.mark.parametrize(("start", "end"), [(1.0, None), (1.0, 2.0), (None, 2.0), (0.52, 1.88)])
def test_sound_follows_the_span(tmp_path, talkie, start, end):
    copy(talkie, tmp_path / "out.mp4", start, end)
    found = probe(tmp_path / "out.mp4")
    begin, finish = start or 0.0, end or 4.0
    assert found.times[0] == 0
    assert len(found.times) == round((finish - begin) * 25)
    assert found.beep_s == pytest.approx(1.5 - begin, abs=2e-3)
    assert found.audio_end_s == pytest.approx(finish - begin, abs=2 * ONE_PACKET_S)


def test_sound_ends_with_what_was_written(tmp_path, talkie):
    """Interrupted after 50 of 100 frames: the file is whole, the sound as long as the picture."""
    with open_source(talkie) as source:
        writer = VideoWriter(tmp_path / "out.mp4", SIZE, RATE, tracks_from=source)
        for frame in source:
            if frame.index == 50:
                break
            writer.write(frame.image_bgr, frame.pts, frame.duration)
        assert writer.finish()
    found = probe(tmp_path / "out.mp4")
    assert len(found.times) == 50
    assert found.audio_end_s == pytest.approx(2, abs=2 * ONE_PACKET_S)
    assert found.beep_s == pytest.approx(1.5, abs=2e-3)


@pytest.mark.parametrize(
    ("codec", "suffix", "expected"),
    [("pcm_s16le", ".mp4", "aac"), ("aac", ".webm", "opus"), ("pcm_s16le", ".mkv", "pcm_s16le")],
)
def test_sound_is_encoded_anew_where_it_must_be(tmp_path, codec, suffix, expected):
    source = write_clip(
        tmp_path / "in.mov",
        [n / RATE for n in range(50)],
        audio_s=2,
        audio_codec=codec,
        beep_s=1.0,
    )
    writer = copy(source, tmp_path / f"out{suffix}", codec="vp9" if suffix == ".webm" else "h264")
    found = probe(tmp_path / f"out{suffix}")
    assert found.audio_codec == expected
    assert found.beep_s == pytest.approx(1.0, abs=5e-3)
    assert found.audio_end_s == pytest.approx(2, abs=3 * ONE_PACKET_S)
    assert bool(writer.notes) == (codec != expected)


def test_pictures_keep_their_times_where_sound_has_a_lead_in(tmp_path, talkie):
    """AAC starts with samples before time 0, which Matroska cannot place."""
    copy(talkie, tmp_path / "out.mkv")
    found = probe(tmp_path / "out.mkv")
    assert found.times == [n / RATE for n in range(100)]
    assert found.beep_s == pytest.approx(1.5, abs=2e-3)


def test_sound_of_a_transport_stream(tmp_path):
    """Starts at 1.4 s, and its AAC must lose its ADTS headers in an MP4."""
    source = write_clip(tmp_path / "in.ts", [n / RATE for n in range(50)], audio_s=2, beep_s=1.0)
    before = probe(source)
    copy(source, tmp_path / "out.mp4")
    after = probe(tmp_path / "out.mp4")
    assert len(after.times) == 50
    apart = before.beep_s - float(before.times[0])
    assert after.beep_s - float(after.times[0]) == pytest.approx(apart, abs=2e-3)
    assert min(float(after.times[0]), after.audio_start_s) == pytest.approx(0, abs=ONE_PACKET_S)


def test_sound_that_starts_before_the_picture(tmp_path):
    source = write_clip(
        tmp_path / "in.mkv", [Fraction(1, 2) + n / RATE for n in range(25)], audio_s=1.5, beep_s=1.0
    )
    copy(source, tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4")
    assert float(found.times[0]) == pytest.approx(0.5, abs=2e-3)
    assert found.beep_s == pytest.approx(1.0, abs=2e-3)


def test_source_without_sound(tmp_path):
    source = write_clip(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").audio_codec is None


# The life of a file


def test_nothing_under_the_final_name_until_finished(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"what was there before")
    writer = VideoWriter(path, SIZE, RATE)
    writer.write(picture(0), Fraction(0))
    assert path.read_bytes() == b"what was there before"
    assert writer.finish()
    assert writer.finish()
    assert len(probe(path).times) == 1
    with pytest.raises(UsageError, match="is finished"):
        writer.write(picture(1), Fraction(1))


def test_an_error_leaves_nothing(tmp_path):
    def fail_half_way():
        with VideoWriter(tmp_path / "out.mp4", SIZE, RATE) as writer:
            writer.write(picture(0), Fraction(0))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_no_frames_no_file(tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", SIZE, RATE)
    assert not writer.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), None])
def test_a_time_is_a_number(tmp_path, wrong):
    """Up to one without end the last picture would be repeated for ever."""
    image = picture(0)
    with VideoWriter(tmp_path / "out.mp4", image.shape[:2], RATE) as writer:
        writer.write(image, 0.0)
        with pytest.raises(UsageError, match="a frame's time is a number of seconds, got"):
            writer.write(image, wrong)
        writer.write(image, np.float32(0.5))
    assert len(probe(tmp_path / "out.mp4").images) == 2


def test_frames_out_of_order(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", SIZE, RATE) as writer:
        writer.write(picture(0), Fraction(1))
        with pytest.raises(UsageError, match=r"got 0\.000 s after 1\.000 s"):
            writer.write(picture(1), Fraction(0))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.avi", {}, r"end its name in \.mp4"),
        ("out.mp4", {"codec": "divx"}, "unknown codec 'divx': choose from h264, hevc, vp9, av1"),
        ("out.webm", {"codec": "h264"}, r"a \.webm file cannot hold h264"),
        ("out.mp4", {"crf": 52}, "from 0 to 51, got 52"),
        ("out.mp4", {"size": (0, 10)}, "got 10x0"),
        ("out.mp4", {"rate": Fraction(0)}, "positive rate"),
        ("out.mp4", {"rate": float("nan")}, "positive rate"),
        ("out.mp4", {"rate": float("inf")}, "positive rate"),
    ],
)
def test_impossible_requests(tmp_path, name, options, words):
    arguments = {"size": SIZE, "rate": RATE, **options}
    with pytest.raises(UsageError, match=words):
        VideoWriter(tmp_path / name, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_may_be_a_float(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", SIZE, 29.97) as writer:
        for number in range(3):
            writer.write(picture(number), Fraction(number) / Fraction("29.97"))
    assert len(probe(tmp_path / "out.mp4").images) == 3


@pytest.mark.parametrize("frame", [np.zeros(SIZE, np.uint8), np.zeros((*SIZE, 3)), None])
def test_what_is_no_frame_is_refused(tmp_path, frame):
    with VideoWriter(tmp_path / "out.mp4", SIZE, RATE) as writer:
        with pytest.raises(UsageError, match="a frame is a uint8 array"):
            writer.write(frame, Fraction(0))
        writer.write(picture(0), Fraction(0))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_is_written_plays_at_any_moment(tmp_path, suffix):
    """All but the last second or two, which the encoder and the muxer still have."""
    writer = VideoWriter(tmp_path / f"out{suffix}", SIZE, RATE, token="0123abcd")
    for number in range(150):
        writer.write(picture(number), number / RATE, None, fresh=number == 100)
    found = probe(tmp_path / f"out{suffix}.0123abcd.part")
    assert 90 <= len(found.images) < 150
    assert [picture_number(image) for image in found.images] == list(range(len(found.images)))
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "rate"), [(".mp4", RATE), (".mkv", RATE), (".mp4", Fraction(1_000_000, 39_999))]
)
def test_a_gap_of_hours_is_filled_with_the_picture_before_it(tmp_path, suffix, rate):
    """Also at rates whose times are counted in microseconds."""
    times = [n / rate for n in range(10)] + [25_200 + n / rate for n in range(10)]
    writer = write(tmp_path / f"out{suffix}", times=times, rate=rate)
    found = probe(tmp_path / f"out{suffix}")
    assert (found.times[0], found.times[-1]) == (times[0], times[-1])
    assert set(times) <= set(found.times)
    numbers = [picture_number(image) for image in found.images]
    assert numbers == [*range(10), *[9] * (len(numbers) - 20), *range(10, 20)]
    assert max(b - a for a, b in pairwise(found.times)) <= 3600
    assert writer.notes == ["a gap of 7.0 h in the times shows the picture before it"]


def test_an_mp4_of_many_hours_is_an_ordinary_file(tmp_path):
    path = tmp_path / "out.mp4"
    writer = write(path, times=[Fraction(1800 * n) for n in range(20)])
    assert writer.notes == []
    assert boxes(path) == ["ftyp", "moov", "free", "mdat"]
    assert probe(path).times[-1] == 1800 * 19


def test_pictures_after_a_fresh_start_do_not_depend_on_those_before(tmp_path):
    """The ground for going on with a run: both halves are those of files of their own."""
    rng = np.random.default_rng(0)
    images = [np.clip(picture(n) + rng.normal(0, 20, (48, 64, 3)), 0, 255) for n in range(60)]
    images = [image.astype(np.uint8) for image in images]
    with VideoWriter(tmp_path / "both.mp4", SIZE, RATE) as writer:
        for number, image in enumerate(images):
            writer.write(image, number / RATE, None, fresh=number == 30)
    write(tmp_path / "second.mp4", times=[n / RATE for n in range(30)], images=images[30:])
    both, second = probe(tmp_path / "both.mp4"), probe(tmp_path / "second.mp4")
    assert both.times == [n / RATE for n in range(60)]
    differing = [
        number
        for number, pair in enumerate(zip(both.images[30:], second.images, strict=True))
        if not np.array_equal(*pair)
    ]
    assert differing == []


def test_the_same_pictures_are_coded_the_same_every_time(tmp_path):
    """Whatever lies in the memory beside them: x264's AVX-512 code was moved by it."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 20, (40, 48, 64, 3))
    images = [np.clip(picture(n) + noise[n], 0, 255).astype(np.uint8) for n in range(40)]
    coded, strangers = set(), []
    for _ in range(100):
        with VideoWriter(tmp_path / "out.mkv", SIZE, RATE) as writer:
            for number, image in enumerate(images):
                writer.write(image, number / RATE)
                strangers.append(np.full(rng.integers(16, 200_000), rng.integers(256), np.uint8))
                if len(strangers) > 30:
                    strangers.pop(rng.integers(30))
        with av.open(str(tmp_path / "out.mkv")) as container:
            coded.add(b"".join(bytes(packet) for packet in container.demux(video=0)))
    assert len(coded) == 1

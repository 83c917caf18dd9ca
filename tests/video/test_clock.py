"""Times of pictures: what is out of line is mended in place, what began anew is joined up."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from accel_rt.video.clock import DecodingTimes, PictureClock, Timed
from accel_rt.video.reader import open_source
from tests.video.clips import RATE, picture, picture_number, write_clip

STEP = Fraction(1, 25)


def ordered(steps, clock=None):
    """Times, in steps, of pictures that come with times of ``steps`` (None: unknown)."""
    clock = clock or PictureClock(Fraction(0), STEP)
    timed = [Timed(n, None if s is None else Fraction(s) * STEP, STEP) for n, s in enumerate(steps)]
    found = list(clock.order(timed))
    assert [each.item for each in found] == list(range(len(steps)))
    return [each.time / STEP for each in found]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 1, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 1, 1, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 1, 2, 3], [0, 1, Fraction(3, 2), 2, 3]),
        ([0, 1, 0, 3, 4], [0, 1, 2, 3, 4]),
        ([5, 6, 50, 8, 9], [5, 6, 7, 8, 9]),
        ([100, 101, 0, 103, 104], [100, 101, 102, 103, 104]),
        ([0, 1, 7, 8], [0, 1, 7, 8]),
        ([None, None, None], [0, 1, 2]),
        ([3, None, 5], [3, 4, 5]),
        ([3, 3], [3, 4]),
        ([], []),
    ],
)
def test_a_local_irregularity_stays_local(steps, expected):
    assert ordered(steps) == expected


def test_a_clock_that_begins_anew_is_joined_up():
    clock = PictureClock(Fraction(0), STEP)
    assert ordered([10, 11, 12, 0, 1, 2, 3], clock) == [10, 11, 12, 13, 14, 15, 16]
    assert clock.joins == [13 * STEP]
    assert clock.misplaced == 0


def test_a_clock_may_begin_anew_again_and_again():
    clock = PictureClock(Fraction(0), STEP)
    assert ordered([*range(20), *range(20), *range(20)], clock) == list(range(60))
    assert clock.joins == [20 * STEP, 40 * STEP]


def test_a_clock_that_stands_still_does_not_hold_back_pictures_for_ever():
    assert ordered([7] * 100) == list(range(7, 107))


def test_times_rise_whatever_comes():
    for seed in range(50):
        state, steps = seed + 1, []
        for _ in range(60):
            state = state * 1103515245 + 12345 & 0x7FFFFFFF
            steps.append(None if state % 11 == 0 else (state >> 8) % 40 - 20)
        times = ordered(steps)
        assert all(b > a for a, b in pairwise(times))


def test_decoding_times_follow_the_packets_though_pictures_are_lost():
    times = DecodingTimes()
    for time in (0, 1, 2):
        times.read(time)
    assert times.next(2) == 0
    times.read(3)
    assert times.next(2) == 1
    times.read(4)  # its picture is lost
    times.read(5)
    assert times.next(2) == 3
    assert [times.next(2) for _ in range(3)] == [4, 5, None]


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", ".avi"), ("mpeg4", ".avi"), ("libx264", ".mkv")]
)
def test_b_frames_keep_their_times_where_only_decoding_times_are_stored(tmp_path, codec, suffix):
    path = write_clip(
        tmp_path / f"in{suffix}",
        [n / RATE for n in range(50)],
        [picture(n, 128, 96) for n in range(50)],
        codec=codec,
        time_base=1 / RATE,
        options={"bf": "2", "g": "12"},
    )
    with open_source(path) as source:
        frames = list(source)
    assert [picture_number(frame.image_bgr) for frame in frames] == list(range(50))
    steps = [b.pts - a.pts for a, b in pairwise(frames)]
    assert all(abs(step - STEP) <= Fraction(1, 1000) for step in steps)
    assert source.notes == []


def test_duplicated_times_do_not_shift_the_pictures(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", options={"g": "5", "bf": "0"})
    path = tmp_path / "in.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux() if p.pts is not None):
            if number in (4, 14):
                packet.pts = packet.dts = packet.pts - 40
            packet.stream = stream
            target.mux(packet)
    with open_source(path) as found:
        times = [frame.pts for frame in found]
    assert times == [n / RATE for n in range(20)]
    assert found.notes == ["2 frames out of order in time went between the neighbours"]


def test_joined_recordings_last_as_long_as_both(tmp_path):
    part = write_clip(tmp_path / "part.ts").read_bytes()
    (tmp_path / "in.ts").write_bytes(part + part)
    with open_source(tmp_path / "in.ts") as source:
        times = [frame.pts for frame in source]
    assert [time - times[0] for time in times] == [n / RATE for n in range(40)]
    assert "set back" in source.notes[0]
    assert "lasts 1.6" in source.notes[1]
    assert source.joins == [20 / RATE]


def test_the_unit_of_the_times_is_not_taken_for_a_rate(tmp_path):
    """As browsers record: no frame rate and no duration, only times in milliseconds."""
    path = write_clip(
        tmp_path / "in.webm",
        [Fraction(ms, 1000) for ms in (0, 54, 99, 139, 169, 222, 245)],
        codec="libvpx",
        mux={"live": "1"},
        time_base=Fraction(1, 1000),
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"\x23\xe3\x83")  # DefaultDuration becomes Void
    size = 4 + (data[at + 3] & 0x7F)
    data[at : at + size] = bytes([0xEC, 0x80 | (size - 2)]) + bytes(size - 2)
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.info.rate == 25
        assert len(list(source)) == 7

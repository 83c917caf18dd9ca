"""Files at their own pace, and clocks."""

import os
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.live.camera import CameraSource
from accel_rt.live.file import FileSource
from accel_rt.live.source import Pace
from accel_rt.live.sources import source_opener
from accel_rt.live.stream import ArrivalClock
from tests.video.clips import picture_number, write_clip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of ``time.monotonic`` in one item; sleeping moves it on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now


def test_frames_come_when_they_are_due(clock: list[float]) -> None:
    pace = Pace()
    assert pace.wait(Fraction(10)) == 100.0
    assert pace.wait(Fraction(21, 2)) == 100.5
    assert clock[0] == 100.5
    clock[0] += 0.7  # somebody was slow: the next frame is late, and its age shows it
    assert pace.wait(Fraction(11)) == 101.0
    assert clock[0] == pytest.approx(101.2)


def test_time_may_stand_still(clock: list[float]) -> None:
    pace = Pace()
    pace.wait(Fraction(3))
    clock[0] += 0.8
    pace.resume()
    assert pace.wait(Fraction(13, 4)) == 101.05


def test_a_reader_far_behind_starts_afresh(clock: list[float]) -> None:
    pace = Pace()
    pace.wait(Fraction(0))
    clock[0] += 5
    assert pace.wait(Fraction(1)) == 105.0
    assert pace.wait(Fraction(2)) == 106.0


def test_a_jump_of_the_clock_starts_afresh_where_no_picture_lasts_so_long(
    clock: list[float],
) -> None:
    pace = Pace(longest_s=2.0)
    assert pace.wait(Fraction(5000)) == 100.0
    assert pace.wait(Fraction(5002)) == 102.0
    assert pace.wait(Fraction(10_000)) == 102.0
    assert pace.wait(Fraction(10_001)) == 103.0
    slideshow = Pace()
    slideshow.wait(Fraction(0))
    assert slideshow.wait(Fraction(60)) == 163.0


def test_a_file_is_played_at_its_own_pace_and_again(tmp_path: Path, clock: list[float]) -> None:
    times = [Fraction(n, 30) for n in range(3)]
    path = write_clip(tmp_path / "clip.mp4", times, time_base=Fraction(1, 30000))
    source = FileSource(path, repeat=True)
    frames = [source.read() for _ in range(7)]
    source.close()
    assert [picture_number(frame.picture()) for frame in frames] == [0, 1, 2, 0, 1, 2, 0]
    steps = [b.captured_at - a.captured_at for a, b in pairwise(frames)]
    assert steps[:2] == pytest.approx([1 / 30, 1 / 30])
    assert [frame.pts for frame in frames[:3]] == times
    assert all(0 < step < 0.2 for step in steps)
    assert [b.pts > a.pts for a, b in pairwise(frames)] == [True] * 6


def test_a_file_ends_without_repeat(tmp_path: Path, clock: list[float]) -> None:
    source = FileSource(write_clip(tmp_path / "clip.mp4", times=[Fraction(0)]))
    assert source.read() is not None
    assert source.read() is None
    source.close()


def test_what_can_be_read_once_does_not_repeat(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in ("-", str(tmp_path / "pipe"), tmp_path / "pipe"):
        with pytest.raises(UsageError, match="can be read once: leave out --repeat"):
            source_opener(source, repeat=True)
        source_opener(source)


def test_what_opens_what(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        source_opener(str(tmp_path / "none.mp4"))()
    with pytest.raises(InputError, match="camera 97 cannot be opened"):
        source_opener("/dev/video97")()
    with pytest.raises(InputError, match="camera 98 cannot be opened"):
        source_opener(98)()
    with pytest.raises(InputError, match="cannot open 'http://127.0.0.1:1/x'"):
        source_opener("http://127.0.0.1:1/x")()


class TestArrivalClock:
    def test_what_is_later_than_the_soonest_was_delayed(self) -> None:
        clock = ArrivalClock()
        assert clock.captured_at(Fraction(5), 100.0) == 100.0
        assert clock.captured_at(Fraction(6), 101.25) == 101.0
        assert clock.captured_at(Fraction(7), 101.5) == 101.5
        assert clock.captured_at(Fraction(8), 103.0) == 102.5

    def test_a_delay_that_builds_up_shows(self) -> None:
        clock = ArrivalClock()
        ages = [n * 1.05 - (clock.captured_at(Fraction(n), n * 1.05)) for n in range(40)]
        assert ages[-1] == pytest.approx(39 * 0.05)

    @pytest.mark.parametrize("jump", [-3600, 3600])
    def test_a_clock_that_is_set_begins_again(self, jump: int) -> None:
        clock = ArrivalClock()
        clock.captured_at(Fraction(5), 100.0)
        clock.captured_at(Fraction(6), 101.0)
        assert clock.captured_at(Fraction(7 + jump), 102.0) == 102.0
        assert clock.captured_at(Fraction(8 + jump), 103.1) == 103.0


class FakeDevice:
    """A camera of OpenCV: as many frames as ``frames``, with the driver's clock or without."""

    def __init__(self, frames: int, opens: bool = True, driver_ms: float | None = None) -> None:
        self.frames, self.opens, self.driver_ms = frames, opens, driver_ms
        self.released = False

    def __call__(self, index: int) -> "FakeDevice":
        return self

    def isOpened(self) -> bool:
        return self.opens

    def set(self, prop: int, value: float) -> bool:
        return True

    def get(self, prop: int) -> float:
        import cv2

        if prop == cv2.CAP_PROP_POS_MSEC:
            return self.driver_ms or 0.0
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        from tests.video.clips import picture

        self.frames -= 1
        return (True, picture(9)) if self.frames >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


class TestCamera:
    def test_frames_carry_the_drivers_time(self, clock: list[float]) -> None:
        camera = CameraSource(0, FakeDevice(1, driver_ms=99_960))
        clock[0] = 100.01
        frame = camera.read()
        assert frame.captured_at == 99.96
        assert picture_number(frame.picture()) == 9
        assert camera.rate == 30.0

    @pytest.mark.parametrize("driver_ms", [0.0, 5e9, 110_000.0])
    def test_a_clock_of_another_kind_is_not_used(self, clock, driver_ms: float) -> None:
        assert CameraSource(0, FakeDevice(1, driver_ms=driver_ms)).read().captured_at == 100.0

    def test_unplugged(self) -> None:
        device = FakeDevice(1)
        camera = CameraSource(0, device)
        camera.read()
        with pytest.raises(InputError, match="camera 0 sends no frames any more"):
            camera.read()
        camera.close()
        assert device.released

    def test_not_there(self) -> None:
        device = FakeDevice(0, opens=False)
        with pytest.raises(InputError, match="camera 3 cannot be opened: see 'accel-rt cameras'"):
            CameraSource(3, device)
        assert device.released

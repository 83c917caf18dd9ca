"""Recordings: never in the way of the pictures, whole whatever happens."""

import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from accel_rt.cli import live as options
from accel_rt.errors import OutputError, UsageError
from accel_rt.live.recorder import Recorder, RecordingLimits, Recordings
from tests.live.fake import gate, wait_until
from tests.video.clips import picture, picture_number

RATE = Fraction(10)


def record(path: Path, size: tuple[int, int], rate: Fraction, **limits: float) -> Recorder:
    return Recorder(Recordings(path, RecordingLimits(**{"free_bytes": 0, **limits})), size, rate)


def write_numbers(recorder: Recorder, numbers: range) -> None:
    """Pictures of these numbers, ten a second, none of them dropped."""
    for number in numbers:
        wait_until(lambda: recorder._queue.qsize() < 4)
        recorder.write(picture(number), number / 10)


def read(path: Path) -> list[tuple[float, int]]:
    """Times and numbers of the pictures of a file."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), picture_number(frame.to_ndarray(format="bgr24")))
            for frame in container.decode(video=0)
        ]


def test_pictures_keep_their_times(tmp_path: Path) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
    for number, seconds in enumerate((100, 100 + 1 / 30, 100 + 1 / 15, 101)):
        recorder.write(picture(number), seconds)
    recorder.close()
    times, numbers = zip(*read(recorder.path), strict=True)
    assert numbers == (0, 1, 2, 3)
    with av.open(str(recorder.path)) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (48, 64)
    assert times == pytest.approx((0, 1 / 30, 1 / 15, 1), abs=1e-5)
    assert recorder.failure is None


def test_what_was_recorded_survives_kill(tmp_path: Path) -> None:
    """The process ends by SIGKILL; all but the last second is there and nothing is repaired."""
    code = """
import sys, time
from fractions import Fraction
from pathlib import Path
from tests.live.fake import wait_until
from tests.live.test_recorder import record
from tests.video.clips import picture
recorder = record(Path(sys.argv[1]), (48, 64), Fraction(10))
for number in range(58):
    wait_until(lambda: recorder._queue.qsize() < 4)
    recorder.write(picture(number), number / 10)
wait_until(lambda: recorder._writer.frames == 58)
print("ready", flush=True)
time.sleep(60)
"""
    path = tmp_path / "it.mp4"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    numbers = [number for _, number in read(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 58 - 10


def test_it_can_be_played_while_it_is_written(tmp_path: Path) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
    for number in range(25):
        wait_until(lambda: recorder._queue.qsize() < 4)
        recorder.write(picture(number), number / 10)
    wait_until(lambda: recorder._writer.frames == 25)
    assert len(read(recorder.path)) >= 15
    recorder.close()
    assert len(read(recorder.path)) == 25


def test_a_slow_encoder_loses_pictures_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
    go, wait = gate()
    written = threading.Event()
    write = recorder._writer.write

    def slow(image: np.ndarray, pts: Fraction) -> None:
        written.set()
        wait()
        write(image, pts)

    monkeypatch.setattr(recorder._writer, "write", slow)
    recorder.write(picture(0), 0.0)
    assert written.wait(10)
    for number in range(1, 21):
        recorder.write(picture(number), number / 10)
    assert recorder.dropped == 12
    go.set()
    recorder.close()
    assert [number for _, number in read(recorder.path)] == list(range(9))


def test_another_size_begins_another_file(tmp_path: Path) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
    for number in range(6):
        size = (48, 64) if number < 3 else (64, 96)
        recorder.write(picture(number, *size[::-1]), number / 10)
    recorder.close()
    assert recorder.path == tmp_path / "it-2.mp4"
    assert [n for _, n in read(tmp_path / "it.mp4")] == [0, 1, 2]
    assert [n for _, n in read(tmp_path / "it-2.mp4")] == [3, 4, 5]


def test_few_pictures_a_second_are_written_every_second_too(tmp_path: Path) -> None:
    """A slow machine shows fewer pictures than the source has."""
    recorder = record(tmp_path / "it.mp4", (48, 64), Fraction(25))
    for number in range(20):
        wait_until(lambda: recorder._queue.qsize() < 4)
        recorder.write(picture(number), number / 2)
    wait_until(lambda: recorder._writer.frames == 20)
    assert len(read(recorder.path)) >= 17
    recorder.close()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "it.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        record(path, (48, 64), RATE)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "error"), [("it.mkv", UsageError), ("it.avi", UsageError), ("no/it.mp4", OutputError)]
)
def test_where_it_cannot_record(tmp_path: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        record(tmp_path / name, (48, 64), RATE)


def test_an_error_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
    for number in range(25):
        wait_until(lambda: recorder._queue.qsize() < 4)
        recorder.write(picture(number), number / 10)
    wait_until(lambda: recorder._writer.frames == 25)

    def fail(packets: list[av.Packet]) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(recorder._writer, "_mux", fail)
    recorder.write(picture(25), 2.5)
    wait_until(lambda: recorder.failure)
    recorder.close()
    assert "cannot write" in str(recorder.failure)
    assert len(read(recorder.path)) >= 15


def test_only_its_owner_may_read_a_recording(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        recorder = record(tmp_path / "it.mp4", (48, 64), RATE)
        write_numbers(recorder, range(2))
        recorder.close()
    finally:
        os.umask(before)
    assert recorder.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["precious", "nothing yet"])
def test_links_are_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    path = tmp_path / "it.mp4"
    path.symlink_to(tmp_path / target)
    with pytest.raises(UsageError, match="exists already"):
        record(path, (48, 64), RATE)
    (tmp_path / "second-2.mp4").symlink_to(tmp_path / target)
    recordings = Recordings(tmp_path / "second.mp4", RecordingLimits(free_bytes=0))
    for name in ("second.mp4", "second-3.mp4"):
        recorder = Recorder(recordings, (48, 64), RATE)
        write_numbers(recorder, range(2))
        recorder.close()
        assert recorder.path == tmp_path / name
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "nothing yet").exists()


def test_a_long_recording_goes_on_in_another_file_until_there_are_too_many(tmp_path: Path) -> None:
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE, length_s=1.0, files=2)
    write_numbers(recorder, range(21))
    wait_until(lambda: recorder.failure)
    recorder.close()
    assert [n for _, n in read(tmp_path / "it.mp4")] == list(range(10))
    assert [n for _, n in read(tmp_path / "it-2.mp4")] == list(range(10, 20))
    assert not (tmp_path / "it-3.mp4").exists()
    assert recorder.path == tmp_path / "it-2.mp4", "the last one that there is"
    assert "2 files were recorded, which is all" in str(recorder.failure)


def test_the_number_of_recordings_of_a_run_is_limited(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "it.mp4", RecordingLimits(files=2, free_bytes=0))
    for _ in range(2):
        recorder = Recorder(recordings, (48, 64), RATE)
        write_numbers(recorder, range(2))
        recorder.close()
    with pytest.raises(OutputError, match="--max-recordings"):
        Recorder(recordings, (48, 64), RATE)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_recorded_on_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [2000]
    usage = lambda path: SimpleNamespace(free=free[0])  # noqa: E731
    monkeypatch.setattr("accel_rt.live.recorder.shutil.disk_usage", usage)
    recorder = record(tmp_path / "it.mp4", (48, 64), RATE, free_bytes=1000)
    write_numbers(recorder, range(5))
    wait_until(lambda: recorder._writer.frames == 5)
    free[0] = 999
    recorder.write(picture(5), 0.5)
    wait_until(lambda: recorder.failure)
    recorder.close()
    assert "are free where" in str(recorder.failure)
    assert [n for _, n in read(recorder.path)] == list(range(5))
    with pytest.raises(OutputError, match="nothing more is recorded"):
        record(tmp_path / "other.mp4", (48, 64), RATE, free_bytes=1000)
    assert not (tmp_path / "other.mp4").exists()


def test_the_options_have_the_limits_defaults() -> None:
    limits = RecordingLimits()
    assert limits.files == options.MAX_RECORDINGS
    assert limits.length_s == options.RECORDING_LENGTH_S
    assert limits.free_bytes == options.KEEP_FREE_MB * 10**6

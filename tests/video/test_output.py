"""Outputs that cannot be written, full disks, and the check that skips what is whole."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from accel_rt.errors import OutputError, UsageError
from accel_rt.video import output, writer
from accel_rt.video.complete import complete_pictures
from accel_rt.video.output import check_output_path, output_errors
from accel_rt.video.reader import open_source
from accel_rt.video.writer import VideoWriter
from tests.video.clips import RATE, boxes, picture, picture_number, probe, write_clip

SIZE = (48, 64)


def test_output_equal_to_input(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match="is the input itself"):
        check_output_path(clip, [tmp_path / "other.mp4", clip])
    (tmp_path / "link.mp4").symlink_to(clip)
    with pytest.raises(UsageError, match="is the input itself"):
        check_output_path(tmp_path / "link.mp4", [str(clip)])
    check_output_path(tmp_path / "new.mp4", [clip, "rtsp://camera/1", "frames/*.png"])


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"the folder '.*nowhere' does not exist"):
        VideoWriter(tmp_path / "nowhere" / "out.mp4", SIZE, RATE)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder: give a file name"):
        VideoWriter(tmp_path / "folder.mp4", SIZE, RATE)
    # Permissions do not bind the superuser, whom tests may run as: the answer is replaced.
    monkeypatch.setattr(output.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="may not be written"):
        VideoWriter(tmp_path / "out.mp4", SIZE, RATE)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]


def fail_with(error):
    with output_errors("out.mp4"):
        raise error


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        check_output_path(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "'out.mp4': permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full, 'out.mp4'"),
        (OSError(errno.EFBIG, "File too large"), "beyond the largest file allowed"),
    ],
)
def test_errors_of_the_system_in_one_sentence(error, words):
    with pytest.raises(OutputError, match=words):
        fail_with(error)


def test_missing_encoder(tmp_path, monkeypatch):
    absent = replace(writer.CODECS["h264"], encoder="libabsent")
    monkeypatch.setitem(writer.CODECS, "h264", absent)
    with pytest.raises(OutputError, match="libabsent is missing from this build of PyAV"):
        VideoWriter(tmp_path / "out.mp4", SIZE, RATE)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_gone_costs_its_sound_alone(tmp_path):
    path = write_clip(tmp_path / "in.mp4", audio_s=0.8)
    with open_source(path) as source:
        path.unlink()
        with VideoWriter(tmp_path / "out.mp4", SIZE, RATE, tracks_from=source) as video:
            video.write(picture(0), Fraction(0))
    assert probe(tmp_path / "out.mp4").audio_codec is None
    (note,) = video.notes
    assert note.startswith("left out: the sound of in.mp4 (")


# A disk that fills up


def limit_disk(monkeypatch, folder, capacity):
    """Make ``os.write`` fail as on a file system of ``capacity`` bytes that holds ``folder``."""
    write = os.write

    def limited_write(descriptor, data):
        status = os.fstat(descriptor)
        used = sum(path.stat().st_size for path in folder.iterdir())
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        room = capacity - used + max(0, status.st_size - position)
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:room])

    monkeypatch.setattr(output.os, "write", limited_write)


def noise(number):
    values = np.random.default_rng(number).normal(0, 12, (240, 320, 3))
    return np.clip(picture(number, 320, 240) + values, 0, 255).astype(np.uint8)


def write_until_it_fails(path, **options):
    with VideoWriter(path, (240, 320), RATE, **options) as video:
        for number in range(250):
            video.write(noise(number), number / RATE)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_full_disk_keeps_a_playable_file(tmp_path, monkeypatch, suffix):
    folder = tmp_path / "disk"
    folder.mkdir()
    sound = write_clip(
        tmp_path / "sound.mp4", [n / RATE for n in range(250)], audio_s=10, beep_s=0.5
    )
    limit_disk(monkeypatch, folder, 1_500_000)
    path = folder / f"out{suffix}"
    full = pytest.raises(OutputError, match="the disk is full: .* is playable but ends early")
    with open_source(sound) as source, full:
        write_until_it_fails(path, tracks_from=source, crf=15)
    assert [p.name for p in folder.iterdir()] == [path.name]
    found = probe(path)
    assert 10 < len(found.images) < 250
    numbers = [picture_number(image) for image in found.images]
    assert numbers == list(range(len(numbers)))
    assert found.beep_s == pytest.approx(0.5, abs=5e-3)
    if suffix == ".mp4":
        assert boxes(path).index("moov") < boxes(path).index("mdat")


def test_disk_too_full_to_begin(tmp_path, monkeypatch):
    """Nothing is left where not even a first piece fits."""
    limit_disk(monkeypatch, tmp_path, 500)
    with pytest.raises(OutputError, match=r"the disk is full, .* could not be written"):
        write_until_it_fails(tmp_path / "out.mp4", crf=15)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size):
    """The system's own limit on a file's size, lifted before pytest writes to its own output."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_largest_file_allowed(tmp_path, suffix):
    """What was written until then stays, as a file that plays."""
    path = tmp_path / f"out{suffix}"
    message = "no larger file is allowed there: .* is playable but ends early"
    with file_size_limit(16_000_000), pytest.raises(OutputError, match=message):
        write_until_it_fails(path, crf=0)
    assert list(tmp_path.iterdir()) == [path]
    images = probe(path).images
    assert 10 < len(images) < 250
    assert [picture_number(image) for image in images] == list(range(len(images)))


def test_what_fails_takes_no_earlier_files_place(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an earlier video")
    message = "grew beyond the largest file allowed"
    with file_size_limit(16_000_000), pytest.raises(OutputError, match=message):
        write_until_it_fails(path, crf=0)
    assert path.read_bytes() == b"an earlier video"
    (left,) = tmp_path.glob("out.mp4.*.part")
    assert len(probe(left).images) > 10


def test_no_room_to_begin(tmp_path):
    message = "beyond the largest file allowed"
    with file_size_limit(1000), pytest.raises(OutputError, match=message):
        write_until_it_fails(tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


# What counts as whole


def write_out(path, count=40):
    with VideoWriter(path, SIZE, RATE) as video:
        for number in range(count):
            video.write(picture(number), number / RATE)
    return path


def info_of(path):
    with open_source(path) as source:
        return source.info


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_whole_files(tmp_path, suffix):
    path = write_out(tmp_path / f"out{suffix}")
    source = info_of(write_clip(tmp_path / "in.mp4", [n / RATE for n in range(40)]))
    assert complete_pictures(path)
    assert complete_pictures(path, source)
    assert complete_pictures(path, replace(source, frame_count=None))
    # Nothing says that it is all of a source of unknown length.
    assert not complete_pictures(path, replace(source, frame_count=None, duration_s=None))
    # Corrupt frames of the source are missing from an output that is as long.
    assert complete_pictures(path, replace(source, frame_count=50))


def test_files_shorter_than_their_source(tmp_path):
    path = write_out(tmp_path / "out.mp4", 30)
    source = info_of(write_clip(tmp_path / "in.mp4", [n / RATE for n in range(40)]))
    assert not complete_pictures(path, source)
    assert not complete_pictures(path, replace(source, frame_count=None))
    assert not complete_pictures(path, replace(source, duration_s=None))


def test_one_frame_is_whole(tmp_path):
    assert complete_pictures(write_out(tmp_path / "out.mp4", 1))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_files_are_not_whole(tmp_path, suffix, share):
    path = write_out(tmp_path / f"out{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert not complete_pictures(path)


def test_damaged_end_is_not_whole(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, (240, 320), RATE) as video:
        for number in range(20):
            video.write(noise(number), number / RATE)
    assert complete_pictures(path)
    data = bytearray(path.read_bytes())
    data[-4000:] = bytes(byte ^ 0xFF for byte in data[-4000:])
    path.write_bytes(data)
    assert not complete_pictures(path)


def test_other_things_are_not_whole(tmp_path):
    assert not complete_pictures(tmp_path / "missing.mp4")
    assert not complete_pictures(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert not complete_pictures(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("text" * 100)
    assert not complete_pictures(tmp_path / "text.mp4")

"""Ctrl-C and SIGTERM in the middle of a run: what was done is kept, and said."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

from accel_rt.cli.interrupt import Interruption, finishing_on_signals
from tests.video.clips import picture, picture_number, probe, write_clip

ROOT = Path(__file__).parents[2]
FRAMES = 250


@pytest.fixture
def long_clip(tmp_path):
    return write_clip(tmp_path / "long.mp4", [Fraction(n, 25) for n in range(FRAMES)], audio_s=10)


@pytest.fixture
def interrupted_at(monkeypatch):
    """``interrupted_at({frame: signal})`` puts a segmenter in place that sends them."""
    from tests.cli.fake import FakeSegmenter

    def install(signals):
        monkeypatch.setattr(
            "accel_rt.runtime.load.load_segmenter",
            lambda settings, **_: FakeSegmenter(settings, signals),
        )

    return install


def check_video(path, frames):
    found = probe(path)
    assert [picture_number(image) for image in found.images] == list(range(frames))
    assert found.audio_end_s == pytest.approx(frames / 25, abs=0.1)
    assert not path.with_name(path.name + ".part").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_process_ends_with_a_whole_file(tmp_path, long_clip, number):
    program = [sys.executable, "-m", "tests.cli.fake", f"{int(number)}@30"]
    command = [*program, "segment", str(long_clip), "--alpha", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert "interrupted: finishing what was done" in done.stderr
    assert f"wrote {tmp_path / 'long_accel.mp4'}: 31 frames" in done.stdout
    assert "Traceback" not in done.stderr
    check_video(tmp_path / "long_accel.mp4", 31)


def test_everything_else_is_finished_too(accel, interrupted_at, long_clip, tmp_path):
    interrupted_at({9: signal.SIGINT})
    args = ("--masks", "m", "--masks-format", "rle", "--timing", "t.csv", "--alpha", 0)
    assert accel("segment", long_clip, *args).code == 130
    check_video(tmp_path / "long_accel.mp4", 10)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [int(row["frame"]) for row in csv.DictReader(file)] == list(range(10))
    assert [path.name for path in (tmp_path / "m").iterdir() if path.suffix == ".part"] == []


def test_timing_json_is_whole(accel, interrupted_at, long_clip, tmp_path):
    interrupted_at({9: signal.SIGINT})
    args = ("--masks", "m", "--timing", "t.json", "--no-video")
    assert accel("segment", long_clip, *args).code == 130
    assert "summary" in json.loads((tmp_path / "t.json").read_text())
    masks = list((tmp_path / "m").glob("*.png"))
    assert len(masks) == 10
    assert all(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) is not None for mask in masks)


def test_what_was_interrupted_is_not_taken_for_done(accel, interrupted_at, long_clip, tmp_path):
    interrupted_at({9: signal.SIGINT})
    assert accel("segment", long_clip).code == 130
    interrupted_at({})
    done = accel("segment", long_clip, "--skip-existing", "--alpha", 0)
    assert done.code == 0
    assert "skipped" not in done.err
    check_video(tmp_path / "long_accel.mp4", FRAMES)


def test_a_part_does_not_replace_a_finished_file(accel, interrupted_at, long_clip, tmp_path):
    args = ("--alpha", 0, "--timing", "t.csv", "--masks", "m")
    interrupted_at({})
    assert accel("segment", long_clip, *args).code == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("long_accel.mp4", "t.csv")}
    interrupted_at({120: signal.SIGINT})
    done = accel("segment", long_clip, *args)
    assert done.code == 130
    told = re.search(r"stay as they are, and (\d+) of 121 frames are kept unfinished", done.err)
    assert 100 <= int(told[1]) < 121
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    interrupted_at({})
    done = accel("segment", long_clip, *args, "--resume")
    assert done.code == 0
    assert f"going on with {long_clip} after {told[1]} frames" in done.err
    check_video(tmp_path / "long_accel.mp4", FRAMES)
    assert len(list((tmp_path / "m").glob("*.png"))) == FRAMES
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["long.mp4", "long_accel.mp4", "m", "t.csv"]


@pytest.mark.parametrize(("name", "frame"), [("o.mp4", 50), ("o.gif", 120)])
def test_a_part_that_cannot_be_gone_on_with_is_not_kept(
    accel, interrupted_at, long_clip, tmp_path, name, frame
):
    args = ("-o", name, "--timing", "t.csv")
    (tmp_path / name).write_bytes(b"of an earlier run")
    interrupted_at({frame: signal.SIGINT})
    done = accel("segment", long_clip, *args)
    assert done.code == 130
    assert f"and the {frame + 1} frames of this one are not kept" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.mp4", name]
    assert (tmp_path / name).read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("fmt", ["png", "rle"])
def test_a_part_does_not_replace_finished_masks(accel, interrupted_at, long_clip, tmp_path, fmt):
    args = ("--no-video", "--masks", "m", "--masks-format", fmt)
    interrupted_at({})
    assert accel("segment", long_clip, *args).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    interrupted_at({120: signal.SIGINT})
    done = accel("segment", long_clip, *args)
    assert done.code == 130
    assert "the files of an earlier run stay as they are" in done.err
    assert {name: (tmp_path / "m" / name).read_bytes() for name in before} == before
    interrupted_at({})
    done = accel("segment", long_clip, *args, "--resume")
    assert "going on with " in done.err
    assert {path.name for path in (tmp_path / "m").iterdir()} == set(before)


def test_a_part_of_the_pictures_keeps_their_masks(accel, interrupted_at, tmp_path):
    (tmp_path / "shots").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "shots" / f"f{number}.png"), picture(number))
    args = ("shots", "--no-video", "--masks", "m")
    interrupted_at({})
    assert accel("segment", *args).code == 0
    before = {path: path.stat().st_ino for path in (tmp_path / "m").glob("*.png")}
    interrupted_at({1: signal.SIGINT})
    assert accel("segment", *args).code == 130
    assert {path: path.stat().st_ino for path in (tmp_path / "m").glob("*.png")} == before


def test_other_inputs_are_not_begun(accel, interrupted_at, long_clip, tmp_path):
    write_clip(tmp_path / "b.mp4")
    interrupted_at({9: signal.SIGINT})
    assert accel("segment", long_clip, "b.mp4", "-o", "out").code == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["long_accel.mp4"]


def test_second_interrupt_drops_the_file(accel, interrupted_at, long_clip, tmp_path, monkeypatch):
    from tests.cli.fake import FakeSegmenter

    def twice(self, frame_bgr, pts=None):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    interrupted_at({})
    monkeypatch.setattr(FakeSegmenter, "step", twice)
    done = accel("segment", long_clip)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted"
    assert not list(tmp_path.glob("*_accel*"))


def test_interrupt_while_loading(accel, long_clip, tmp_path, monkeypatch):
    def load(settings, **_):
        raise KeyboardInterrupt  # as Python's own handler does, which a background job lacks

    monkeypatch.setattr("accel_rt.runtime.load.load_segmenter", load)
    done = accel("segment", long_clip)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted"
    assert not list(tmp_path.glob("*_accel*"))


def test_a_job_in_the_background_can_be_interrupted(accel, interrupted_at, clip, tmp_path):
    """Shells ignore SIGINT on behalf of such jobs."""
    interrupted_at({3: signal.SIGINT})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert accel("segment", clip).code == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(probe(tmp_path / "clip_accel.mp4").images) == 4


def test_handlers_are_put_back(accel, interrupted_at, long_clip):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interrupted_at({0: signal.SIGINT})
    assert accel("segment", long_clip).code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_meets_the_lock_of_the_event_does_not_block() -> None:
    """As in a thread that is interrupted while it is about to wait for the event."""
    interruption = Interruption()
    with finishing_on_signals(interruption):
        with interruption.event._cond:
            signal.raise_signal(signal.SIGINT)
            assert interruption.event.is_set()
        assert interruption.event.wait(10)
    assert interruption.signal == signal.SIGINT

"""Runs that are killed: what they leave plays, and going on gives what an undisturbed run does."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from accel_rt.cli import run_files
from accel_rt.cli.jobs import Job
from accel_rt.errors import InputError, OutputError
from accel_rt.video.source import SourceInfo
from tests.cli.fake import FakeSegmenter
from tests.video.clips import boxes, picture, picture_number, probe, write_clip

ROOT = Path(__file__).parents[2]
FRAMES = 221
ARGS = ("--interval", 5, "--masks", "m", "--timing", "t.csv", "--alpha", 0)


@pytest.fixture
def long_clip(tmp_path):
    images = [picture(n % 256) for n in range(FRAMES)]
    return write_clip(tmp_path / "long.mp4", images=images, audio_s=8.84, beep_s=5.0)


class Died(BaseException):
    """Stands for the end of the process: nothing is tidied up."""


@pytest.fixture
def killed_at(monkeypatch, accel, fakes):
    """``killed_at(frame, ...)`` runs the command line as if the process died at that frame.

    The run's files are closed as the system would, and stay.
    """

    def run(frame, *args):
        step, abandon = FakeSegmenter.step, run_files.RunFiles._abandon

        def dies(self, frame_bgr, pts=None):
            if self._index == frame:
                raise Died
            return step(self, frame_bgr, pts)

        def leaves(self):
            self.first = self.first or -1
            self._caught_up = True
            abandon(self)

        with monkeypatch.context() as patched:
            patched.setattr(FakeSegmenter, "step", dies)
            patched.setattr(run_files.RunFiles, "_abandon", leaves)
            with pytest.raises(Died):
                accel("segment", *args)

    return run


def outputs(folder, masks="m", times="t.csv", video="long_accel.mp4"):
    """What a finished run left, to be compared."""
    found = probe(folder / video)
    with (folder / times).open(newline="") as file:
        rows = [(row["frame"], row["pts_s"], row["kind"]) for row in csv.DictReader(file)]
    with av.open(str(folder / video)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return {
        "times": found.times,
        "images": [image.tobytes() for image in found.images],
        "sound": sound,
        "masks": {path.name: path.read_bytes() for path in (folder / masks).iterdir()},
        "rows": rows,
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def whole(accel, fakes, long_clip, tmp_path):
    """The outputs of an undisturbed run, which are removed again."""
    assert accel("segment", long_clip, *ARGS).code == 0
    found = outputs(tmp_path)
    for path in tmp_path.glob("m/*"):
        path.unlink()
    for name in ("long_accel.mp4", "t.csv"):
        (tmp_path / name).unlink()
    (tmp_path / "m").rmdir()
    return found


def test_going_on_gives_what_an_undisturbed_run_does(accel, killed_at, long_clip, tmp_path, whole):
    killed_at(130, long_clip, *ARGS)
    (part,) = tmp_path.glob("long_accel.mp4.*.part")
    left = probe(part)
    numbers = [picture_number(image) for image in left.images]
    assert 90 <= len(numbers) <= 130
    assert numbers == list(range(len(numbers)))
    assert len(list(tmp_path.glob("m/masks.*.part/*.png"))) >= len(numbers)
    killed_at(110, long_clip, *ARGS, "--resume")  # which is frame 210: once more
    done = accel("segment", long_clip, *ARGS, "--resume")
    assert done.code == 0, done.err
    assert "going on with " in done.err
    assert f"wrote {tmp_path / 'long_accel.mp4'}: 221 frames" in done.out
    assert outputs(tmp_path) == whole
    assert names(tmp_path) == ["long.mp4", "long_accel.mp4", "m", "t.csv"]


@pytest.mark.parametrize("resume", [("--resume",), ()])
def test_killed_before_the_first_checkpoint(accel, killed_at, long_clip, tmp_path, whole, resume):
    killed_at(30, long_clip, *ARGS)
    done = accel("segment", long_clip, *ARGS, *resume)
    assert done.code == 0
    assert ("too little is left of the unfinished run" in done.err) == bool(resume)
    assert "--resume goes on" not in done.err
    assert outputs(tmp_path) == whole
    assert names(tmp_path) == ["long.mp4", "long_accel.mp4", "m", "t.csv"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mkv", "h264"), ("out.webm", "vp9"), ("out.mov", "hevc"), ("out.mp4", "av1")],
)
def test_every_container_can_be_gone_on_with(accel, killed_at, long_clip, tmp_path, name, codec):
    args = ("-o", name, "--codec", codec, "--alpha", 0)
    accel("segment", long_clip, *args)
    expected = probe(tmp_path / name)
    killed_at(150, long_clip, *args)
    (part,) = tmp_path.glob(f"{name}.*.part")
    assert len(probe(part).images) > 70
    assert accel("segment", long_clip, *args, "--resume").code == 0
    found = probe(tmp_path / name)
    assert found.times == expected.times
    assert all(np.array_equal(*pair) for pair in zip(found.images, expected.images, strict=True))
    assert found.beep_s == pytest.approx(expected.beep_s, abs=1e-3)


def test_coco_and_json(accel, killed_at, long_clip, tmp_path):
    args = ("--masks-format", "rle", "--timing", "t.json", "--no-video")
    assert accel("segment", long_clip, "--masks", "whole", *args).code == 0
    expected = (tmp_path / "whole" / "masks.json").read_bytes()
    killed_at(130, long_clip, "--masks", "m", *args)
    (lines,) = tmp_path.glob("m/*.part/frames.jsonl")
    assert len([json.loads(line) for line in lines.read_text().splitlines()]) >= 120
    assert accel("segment", long_clip, "--masks", "m", *args, "--resume").code == 0
    assert names(tmp_path / "m") == ["masks.json"]
    assert (tmp_path / "m" / "masks.json").read_bytes() == expected
    report = json.loads((tmp_path / "t.json").read_text())
    assert [row["frame"] for row in report["frames"]] == list(range(FRAMES))
    assert report["summary"]["frames"] == FRAMES


def test_images_keep_their_names(accel, killed_at, tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(150):
        assert cv2.imwrite(str(folder / f"IMG_{number}.jpg"), picture(number))
    killed_at(120, folder, "--masks", "m")
    assert accel("segment", folder, "--masks", "m", "--resume").code == 0
    expected = ["classes.json", *(f"IMG_{number}.png" for number in range(150))]
    assert names(tmp_path / "m") == sorted(expected)


def test_a_run_that_writes_into_the_folder_of_its_pictures_can_be_gone_on_with(
    accel, killed_at, tmp_path, monkeypatch
):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(150):
        assert cv2.imwrite(str(folder / f"f{number}.png"), picture(number))
    (folder / ".#f0.png").symlink_to("of an editor that is open")
    monkeypatch.chdir(folder)
    killed_at(120, ".", "-o", "out.mp4")
    done = accel("segment", ".", "-o", "out.mp4", "--resume")
    assert done.code == 0, done.err
    assert "going on with . after " in done.err
    assert len(probe(folder / "out.mp4").images) == 150


@pytest.mark.parametrize("pattern", ["shots/*.png", "shots/**/*.png"])
def test_every_picture_of_a_pattern_is_of_the_input(tmp_path, monkeypatch, pattern):
    """Also one in folders below, where the pattern goes there."""
    monkeypatch.chdir(tmp_path)
    info = SourceInfo("x", 64, 48, Fraction(25), 2, 0.08, False, False, "images")
    job = Job(pattern, "x", None, None, None)
    (tmp_path / "shots/below/further").mkdir(parents=True)
    found = []
    for name in ("shots/a.png", "shots/below/further/b.png", "shots/c.txt"):
        (tmp_path / name).touch()
        found.append(run_files.source_identity(job, info))
    assert found[1] == found[2]
    assert (found[0] != found[1]) == ("**" in pattern)


def test_a_picture_that_is_gone_is_told_of(tmp_path):
    info = SourceInfo("x", 64, 48, Fraction(25), 2, 0.08, False, False, "images")
    job = Job([tmp_path / "a.png"], "x", None, None, None)
    with pytest.raises(InputError, match="a.png' cannot be read .no such file"):
        run_files.source_identity(job, info)


def test_a_url_is_recognised_and_not_stored():
    info = SourceInfo("x", 64, 48, Fraction(25), 2, 0.08, False, False, "video")
    one, other = (
        run_files.source_identity(Job(f"http://ann:{word}@host/x.mp4", "x", None, None, None), info)
        for word in ("hunter2", "hunter3")
    )
    assert one != other
    assert "hunter2" not in json.dumps(one)


def test_the_next_run_offers_to_go_on_and_cleans_up_when_it_has_ended(
    accel, killed_at, long_clip, tmp_path
):
    killed_at(130, long_clip, *ARGS)
    done = accel("segment", long_clip, *ARGS)
    assert done.code == 0
    assert "an unfinished run has 100 frames of" in done.err
    assert "--resume goes on with it" in done.err
    assert names(tmp_path) == ["long.mp4", "long_accel.mp4", "m", "t.csv"]
    assert not list((tmp_path / "m").glob("*.part"))


@pytest.mark.parametrize("changed", ["weights", "palette"])
def test_files_of_the_same_names_with_other_contents_are_refused(
    accel, killed_at, long_clip, tmp_path, monkeypatch, changed
):
    palette = tmp_path / "p.json"
    palette.write_text('{"road": "#102030"}')
    killed_at(130, long_clip, *ARGS, "--palette", palette)
    if changed == "palette":
        palette.write_text('{"road": "#302010"}')
    else:
        monkeypatch.setattr("accel_rt.runtime.load.weights_digests", lambda settings: ["others"])
    done = accel("segment", long_clip, *ARGS, "--palette", palette, "--resume")
    assert done.code == 2
    assert f"contents of the {changed} " in done.error


def test_other_settings_or_another_input_are_refused(accel, killed_at, long_clip, tmp_path):
    killed_at(130, long_clip, *ARGS)
    before = names(tmp_path)
    done = accel("segment", long_clip, *ARGS[:-1], 0.5, "--resume")
    assert done.code == 2
    assert "alpha 0.0 then, and 0.5 now" in done.error
    write_clip(long_clip, [Fraction(n, 25) for n in range(30)])
    done = accel("segment", long_clip, *ARGS, "--resume")
    assert done.code == 2
    assert "its input has changed" in done.error
    assert names(tmp_path) == before


def test_an_error_while_going_on_costs_nothing(
    accel, killed_at, long_clip, tmp_path, whole, monkeypatch
):
    killed_at(130, long_clip, *ARGS)
    before = names(tmp_path)

    def fails(settings, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("accel_rt.runtime.load.load_segmenter", fails)
        assert accel("segment", long_clip, *ARGS, "--resume").code == 130
    assert names(tmp_path) == before
    assert accel("segment", long_clip, *ARGS, "--resume").code == 0
    assert outputs(tmp_path) == whole


def killed_before_names(accel, monkeypatch, *args):
    """Run the command line as if the process died when only names were left to give."""
    from accel_rt.video.timing import TimingLog

    def dies(self):
        raise Died

    abandon = run_files.RunFiles._abandon

    def leaves(self):
        self._ended = True
        abandon(self)

    with monkeypatch.context() as patched:
        patched.setattr(TimingLog, "commit", dies)
        patched.setattr(run_files.RunFiles, "_abandon", leaves)
        with pytest.raises(Died):
            accel("segment", *args)


def test_killed_while_the_outputs_get_their_names(accel, long_clip, tmp_path, whole, monkeypatch):
    killed_before_names(accel, monkeypatch, long_clip, *ARGS)
    done = accel("segment", long_clip, *ARGS, "--resume")
    assert done.code == 0
    assert "they have them now" in done.err
    assert outputs(tmp_path) == whole
    assert names(tmp_path) == ["long.mp4", "long_accel.mp4", "m", "t.csv"]


@pytest.mark.parametrize("changed", ["settings", "input"])
def test_what_another_run_completed_is_not_taken_for_done(
    accel, fakes, clip, tmp_path, monkeypatch, changed
):
    killed_before_names(accel, monkeypatch, clip, *ARGS)
    before = names(tmp_path)
    args = [*ARGS[:-1], 0.5] if changed == "settings" else ARGS
    if changed == "input":
        write_clip(clip, [Fraction(n, 25) for n in range(30)])
    done = accel("segment", clip, *args, "--resume")
    assert done.code == 2
    assert "cannot go on with the unfinished run" in done.error
    assert names(tmp_path) == before


def test_nothing_to_go_on_with_is_no_error(accel, fakes, clip):
    assert accel("segment", clip, "--resume").code == 0


def test_the_result_is_an_ordinary_file(accel, killed_at, long_clip, tmp_path):
    killed_at(130, long_clip)
    assert accel("segment", long_clip, "--resume").code == 0
    assert boxes(tmp_path / "long_accel.mp4").index("moov") == 1
    with av.open(str(tmp_path / "long_accel.mp4")) as container:
        assert container.streams.video[0].frames == FRAMES


@pytest.mark.slow
def test_killed_for_good(tmp_path, long_clip):
    """The process is killed by the system's signal, four times, until it has gone through."""
    for frame in (20, 105, 110, 30):
        command = [sys.executable, "-m", "tests.cli.fake", f"9@{frame}", "segment"]
        command += [str(long_clip), "-o", str(tmp_path / "out.mp4"), "--alpha", "0", "--resume"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == -9
    command[3] = "9@1000"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = probe(tmp_path / "out.mp4")
    assert [picture_number(image) for image in found.images] == list(range(FRAMES))
    assert names(tmp_path) == ["long.mp4", "out.mp4"]


def test_an_animation_is_begun_anew(accel, killed_at, long_clip, tmp_path):
    args = ("-o", "out.gif", "--timing", "t.csv")
    killed_at(130, long_clip, *args)
    done = accel("segment", long_clip, *args, "--resume")
    assert done.code == 0, done.err
    assert "out.gif: 221 frames" in done.out
    assert names(tmp_path) == ["long.mp4", "out.gif", "t.csv"]


def test_stats_go_on_as_an_undisturbed_run_has_them(accel, killed_at, long_clip, tmp_path):
    args = ("--stats", "s.csv")
    assert accel("segment", long_clip, *args).code == 0
    whole = (tmp_path / "s.csv").read_bytes()
    for name in ("s.csv", "long_accel.mp4"):
        (tmp_path / name).unlink()
    killed_at(130, long_clip, *args)
    done = accel("segment", long_clip, *args, "--resume")
    assert "going on with " in done.err
    assert (tmp_path / "s.csv").read_bytes() == whole
    assert names(tmp_path) == ["long.mp4", "long_accel.mp4", "s.csv"]


def test_the_means_are_of_all_frames(accel, killed_at, long_clip, tmp_path):
    args = ("--stats", "s.csv", "--no-video")
    whole = accel("segment", long_clip, *args, "--summary").out.splitlines()
    (tmp_path / "s.csv").unlink()
    killed_at(130, long_clip, *args)  # what is printed need not be the same
    done = accel("segment", long_clip, *args, "--summary", "--resume")
    assert "going on with " in done.err
    assert done.out.splitlines()[-3:] == whole[-3:]


@pytest.mark.parametrize("stats", [(), ("--stats", "s.csv")])
def test_means_of_the_rest_alone_are_told(accel, killed_at, long_clip, stats):
    args = ("--timing", "t.csv", *stats, "--no-video", "--summary")
    killed_at(130, long_clip, *args)
    done = accel("segment", long_clip, *args, "--resume")
    first = re.search(r"going on with .* after (\d+) frames", done.err)[1]
    told = f"note: the shares are those after frame {first}: --stats would keep all"
    assert (told in done.err) == (not stats)


@pytest.mark.parametrize("other", [("--masks", "m2"), ("--timing", "t2.csv")])
def test_outputs_somewhere_else_are_refused(accel, killed_at, long_clip, tmp_path, other):
    killed_at(130, long_clip, *ARGS)
    before = names(tmp_path)
    args = list(ARGS)
    args[args.index(other[0]) + 1] = other[1]
    done = accel("segment", long_clip, *args, "--resume")
    assert done.code == 2
    name, then = other[0][2:], ARGS[ARGS.index(other[0]) + 1]
    assert f"{name} {then} then, and {other[1]} now" in done.error
    assert set(before) <= set(names(tmp_path))


def test_what_cannot_be_completed_is_kept_and_named(accel, fakes, clip, tmp_path, monkeypatch):
    def full(self):
        raise OutputError("the disk is full: free space and run again")

    monkeypatch.setattr("accel_rt.video.masks.MaskWriter.complete", full)
    done = accel("segment", clip, "--masks", "m", "--timing", "t.csv")
    assert done.code == 1
    (left,) = (tmp_path / "m").iterdir()
    assert f"run again; what was done is in 'm/{left.name}'" in done.error
    assert len(list(left.glob("*.png"))) == 20
    assert names(tmp_path) == ["clip.mp4", "clip_accel.mp4", "m", "t.csv"]

"""The outputs of a run as one thing, and what they must never do to other files."""

from __future__ import annotations

import errno
import json
from fractions import Fraction

import cv2
import pytest
from PIL import Image

from accel_rt.errors import OutputError
from accel_rt.files import Claim
from accel_rt.video.images import ImageSource
from accel_rt.video.output import LineFile
from accel_rt.video.timing import TimingLog
from tests.video.clips import RATE, picture, probe, write_clip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("args", "claimed"),
    [
        (("-o", "out.mp4"), "out.mp4"),
        (("--timing", "t.csv"), "t.csv"),
        (("--masks", "m"), "m/masks.json"),
    ],
)
def test_a_second_run_to_the_same_output_is_told_so(accel, fakes, clip, tmp_path, args, claimed):
    (tmp_path / claimed).parent.mkdir(exist_ok=True)
    first = Claim(tmp_path / claimed)
    before = names(tmp_path)
    done = accel("segment", clip, *args)
    assert done.code == 1
    assert f"'{claimed}' is being written by another run" in done.error
    assert names(tmp_path) == before
    first.release()
    assert accel("segment", clip, *args).code == 0


def test_a_disk_too_full_to_begin_is_left_as_it_was(accel, fakes, clip, tmp_path, monkeypatch):
    def full(self, line):
        raise OutputError("the disk is full")

    monkeypatch.setattr(LineFile, "write", full)
    before = names(tmp_path)
    assert accel("segment", clip).code == 1
    assert names(tmp_path) == before


@pytest.mark.parametrize("missing", ["m", "t.csv", "clip_accel.mp4"])
def test_skip_existing_looks_at_every_output(accel, fakes, clip, tmp_path, missing):
    args = ("segment", clip, "--masks", "m", "--timing", "t.csv")
    assert accel(*args).code == 0
    assert "skipped" in accel(*args, "--skip-existing").err
    if missing == "m":
        (tmp_path / "m" / "frame_000007.png").unlink()
    else:
        (tmp_path / missing).unlink()
    done = accel(*args, "--skip-existing")
    assert "skipped" not in done.err
    assert len(list((tmp_path / "m").glob("*.png"))) == 20
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 21
    assert len(probe(tmp_path / "clip_accel.mp4").images) == 20


def test_skip_existing_of_a_video_whose_sound_begins_first(accel, fakes, tmp_path):
    late = [Fraction(7, 10) + n / RATE for n in range(20)]
    write_clip(tmp_path / "a.mkv", late, audio_s=1.5)
    for args in (
        ("-o", "o.mp4"),
        ("-o", "o.mp4", "--end", "1"),
        ("--no-video", "--timing", "t.csv"),
    ):
        assert accel("segment", "a.mkv", *args).code == 0
        assert "skipped" in accel("segment", "a.mkv", *args, "--skip-existing").err


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_skip_existing_does_part_of_an_animation_again(accel, fakes, clip, name):
    assert accel("segment", clip, "-o", name, "--end", 0.2).code == 0
    assert "skipped" not in accel("segment", clip, "-o", name, "--skip-existing").err
    assert "skipped" in accel("segment", clip, "-o", name, "--skip-existing").err


def test_skip_existing_of_an_animation_that_leaves_frames_out(accel, fakes, tmp_path):
    (tmp_path / "fast").mkdir()
    for number in range(40):
        cv2.imwrite(str(tmp_path / "fast" / f"{number}.png"), picture(number))
    args = ("segment", "fast", "--rate", 100, "-o", "a.gif", "--timing", "t.csv")
    assert accel(*args).code == 0
    rows = (tmp_path / "t.csv").read_text().splitlines(True)
    for lines in (9, 31):  # of fewer frames, and of more, than there are in the animation
        assert "skipped" in accel(*args, "--skip-existing").err
        (tmp_path / "t.csv").write_text("".join(rows[:lines]))
        assert "skipped" not in accel(*args, "--skip-existing").err


def test_skip_existing_of_folders_of_pictures_whose_masks_lie_together(accel, fakes, tmp_path):
    for folder, count in (("p", 5), ("q", 4)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            name = tmp_path / folder / f"{folder}{number}.png"
            assert cv2.imwrite(str(name), picture(number))
    args = ("--no-video", "--masks", "m", "--skip-existing")
    for folder in "pq":
        assert "skipped" not in accel("segment", folder, *args).err
    for folder in "pq":
        assert "skipped" in accel("segment", folder, *args).err


def test_skip_existing_of_pages_and_of_some_of_a_folders_pictures(accel, fakes, tmp_path):
    (tmp_path / "p").mkdir()
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    pages[0].save(tmp_path / "p" / "a.tif", save_all=True, append_images=pages[1:])
    for number in range(4):
        assert cv2.imwrite(str(tmp_path / "p" / f"b{number}.png"), picture(number))
    args = ("segment", "p", "--no-video", "--masks", "m", "--rate", 10)
    for span in ((), ("--start", 0.2, "--end", 0.5)):
        assert accel(*args, *span).code == 0
        assert "skipped" in accel(*args, *span, "--skip-existing").err
    assert "skipped" in accel(*args, "--skip-existing").err  # pictures' masks stay
    (tmp_path / "m" / "b3.png").unlink()
    assert "skipped" not in accel(*args, "--skip-existing").err


def test_pictures_are_not_opened_for_their_names_where_no_masks_are(
    accel, fakes, monkeypatch, tmp_path
):
    (tmp_path / "p").mkdir()
    assert cv2.imwrite(str(tmp_path / "p" / "a.png"), picture(0))
    asked = []
    named = ImageSource.picture_names
    monkeypatch.setattr(ImageSource, "picture_names", lambda self: asked.append(0) or named(self))
    args = ("segment", "p", "--no-video", "--masks", "m")
    assert accel(*args).code == 0
    assert not asked
    assert accel(*args).code == 0
    assert asked


def test_skip_existing_of_a_picture_whose_mask_is_among_others(accel, fakes, tmp_path):
    for number in range(2):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
        assert accel("segment", f"{number}.png", "--masks", "m").code == 0
    assert "skipped" in accel("segment", "0.png", "--masks", "m", "--skip-existing").err
    (tmp_path / "m" / "0.png").unlink()
    assert "skipped" not in accel("segment", "0.png", "--masks", "m", "--skip-existing").err
    assert "skipped" in accel("segment", "1.png", "--masks", "m", "--skip-existing").err


def test_skip_existing_without_a_video(accel, fakes, clip):
    args = ("segment", clip, "--no-video", "--masks", "m", "--masks-format", "rle")
    assert accel(*args, "--end", 0.2).code == 0
    assert "skipped" not in accel(*args, "--skip-existing").err
    assert "skipped" in accel(*args, "--skip-existing").err


def test_skip_existing_without_any_output(accel, fakes, clip):
    done = accel("segment", clip, "--no-video", "--summary", "--skip-existing")
    assert done.code == 0
    assert "mean % of 20 frames" in done.out


def test_masks_of_an_earlier_run_do_not_stay(accel, fakes, clip, tmp_path):
    assert accel("segment", clip, "--no-video", "--masks", "m").code == 0
    assert accel("segment", clip, "--no-video", "--masks", "m", "--end", 0.4).code == 0
    assert names(tmp_path / "m") == ["classes.json", *(f"frame_{n:06d}.png" for n in range(10))]


@pytest.fixture
def shots(tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(4):
        assert cv2.imwrite(str(folder / f"frame_{number:06d}.png"), picture(number))
    return folder


@pytest.mark.parametrize("source", ["shots", "shots/*.png", "shots/frame_000000.png"])
def test_masks_never_go_among_the_pictures_they_are_of(accel, fakes, shots, source):
    before = {path: path.read_bytes() for path in shots.iterdir()}
    done = accel("segment", source, "--masks", "shots")
    assert done.code == 2
    assert "'shots' is the folder of the input's pictures" in done.error
    assert {path: path.read_bytes() for path in shots.iterdir()} == before


def test_masks_never_overwrite_other_pictures(accel, fakes, clip, shots):
    before = {path: path.read_bytes() for path in shots.iterdir()}
    done = accel("segment", clip, "--masks", "shots")
    assert done.code == 2
    assert "holds 'frame_000000.png', which is no mask of an earlier run" in done.error
    assert {path: path.read_bytes() for path in shots.iterdir()} == before


def test_masks_are_called_after_the_pictures(accel, fakes, tmp_path):
    folder = tmp_path / "trip"
    folder.mkdir()
    for name in ("b", "a"):
        assert cv2.imwrite(str(folder / f"{name}.jpg"), picture(0))
    assert accel("segment", folder, "--masks", "m").code == 0
    assert names(tmp_path / "m") == ["a.png", "b.png", "classes.json"]
    assert accel("segment", folder, "--masks", "c", "--masks-format", "rle").code == 0
    images = json.loads((tmp_path / "c" / "masks.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["v.mp4.part", "v.mp4.reserve"])
def test_inputs_called_like_something_unfinished_stay(accel, fakes, clip, tmp_path, name):
    source = clip.rename(tmp_path / name)
    before = source.read_bytes()
    assert accel("segment", name, "-o", "v.mp4").code == 0
    assert source.read_bytes() == before
    assert names(tmp_path) == ["v.mp4", name]


def test_a_refused_option_leaves_no_folder(accel, fakes, clip, tmp_path):
    done = accel("segment", clip, "--masks", "m", "-o", "new/", "--timing", "t.txt")
    assert done.code == 2
    assert names(tmp_path) == ["clip.mp4"]


def test_names_at_the_limit(accel, fakes, clip, tmp_path):
    longest = "n" * 251 + ".mp4"
    assert accel("segment", clip, "-o", longest).code == 0
    assert len(probe(tmp_path / longest).images) == 20
    done = accel("segment", clip, "-o", "n" + longest)
    assert done.code == 2
    assert "is longer than 255 bytes: give a shorter one" in done.error
    assert names(tmp_path) == ["clip.mp4", longest]


def test_a_full_disk_under_the_masks_leaves_the_others(accel, fakes, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.mp4")
    original, calls = Image.Image.save, []

    def save(self, path, *args, **options):
        calls.append(path)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, path, *args, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    done = accel("segment", clip, "--masks", "m", "--timing", "t.csv")
    assert done.code == 1
    assert "the disk is full, 'm' could not be written" in done.error
    assert names(tmp_path) == ["clip.mp4", "clip_accel.mp4", "m", "t.csv"]
    assert 8 <= len(probe(tmp_path / "clip_accel.mp4").images) <= 9
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 9
    assert len(list((tmp_path / "m").glob("frame_*.png"))) == 8


def test_a_full_disk_under_the_video_leaves_the_others(accel, fakes, tmp_path, monkeypatch):
    from accel_rt.video import output

    clip = write_clip(tmp_path / "clip.mp4", images=[picture(n % 256) for n in range(120)])
    write, written = output.os.write, []

    def full(descriptor, data):
        if descriptor > 2 and len(written) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(descriptor)
        return write(descriptor, data)

    monkeypatch.setattr(output.os, "write", full)
    done = accel("segment", clip, "--masks", "m", "--masks-format", "rle", "--timing", "t.csv")
    assert done.code == 1
    assert "the disk is full: " in done.error
    kept = len(probe(tmp_path / "clip_accel.mp4").images)
    rows = len((tmp_path / "t.csv").read_text().splitlines()) - 1
    assert 0 < kept <= rows < 120
    assert len(json.loads((tmp_path / "m" / "masks.json").read_text())["images"]) == rows


def test_what_is_loaded_is_said(accel, fakes, clip):
    assert "loading efficientnet_lite2 and efficientnet_lite0\n" in accel("segment", clip).err
    assert "loading efficientnet_lite2\n" in accel("segment", clip, "--mode", "dff").err


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (OutputError, "error: the rows are too many"),
        (ZeroDivisionError, "error: cannot write 't.csv': the rows are too many"),
    ],
)
def test_outputs_that_cannot_be_completed_keep_the_others(
    accel, fakes, clip, monkeypatch, tmp_path, kind, said
):
    def fails(self, *args):
        raise kind("the rows are too many")

    monkeypatch.setattr(TimingLog, "complete", fails)
    done = accel("segment", clip, "--masks", "m", "--timing", "t.csv")
    assert done.code == 1
    assert said in done.error
    assert "what was done is in 't.csv." in done.error
    assert len(probe(tmp_path / "clip_accel.mp4").images) == 20
    assert len(list((tmp_path / "m").glob("frame_*.png"))) == 20


@pytest.mark.parametrize("option", ["-o", "--masks", "--timing", "--stats"])
def test_urls_are_no_folders(accel, fakes, clip, tmp_path, option):
    done = accel("segment", clip, option, "s3://bucket/x.csv")
    assert done.code == 2
    assert "'s3://bucket/x.csv' is a URL" in done.error
    assert names(tmp_path) == ["clip.mp4"]


def test_file_urls_are_paths(accel, fakes, clip, tmp_path):
    there = f"file://{tmp_path}/a%20b"
    args = ("-o", f"{there}/", "--masks", f"{there}/m", "--timing", f"{there}/t.csv")
    assert accel("segment", clip, *args, "--stats", f"{there}/s.csv").code == 0
    assert names(tmp_path) == ["a b", "clip.mp4"]
    assert names(tmp_path / "a b") == ["clip_accel.mp4", "m", "s.csv", "t.csv"]

"""Where outputs go."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_rt.cli.jobs import plan_jobs
from accel_rt.errors import OutputError, UsageError


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def video(source, output=None):
    (job,) = plan_jobs([source], output, None, None)
    return job.video


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("drive.mov", "drive_accel.mp4"),
        ("a.b.mp4", "a.b_accel.mp4"),
        ("https://example.org/films/my%20drive.mp4?key=1", "my drive_accel.mp4"),
        ("rtsp://camera.example.org", "camera.example.org_accel.mp4"),
    ],
)
def test_default_name(source, expected):
    assert video(source) == Path(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("-", "stdin_accel.mp4"),
        ("/dev/fd/63", "pipe63_accel.mp4"),
        ("10:30.mp4", "10:30_accel.mp4"),
        ("http:x.mp4", "http:x_accel.mp4"),
    ],
)
def test_default_name_of_what_is_no_plain_file_or_looks_like_a_url(source, expected):
    assert video(source) == Path(expected)


def test_images_given_one_by_one_are_a_sequence_in_natural_order(tmp_path):
    names = ["img1.png", "img10.png", "img2.png", "._img1.png"]
    for name in names:
        (tmp_path / name).touch()
    (job,) = plan_jobs(names, None, None, None)
    assert job.source == [Path("img1.png"), Path("img2.png"), Path("img10.png")]
    (alone,) = plan_jobs(["._img1.png"], None, None, None)
    assert alone.source == "._img1.png"


def test_default_name_beside_files_folders_and_patterns(tmp_path):
    frames = tmp_path / "drive" / "frames"
    frames.mkdir(parents=True)
    beside = tmp_path / "drive" / "frames_accel.mp4"
    assert video("drive/frames") == beside
    assert video("drive/frames/") == beside
    assert video("drive/frames/*.png") == beside
    assert video("drive/frames/**/shot[0-9].png") == beside
    assert video("drive/film.mp4") == Path("drive/film_accel.mp4")
    assert video(f"file://{tmp_path}/film.mp4") == tmp_path / "film_accel.mp4"


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    (tmp_path / "drive[1].mp4").touch()
    assert video("drive[1].mp4") == Path("drive[1]_accel.mp4")


def test_named_output():
    assert video("a.mp4", "b.mkv") == Path("b.mkv")


@pytest.mark.parametrize("output", ["out.mp4", "there"])
def test_several_inputs_need_a_folder(tmp_path, output):
    (tmp_path / "there").touch()
    with pytest.raises(UsageError, match="several inputs need a folder"):
        plan_jobs(["a.mp4", "b.mp4"], output, None, None)


def test_inputs_that_would_overwrite_each_other():
    with pytest.raises(
        UsageError, match="'x/a.mp4' and 'y/a.avi' would both be written to"
    ) as told:
        plan_jobs(["x/a.mp4", "y/a.avi"], "out", None, None)
    assert "name other outputs for each" in str(told.value)  # or the second would replace the first


def test_masks_and_timings_of_several_inputs_are_kept_apart():
    jobs = plan_jobs(["a.mp4", "b.mp4"], None, Path("m"), Path("t.csv"), video=False)
    assert [job.masks for job in jobs] == [Path("m/a"), Path("m/b")]
    assert [job.timing for job in jobs] == [Path("t_a.csv"), Path("t_b.csv")]
    assert [job.video for job in jobs] == [None, None]


def test_no_video_has_no_name():
    with pytest.raises(UsageError, match="--no-video"):
        plan_jobs(["a.mp4"], "out.mp4", None, None, video=False)


@pytest.mark.parametrize("source", ["pictures", "pictures/*.png"])
def test_no_picture_of_the_input_is_written_over(tmp_path, source):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"the user's")
    with pytest.raises(UsageError, match="is the input itself"):
        plan_jobs([source], "pictures/a.png", None, None)
    assert plan_jobs([source], "pictures/b.png", None, None)


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="'file' is a file"):
        plan_jobs(["a.mp4"], None, Path("file"), None)
    with pytest.raises(OutputError, match="cannot make the folder 'file/masks'"):
        plan_jobs(["a.mp4"], None, Path("file/masks"), None)
    with pytest.raises(OutputError, match="the folder 'missing' does not exist"):
        plan_jobs(["a.mp4"], None, None, Path("missing/t.csv"))

"""Bad input, as met at the command line: one sentence, the right exit code, no debris."""

from __future__ import annotations

import os
import resource
import signal
import subprocess

import cv2
import numpy as np
import pytest

from accel_rt.classes import CAMVID, ClassSet
from tests.cli.fake import FakeSegmenter
from tests.need import missing
from tests.video.clips import picture, picture_number, probe, write_clip


@pytest.fixture
def noisy_clip(tmp_path):
    """60 numbered pictures with noise, so that every frame takes up a fair share of the file."""
    noise = np.random.default_rng(0)
    images = [
        np.clip(picture(n, 160, 120) + noise.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8)
        for n in range(60)
    ]
    return write_clip(tmp_path / "noisy.mkv", images=images)


def videos_in(folder):
    return {path.name for path in folder.iterdir() if "_accel" in path.name or "out" in path.name}


def test_missing_file(accel, fakes, tmp_path):
    done = accel("segment", "nowhere.mp4")
    assert done.code == 1
    assert "there is no file or folder 'nowhere.mp4'" in done.error
    assert not fakes  # no network was loaded for it
    assert not videos_in(tmp_path)


def test_name_too_long_for_the_system(accel, fakes):
    done = accel("segment", f"{'x' * 300}.mp4", "-o", "out.mp4")
    assert done.code == 1
    assert f"there is no file or folder '{'x' * 300}.mp4'" in done.error


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--reference", "onnx:absent.onnx?classes={}", "there is no network file 'absent.onnx'"),
        ("--weights", "onnx:absent.onnx?classes={}", "there is no network file 'absent.onnx'"),
        ("--weights", "{}/x.safetensors", "no weight file"),
        ("--palette", "{}", "there is no palette and no file"),
        ("-o", "{}/out.mp4", "does not exist: create it"),
        ("--timing", "{}/t.csv", "does not exist: create it"),
    ],
)
def test_options_too_long_for_a_name(accel, clip, option, text, said):
    """Such as a network's, with the names of many classes behind it."""
    long = ",".join(f"class{number}" for number in range(60))
    done = accel("segment", clip, option, text.format(long))
    assert done.code in (1, 2)
    assert said in done.error


def test_what_may_not_be_looked_at_stops_no_other_input(accel, fakes, clip, locked, tmp_path):
    done = accel("segment", clip, locked / "b.mp4", locked, "-o", "done/", "--timing", "t.csv")
    assert done.code == 1
    for path in (locked / "b.mp4", locked):
        assert f"error: {path}: '{path}' may not be read: check its permissions" in done.err
    assert done.err.splitlines()[-1] == "error: 2 of 3 inputs failed"
    assert (tmp_path / "done" / "clip_accel.mp4").exists()
    done = accel("segment", locked / "b.mp4", "--workers", 1, "-o", "more/")
    assert done.code == 1
    assert f"'{locked / 'b.mp4'}' may not be read: check its permissions" in done.error


def test_folder_without_images(accel, fakes, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    done = accel("segment", "empty")
    assert done.code == 1
    assert "the folder 'empty' holds no images" in done.error


def test_pattern_that_matches_nothing(accel, fakes):
    done = accel("segment", "shots/*.png")
    assert done.code == 1
    assert "the pattern 'shots/*.png' matches nothing" in done.error


@pytest.mark.parametrize("content", [b"", b"this is text\n" * 100, bytes(range(256)) * 64])
def test_not_a_video(accel, fakes, tmp_path, content):
    (tmp_path / "text.mp4").write_bytes(content)
    done = accel("segment", "text.mp4")
    assert done.code == 1
    assert "'text.mp4' is " in done.error
    assert not fakes
    assert not videos_in(tmp_path)


def test_zero_frames(accel, fakes, tmp_path):
    (tmp_path / "none.y4m").write_text("YUV4MPEG2 W64 H48 F25:1 Ip C420\n")
    done = accel("segment", "none.y4m")
    assert done.code == 1
    assert "no frame" in done.error
    assert not videos_in(tmp_path)


def test_truncated_file_is_segmented_as_far_as_it_goes(accel, fakes, noisy_clip, tmp_path):
    data = noisy_clip.read_bytes()
    noisy_clip.write_bytes(data[: len(data) // 2])
    done = accel("segment", noisy_clip, "--alpha", 0)
    assert done.code == 1  # so that a batch can tell
    assert "could not be read whole: what could be is done" in done.error
    found = probe(tmp_path / "noisy_accel.mp4")
    count = len(found.images)
    assert 20 < count < 40
    assert [picture_number(image) for image in found.images] == list(range(count))
    assert f"note: noisy.mkv ended early: {count} of 60 frames could be read" in done.err
    assert f"{count} frames in" in done.out


def test_a_batch_tells_which_input_could_not_be_read_whole(accel, fakes, noisy_clip, clip):
    data = noisy_clip.read_bytes()
    noisy_clip.write_bytes(data[: len(data) // 2])
    done = accel("segment", clip, noisy_clip, "-o", "done/")
    assert done.code == 1
    assert f"error: {noisy_clip} could not be read whole" in done.err
    assert "error: 1 of 2 inputs failed" in done.err
    assert done.out.count("wrote ") == 2


def test_names_are_plain_text_on_the_terminal(accel, fakes, clip, tmp_path):
    name = "a\x1b[31m\u202emp4.b\udce9\x07.mp4"
    clip.rename(tmp_path / name)
    done = accel("segment", name, "-o", "\x1b]0;title\x07.mp4")
    assert done.code == 0
    missing = accel("segment", f"no {name}")
    for text in (done.out, done.err, missing.err):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert r"\x1b[31m\u202emp4.b\udce9\x07.mp4" in missing.error


def test_an_output_may_have_a_colon_in_its_name(accel, fakes, clip, tmp_path):
    done = accel("segment", clip, "-o", "10:30.mp4")
    assert done.code == 0
    assert "note" not in done.err
    assert len(probe(tmp_path / "10:30.mp4").images) == 20


def test_pictures_of_another_shape_are_stretched_with_a_note(accel, fakes, tmp_path):
    (tmp_path / "shots").mkdir()
    for number, size in enumerate([(48, 64), (96, 128), (64, 48), (32, 96)]):
        cv2.imwrite(str(tmp_path / "shots" / f"{number}.png"), picture(number, *size[::-1]))
    done = accel("segment", "shots")
    assert "note: 2 pictures of another shape were stretched to fit" in done.err


def test_a_picture_too_large_can_be_allowed(accel, fakes, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(1))
    done = accel("segment", "a.png", "--max-pixels", 3000)
    assert done.code == 1
    assert "declares pictures of 64x48 pixels, more than the 3,000" in done.error
    assert accel("segment", "a.png", "--max-pixels", 3072).code == 0


def test_corrupt_frames_in_the_middle(accel, fakes, noisy_clip, tmp_path):
    data = bytearray(noisy_clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(1).bytes(4000)
    noisy_clip.write_bytes(data)
    done = accel("segment", noisy_clip, "--alpha", 0)
    assert done.code == 1  # so that a batch can tell
    assert "could not be read whole: what could be is done" in done.error
    found = probe(tmp_path / "noisy_accel.mp4")
    assert 30 < len(found.images) < 60
    assert picture_number(found.images[0]) == 0
    assert picture_number(found.images[-1]) == 59
    assert "corrupt" in done.err


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (7680, 4320)])
def test_frame_sizes(accel, fakes, tmp_path, width, height):
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(2):
        image = np.full((height, width, 3), 60 + 40 * number, np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.jpg"), image)
    done = accel("segment", folder, "--alpha", 0)
    assert done.code == 0
    assert fakes[0].sizes == [(height, width)] * 2
    found = probe(tmp_path / "shots_accel.mp4")
    even = (height + height % 2, width + width % 2)
    assert [image.shape[:2] for image in found.images] == [even] * 2
    assert abs(int(found.images[1][0, 0, 0]) - 100) < 8
    assert ("the picture was padded" in done.err) == (even != (height, width))


def test_size_changing_mid_stream(accel, fakes, tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    sizes = [(48, 64)] * 2 + [(32, 96)] * 2 + [(32, 32)] * 2
    for number, size in enumerate(sizes):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number, *size[::-1]))
    done = accel("segment", folder, "--alpha", 0, "--masks", "masks")
    assert done.code == 0
    assert fakes[0].sizes == sizes
    found = probe(tmp_path / "shots_accel.mp4")
    assert {image.shape for image in found.images} == {(48, 64, 3)}
    assert [picture_number(image) for image in found.images] == list(range(6))
    masks = sorted((tmp_path / "masks").glob("*.png"))
    shapes = [cv2.imread(str(mask), cv2.IMREAD_UNCHANGED).shape[:2] for mask in masks]
    assert shapes == sizes


@pytest.mark.parametrize("kind", ["grey", "alpha", "grey16"])
def test_unusual_images(accel, fakes, tmp_path, kind):
    image = picture(5)
    stored = {
        "grey": image[..., 0],
        "alpha": np.dstack([image, np.full(image.shape[:2], 7, np.uint8)]),
        "grey16": image[..., 0].astype(np.uint16) * 257,
    }[kind]
    (tmp_path / "shots").mkdir()
    cv2.imwrite(str(tmp_path / "shots" / "0.png"), stored)
    assert accel("segment", "shots", "--alpha", 0).code == 0
    assert picture_number(probe(tmp_path / "shots_accel.mp4").images[0]) == 5


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "context"),
    [
        ("libx264", "gray", {}),
        ("libx264", "yuv420p10le", {}),
        ("libx264", "yuv444p", {}),
        ("libvpx-vp9", "yuva420p", {}),
        ("libx264", "yuv420p10le", {"color_primaries": 9, "color_trc": 16, "colorspace": 9}),
    ],
    ids=["grey", "10-bit", "4:4:4", "alpha", "hdr"],
)
def test_unusual_videos(accel, fakes, tmp_path, codec, pix_fmt, context):
    images = [picture(number) for number in range(6)]
    write_clip(tmp_path / "odd.mkv", images=images, codec=codec, pix_fmt=pix_fmt, context=context)
    done = accel("segment", "odd.mkv", "--alpha", 0)
    assert done.code == 0
    found = probe(tmp_path / "odd_accel.mp4")
    assert found.pix_fmt == "yuv420p"
    assert len(found.images) == 6
    if context:
        assert "HDR" in done.err
    else:
        assert [picture_number(image) for image in found.images] == list(range(6))


def test_unknown_class(accel, fakes, clip, tmp_path):
    done = accel("segment", clip, "--classes", "road,cow")
    assert done.code == 2
    assert f"unknown class 'cow': choose from {', '.join(CAMVID.names)}" in done.error
    assert not videos_in(tmp_path)


@pytest.mark.parametrize("option", ["--reference", "--weights", "--update"])
def test_unknown_model(accel, clip, tmp_path, monkeypatch, random_weights, option):
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(random_weights))
    args = {"--reference": "efficientnet_lite0", "--update": "efficientnet_lite0"}
    args[option] = "resnet9000"
    flat = [text for pair in args.items() for text in pair]
    done = accel("segment", clip, *flat)
    assert done.code == 2
    assert "no installed network weights 'resnet9000': choose from" in done.error
    assert not videos_in(tmp_path)


def test_missing_weight_file(accel, clip):
    done = accel("segment", clip, "--weights", "mine.safetensors")
    assert done.code == 1
    assert "no weight file mine.safetensors" in done.error


def test_weights_that_are_something_else(accel, clip, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"not tensors")
    done = accel("segment", clip, "--weights", "mine.safetensors")
    assert done.code == 1
    assert "mine.safetensors is not a readable safetensors file" in done.error


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory):
    """A folder with an untrained network of CamVid's classes and one of two classes."""
    from accel_rt.models.weights import ModelInfo, save_network
    from accel_rt.models.zoo import build_network

    folder = tmp_path_factory.mktemp("weights")
    two = ClassSet(("road", "other"), ((128, 64, 128), (0, 0, 0)))
    for name, classes in (("efficientnet_lite0", CAMVID), ("two_classes", two)):
        network = build_network("efficientnet_lite0", len(classes))
        info = ModelInfo("efficientnet_lite0", classes, (48, 64), "nothing")
        save_network(folder / f"{name}.safetensors", network, info)
    return folder


def test_weights_of_another_network(accel, clip, random_weights, tmp_path):
    weights = random_weights / "efficientnet_lite0.safetensors"
    args = ("--mode", "deeplab", "--reference", "resnet101", "--weights", weights)
    done = accel("segment", clip, *args)
    assert done.code == 1
    assert "do not fit: they are of efficientnet_lite0, and --reference asks for" in done.error
    assert not videos_in(tmp_path)


def test_weights_whose_tensors_do_not_fit(accel, clip, random_weights, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(random_weights / "efficientnet_lite0.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del tensors["task.scoring.bias"]
    save_file(tensors, tmp_path / "cut.safetensors", metadata)
    done = accel("segment", clip, "--mode", "deeplab", "--weights", "cut.safetensors")
    assert done.code == 1
    assert "cut.safetensors does not fit: it has no tensor 'task.scoring.bias'" in done.error


def test_networks_of_different_classes(accel, clip, random_weights):
    one, two = (random_weights / f"{n}.safetensors" for n in ("efficientnet_lite0", "two_classes"))
    done = accel("segment", clip, "--reference", one, "--update", two)
    assert done.code == 2
    assert "were trained for different classes" in done.error


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/out.mp4", "the folder 'missing' does not exist"),
        ("clip.mp4/out.mp4", "the folder 'clip.mp4' does not exist"),
        ("clip.mp4/", "'clip.mp4' is a file"),
        ("out.avi", "'out.avi' is not a kind of video file that can be written"),
    ],
)
def test_output_that_cannot_be_written(accel, fakes, clip, output, message):
    done = accel("segment", clip, "-o", output)
    assert done.code in (1, 2)
    assert message in done.error
    assert not fakes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(accel, fakes, clip, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = accel("segment", clip, "-o", "locked/out.mp4")
    assert done.code == 1
    assert "may not be written" in done.error


@pytest.mark.parametrize("output", ["clip.mp4", "./clip.mp4", "link.mp4"])
def test_output_equal_to_input(accel, fakes, clip, tmp_path, output):
    (tmp_path / "link.mp4").symlink_to(clip)
    before = clip.read_bytes()
    done = accel("segment", clip, "-o", output)
    assert done.code == 2
    assert "is the input itself" in done.error
    assert clip.read_bytes() == before


def test_file_size_limit(accel, fakes, tmp_path):
    """A file that may not grow any further, as on FAT: what was written plays."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 240, 320, 3), np.uint8)
    write_clip(tmp_path / "noise.mkv", images=list(noise), codec="mjpeg", pix_fmt="yuvj420p")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limits[1]))
        done = accel("segment", "noise.mkv", "--crf", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert done.code == 1
    assert "no larger file is allowed there: 'noise_accel.mp4' is playable" in done.error
    assert 0 < len(probe(tmp_path / "noise_accel.mp4").images) < 60
    assert videos_in(tmp_path) == {"noise_accel.mp4"}


def test_full_disk(accel, fakes, tmp_path):
    """On a full disk what fitted stays, playable, and the exit code says that it is not all."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        missing("root", "only root can mount a small disk")
    try:
        noise = np.random.default_rng(0).integers(0, 255, (60, 240, 320, 3), np.uint8)
        write_clip(tmp_path / "noise.mkv", images=list(noise), codec="mjpeg", pix_fmt="yuvj420p")
        done = accel("segment", "noise.mkv", "--crf", 0, "-o", "disk/out.mp4")
        assert done.code == 1
        assert "the disk is full: 'disk/out.mp4' is playable but" in done.error
        assert 0 < len(probe(disk / "out.mp4").images) < 60
        assert videos_in(disk) == {"out.mp4"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--interval", "0"], "'--interval': 0 is not in the range x>=1"),
        (["--interval", "-3"], "'--interval': -3 is not in the range x>=1"),
        (["--interval", "five"], "'five' is not a valid integer"),
        (["--size", "640"], "'640' is not a width and a height"),
        (["--size", "8x8"], "--size must be at least 16 and at most 8192, got 8"),
        (["--update-scale", "0.3"], "--update-scale must be one of 0.25, 0.5, 1.0, got 0.3"),
        (["--alpha", "1.5"], "1.5 is not in the range"),
        (["--crf", "99"], "the crf of h264 goes from 0 to 51, got 99"),
        (["--codec", "mpeg2"], "'mpeg2' is not one of"),
        (["--start", "5"], "the start, 5.0 s, is after the end of 'clip.mp4'"),
        (["--start", "0.5", "--end", "0.2"], "the end must come after the start"),
        (["--timing", "t.txt"], "t.txt"),
        (["--rate", "0"], "0.0 is not in the range"),
        (["--mode", "magic"], "'magic' is not one of"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_wrong_usage(accel, fakes, clip, tmp_path, args, message):
    done = accel("segment", clip, *args)
    assert done.code == 2
    assert message in done.error
    assert not fakes
    assert not videos_in(tmp_path)


def test_no_input(accel):
    done = accel("segment")
    assert done.code == 2
    assert "Missing argument 'INPUT...'" in done.error


def test_unexpected_errors_are_one_line_unless_debugging(accel, fakes, clip, monkeypatch, tmp_path):
    def broken(*args):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("tests.cli.fake.FakeSegmenter.step", broken)
    done = accel("segment", clip)
    assert done.code == 1
    assert "unexpected ZeroDivisionError: a bug" in done.error
    assert not videos_in(tmp_path)
    monkeypatch.setenv("ACCEL_RT_DEBUG", "1")
    assert "Traceback" in accel("segment", clip).err


def test_frames_before_a_failure_are_kept(accel, fakes, clip, monkeypatch, tmp_path):
    """A failure in the middle loses nothing that was done: video, masks and timings are whole."""
    step = FakeSegmenter.step

    def breaks_at_the_third(self, frame_bgr, pts=None):
        if self._index == 3:
            raise ZeroDivisionError("a bug")
        return step(self, frame_bgr, pts)

    monkeypatch.setattr(FakeSegmenter, "step", breaks_at_the_third)
    done = accel("segment", clip, "--masks", "masks", "--timing", "times.csv")
    assert done.code == 1
    assert "unexpected ZeroDivisionError: a bug" in done.error
    kept = len(probe(tmp_path / "clip_accel.mp4").images)
    assert 1 <= kept <= 3
    assert f"the {kept} frames before the failure are kept" in done.err
    assert len(list((tmp_path / "masks").glob("*.png"))) == kept
    assert len((tmp_path / "times.csv").read_text().splitlines()) == 1 + kept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("segment", "clip.mp4", "-o", "one.png"), "'one.png' holds one picture and"),
        (("segment", "clip.mp4", "--stats", "x.csv", "--timing", "x.csv"), "name two files"),
        (("segment", "clip.mp4", "--masks-format", "rle"), "--masks-format is for --masks"),
        (("street", "s.mp4", "--seconds", "nan"), "nan is not a finite number"),
        (("street", "s.mp4", "--seconds", "inf"), "inf is not a finite number"),
        (("live", "clip.mp4", "--no-window", "--seconds", "nan"), "nan is not a finite number"),
        (("pack", "efficientnet_lite0", "-o", "no/p.safetensors"), "there is no folder 'no'"),
        (("segment", ""), "an input is empty text"),
        (("segment", "x.mp4", "-o", ""), "an output is empty text"),
        (("segment", "x.mp4", "--masks", ""), "an output is empty text"),
        (("segment", "x.mp4", "--threads", "100000"), "not in the range 1<=x<=1024"),
        (("eval", "street:3:4", "--policy", "budget"), "No such option"),
        (("eval", "kept", "clip.mp4", "--plot", "p.png"), "--plot writes SVG, got p.png"),
        (("eval", "kept", "clip.mp4", "--json", "clip.mp4"), "is the video itself"),
        (("eval", "schedules", "street", "--plot", "p.png"), "--plot writes SVG, got p.png"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_work(
    accel, fakes, tmp_path, arguments, sentence
):
    write_clip(tmp_path / "clip.mp4")
    done = accel(*arguments)
    assert done.code == 2
    assert sentence in done.error
    assert not fakes
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_palette_says_how_colours_are_written(accel, fakes, clip, tmp_path):
    (tmp_path / "palette.json").write_text('{"road": 5}')
    done = accel("segment", clip, "--palette", "palette.json")
    assert done.code == 1
    assert "a colour is written like #806040 or [128, 96, 64], got 5" in done.error


@pytest.mark.parametrize("group", ["train", "eval", "import"])
def test_a_group_without_a_command_shows_its_help(accel, group):
    done = accel(group)
    assert done.code == 2
    assert "error" not in done.err
    assert len(done.err.splitlines()) > 5

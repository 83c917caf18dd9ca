"""``accel-rt segment`` on good input: what is written, where, and what is said."""

from __future__ import annotations

import csv
import json
import threading
from dataclasses import replace
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from accel_rt.classes import CAMVID
from accel_rt.palette import recolor
from accel_rt.runtime.schedule import PRESETS, Schedule
from tests.video.clips import picture, picture_number, probe, write_clip

SHOWN = recolor(CAMVID)


def write_images(folder, count=3, size=(64, 48), suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        assert cv2.imwrite(str(folder / f"{number}{suffix}"), picture(number, *size))
    return folder


def test_default_output_lies_beside_the_input(accel, fakes, clip):
    done = accel("segment", clip)
    assert done.code == 0
    path = clip.with_name("clip_accel.mp4")
    assert done.out.startswith(f"wrote {path}: 20 frames in ")
    assert "frames/s at 64x48 on torch\n" in done.out
    found, source = probe(path), probe(clip)
    assert (found.codec, found.pix_fmt, found.audio_codec) == ("h264", "yuv420p", "aac")
    assert found.times == source.times
    assert not path.with_name(path.name + ".part").exists()


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60)])
def test_times_are_the_sources_to_a_tick(accel, fakes, tmp_path, rate):
    times = [n / rate for n in range(12)]
    write_clip(tmp_path / "clip.mp4", times, rate=rate, time_base=1 / (rate * 2))
    assert accel("segment", "clip.mp4", "--timing", "t.csv").code == 0
    assert probe(tmp_path / "clip_accel.mp4").times == times
    with (tmp_path / "t.csv").open(newline="") as file:
        logged = [float(row["pts_s"]) for row in csv.DictReader(file)]
    assert logged == [round(float(time), 6) for time in times]


def test_overlay_mixes_frame_and_class_colours(accel, fakes, tmp_path):
    grey = [np.full((48, 88, 3), 100, np.uint8)] * 2
    write_clip(tmp_path / "grey.mp4", images=grey)
    for alpha, crf in ((0.5, 1), (1, 1), (0, 1)):
        assert accel("segment", "grey.mp4", "--alpha", alpha, "--crf", crf).code == 0
        image = probe(tmp_path / "grey_accel.mp4").images[0].astype(int)
        for label, color_rgb in enumerate(SHOWN.colors_rgb):
            expected = alpha * np.array(color_rgb[::-1]) + (1 - alpha) * 100
            assert np.abs(image[24, 8 * label + 4] - expected).max() < 12, (alpha, label)


def test_only_the_chosen_classes_are_coloured(accel, fakes, tmp_path):
    write_clip(tmp_path / "grey.mp4", images=[np.full((48, 88, 3), 100, np.uint8)] * 2)
    args = ("--classes", "road, car", "--alpha", 1, "--crf", 1)
    assert accel("segment", "grey.mp4", *args).code == 0
    image = probe(tmp_path / "grey_accel.mp4").images[0].astype(int)
    for label, (name, color_rgb) in enumerate(
        zip(CAMVID.names, recolor(CAMVID).colors_rgb, strict=True)
    ):
        expected = np.array(color_rgb[::-1]) if name in ("road", "car") else 100
        assert np.abs(image[24, 8 * label + 4] - expected).max() < 12, name


@pytest.mark.parametrize(
    ("args", "size"),
    [
        ((), (88, 48)),
        (("--show", "mask"), (88, 48)),
        (("--show", "side-by-side"), (176, 48)),
        (("--legend",), None),
        (("--legend", "--show", "side-by-side"), None),
    ],
)
def test_what_is_shown(accel, fakes, tmp_path, args, size):
    write_clip(tmp_path / "grey.mp4", images=[np.full((48, 88, 3), 100, np.uint8)] * 2)
    assert accel("segment", "grey.mp4", "--crf", 1, *args).code == 0
    image = probe(tmp_path / "grey_accel.mp4").images[0].astype(int)
    at = 88 if "side-by-side" in args else 0
    for label, color_rgb in enumerate(SHOWN.colors_rgb):
        expected = np.array(color_rgb[::-1])
        if "mask" not in args:
            expected = (expected + 100) / 2
        assert np.abs(image[24, at + 8 * label + 4] - expected).max() < 12, label
    if at:
        assert np.abs(image[:48, :80] - 100).max() < 12
    if size:
        assert image.shape[1::-1] == size
    else:
        assert image.shape[1] > at + 88
        assert np.abs(image[:48, at + 88 :] - 100).max() > 90  # words


def test_outlines_are_drawn(accel, fakes, tmp_path):
    write_clip(tmp_path / "grey.mp4", images=[np.full((48, 88, 3), 100, np.uint8)] * 2)
    done = accel("segment", "grey.mp4", "--outline", "--classes", "car", "--alpha", 0, "--crf", 1)
    assert done.code == 0
    row = probe(tmp_path / "grey_accel.mp4").images[0][24].astype(int)
    changed = np.flatnonzero(np.abs(row - 100).max(axis=1) > 40)
    assert set(changed) <= set(range(62, 74))
    assert len(changed) >= 2


def test_colours_alone_have_nothing_of_the_picture(accel, fakes, tmp_path):
    write_clip(tmp_path / "grey.mp4", images=[np.full((48, 88, 3), 100, np.uint8)] * 2)
    args = ("--show", "mask", "--classes", "car", "--palette", "camvid", "--crf", 1)
    assert accel("segment", "grey.mp4", *args).code == 0
    image = probe(tmp_path / "grey_accel.mp4").images[0].astype(int)
    assert np.abs(image[:, :40]).max() < 12
    assert np.abs(image[24, 68] - (128, 0, 64)).max() < 12  # the car's colour, BGR


def test_palettes_are_named_or_read(accel, fakes, tmp_path):
    write_clip(tmp_path / "grey.mp4", images=[np.full((48, 88, 3), 100, np.uint8)] * 2)
    (tmp_path / "own.json").write_text('{"sky": "#ff8000", "car": [1, 200, 3]}')
    (tmp_path / "bad.json").write_text('{"sky": "orange"}')
    (tmp_path / "none.json").write_text('{"lava": "#ff8000"}')
    for palette, sky in (("camvid", (128, 128, 128)), ("own.json", (255, 128, 0))):
        args = ("--show", "mask", "--crf", 1, "--palette", palette)
        assert accel("segment", "grey.mp4", *args).code == 0
        image = probe(tmp_path / "grey_accel.mp4").images[0].astype(int)
        assert np.abs(image[24, 4] - sky[::-1]).max() < 12
    for palette, code, why in (
        ("bad.json", 1, "'orange' is not written like #806040"),
        ("none.json", 2, "names none of the classes"),
        ("lost", 2, "there is no palette and no file 'lost': choose from clear, "),
    ):
        done = accel("segment", "grey.mp4", "--palette", palette)
        assert (done.code, why in done.error) == (code, True), done.err


def test_help_names_every_codec(accel):
    from accel_rt.video.writer import CODECS

    assert f"--codec [{'|'.join(CODECS)}]" in accel("segment", "--help").out


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_codecs(accel, fakes, clip, tmp_path, codec):
    assert accel("segment", clip, "--codec", codec, "-o", "out.mp4").code == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        name = container.streams.video[0].codec_context.codec.canonical_name
        assert name == codec
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_crf_changes_the_size(accel, fakes, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (4, 120, 160, 3), np.uint8)
    write_clip(tmp_path / "noise.mp4", images=list(noise))
    sizes = []
    for crf in (10, 45):
        assert accel("segment", "noise.mp4", "--crf", crf).code == 0
        sizes.append((tmp_path / "noise_accel.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_no_audio(accel, fakes, tmp_path):
    write_clip(tmp_path / "loud.mp4", audio_s=0.8)
    sounds = []
    for args in ((), ("--no-audio",)):
        assert accel("segment", "loud.mp4", *args).code == 0
        sounds.append(probe(tmp_path / "loud_accel.mp4").audio_codec)
    assert sounds == ["aac", None]


def test_span(accel, fakes, clip, tmp_path):
    assert accel("segment", clip, "--start", 0.2, "--end", 0.4, "--alpha", 0).code == 0
    found = probe(tmp_path / "clip_accel.mp4")
    assert [picture_number(image) for image in found.images] == list(range(5, 10))
    assert found.times[0] == 0


def test_url_is_written_to_the_current_folder(accel, fakes, clip, tmp_path, monkeypatch):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://ann:hunter2@127.0.0.1:{server.server_port}/clip.mp4?token=hunter2"
        done = accel("segment", url, "--timing", "t.json")
        gone = accel("segment", f"http://127.0.0.1:{server.server_port}/nothing.mp4")
        server.shutdown()
    assert done.code == 0
    found = probe(tmp_path / "here" / "clip_accel.mp4")
    assert (len(found.images), found.audio_codec) == (20, "aac")
    timing = (tmp_path / "here" / "t.json").read_text()
    assert "http://***@127.0.0.1:" in timing
    assert "hunter2" not in done.out + done.err + timing
    assert gone.code == 1
    assert "cannot open 'http://127.0.0.1:" in gone.error


@pytest.mark.parametrize("how", ["folder", "glob", "many"])
def test_images_are_one_video(accel, fakes, tmp_path, how):
    folder = write_images(tmp_path / "shots", count=12)
    inputs = {
        "folder": [folder],
        "glob": [folder / "*.png"],
        "many": [folder / f"{number}.png" for number in range(12)],
    }[how]
    assert accel("segment", *inputs, "--rate", 10, "--alpha", 0).code == 0
    found = probe(tmp_path / "shots_accel.mp4")
    assert [picture_number(image) for image in found.images] == list(range(12))
    assert found.times == [Fraction(number, 10) for number in range(12)]


def test_timing_csv(accel, fakes, clip, tmp_path):
    assert accel("segment", clip, "--timing", "t.csv", "--interval", 4).code == 0
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = (
        "frame,pts_s,kind,decode_ms,flow_ms,network_ms,output_ms,render_ms,encode_ms,total_ms,flow"
    )
    assert ",".join(rows[0]) == columns
    assert [int(row["frame"]) for row in rows] == list(range(20))
    assert [row["kind"] for row in rows] == ["key", "update", "update", "update"] * 5
    assert [float(row["pts_s"]) for row in rows] == [number / 25 for number in range(20)]
    assert float(rows[3]["network_ms"]) == 2


def test_timing_json_says_settings_and_machine(accel, fakes, clip, tmp_path):
    asked = ("--timing", "t.json", "--alpha", 0.25, "--interval", 5)
    assert accel("segment", clip, *asked).code == 0
    report = json.loads((tmp_path / "t.json").read_text())
    summary = report["summary"]
    assert (summary["settings"]["interval"], summary["settings"]["alpha"]) == (5, 0.25)
    assert summary["machine"]["cores"] >= 1
    assert len(report["frames"]) == summary["frames"] == 20
    assert summary["kinds"]["update"]["network_ms"]["p95"] == 2


def test_masks_png(accel, fakes, clip, tmp_path):
    done = accel("segment", clip, "--no-video", "--masks", "masks")
    assert done.code == 0
    assert done.out.startswith(f"segmented {clip}: 20 frames")
    files = sorted((tmp_path / "masks").glob("*.png"))
    assert len(files) == 20
    labels = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert labels.shape[:2] == (48, 64)
    assert not (tmp_path / "clip_accel.mp4").exists()


@pytest.mark.parametrize("form", ["npz", "rle"])
def test_other_masks(accel, fakes, clip, tmp_path, form):
    assert accel("segment", clip, "--masks", "masks", "--masks-format", form).code == 0
    assert any((tmp_path / "masks").iterdir())
    assert (tmp_path / "clip_accel.mp4").exists()


def test_several_inputs_into_a_folder(accel, fakes, tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4")
    args = ("--masks", "masks", "--timing", "times.csv")
    done = accel("segment", "a.mp4", "b.mp4", "-o", "new/out", *args)
    assert done.code == 0
    for name in "ab":
        assert len(probe(tmp_path / "new" / "out" / f"{name}_accel.mp4").images) == 20
        assert len(list((tmp_path / "masks" / name).glob("*.png"))) == 20
        assert (tmp_path / f"times_{name}.csv").exists()
    assert len(fakes) == 1  # loaded once
    assert fakes[0].sizes == [(48, 64)] * 40


def test_lone_input_into_a_folder(accel, fakes, clip, tmp_path):
    (tmp_path / "there").mkdir()
    assert accel("segment", clip, "-o", "there").code == 0
    assert accel("segment", clip, "-o", "made/").code == 0
    assert (tmp_path / "there" / "clip_accel.mp4").exists()
    assert (tmp_path / "made" / "clip_accel.mp4").exists()


def test_skip_existing_leaves_whole_files_and_redoes_broken_ones(accel, fakes, tmp_path):
    for name in "abc":
        write_clip(tmp_path / f"{name}.mp4")
    assert accel("segment", "a.mp4", "b.mp4", "-o", "out/").code == 0
    whole, broken = tmp_path / "out" / "a_accel.mp4", tmp_path / "out" / "b_accel.mp4"
    before = whole.stat().st_mtime_ns
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    done = accel("segment", "a.mp4", "b.mp4", "c.mp4", "-o", "out", "--skip-existing")
    assert done.code == 0
    assert done.err.count("skipped") == 1
    assert "skipped a.mp4" in done.err
    assert whole.stat().st_mtime_ns == before
    assert len(probe(broken).images) == 20
    assert len(probe(tmp_path / "out" / "c_accel.mp4").images) == 20


def test_nothing_is_loaded_when_all_is_done(accel, fakes, clip):
    assert accel("segment", clip).code == 0
    fakes.clear()
    assert accel("segment", clip, "--skip-existing").code == 0
    assert not fakes


def test_a_failing_input_does_not_stop_the_others(accel, fakes, tmp_path):
    write_clip(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    write_clip(tmp_path / "c.mp4")
    done = accel("segment", "a.mp4", "text.mp4", "missing.mp4", "c.mp4", "-o", "out")
    assert done.code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_accel.mp4", "c_accel.mp4"}
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: text.mp4: ")
    assert errors[1].startswith("error: missing.mp4: ")
    assert errors[2] == "error: 2 of 4 inputs failed"


def test_options_reach_the_segmenter(accel, fakes, clip):
    args = "--mode dff --reference r18 --update u --interval 7 --no-scene-cuts --flow dis"
    args += " --warp incremental --update-scale 0.5 --size 320x240 --device cpu --precision fp32"
    assert accel("segment", clip, *args.split()).code == 0
    settings = fakes[0].settings
    assert (settings.mode, settings.reference, settings.update) == ("dff", "r18", "u")
    assert (settings.interval, settings.scene_cuts) == (7, False)
    assert (settings.flow, settings.warp, settings.update_scale) == ("dis", "incremental", 0.5)
    assert (settings.size, settings.device, settings.precision) == ((240, 320), "cpu", "fp32")


def test_threads(accel, fakes, clip):
    import torch

    before = torch.get_num_threads()
    try:
        assert accel("segment", clip, "--threads", before + 1).code == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_weights_take_the_references_place(accel, fakes, clip):
    assert accel("segment", clip, "--weights", "mine.safetensors").code == 0
    assert fakes[0].settings.reference == "mine.safetensors"


def test_plain_progress_is_a_line_now_and_then(accel, fakes, clip, monkeypatch):
    monkeypatch.setattr("accel_rt.cli.progress._LINE_EVERY_S", 0.0)
    done = accel("segment", clip, "--interval", 5)
    lines = [line for line in done.err.splitlines() if line.startswith("clip.mp4: ")]
    assert len(lines) == 20
    assert lines[-1].startswith("clip.mp4: 20 of 20 frames, ")
    assert "4 key, 16 update" in lines[-1]


def test_presets_are_schedules_and_single_options_go_before_them(accel, fakes, clip):
    def schedule(*asked):
        assert accel("segment", clip, "--no-video", "--timing", "t.csv", *asked).code == 0
        return fakes[-1].settings.schedule

    paper = Schedule()
    assert schedule() == PRESETS["balanced"]
    assert schedule("--preset", "fast") == PRESETS["fast"]
    assert schedule("--mode", "accel", "--interval", 5, "--update-every", 1) == paper
    assert schedule("--interval", 7) == replace(paper, interval=7)
    assert schedule("--preset", "fast", "--interval", 7) == replace(PRESETS["fast"], interval=7)
    assert schedule("--preset", "fast", "--no-gate") == replace(PRESETS["fast"], gate=False)


def test_an_unknown_preset(accel, clip):
    result = accel("segment", clip, "--preset", "slow")
    assert result.code == 2
    assert "accurate" in result.error


def test_stats_of_every_frame_and_zone(accel, fakes, clip, tmp_path):
    corners = [[0, 0], [0.04, 0], [0.04, 1], [0, 1]]
    (tmp_path / "zones.json").write_text(json.dumps({"edge": corners}))
    args = ("--no-video", "--stats", "s.csv", "--zones", "zones.json", "--summary")
    done = accel("segment", clip, *args)
    assert done.code == 0, done.err
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert fakes[0].settings.margins
    whole = [float(rows[0][name]) for name in CAMVID.names]
    assert sum(whole) == pytest.approx(1, abs=1e-4)
    assert (rows[1]["zone"], float(rows[1]["sky"])) == ("edge", 1.0)
    assert "mean % of 20 frames  picture   edge" in done.out
    sky = next(line for line in done.out.splitlines() if line.startswith("  sky"))
    assert sky.split() == ["sky", f"{100 * whole[0]:.1f}", "100.0"]


def test_zones_without_stats_are_refused(accel, clip, tmp_path):
    (tmp_path / "zones.json").write_text("{}")
    done = accel("segment", clip, "--zones", "zones.json")
    assert (done.code, "give one of them, too" in done.error) == (2, True)
    done = accel("segment", clip, "--stats", "s.txt")
    assert (done.code, "ends in .csv or .parquet" in done.error) == (2, True)


def test_the_timings_say_what_a_run_can_be_repeated_by(accel, fakes, clip, tmp_path):
    args = ("--start", 0.2, "--palette", "camvid", "--interval", 3, "--threads", 1)
    args += ("--size", "96x64")
    assert accel("segment", clip, "--timing", "t.json", *args).code == 0
    settings = json.loads((tmp_path / "t.json").read_text())["summary"]["settings"]
    wanted = {"start": 0.2, "palette": "camvid", "interval": 3, "threads": 1, "input": str(clip)}
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["size"] == [96, 64]
    assert {"version", "mode", "warp", "weights", "alpha", "crf", "size"} <= settings.keys()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".ppm"])
def test_a_picture_gives_a_picture(accel, fakes, tmp_path, suffix):
    folder = write_images(tmp_path / "shots", count=1, suffix=suffix)
    assert accel("segment", folder / f"0{suffix}", "--alpha", 0.5).code == 0
    made = folder / f"0_accel{'.png' if suffix == '.ppm' else suffix}"
    assert cv2.imread(str(made)).shape == (48, 64, 3)
    assert {path.name for path in folder.iterdir()} == {f"0{suffix}", made.name}
    again = accel("segment", folder / f"0{suffix}", "--skip-existing")
    assert "is there and whole" in again.err


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_keep_the_frames_and_the_time(accel, fakes, clip, tmp_path, suffix):
    assert accel("segment", clip, "-o", f"out{suffix}").code == 0
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert (image.n_frames, image.size) == (20, (64, 48))
        lasts_ms = 0
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            lasts_ms += image.info["duration"]
        assert lasts_ms == 800


@pytest.mark.parametrize("inputs", [["pictures"], ["pictures/*.png"], ["two.gif"]])
def test_pictures_do_not_fit_into_one(accel, fakes, tmp_path, inputs):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number))
    frames = [Image.fromarray(picture(number)) for number in (0, 9)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "out.png").write_bytes(b"mine")
    done = accel("segment", *inputs, "-o", "out.png")
    assert done.code == 2
    assert "'out.png' holds one picture" in done.error
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert not fakes


@pytest.mark.parametrize("option", ["--zones", "--palette"])
def test_no_file_that_is_read_is_written_over(accel, fakes, clip, tmp_path, option):
    content = (
        '{"left": [[0, 0], [0.5, 0], [0.5, 1]]}' if option == "--zones" else '{"dark": "#fff"}'
    )
    (tmp_path / "x.json").write_text(content)
    args = ("--no-video", option, "x.json", "--summary", "--timing", "x.json")
    done = accel("segment", clip, *args)
    assert done.code == 2
    assert "'x.json' is a file that this run reads" in done.error
    assert (tmp_path / "x.json").read_text() == content

"""Chunks of a video, joined, are the video: frame for frame, byte for byte."""

from __future__ import annotations

import csv
import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from accel_rt.errors import InputError, WeightsError
from accel_rt.runtime.load import keyframe_policy
from accel_rt.runtime.policy import KeyframesAt
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.scale.board import Board
from accel_rt.scale.drive import drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Chunk, Plan, Task, Video
from accel_rt.video.overlay import render_overlay
from accel_rt.video.reader import open_source
from accel_rt.video.writer import VideoWriter
from tests.runtime.test_segmenter import CLASSES
from tests.scale import small
from tests.video.clips import probe, write_clip


def run(work, video, written=None):
    """Do all of a video in this process; returns its board."""
    board = Board([video], Manifest([], (written if written is not None else []).append))
    drive(board, small.Serial(work))
    return board


def unchunked(path, settings, at):
    """The results of one run over all frames with keyframes at the frames ``at``, too."""
    segmenter = small.load(settings, {})
    segmenter.set_policy(KeyframesAt(keyframe_policy(settings), set(at)))
    results = []
    with open_source(path) as source:
        for frame in source:
            results += segmenter.push(frame.image_bgr, frame.pts, frame.motion)
    return results + segmenter.flush()


SETTINGS = {
    "late": SegmenterSettings.preset("balanced"),
    "fast": SegmenterSettings.preset("fast"),
    "at once": SegmenterSettings(interval=5),
    "adaptive": SegmenterSettings(interval=5, policy="adaptive"),
}
LOW_DELAY = {"g": "12", "tune": "zerolatency", "x264-params": "ref=1"}


OPEN = {"g": "12", "x264-params": "open-gop=1"}


@pytest.mark.parametrize(
    ("name", "coding"),
    [("late", OPEN), ("fast", LOW_DELAY), ("at once", LOW_DELAY), ("adaptive", {"g": "12"})],
)
def test_masks_are_those_of_one_run_with_keyframes_at_the_cuts(tmp_path, name, coding):
    settings = SETTINGS[name]
    path = small.clip(tmp_path / "x.mp4", options=coding)
    work = small.work(tmp_path, settings=settings)
    board = run(work, Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    (plan,) = board.manifest.plans.values()
    counts = [chunk.frames for chunk in plan.chunks]
    assert len(counts) >= 3
    at = np.cumsum([0, *counts[:-1]]).tolist()
    expected = unchunked(path, settings, at)
    assert len(expected) == 80
    for result in expected:
        with Image.open(tmp_path / f"masks_x/frame_{result.index:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), result.labels, str(result.index))
    with (tmp_path / "t_x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [str(n) for n in range(80)]
    assert [row["kind"] for row in rows] == [result.kind for result in expected]
    assert [row["pts_s"] for row in rows] == [str(round(float(r.pts), 6)) for r in expected]
    plain = unchunked(path, settings, [])  # or this test could not fail
    assert any((a.labels != b.labels).any() for a, b in zip(expected, plain, strict=True))


def test_the_video_has_the_times_and_the_sound_of_one_run(tmp_path):
    """Also where the sound begins first, and times are off every grid."""
    rng = np.random.default_rng(3)
    moments = np.cumsum(rng.integers(300, 700, 80)) + 4000
    path = small.clip(
        tmp_path / "x.mp4",
        times=[Fraction(int(m), 12801) for m in moments],
        time_base=Fraction(1, 12801),
        audio_s=3.2,
    )
    board = run(small.work(tmp_path), Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    (plan,) = board.manifest.plans.values()
    at = np.cumsum([0, *(chunk.frames for chunk in plan.chunks[:-1])]).tolist()
    shown = unchunked(path, SegmenterSettings.preset("balanced"), at)
    with (
        open_source(path) as source,
        VideoWriter(tmp_path / "y.mp4", (96, 160), source.info.rate, tracks_from=source) as writer,
    ):
        for frame in source:
            writer.write(frame.image_bgr, frame.pts, frame.duration)
    found, expected = probe(tmp_path / "x_accel.mp4"), probe(tmp_path / "y.mp4")
    with av.open(str(tmp_path / "x_accel.mp4")) as one, av.open(str(tmp_path / "y.mp4")) as other:
        assert one.duration == other.duration
    assert found.times == expected.times
    assert found.beep_s == pytest.approx(expected.beep_s, abs=1e-4)
    assert found.audio_end_s == pytest.approx(expected.audio_end_s, abs=1e-4)
    assert {image.shape for image in found.images} == {(96, 160, 3)}
    palette = CLASSES.palette_bgr()
    with open_source(path) as source:
        for frame, written, result in zip(source, found.images, shown, strict=True):
            drawn = render_overlay(
                frame.image_bgr, result.labels, palette, small.OPTIONS.display.alpha
            )
            assert np.abs(written.astype(int) - drawn).mean() < 6


def test_all_of_a_video_whose_pictures_change_their_size_has_one_size(tmp_path):
    """Also where every chunk has pictures of one size only."""
    parts = []
    for number, turn in enumerate((lambda image: image, lambda image: image.transpose(1, 0, 2))):
        images = [np.ascontiguousarray(turn(image)) for image in small.moving(50)]
        times = [Fraction(50 * number + n, 25) for n in range(50)]
        part = write_clip(
            tmp_path / f"{number}.ts",
            times,
            images,
            format="mpegts",
            options={"g": "12", "bf": "0"},
        )
        parts.append(part.read_bytes())
    path = tmp_path / "x.ts"
    path.write_bytes(b"".join(parts))
    board = run(small.work(tmp_path, 2.0), Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    (plan,) = board.manifest.plans.values()
    assert len(plan.chunks) > 1
    images = probe(tmp_path / "x_accel.mp4").images
    assert len(images) == 100
    assert {image.shape for image in images} == {(96, 160, 3)}
    ((_, done),) = board.joined
    assert "50 pictures of another shape were stretched to fit" in done.notes


@pytest.mark.parametrize("masks", ["npz", "rle"])
def test_other_masks_and_stats_have_global_frame_numbers(tmp_path, masks):
    path = small.clip(tmp_path / "x.mp4", 60)
    work = small.work(tmp_path, options={"masks_format": masks})
    board = run(work, Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    whole = small.work(tmp_path / "w", 99, options={"masks_format": masks})
    board = run(whole, Video(str(path), small.outputs(tmp_path / "w"), "other"))
    assert [len(plan.chunks) for plan in board.manifest.plans.values()] == [1]
    names = sorted(each.name for each in (tmp_path / "masks_x").iterdir())
    assert names == sorted(each.name for each in (tmp_path / "w/masks_x").iterdir())
    if masks == "rle":
        coco = json.loads((tmp_path / "masks_x/masks.json").read_bytes())
        assert [image["id"] for image in coco["images"]] == list(range(60))
        assert {a["image_id"] for a in coco["annotations"]} == set(range(60))
        assert [a["id"] for a in coco["annotations"]] == list(
            range(1, len(coco["annotations"]) + 1)
        )
        assert coco["images"][59]["file_name"] == "frame_000059.png"
    for name in ("s_x.csv", "w/s_x.csv"):
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["frame"] for row in rows] == [str(n) for n in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mkv", "ts", "avi", "webm"])
def test_every_container_is_cut_where_that_is_safe(tmp_path, suffix):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    options = {"g": "12", "deadline": "realtime"} if suffix == "webm" else {"g": "12"}
    sound = {"webm": "libopus", "avi": "mp2"}.get(suffix, "aac")
    path = small.clip(tmp_path / f"x.{suffix}", codec=codec, options=options, audio_codec=sound)
    work = small.work(tmp_path)
    board = run(work, Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    assert board.joined[0][1].whole
    (plan,) = board.manifest.plans.values()
    assert (len(plan.chunks) == 1) == (suffix == "avi")
    at = np.cumsum([0, *[chunk.frames for chunk in plan.chunks][:-1]]).tolist()
    for result in unchunked(path, work.settings, at):
        with Image.open(tmp_path / f"masks_x/frame_{result.index:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), result.labels)


def test_a_span_is_what_was_asked_for(tmp_path):
    path = small.clip(tmp_path / "x.mp4", 100)
    work = small.work(tmp_path, options={"start": 1.0, "end": 3.5})
    board = run(work, Video(str(path), small.outputs(tmp_path), "key"))
    assert not board.failures
    with open_source(path, 1.0, 3.5) as source:
        expected = sum(1 for _ in source)
    assert board.joined[0][1].frames == expected == 63
    found = probe(tmp_path / "x_accel.mp4")
    assert len(found.times) == 63
    assert found.times[0] == 0
    assert found.beep_s == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_every_codec_and_container_can_be_joined(tmp_path):
    path = small.clip(tmp_path / "x.mp4", 60)
    for codec, suffix in (("hevc", "mov"), ("vp9", "webm"), ("av1", "mkv")):
        work = small.work(tmp_path / codec, options={"codec": codec})
        made = small.outputs(tmp_path / codec, video=str(tmp_path / f"y.{suffix}"), masks=None)
        board = run(work, Video(str(path), made, "key"))
        assert not board.failures, board.failures
        found = probe(tmp_path / f"y.{suffix}")
        assert len(found.times) == 60
        steps = np.diff([float(time) for time in found.times])
        np.testing.assert_allclose(steps, 0.04, atol=2e-3)
        assert found.beep_s == pytest.approx(2.0, abs=0.03)


def test_a_chunk_without_a_frame_is_told_of(tmp_path):
    """With look-ahead it sees the next chunk's first one."""
    path = small.clip(tmp_path / "x.mp4", 5, audio_s=0)
    cuts, zero = (Chunk(None, Fraction(0), 1), Chunk(Fraction(0), None, 5)), Fraction(0)
    plan = Plan(cuts, zero, zero, small.SIZE, Fraction(25))
    task = Task("chunk", Video(str(path), small.outputs(tmp_path), "key"), plan)
    work = small.work(tmp_path)
    work.prepare()
    with pytest.raises(InputError, match="'x.mp4' has no frame there that can be read"):
        work(task)
    assert not work.chunks.names()


def test_a_machine_with_other_weights_is_told_of(tmp_path):
    work = small.work(tmp_path, weights=["what the command found"])
    with pytest.raises(WeightsError, match="are not those that the command found"):
        work.prepare()


def test_a_recording_that_begins_between_keyframes_is_done_from_the_first_one_on(tmp_path):
    """Its first second has no frame that can be decoded."""
    path = small.clip(tmp_path / "x.ts", 100, options={"g": "40", "sc_threshold": "0"}, audio_s=0)
    with av.open(str(path)) as whole, av.open(str(tmp_path / "y.ts"), "w") as late:
        stream = late.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if number >= 5 and packet.size:
                packet.stream = stream
                late.mux(packet)
    video = Video(str(tmp_path / "y.ts"), small.outputs(tmp_path), "key")
    board = run(small.work(tmp_path), video)
    assert not board.failures
    (plan,) = board.manifest.plans.values()
    assert len(plan.chunks) == 2
    assert board.joined[0][1].frames == 60
    assert len(probe(tmp_path / "x_accel.mp4").times) == 60

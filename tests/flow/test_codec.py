"""Flow from a video's own motion vectors: clips with known motion, and streams that have none."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from torch import Tensor

from accel_rt.flow.codec import CodecFlow, fill_holes
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.grid import Grid
from accel_rt.flow.motion import Motion, motion_field
from accel_rt.live.capture import Capture
from accel_rt.live.source import LiveFrame
from accel_rt.video import container
from accel_rt.video.reader import open_source
from accel_rt.video.source import Frame
from tests.video.clips import write_clip

STEP = 3, -2  # pixels that the picture moves from frame to frame
SIZE = 96, 160
GRID = Grid(SIZE, (SIZE[0] // 16, SIZE[1] // 16), 16)
CAMERA = {"preset": "veryfast", "tune": "zerolatency", "crf": "12"}  # P-frames, one reference
BOTH_WAYS = {"crf": "12", "x264-params": "bframes=2:b-adapt=0:ref=1:scenecut=0"}
SEVERAL = {**CAMERA, "x264-params": "ref=4:mixed-refs=1:weightp=0:scenecut=0"}


def moving(count: int = 12, seed: int = 0) -> list[np.ndarray]:
    """Pictures of a soft texture that moves by :data:`STEP` a frame."""
    noise = np.random.default_rng(seed).integers(0, 256, (400, 400, 3), np.uint8)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    return [
        soft[100 - n * STEP[1] :, 200 - n * STEP[0] :][: SIZE[0], : SIZE[1]].copy()
        for n in range(count)
    ]


def frames(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


def clip(path: Path, options: dict[str, str], codec: str = "libx264", count: int = 12) -> Path:
    return write_clip(path, images=moving(count), codec=codec, options={"g": "100", **options})


def flows(shown: list[Frame]) -> tuple[list[Tensor], str]:
    """Flow from each frame to the next, by which source: c(odec) or s(earch)."""
    source = CodecFlow()
    views = [source.view(frame.image_bgr, frame.motion) for frame in shown]
    found, by = [], ""
    for before, after in pairwise(views):
        found.append(source.between(before, after, GRID))
        by += "c" if source.latest == "codec" else "s"
    return found, by


def moved_px(flow: Tensor) -> np.ndarray:
    """What the inner cells moved by, in pixels."""
    return -16 * flow[0, :, 1:-1, 1:-1].flatten(1).median(1).values.numpy()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "264"])
def test_a_low_delay_stream_says_how_it_moves(tmp_path, suffix) -> None:
    found, by = flows(frames(clip(tmp_path / f"camera.{suffix}", CAMERA)))
    assert by == "c" * 11
    for flow in found:
        assert flow.shape == (1, 2, *GRID.cells)
        np.testing.assert_allclose(moved_px(flow), STEP, atol=0.25)


@pytest.mark.parametrize("options", [BOTH_WAYS, SEVERAL], ids=["B-frames", "references"])
def test_where_the_source_is_not_known_it_is_searched_for(tmp_path, options) -> None:
    shown = frames(clip(tmp_path / "film.mp4", options))
    found, by = flows(shown)
    assert by.count("s") >= 9
    search = DISFlow()
    for number in np.flatnonzero(np.array(list(by)) == "s"):
        views = [search.view(frame.image_bgr) for frame in shown[number : number + 2]]
        assert (found[number] == search.between(*views, GRID)).all()


@pytest.mark.parametrize("codec", ["mpeg4", "libx265", "libvpx-vp9"])
def test_other_codecs_have_no_motion(tmp_path, codec) -> None:
    path = clip(tmp_path / "clip.mkv", {"g": "5"}, codec, count=4)
    assert all(frame.motion is None for frame in frames(path))


def test_it_changes_over_where_the_stream_does(tmp_path) -> None:
    parts = [clip(tmp_path / f"{n}.264", o) for n, o in enumerate((CAMERA, BOTH_WAYS, CAMERA))]
    whole = tmp_path / "whole.264"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    shown = frames(whole)
    assert len(shown) == 36
    _, by = flows(shown)
    assert by == "c" * 11 + "s" * 13 + "c" * 11


def test_a_picture_coded_by_itself_is_searched_for(tmp_path) -> None:
    _, by = flows(frames(clip(tmp_path / "clip.mp4", {**CAMERA, "g": "4"})))
    assert by == "cccscccsccc"


def test_a_lost_picture_breaks_the_chain_once(tmp_path) -> None:
    whole, holed = clip(tmp_path / "whole.ts", CAMERA), tmp_path / "holed.264"
    with av.open(str(whole)) as source:
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    holed.write_bytes(b"".join(packets[:5] + packets[6:]))
    by = flows(frames(holed))[1]
    assert by.count("s") >= 1
    assert by.startswith("cccc")
    assert by.endswith("cccc")
    assert by[4] == "s"


def test_frames_left_out_are_passed_over(tmp_path) -> None:
    shown = frames(clip(tmp_path / "camera.mp4", CAMERA))
    _, by = flows(shown[::2])
    assert by == "s" * 5  # nobody has said what is between
    kept = [shown[0]]
    for dropped, frame in zip(shown[1::2], shown[2::2], strict=False):
        kept.append(replace(frame, motion=frame.motion.over(dropped.motion)))
    found, by = flows(kept)
    assert by == "c" * 5
    for flow in found:
        np.testing.assert_allclose(moved_px(flow), np.multiply(2, STEP), atol=0.5)


def test_a_capture_that_drops_frames_hands_on_what_they_moved(tmp_path) -> None:
    shown = frames(clip(tmp_path / "camera.mp4", CAMERA))
    capture, taken = Capture(lambda: None), []  # type: ignore[arg-type, return-value]
    for frame in shown:
        capture._hold(LiveFrame(0.0, frame.pts, lambda: None, frame.motion))  # type: ignore[arg-type, return-value]
        if frame.index in (0, 3, 4, 8):
            live, _ = capture.take(0)
            taken.append(replace(frame, motion=live.motion))
    found, by = flows(taken)
    assert by == "ccc"
    for flow, steps in zip(found, (3, 1, 4), strict=True):
        np.testing.assert_allclose(moved_px(flow), np.multiply(steps, STEP), atol=0.6)


def test_too_many_dropped_frames_are_not_added_up() -> None:
    field = np.zeros((2, 2, 2), np.float32)
    motion = Motion(0, None, (), (16, 16))
    for number in range(1, 30):
        motion = Motion(number, number - 1, (field,), (16, 16)).over(motion)
        assert motion.since is None
    motion = Motion(1, 0, (field,), (16, 16))
    sources = []
    for number in range(2, 30):
        motion = Motion(number, number - 1, (field,), (16, 16)).over(motion)
        sources.append(motion.since)
    assert sources[:15] == [0] * 15
    assert set(sources[15:]) == {None}


def test_threads_of_the_decoder_do_not_mix_vectors_up(tmp_path, monkeypatch) -> None:
    path = clip(tmp_path / "camera.mp4", CAMERA, count=40)
    alone = frames(path)
    monkeypatch.setattr(container, "_THREADED_FROM_PIXELS", 0)
    threaded = frames(path)
    assert len(threaded) == len(alone) == 40
    for one, other in zip(alone[1:], threaded[1:], strict=True):
        np.testing.assert_array_equal(one.motion.fields[0], other.motion.fields[0])
        assert other.motion.picture - other.motion.since == 1
    assert flows(threaded)[1] == "c" * 39


def test_pictures_are_freed_once_they_are_used(tmp_path) -> None:
    path = clip(tmp_path / "camera.mp4", CAMERA, count=40)
    gc.collect()
    gc.disable()
    try:
        with open_source(path) as source:
            for frame in source:
                assert frame.motion is not None
                alive = sum(type(o) is av.VideoFrame for o in gc.get_objects())
                assert alive <= 6, frame.index
    finally:
        gc.enable()


def test_a_picture_that_is_shown_turned_has_no_vectors(tmp_path) -> None:
    path = clip(tmp_path / "plain.mp4", CAMERA)
    data = path.read_bytes()
    track = data.index(b"tkhd") + 4 + 40
    quarter = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data[:track] + quarter + data[track + 36 :])
    shown = frames(turned)
    assert shown[0].image_bgr.shape[:2] == SIZE[::-1]
    assert all(frame.motion.since is None for frame in shown)


def test_what_ran_is_said() -> None:
    source = CodecFlow()
    assert source.name == "codec where the video has usable vectors, else dis"
    picture = np.zeros((*SIZE, 3), np.uint8)
    still = np.zeros((SIZE[0] // 8, SIZE[1] // 8, 2), np.float32)
    views = [
        source.view(picture, Motion(0, None, (), SIZE)),
        source.view(picture, Motion(1, 0, (still,), SIZE)),
        source.view(picture),
    ]
    source.between(views[1], views[2], GRID)
    assert source.latest == "dis"
    source.between(views[0], views[1], GRID)
    assert source.latest == "codec"


def test_a_picture_mostly_coded_anew_is_searched_for() -> None:
    source = CodecFlow()
    field = np.full((SIZE[0] // 8, SIZE[1] // 8, 2), np.nan, np.float32)
    field[:5] = 0
    picture = np.zeros((*SIZE, 3), np.uint8)
    before = source.view(picture, Motion(0, None, (), SIZE))
    source.between(before, source.view(picture, Motion(1, 0, (field,), SIZE)), GRID)
    assert source.latest == "dis"


def test_blocks_of_all_sizes_lie_where_they_are() -> None:
    kind = [(n, "i4") for n in ("w", "h", "dst_x", "dst_y", "motion_x", "motion_y")]
    vectors = np.zeros(4, [*kind, ("motion_scale", "u2")])
    vectors["motion_scale"] = 4
    for number, row in enumerate([(16, 16, 8, 8), (16, 8, 24, 4), (8, 16, 36, 8), (8, 8, 28, 12)]):
        vectors[number] = (*row, 4 * (number + 1), -4, 4)
    field = motion_field(vectors, (16, 44))
    n = np.nan
    np.testing.assert_array_equal(field[..., 0], [[1, 1, 2, 2, 3, n], [1, 1, n, 4, 3, n]])
    assert (field[..., 1][~np.isnan(field[..., 0])] == -1).all()


def test_holes_take_what_surrounds_them() -> None:
    field = np.full((8, 12, 2), np.nan, np.float32)
    assert (fill_holes(field) == 0).all()
    field[:, :6], field[:, 6:] = 1, 5
    field[2:4, 1:3] = field[5, 10] = np.nan
    filled = fill_holes(field)
    assert not np.isnan(filled).any()
    np.testing.assert_allclose(filled[2:4, 1:3], 1, atol=1e-5)
    np.testing.assert_allclose(filled[5, 10], 5, atol=1e-5)
    known = ~np.isnan(field)
    np.testing.assert_array_equal(filled[known], field[known])

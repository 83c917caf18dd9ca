"""The procedural street: what a drive promises about its frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from accel_rt.classes import CAMVID, IGNORE_LABEL
from accel_rt.errors import UsageError
from accel_street import StreetDrive, StreetFrame

SMALL = (180, 240)
STATIC = [CAMVID.names.index(name) for name in ("building", "road", "pavement", "fence", "sign")]


def same(a: StreetFrame, b: StreetFrame) -> bool:
    return (
        a.index == b.index
        and np.array_equal(a.image_bgr, b.image_bgr)
        and np.array_equal(a.labels, b.labels)
        and np.array_equal(a.flow, b.flow)
        and np.array_equal(a.occluded, b.occluded)
    )


def positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel was one frame earlier: x and y in pixels, float32 [H, W]."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def near_edges(labels: np.ndarray) -> np.ndarray:
    """Pixels within one pixel of another label."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)


@pytest.mark.parametrize("size", [(360, 480), (61, 97), (17, 33), (1, 1), (200, 64)])
def test_sizes_and_dtypes(size: tuple[int, int]) -> None:
    for index, frame in enumerate(StreetDrive(3, size).frames(2)):
        assert frame.index == index
        assert frame.image_bgr.shape == (*size, 3)
        assert frame.image_bgr.dtype == np.uint8
        assert frame.labels.shape == size
        assert frame.labels.dtype == np.uint8
        assert frame.flow.shape == (*size, 2)
        assert frame.flow.dtype == np.float32
        assert frame.occluded.shape == size
        assert frame.occluded.dtype == bool
        assert np.isfinite(frame.flow).all()


def test_the_same_seed_gives_the_same_drive() -> None:
    first, second = StreetDrive(5, SMALL).frames(3), StreetDrive(5, SMALL).frames(3)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [0, 11])
def test_any_start_equals_streaming(seed: int) -> None:
    streamed = list(StreetDrive(seed, SMALL).frames(10))
    entered = list(StreetDrive(seed, SMALL).frames(3, start=7))
    assert all(same(a, b) for a, b in zip(streamed[7:], entered, strict=True))


def test_frames_can_be_asked_for_in_any_order() -> None:
    drive = StreetDrive(8, SMALL)
    later = drive.frame(40)
    drive.frame(2)
    assert same(drive.frame(40), later)


def test_seeds_differ() -> None:
    frames = [StreetDrive(seed, SMALL).frame(10) for seed in range(4)]
    for number, frame in enumerate(frames):
        for other in frames[number + 1 :]:
            assert np.mean(frame.labels != other.labels) > 0.05
            assert not np.array_equal(frame.image_bgr, other.image_bgr)


def test_all_classes_occur_and_little_is_unlabelled() -> None:
    counts = np.zeros(256)
    for seed in range(6):
        for start in range(0, 90, 15):
            labels = StreetDrive(seed, SMALL).frame(start).labels
            counts += np.bincount(labels.ravel(), minlength=256)
    shares = counts / counts.sum()
    assert shares[IGNORE_LABEL] < 0.01
    assert shares[len(CAMVID) : IGNORE_LABEL].sum() == 0
    assert (shares[: len(CAMVID)] > 5e-4).all()
    assert CAMVID.names[int(shares.argmax())] in ("road", "building")


def test_the_first_frame_has_no_flow() -> None:
    frame = StreetDrive(1, SMALL).frame(0)
    assert not frame.flow.any()
    assert not frame.occluded.any()


def test_the_camera_moves_forward() -> None:
    frame = StreetDrive(2, SMALL, speed_mps=10).frame(12)
    road = frame.labels == CAMVID.names.index("road")
    below = road & (np.arange(SMALL[0]) > 0.75 * SMALL[0])[:, None]
    assert np.median(frame.flow[below][:, 1]) < -1  # it was farther up the picture before


@pytest.mark.parametrize("seed", range(6))
def test_flow_carries_labels_exactly(seed: int) -> None:
    before, after = StreetDrive(seed).frames(2, start=20 + 7 * seed)
    x, y = positions(after.flow)
    carried = cv2.remap(before.labels, x, y, cv2.INTER_NEAREST)
    wrong = (carried != after.labels) & ~after.occluded
    assert wrong.mean() < 2e-3
    assert (wrong & ~near_edges(after.labels)).mean() < 5e-4
    assert 0.001 < after.occluded.mean() < 0.2
    # Without the flow many more are wrong, so this is not passed by standing still.
    still = (before.labels != after.labels) & ~after.occluded
    assert still.mean() > 5 * wrong.mean()


@pytest.mark.parametrize("seed", range(6))
def test_flow_carries_the_picture(seed: int) -> None:
    before, after = StreetDrive(seed, effects=False).frames(2, start=33)
    x, y = positions(after.flow)
    smooth = [
        cv2.GaussianBlur(f.image_bgr, (5, 5), 1.2).astype(np.float32) for f in (before, after)
    ]
    carried = cv2.remap(smooth[0], x, y, cv2.INTER_LINEAR)
    inside = ~after.occluded & ~near_edges(after.labels)
    error = np.abs(carried - smooth[1])[inside].mean()
    unmoved = np.abs(smooth[0] - smooth[1])[inside].mean()
    assert error < 2.5
    assert error < 0.5 * unmoved


def test_a_still_camera_sees_static_things_stand() -> None:
    drive = StreetDrive(4, SMALL, speed_mps=0)
    before, after = drive.frames(2, start=30)
    static = np.isin(after.labels, STATIC)
    assert static.mean() > 0.3
    assert np.abs(after.flow[static]).max() < 1e-4
    assert np.abs(after.flow).max() > 0.05  # people and cars go on
    unmoved = static & (before.labels == after.labels)
    assert not (after.occluded & unmoved & ~near_edges(before.labels)).any()


def test_a_camera_that_stops_stands_still_and_drives_on() -> None:
    """Each eight seconds it stands for the first 3.2, and gets as far as one that does not stop."""
    drive, other = (StreetDrive(4, SMALL, speed_mps=8, driving=how) for how in ("stops", "steady"))
    frames = {index: drive.frame(index) for index in (1, 30, 47, 80)}
    for index, frame in frames.items():
        static = np.isin(frame.labels, STATIC)
        assert (np.abs(frame.flow[static]).max() < 1e-4) == (index <= 47), index
    again = drive._scene.camera.travelled(8.0)
    assert again == pytest.approx(other._scene.camera.travelled(8.0))
    assert drive._scene.camera.travelled(8.0 + 3.0) == pytest.approx(again)


def test_a_camera_that_stops_turns_aside_in_between() -> None:
    drives = (StreetDrive(4, SMALL, driving=how) for how in ("stops", "steady"))
    camera, other = (drive._scene.camera for drive in drives)
    turned = [camera._turned(time_s) for time_s in (1.0, 3.2, 5.6, 8.0, 13.6)]
    assert turned == pytest.approx([0, 0, 0.5, 0, -0.5], abs=1e-9)
    assert other._turned(5.6) == 0


@pytest.mark.parametrize("seed", [4, 9])  # one lane each way, and two
def test_a_camera_that_overtakes_pulls_out_and_gains_on_its_lane(seed: int) -> None:
    scene, other = (StreetDrive(seed, SMALL, driving=how)._scene for how in ("overtakes", "steady"))
    camera, style = scene.camera, scene.style
    for time_s, share, gained in ((0.0, 0, 0), (4.0, 1, 13), (8.0, 0, 26), (12.0, 1, 39)):
        aside = camera.pose(time_s).position - other.camera.pose(time_s).position
        assert np.hypot(*aside[:2]) == pytest.approx(share * style.lane_m, abs=1e-6)
        assert camera.gained(time_s) == pytest.approx(gained)
        assert other.camera.gained(time_s) == 0
    nearest = []
    mover = next(scene._traffic._queue(0.0, 200.0))
    for time_s in (0.0, 4.0, 8.0):
        pose = camera.pose(time_s)
        first = mover.frames(time_s)
        middle = first[:, :, 2].mean(0) - pose.position
        nearest.append(float(pose.rotation[2] @ middle))
    assert nearest == pytest.approx([13, 0, -13], abs=4)


def test_a_camera_that_overtakes_always_has_somebody_ahead() -> None:
    scene = StreetDrive(4, SMALL, driving="overtakes")._scene
    for time_s in (0.0, 40.0, 600.0):
        pose = scene.camera.pose(time_s)
        queue = scene._traffic._queue(time_s, 200.0)
        middles = [mover.frames(time_s)[:, :, 2].mean(0) - pose.position for mover in queue]
        depths = [float(pose.rotation[2] @ middle) for middle in middles]
        assert depths[0] == pytest.approx(13, abs=4)
        assert len(depths) == 8


def test_effects_leave_geometry_alone() -> None:
    for seed in (0, 7):
        with_effects = StreetDrive(seed, SMALL).frame(25)
        without = StreetDrive(seed, SMALL, effects=False).frame(25)
        assert np.array_equal(with_effects.labels, without.labels)
        assert np.array_equal(with_effects.flow, without.flow)
        assert np.array_equal(with_effects.occluded, without.occluded)
        assert not np.array_equal(with_effects.image_bgr, without.image_bgr)


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"size": (10, 0)},
        {"size": (10, 20000)},
        {"rate": 0},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"speed_mps": -1.0},
        {"speed_mps": float("inf")},
        {"driving": "stop"},
    ],
)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        StreetDrive(**arguments)


def test_negative_frames_are_refused() -> None:
    with pytest.raises(UsageError, match="got -1"):
        StreetDrive().frame(-1)

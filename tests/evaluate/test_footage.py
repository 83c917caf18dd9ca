"""Footage: its layouts, and one clear sentence for what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.evaluate.footage import Clip, frame_step, open_footage
from accel_rt.evaluate.schedule import KeyframeSchedule, work_units
from accel_rt.evaluate.scoring_pass import check_classes, count_unit
from accel_street import StreetDrive
from tests.evaluate.stub import AgeingPredictor

SIZE = (64, 48)


def camvid(root: Path, numbers: list[int], labels: np.ndarray | None = None) -> Path:
    """A CamVid folder of recording 0016E5 with these frame numbers."""
    for folder in ("val", "valannot"):
        (root / folder).mkdir()
    for number in numbers:
        name = f"0016E5_{number:05d}.png"
        image = np.full((SIZE[1], SIZE[0], 3), number % 256, np.uint8)
        cv2.imwrite(str(root / "val" / name), image)
        values = np.full((SIZE[1], SIZE[0]), 3, np.uint8) if labels is None else labels
        cv2.imwrite(str(root / "valannot" / name), values)
    return root


def cityscapes(root: Path, frames: int, labelled: int) -> Path:
    """One snippet of ``frames`` frames of which one is labelled."""
    images = root / "leftImg8bit_sequence" / "val" / "ulm"
    labels = root / "gtFine" / "val" / "ulm"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for number in range(frames):
        picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        cv2.imwrite(str(images / f"ulm_000001_{number:06d}_leftImg8bit.png"), picture)
    values = np.full((SIZE[1], SIZE[0]), 7, np.uint8)
    cv2.imwrite(str(labels / f"ulm_000001_{labelled:06d}_gtFine_labelIds.png"), values)
    return root


def evaluate_all(root: Path) -> None:
    footage = open_footage(str(root))
    schedules = {"a": KeyframeSchedule(footage.density(), 2)}
    for unit in work_units(footage.labelled()):
        predictor = AgeingPredictor({}, 2)
        clip = footage.clips[unit.sequence]
        count_unit(predictor, clip, unit, schedules, len(footage.classes))


def test_camvid(tmp_path: Path) -> None:
    footage = open_footage(str(camvid(tmp_path, [30, 32, 34, 36])))
    assert (footage.name, footage.rate, footage.density()) == ("CamVid val", 15, "dense")
    assert [frame.name for frame in footage.clips[0].frames][:2] == ["0016E5_00030", "0016E5_00032"]
    image, labels = footage.clips[0].frames[1].read()
    assert (image == 32).all()
    assert (labels == 3).all()


def test_cityscapes(tmp_path: Path) -> None:
    footage = open_footage(str(cityscapes(tmp_path, 5, 3)))
    assert (footage.name, footage.rate, footage.density()) == ("Cityscapes val", 17, "sparse")
    assert footage.labelled() == [[False, False, False, True, False]]
    assert len(footage.classes) == 19


def test_street() -> None:
    footage = open_footage("street:3:4")
    assert (footage.name, footage.rate, footage.density()) == ("street 3", 15, "dense")
    image, labels = footage.clips[0].frames[2].read()
    frame = StreetDrive(seed=3, size=(360, 480), rate=15).frame(2)
    assert (image == frame.image_bgr).all()
    assert (labels == frame.labels).all()


def test_a_street_where_the_camera_overtakes() -> None:
    plain, other = (
        open_footage(place).clips[0].frames[30].image_bgr().astype(int)
        for place in ("street:3:31", "street:3:31:overtakes")
    )
    assert np.abs(plain - other).mean() > 5


def test_a_street_where_the_camera_stops() -> None:
    frames = open_footage("street:3:13:stops").clips[0].frames
    first, still, last = (frames[index].image_bgr().astype(int) for index in (0, 1, 12))
    assert (
        np.abs(first - still).mean()
        < 0.5 * np.abs(first - open_footage("street:3:2").clips[0].frames[1].image_bgr()).mean()
    )
    assert first.shape == last.shape


@pytest.mark.parametrize("place", ["street:x", "street:1:0", "street:1:2:3", "street:1:stops"])
def test_no_such_street(place: str) -> None:
    with pytest.raises(UsageError, match=f"'{place}' is no street: give street:SEED:FRAMES"):
        open_footage(place)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        open_footage(str(tmp_path / "nowhere"))


def test_values_outside_the_classes(tmp_path: Path) -> None:
    labels = np.full((SIZE[1], SIZE[0]), 3, np.uint8)
    labels[0, :2] = 40, 77
    camvid(tmp_path, [30, 32], labels)
    with pytest.raises(InputError, match=r"valannot/0016E5_00030.png holds labels 40, 77: CamVid"):
        evaluate_all(tmp_path)


def test_sizes_that_differ(tmp_path: Path) -> None:
    camvid(tmp_path, [30, 32], np.zeros((20, 30), np.uint8))
    message = r"0016E5_00030.png is 30x20 and its image .*0016E5_00030.png 64x48"
    with pytest.raises(InputError, match=message):
        evaluate_all(tmp_path)


def test_missing_frames_in_a_snippet(tmp_path: Path) -> None:
    camvid(tmp_path, [30, 32, 36, 38, 40])
    message = "frames are missing in 0016E5_30 between 0016E5_00032 and 0016E5_00036"
    with pytest.raises(InputError, match=message):
        open_footage(str(tmp_path))


def test_other_classes() -> None:
    message = r"'net' knows 2 classes \(a, b, ...\) and the labels have 3 \(a, b, c, ...\)"
    with pytest.raises(UsageError, match=message):
        check_classes({"net": ("a", "b")}, ("a", "b", "c"))


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    camvid(tmp_path, [30, 32])
    frame = open_footage(str(tmp_path)).clips[0].frames[0]
    before = frame.stamp()
    assert frame.stamp() == before
    cv2.imwrite(str(tmp_path / "val" / "0016E5_00030.png"), np.zeros((2, 2, 3), np.uint8))
    assert frame.stamp() != before


@pytest.mark.parametrize(
    "names",
    [
        ["1305031102.175304", "1305031102.211214", "1305031102.243211", "1305031102.275326"],
        ["10.5", "10.9"],
        ["1403636579763555584", "1403636579813555456", "1403636579863555072", "1403636579913"],
    ],
    ids=["seconds", "two of them", "nanoseconds"],
)
def test_frames_named_by_their_time_lack_none(names: list[str]) -> None:
    frames = tuple(SimpleNamespace(name=name) for name in names)
    assert frame_step(Clip("clip", frames)) is None


def test_one_step_of_a_counter_that_differs_is_a_gap() -> None:
    frames = tuple(SimpleNamespace(name=f"v1.2_{number}") for number in (3, 4, 6))
    with pytest.raises(InputError, match="frames are missing in clip between v1.2_4 and v1.2_6"):
        frame_step(Clip("clip", frames))

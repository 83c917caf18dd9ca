"""Shares of classes in the picture and in zones, against arrays counted by hand."""

from __future__ import annotations

import csv
import json
from fractions import Fraction

import numpy as np
import pytest

from accel_rt.classes import ClassSet
from accel_rt.errors import InputError, UsageError
from accel_rt.video.stats_log import StatsLog, count_frames
from accel_rt.video.zones import Zones

CLASSES = ClassSet(("a", "b, c"), ((0, 0, 0), (9, 9, 9)))


@pytest.fixture
def labels():
    labels = np.zeros((10, 20), np.uint8)
    labels[:, 10:] = 1
    return labels


def zones(tmp_path, stored):
    (tmp_path / "zones.json").write_text(json.dumps(stored))
    return Zones.read(tmp_path / "zones.json")


@pytest.mark.parametrize(
    "corners", [[[0, 0], [9, 0], [9, 9], [0, 9]], [[0, 0], [0.474, 0], [0.474, 1], [0, 1]]]
)
def test_zones_are_in_pixels_or_fractions(tmp_path, labels, corners):
    margin = np.where(labels, 4.0, 2.0).astype(np.float32)
    found = zones(tmp_path, {"left": corners}).measure(labels, 2, margin)
    assert found == {"picture": [3.0, 0.5, 0.5], "left": [2.0, 1.0, 0.0]}


@pytest.mark.parametrize("scale", [(1, 1), (1 / 19, 1 / 9)])
def test_corners_are_columns_then_rows(tmp_path, scale):
    labels = np.zeros((10, 20), np.uint8)
    labels[2:4, 6:16] = 1
    corners = [[x * scale[0], y * scale[1]] for x, y in ((6, 2), (15, 2), (15, 3), (6, 3))]
    found = zones(tmp_path, {"there": corners}).measure(labels, 2)
    assert found == {"picture": [None, 0.9, 0.1], "there": [None, 0.0, 1.0]}


def test_a_zone_outside_the_picture_has_no_values(tmp_path, labels):
    found = zones(tmp_path, {"far": [[90, 90], [99, 90], [99, 99]]}).measure(labels, 2)
    assert found["far"] == [None, None, None]
    assert found["picture"] == [None, 0.5, 0.5]


@pytest.mark.parametrize(
    "stored",
    [
        [],
        {"a": 3},
        {"a": [[0, 0], [1, 1]]},
        {"a": [[0, 0], [1, 1], [1]]},
        {"a": [[0, 0], [1, 1], [1, "x"]]},
        {"a": [[0, 0], [1, 1], [1, 1e99]]},
        {"picture": [[0, 0], [1, 0], [1, 1]]},
    ],
)
def test_what_holds_no_zones_is_refused(tmp_path, stored):
    with pytest.raises(InputError, match="does not hold zones such as"):
        zones(tmp_path, stored)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_classes_called_as_columns_have_their_own(tmp_path, labels, suffix):
    path, names = tmp_path / f"stats{suffix}", ("frame", "zone", "class zone", "margin")
    log = StatsLog(path, ClassSet(names, ((0, 0, 0),) * 4), Zones())
    for frame in range(3):
        log.add(frame, Fraction(frame), labels)
    log.complete()
    log.commit()
    assert count_frames(path) == 3
    if suffix == ".parquet":
        columns = pytest.importorskip("pyarrow.parquet").read_table(path).column_names
    else:
        columns = path.read_text().splitlines()[0].split(",")
    assert columns[:4] == ["frame", "pts_s", "zone", "margin"]
    assert columns[4:] == ["class frame", "class zone", "class class zone", "class margin"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_are_frames_and_zones(tmp_path, labels, suffix):
    path = tmp_path / f"stats{suffix}"
    log = StatsLog(path, CLASSES, zones(tmp_path, {"left": [[0, 0], [9, 0], [9, 9], [0, 9]]}))
    log.add(0, Fraction(0), labels)
    log.add(1, Fraction(1, 25), np.ones_like(labels))
    assert log.means == {"picture": {"a": 0.25, "b, c": 0.75}, "left": {"a": 0.5, "b, c": 0.5}}
    log.complete()
    log.commit()
    if suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table(path).to_pylist()
        types = parquet.read_schema(path)
        assert [str(types.field(n).type) for n in ("frame", "zone", "margin", "a")] == [
            "int64",
            "string",
            "double",
            "double",
        ]
    assert [(int(row["frame"]), row["zone"]) for row in rows] == [
        (0, "picture"),
        (0, "left"),
        (1, "picture"),
        (1, "left"),
    ]
    assert [float(row["b, c"]) for row in rows] == [0.5, 0, 1, 1]
    assert {float(row["pts_s"]) for row in rows} == {0, 0.04}
    assert count_frames(path) == 2
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "zones.json"}


def test_a_log_is_taken_up_after_whole_frames(tmp_path, labels):
    path = tmp_path / "stats.csv"
    log = StatsLog(path, CLASSES, Zones(), "token")
    for frame in range(3):
        log.add(frame, Fraction(frame), labels)
    log.leave()
    log = StatsLog(path, CLASSES, Zones(), "token", keep=1)
    log.add(1, Fraction(1), labels)
    log.complete()
    log.commit()
    assert count_frames(path) == 2


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet"):
        StatsLog(tmp_path / "stats.txt", CLASSES, Zones())


def test_a_zone_that_no_frame_reaches_has_no_means(tmp_path, labels):
    """Also when the log is taken up again; one in view at times has those of that time."""
    corners = {"far": [[200, 200], [210, 200], [210, 210]]}
    log = StatsLog(tmp_path / "a.csv", CLASSES, zones(tmp_path, corners))
    log.add(0, Fraction(0), labels)
    log.leave()
    again = StatsLog(tmp_path / "a.csv", CLASSES, zones(tmp_path, corners), log._token, keep=1)
    for means in (log.means, again.means):
        assert means["far"] is None
        assert means["picture"] == {"a": 0.5, "b, c": 0.5}
    again.leave()

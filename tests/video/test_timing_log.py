"""The timing log's two formats, read back by the standard library's readers."""

from __future__ import annotations

import csv
import json
import resource
from fractions import Fraction

import numpy as np
import pytest

from accel_rt.errors import OutputError, UsageError
from accel_rt.video.timing import COLUMNS, STAGES, TimingLog, count_rows

COLUMNS_OF_THE_CONTRACT = (
    "frame,pts_s,kind,decode_ms,flow_ms,network_ms,output_ms,render_ms,encode_ms,total_ms,flow"
)


def some_rows(count=25):
    values = np.random.default_rng(0).gamma(2, 10, (count, len(STAGES)))
    for number, row in enumerate(values):
        kind = "update" if number % 5 else "key"
        flow = "none" if kind == "key" else "codec" if number % 2 else "dis"
        yield {"frame": number, "pts_s": Fraction(number, 30), "kind": kind, "flow": flow} | dict(
            zip(STAGES, row, strict=True)
        )


def add(log, rows):
    for row in rows:
        log.row(row)


def write(path):
    with TimingLog(path) as log:
        for row in some_rows():
            log.row(row)
        assert not path.exists()
        log.close(settings={"interval": 5, "size": (480, 360)}, machine={"cpu": "two cores"})


def same(found, row):
    assert int(found["frame"]) == row["frame"]
    assert (found["kind"], found["flow"]) == (row["kind"], row["flow"])
    for name in ("pts_s", *STAGES):
        assert float(found[name]) == pytest.approx(float(row[name]), abs=1e-6)


def test_csv(tmp_path):
    write(tmp_path / "times.csv")
    text = (tmp_path / "times.csv").read_text()
    assert text.splitlines()[0] == COLUMNS_OF_THE_CONTRACT
    found = list(csv.DictReader(text.splitlines()))
    assert len(found) == 25
    for line, row in zip(found, some_rows(), strict=True):
        same(line, row)
    assert [p.name for p in tmp_path.iterdir()] == ["times.csv"]


def test_json(tmp_path):
    write(tmp_path / "times.json")
    found = json.loads((tmp_path / "times.json").read_text())
    rows = list(some_rows())
    assert tuple(found["frames"][0]) == COLUMNS
    for line, row in zip(found["frames"], rows, strict=True):
        same(line, row)
    summary = found["summary"]
    assert summary["frames"] == 25
    assert summary["fps"] > 0
    assert summary["settings"] == {"interval": 5, "size": [480, 360]}
    assert summary["machine"] == {"cpu": "two cores"}
    assert set(summary["kinds"]) == {"key", "update"}
    for kind, count in (("key", 5), ("update", 20)):
        statistics = summary["kinds"][kind]
        assert statistics["count"] == count
        for stage in STAGES:
            times = [row[stage] for row in rows if row["kind"] == kind]
            expected = {f"p{q}": np.percentile(times, q) for q in (50, 95, 99)}
            expected["mean"] = np.mean(times)
            assert statistics[stage] == pytest.approx(expected, abs=1e-3)


def test_no_frames(tmp_path):
    TimingLog(tmp_path / "times.json").close()
    found = json.loads((tmp_path / "times.json").read_text())
    assert found["frames"] == []
    assert found["summary"] == {
        "frames": 0,
        "fps": None,
        "kinds": {},
        "settings": {},
        "machine": {},
    }


def test_rows_are_on_disk_at_once(tmp_path):
    log = TimingLog(tmp_path / "times.json", "0123abcd")
    for row in some_rows(3):
        log.row(row)
    unfinished = tmp_path / "times.json.0123abcd.part"
    assert len(list(csv.DictReader(unfinished.read_text().splitlines()))) == 3
    log.abandon()


@pytest.mark.parametrize("name", ["times.csv", "times.json"])
def test_taken_up_after_some_rows(tmp_path, name):
    rows = list(some_rows())
    killed = TimingLog(tmp_path / name, "0123abcd")
    for row in rows[:12]:
        killed.row(row)
    with TimingLog(tmp_path / name, "0123abcd", keep=10) as log:
        for row in rows[10:]:
            log.row(row)
    assert count_rows(tmp_path / name) == 25
    if name.endswith(".csv"):
        found = csv.DictReader((tmp_path / name).read_text().splitlines())
    else:
        found = json.loads((tmp_path / name).read_text())["frames"]
    for line, row in zip(found, rows, strict=True):
        same(line, row)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["times.csv", "times.json"])
def test_files_that_are_cut_count_as_missing(tmp_path, name):
    write(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-3])
    assert count_rows(tmp_path / name) is None
    assert count_rows(tmp_path / "absent.csv") is None


def fail_half_way(path):
    with TimingLog(path) as log:
        log.row(next(some_rows()))
        raise RuntimeError("half way")


@pytest.mark.parametrize("name", ["times.csv", "times.json"])
def test_an_error_leaves_nothing(tmp_path, name):
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["times.csv", "times.json"])
def test_a_write_that_fails(tmp_path, name):
    """The rows before it are kept."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = TimingLog(tmp_path / name)
    rows = some_rows()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        with pytest.raises(OutputError, match="grew beyond the largest file"):
            add(log, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.close()
    kept = count_rows(tmp_path / name)
    assert 1 < kept < 25
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_refusals(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.csv or \.json"):
        TimingLog(tmp_path / "times.txt")
    with pytest.raises(OutputError, match="no such file or directory"):
        TimingLog(tmp_path / "nowhere" / "times.csv")
    log = TimingLog(tmp_path / "times.csv")
    with pytest.raises(UsageError, match="a timing row has the columns"):
        log.row({"frame": 0})
    log.abandon()

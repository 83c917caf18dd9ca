"""Results on disk, and what changed between two of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accel_rt.classes import CAMVID
from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.evaluate.counts import pack, unpack
from accel_rt.evaluate.diff import compare
from accel_rt.evaluate.results import FORMAT, Results, model_result, read, to_json, write
from tests.evaluate.made_up import BASE, counts, results


def changes(a: Results, b: Results, interval: int = 5) -> dict[tuple[str, str], bool]:
    return {(c.model, c.score): c.beyond_noise for c in compare(a, b, interval)}


def test_read_what_was_written(tmp_path: Path) -> None:
    made = results()
    made.models["sized"] = model_result(replace(BASE, size=(48, 64)), counts(0.5))
    write(tmp_path / "a.json", made)
    found = read(tmp_path / "a.json")
    assert found.dataset == made.dataset
    assert found.missing == made.missing
    for name in made.models:
        assert found.summary(name, 5) == made.summary(name, 5)
        assert found.confidence(name, 5) == made.confidence(name, 5)
        assert found.models[name].cost == made.models[name].cost
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["about"]["frame_size"] == [64, 48]  # width first, as people say it
    assert stored["models"]["sized"]["settings"]["size"] == [64, 48]
    shown = stored["models"]["DFF-Tiny"]["intervals"]["5"]
    assert shown["miou"] == pytest.approx(made.summary("DFF-Tiny", 5)["miou"], abs=1e-3)
    low, high = shown["ci95"]["miou"]
    assert low < shown["miou"] < high
    assert not np.isnan(low)
    assert np.array(shown["confusion"]).shape == (len(CAMVID), len(CAMVID))
    assert not list(tmp_path.glob("*.part"))


def test_files_have_a_line_for_each_interval_and_not_for_each_number(tmp_path: Path) -> None:
    write(tmp_path / "a.json", results())
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert sum(line.strip().startswith('"5": {"miou"') for line in lines) > 3
    assert len(lines) < 100 * len(results().models)


def test_no_difference_is_no_change() -> None:
    assert not any(changes(results(), results()).values())


def test_a_gain_beyond_noise_is_seen() -> None:
    found = compare(results(), results(better=0.1), 5)
    miou = next(c for c in found if (c.model, c.score) == ("DFF-Tiny", "miou"))
    assert miou.beyond_noise
    assert 0 < miou.low < miou.after - miou.before < miou.high
    steady = next(c for c in found if (c.model, c.score) == ("DFF-Tiny", "consistency"))
    assert not steady.beyond_noise


def test_lone_models_are_compared_whatever_their_names() -> None:
    a, b = results(), results(better=0.1)
    a.models = {"old": a.models["Accel-S"]}
    b.models = {"new": b.models["Accel-S"]}
    assert changes(a, b)[("old -> new", "miou")]


def test_what_cannot_be_compared() -> None:
    a, b = results(), results()
    b.dataset = replace(b.dataset, runs=(29,))
    with pytest.raises(UsageError, match="different frames"):
        compare(a, b, 5)
    b = results()
    b.dataset = replace(b.dataset, density="sparse")
    with pytest.raises(UsageError, match="differ in classes or protocol"):
        compare(a, b, 5)
    b = results()
    b.models = {"x": b.models["DFF-Tiny"], "y": b.models["Accel-S"]}
    with pytest.raises(UsageError, match="no model in common"):
        compare(a, b, 5)
    with pytest.raises(UsageError, match="up to interval 10, not 11"):
        compare(a, a, 11)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "cannot be used"),
        ("[1]", "holds no results of 'accel-rt eval'"),
        ('{"format": "other"}', "holds no results of 'accel-rt eval'"),
        (json.dumps({"format": FORMAT}), "cannot be used .no key 'about'"),
        ("[" * 100_000, "cannot be used .it is nested too deeply"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.json")


def test_a_file_of_more_frames_than_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*shape: object) -> None:
        raise MemoryError("Unable to allocate 44.7 GiB")

    write(tmp_path / "a.json", results())
    monkeypatch.setattr(np, "zeros", without_memory)
    with pytest.raises(InputError, match="cannot be used .Unable to allocate 44.7 GiB"):
        read(tmp_path / "a.json")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "a.json")
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "no" / "a.json", results())


def test_scores_in_plain_types() -> None:
    json.dumps(to_json(results()), allow_nan=False)


def test_more_pixels_than_32_bits_count_are_read_back() -> None:
    many = np.array([[3_000_000_000, 5_000_000_000], [0, 1]])
    for pixels in (many, many // 1000):
        stored = json.loads(json.dumps(pack(pixels)))
        np.testing.assert_array_equal(unpack(stored, (2, 2)), pixels)

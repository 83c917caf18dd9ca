"""Other people's networks through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accel_rt.evaluate.kept import Kept, cheapest
from tests.cli.conftest import Run

MODULE = """
import numpy as np

def bright(frame):
    return (frame.mean(2) > 100).astype(np.uint8)

bright.classes = ["dark", "bright"]

def left(frame):
    found = np.zeros(frame.shape[:2], bool)
    found[:, : frame.shape[1] // 2] = True
    return {"left": found, "nothing": np.zeros_like(found)}

left.classes = ["elsewhere", "left", "nothing"]

def unnamed(frame):
    return left(frame)

unnamed.classes = ["left", "nothing"]

def unknown(frame):
    return np.full(frame.shape[:2], 255, np.uint8)

unknown.classes = ["a", "b"]

def leaves(frame):
    raise SystemExit(3)

leaves.classes = 2

def half(frame):
    return bright(frame)

half.classes = 3.5
"""


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function's name for ``--reference``."""
    name = f"networks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return f"python:{name}:bright"


def test_masks_of_a_functions_labels_are_written(accel: Run, clip: Path, bright: str) -> None:
    run = accel(
        *("segment", clip, "--reference", bright, "--mode", "dff", "--interval", 4),
        *("--masks", "masks", "--no-video", "--summary"),
    )
    assert run.code == 0, run.err
    found = np.array(Image.open("masks/frame_000000.png"))
    assert set(np.unique(found)) <= {0, 1}
    assert json.loads(Path("masks/classes.json").read_text())["classes"][1]["name"] == "bright"


def test_masks_go_by_the_names_of_their_classes(accel: Run, clip: Path, bright: str) -> None:
    left = bright.replace(":bright", ":left")
    run = accel(
        *("segment", clip, "--reference", left, "--mode", "deeplab", "--end", 0.1),
        *("--masks", "masks", "--no-video"),
    )
    assert run.code == 0, run.err
    found = np.array(Image.open("masks/frame_000000.png"))
    middle = found.shape[1] // 2
    assert (found[:, : middle - 8] == 1).all()
    assert (found[:, middle + 8 :] == 0).all()


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("unnamed", 2, "answered with 2 masks and 'classes' names 2: name one more"),
        ("unknown", 2, "answered with label 255, and its 2 classes are 0 to 1"),
        ("leaves", 1, "failed on a frame (SystemExit: 3)"),
        ("half", 2, "classes are a number, names or a known set, got 3.5"),
    ],
)
def test_answers_that_are_none_are_told(
    accel: Run, clip: Path, bright: str, name: str, code: int, says: str
) -> None:
    place = bright.replace(":bright", f":{name}")
    run = accel("segment", clip, "--reference", place, "--mode", "deeplab", "--no-video")
    assert (run.code, says in run.error) == (code, True), run.error


def test_kept_compares_schedules_with_every_frame(accel: Run, clip: Path, bright: str) -> None:
    run = accel(
        *("eval", "kept", clip, "--reference", bright, "--interval", "2,5", "--frames", 12),
        *("--json", "kept.json", "--auto", 0, "--threads", 1),
    )
    assert run.code == 0, run.err
    kept = json.loads(Path("kept.json").read_text())["kept"]
    assert list(kept) == [
        "every frame",
        "interval 2",
        "interval 2, both sides",
        "interval 5",
        "interval 5, both sides",
    ]
    assert kept["every frame"]["miou"] == kept["every frame"]["agreement"] == 100
    assert all(0 < one["miou"] <= 100 for one in kept.values())
    assert kept["interval 2"]["miou"] >= kept["interval 5"]["miou"] - 1
    assert "12 frames of" in run.out
    fastest = min(kept, key=lambda name: kept[name]["ms"])
    assert run.out.rstrip().endswith(kept[fastest]["options"])


def test_where_nothing_else_keeps_enough_every_frame_is_chosen() -> None:
    kept = {"all": Kept(100, 100, 9, 1, ""), "some": Kept(99, 98, 3, 3, "")}
    assert cheapest(kept, 98) == "some"
    assert cheapest(kept, 98.1) == "all"


def test_the_plot_is_a_picture(accel: Run, clip: Path, bright: str) -> None:
    pytest.importorskip("matplotlib")
    run = accel(
        *("eval", "kept", clip, "--reference", bright, "--interval", "3", "--frames", 6),
        *("--plot", "kept.svg"),
    )
    assert run.code == 0, run.err
    assert "interval 3, both sides" in Path("kept.svg").read_text()


def test_what_is_missing_is_one_sentence(accel: Run, clip: Path) -> None:
    run = accel("segment", clip, "--reference", "onnx:none.onnx", "--mode", "dff")
    assert (run.code, run.error) == (
        1,
        "error: there is no network file 'none.onnx': check the path",
    )
    assert accel("segment", clip, "--reference", "python:none:f", "--mode", "dff").code == 2

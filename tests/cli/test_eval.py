"""``accel-rt eval`` as met at the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from accel_rt.cli import eval_options, options
from accel_rt.cli.street import street
from accel_rt.data.open import LAYOUTS
from accel_rt.evaluate.results import read, write
from accel_rt.evaluate.schedule import DENSITIES
from accel_rt.models import store
from accel_street import DRIVINGS
from tests.evaluate.made_up import results

ROOT = Path(__file__).parents[2]
SMALL = "--size 64x48 --workers 1 --no-timing --precision fp32"


@pytest.fixture
def light_only(tmp_path, monkeypatch):
    """Of networks only the light pair is installed: the paper's networks take long."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for entry in store.installed():
        if "efficientnet" in entry.name or entry.kind == "policy":
            (folder / entry.path.name).symlink_to(entry.path)
    monkeypatch.setattr(store, "folders", lambda: [folder])


def test_choices_are_those_of_the_modules():
    assert tuple(LAYOUTS) == options.LAYOUTS
    assert ("auto", *DENSITIES) == eval_options.DENSITIES
    (driving,) = (option for option in street.params if option.name == "driving")
    assert tuple(driving.type.choices) == DRIVINGS


def test_run_is_the_default(accel):
    args = f"street:3:4 --mode dff --interval 2 {SMALL} --json a.json"
    done = accel("eval", *args.split())
    assert done.code == 0, done.err
    assert "dff efficientnet_lite2 on street 3: 4 labelled frames" in done.out
    assert "networks on torch" in done.out
    assert "GFLOPs a frame" in done.out
    assert not Path("a.json.parts").exists()
    found = read(Path("a.json"))
    (model,) = found.models.values()
    assert model.longest == 2
    assert found.machine["backend"] == "torch"
    assert model.counts.pixels[:, 0, 1].sum() > 0
    again = accel("eval", "run", *args.replace("a.json", "b.json").split())
    assert again.code == 0
    diff = accel("eval", "diff", "a.json", "b.json", "--interval", 2)
    assert (diff.code, "+0.00" in diff.out, "beyond noise" in diff.out) == (0, True, False)
    as_json = accel("eval", "diff", "a.json", "b.json", "--interval", 2, "--json")
    assert {row["beyond_noise"] for row in json.loads(as_json.out)} == {False}


def test_corrupted_frames_are_measured_beside_clean_ones(accel):
    args = "street:3:4 --mode deeplab --reference efficientnet_lite0 --corrupt noise:60,blur:1"
    done = accel("eval", *args.split(), *SMALL.split(), "--json", "a.json")
    assert done.code == 0, done.err
    name = "deeplab efficientnet_lite0"
    found = read(Path("a.json"))
    assert list(found.models) == [name, f"{name}, noise 60", f"{name}, blur 1"]
    clean, noisy, same = (found.summary(model, 1)["miou"] for model in found.models)
    assert noisy < clean == same
    lines = [line.split() for line in done.out.splitlines()]
    assert ["as", "they", "are", f"{clean:.1f}"] in lines
    assert ["noise", "60", f"{noisy:.1f}"] in lines
    assert not list(Path().glob("*.parts*"))


def test_diff_shows_what_changed(accel, tmp_path):
    write(tmp_path / "a.json", results())
    write(tmp_path / "b.json", results(better=0.1))
    done = accel("eval", "diff", "a.json", "b.json")
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if line.startswith("Accel-S  "))
    assert line.split()[1] == "miou"
    assert line.endswith("beyond noise")


def test_paper(accel, light_only, tmp_path):
    done = accel("eval", "paper", "street:3:6", "-o", "out", "--longest", 5, *SMALL.split())
    assert done.code == 0, done.err
    written = [Path(line) for line in done.out.split()]
    assert [path.name for path in written] == [
        "report.html",
        "report.md",
        "figures",
        "scores.csv",
        "report.json",
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(p.name for p in written)
    page = written[0].read_text()
    assert "Accel-101: no &#39;resnet101&#39; weights" in page
    assert page.count("data:image/svg") == 4 + 3  # fig. 3a and 3b, and those beyond
    assert page.count("data:image/jpeg") + page.count("data:image/png") == 5 * 4
    found = read(Path("out/report.json"))
    assert "Accel-Lite0" in found.models
    assert found.summary("DeepLab-Lite2", 5)["miou"] > 0
    key = found.models["DFF-Lite"].counts.at_interval(1).summary(15)
    alone = found.models["DeepLab-Lite2"].counts.at_interval(1).summary(15)
    assert key == alone  # a keyframe is the reference network alone


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("eval nowhere", 1, "no folder nowhere"),
        ("eval street:3:4", 1, "street3 has 4 frames, fewer than the keyframe interval 5"),
        ("eval street:3:1", 1, "is a single picture, not a video with a keyframe interval of 5"),
        ("eval street:3:4 --flow x", 2, "'flownets', nor a .safetensors file"),
        ("eval street:x", 2, "'street:x' is no street"),
        ("eval run", 2, "Missing argument 'DATA'"),
        ("eval --interval 2", 2, "Missing argument 'DATA'"),
        ("eval street:3:4 --interval 0", 2, "0 is not in the range"),
        ("eval street:3:4 --scene-cuts", 2, "No such option"),
        ("eval street:3:4 --json no/a.json", 2, "there is no folder 'no': make it first"),
        ("eval schedules street:3:4 --json no/a.json", 2, "there is no folder 'no': make it"),
        ("eval kept street:3:4 --plot no/a.svg", 2, "there is no folder 'no': make it first"),
        ("eval kept street:3:4 --interval 2,x", 2, "'2,x' is not a list such as 2,5,10"),
        ("eval street:3:9 --corrupt noise:1,noise:1", 2, "names a corruption twice"),
        ("eval street:3:9 --reference nothing", 2, "no installed network weights 'nothing'"),
        ("eval street:3:9 --protocol sideways", 2, "'sideways' is not one of"),
        ("eval diff a.json b.json", 2, "'a.json' does not exist"),
        ("eval street:3:9 --corrupt snow:1", 2, "'snow:1' is no corruption: give NAME:STRENGTH"),
        ("eval paper street:3:9 -o file", 2, "is a file"),
        ("eval paper street:3:9 --longest 4", 2, "4 is not in the range"),
    ],
)
def test_bad_arguments(accel, tmp_path, args, code, message):
    (tmp_path / "file").write_text("")
    done = accel(*args.split())
    assert (done.code, done.out) == (code, "")
    assert message in done.error


def test_a_file_in_the_place_of_the_figures_is_said_at_once(accel, tmp_path):
    Path("out").mkdir()
    Path("out/figures").write_text("mine")
    done = accel("eval", "paper", "nowhere", "-o", "out")
    assert (done.code, done.out) == (1, "")
    assert "cannot write" in done.error
    assert "out/figures" in done.error


def test_help_names_the_commands(accel):
    done = accel("eval", "--help")
    assert done.code == 0
    for command in ("run", "paper", "diff"):
        assert f"\n  {command} " in done.out
    assert accel("eval").code in (0, 2)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from accel_rt.cli.main import run; "
        "assert run(['eval', 'paper', '--help']) == 0; "
        "heavy = {'torch', 'numpy', 'cv2', 'av', 'rich', 'jinja2'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.slow
def test_schedules_of_a_rendered_drive(accel, light_only, tmp_path):
    args = ("--size", "64x48", "--precision", "fp32", "--backend", "torch", "--seconds", 0.1)
    done = accel("eval", "schedules", "street:3:32", *args, "--json", "a.json", "--plot", "a.svg")
    assert done.code == 0, done.err
    assert "labelled frames of street:3:32, networks on torch" in done.out
    header = next(line for line in done.out.splitlines() if "mIoU" in line)
    columns = "schedule mIoU mVC8 mVC16 flicker new live ms a frame"
    assert header.split() == columns.split()
    scores = json.loads((tmp_path / "a.json").read_text())["scores"]
    assert scores["fast"]["streaming"] is None
    assert scores["live fast"]["streaming"] > 0
    assert scores["reference on every frame"]["uncovered"] is None
    assert scores["paper: accel, interval 5"]["uncovered"] > 0
    assert ET.fromstring((tmp_path / "a.svg").read_text()).tag.endswith("svg")


def test_a_plot_needs_times(accel):
    done = accel("eval", "schedules", "street:3:32", "--seconds", 0, "--plot", "a.svg")
    assert done.code == 2
    assert "it needs --seconds above 0" in done.error

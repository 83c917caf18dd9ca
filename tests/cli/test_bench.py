"""``accel-rt bench``: its arguments, what it prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from accel_rt import threads
from accel_rt.bench import ops
from accel_rt.bench import run as bench_run
from accel_rt.bench.harness import Effort
from accel_rt.bench.models import Model
from accel_rt.bench.stream import FrameTime
from accel_rt.cli.bench import bench
from accel_rt.ops import winograd_conv2d_pack
from accel_rt.runtime.settings import SegmenterSettings
from tests.bench.made_up import RESULTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch):
    """The settings that the command measured with; the results are made up, on an idle machine."""
    monkeypatch.setattr(threads, "crowding", lambda: threads.Crowding(2, 0.1, 0.0))
    settings = []

    def run(given, report):
        settings.append(given)
        report("measuring")
        return RESULTS

    monkeypatch.setattr(bench_run, "run", run)
    return settings


def test_a_busy_machine_is_said_before_measuring(accel, asked, monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "crowding", lambda: threads.Crowding(2, 4.0, 0.25))
    done = accel("bench", "--json", str(tmp_path / "out.json"))
    note, after = done.err.splitlines()
    assert note.startswith("note: the machine is busy (load average 4.0 on 2 cores, stopped by")
    assert after == "measuring"
    machine = json.loads((tmp_path / "out.json").read_text())["machine"]
    assert (machine["load_before"], machine["throttled"]) == (4.0, 0.25)


def test_defaults(accel, asked):
    done = accel("bench")
    assert done.code == 0
    assert asked == [bench_run.BenchSettings()]
    assert asked[0].part == "all"
    assert done.err == "measuring\n"
    machine = done.out.splitlines()[0]
    for part in ("2 threads on", "kernels", "torch ", "torchvision", "OpenCV", "accel-rt "):
        assert part in machine
    assert "flow_warp" in done.out
    assert "models at 480x360" in done.out


def test_options_are_passed_on(accel, asked):
    args = "bench e2e --quick --threads 1 --device cpu --precision fp32"
    assert accel(*args.split()).code == 0
    assert asked == [bench_run.BenchSettings("e2e", True, "cpu", "fp32", 1)]


def test_json_and_plot(accel, asked):
    assert accel("bench", "--json", "bench.json", "--plot", "bench.png").code == 0
    report = json.loads(Path("bench.json").read_text())
    assert {"cpu", "simd", "threads", "torch", "torchvision", "opencv", "accel_rt"} <= set(
        report["machine"]
    )
    assert (len(report["ops"]), len(report["e2e"]["models"])) == (2, 2)
    assert cv2.imread("bench.png").shape[2] == 3


def test_whoever_stops_reading_the_tables_gets_the_files(accel, asked, monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("rich.console.Console.print", gone)
    with pytest.raises(BrokenPipeError):
        bench.callback("all", False, Path("bench.json"), Path("bench.png"), only="")
    assert Path("bench.json").is_file()
    assert Path("bench.png").is_file()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("bench speed", 2, "'speed' is not one of 'ops', 'e2e', 'all'"),
        ("bench --threads 0", 2, "0 is not in the range 1<=x<=1024"),
        ("bench --precision int8", 2, "'int8' is not one of"),
        ("bench ops --plot a.png", 2, "--plot draws the models, and ops measures none"),
        ("bench --plot a.pdf", 2, "--plot writes PNG, got a.pdf"),
        ("bench --json nowhere/a.json", 2, "there is no folder 'nowhere': make it first"),
        ("bench --plot nowhere/a.png", 2, "there is no folder 'nowhere': make it first"),
        ("bench --json a.png --plot a.png", 2, "'a.png' is given twice: name two files"),
        ("bench e2e --only warp", 2, "--only chooses operators' cases, and e2e measures none"),
        ("bench --json .", 2, "'.' is a directory"),
    ],
)
def test_bad_arguments_are_refused_before_measuring(accel, asked, args, code, message):
    done = accel(*args.split())
    assert done.code == code
    assert message in done.error
    assert not asked


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--device cuda:99", "no device 'cuda:99'"),
        ("--device tpu", "unknown device 'tpu'"),
        ("--device cpu --precision fp16", "fp16 runs on CUDA only"),
    ],
)
def test_what_this_machine_lacks(accel, args, message):
    done = accel("bench", *args.split())
    assert (done.code, done.out) == (2, "")
    assert message in done.error


@pytest.fixture
def light(monkeypatch):
    """One light model on two small frames, each thing timed once."""
    settings = SegmenterSettings(reference="efficientnet_lite0", interval=2, update_scale=0.5)
    model = Model("light", replace(settings, scene_cuts=False))
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8))
    monkeypatch.setattr(bench_run, "MODELS", (model,))
    monkeypatch.setattr(bench_run, "QUICK_MODELS", (model,))
    monkeypatch.setattr(bench_run.stream, "street_frames", lambda number, size: frames)
    for effort in ("ops_effort", "stream_effort"):
        monkeypatch.setattr(bench_run.BenchSettings, effort, Effort(0, 1, 1))
    return model


def test_for_real(accel, light, monkeypatch):
    one, wide = ((8, 6, 7),), ((32, 6, 7),)
    tiny = ops.Shapes(
        one, one, wide, one, score=((16, 6, 7),), upsample=((5, 6, 8),), inverted=(), classes=3
    )
    monkeypatch.setattr(ops, "QUICK_SHAPES", tiny)
    args = "bench --quick --threads 1 --precision fp32 --json a.json --plot a.png"
    done = accel(*args.split())
    assert (done.code, Path("a.png").is_file()) == (0, True)
    report = json.loads(Path("a.json").read_text())
    filtered = winograd_conv2d_pack(torch.zeros(32, 32, 3, 3)) is not None
    assert [case["precision"] for case in report["ops"]] == ["float32"] * (4 + filtered)
    (model,) = report["e2e"]["models"]
    assert set(model["frames"]) == {"key", "update"}
    assert "times_baseline" not in model["stream"]
    assert "upsample_argmax 5x6x8" in done.err


def test_only_some_of_the_cases(accel, light, monkeypatch):
    tiny = ops.Shapes(
        ((8, 6, 7),), (), (), (), score=((16, 6, 7),), upsample=(), inverted=(), classes=3
    )
    monkeypatch.setattr(ops, "QUICK_SHAPES", tiny)
    args = "bench ops --quick --precision fp32 --only"
    done = accel(*args.split(), "score 16")
    assert done.code == 0
    assert done.err.splitlines()[-1] == "warp_score 16->3, 6x7 float32"
    assert "flow_warp" not in done.err
    done = accel(*args.split(), "abacus")
    assert done.code == 2
    assert "no operator's case has 'abacus' in its name" in done.error


def test_a_plot_without_matplotlib_is_refused_before_measuring(accel, asked, monkeypatch):
    monkeypatch.setattr("accel_rt.plotting.find_spec", lambda name: None)
    done = accel("bench", "--plot", "a.png")
    assert (done.code, asked) == (2, [])
    assert "figures are drawn by matplotlib: pip install 'accel-rt[report]'" in done.error


def test_memory_is_measured_unless_quick(light, monkeypatch):
    asked = []

    def peaks(models, *how):
        asked.append((models, *how))
        return {"light": 123.0}

    monkeypatch.setattr(bench_run.memory, "peak_memory_mb", peaks)
    settings = bench_run.BenchSettings("e2e", device="cpu", precision="fp32", threads=1)
    results = bench_run.run(settings, lambda _: None)
    assert results.models[0].memory_mb == 123
    assert asked == [([light.on("cpu", "fp32")], (360, 480), 1)]
    assert isinstance(results.models[0].frames[0], FrameTime)


def test_threads_are_given_back():
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    with bench_run.threads_set_to(1) as threads:
        assert (threads, torch.get_num_threads(), cv2.getNumThreads()) == (1, 1, 1)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
    with bench_run.threads_set_to(None) as threads:
        assert threads == before[0]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from accel_rt.cli.main import run; assert run(['bench', '--help']) == 0; "
        "heavy = {'torch', 'numpy', 'cv2', 'av', 'rich'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)

"""Results as JSON, tables and a picture."""

from __future__ import annotations

import json

import cv2
import pytest
from rich.console import Console

from accel_rt.bench import plot
from accel_rt.bench.report import tables, to_json
from accel_rt.bench.stream import INTERVALS
from accel_rt.errors import OutputError
from tests.bench.made_up import RESULTS


def test_json_holds_everything():
    report = json.loads(json.dumps(to_json(RESULTS)))
    assert (report["device"], report["precision"], report["threads"]) == ("cpu", "bfloat16", 2)
    warp, convolution = report["ops"]
    ours = warp["runs"]["flow_warp"]
    assert (ours["role"], ours["median_ms"], ours["p95_ms"], ours["runs"]) == ("ours", 2, 2, 2)
    assert ours["gb_per_s"] == pytest.approx(2.0)
    assert ours["times_faster_than"] == {"grid_sample": 4, "other": 10}
    assert ours["times_the_limit"] == 2
    assert "times_faster_than" not in warp["runs"]["memcpy"]
    assert convolution["runs"]["deform_conv2d"]["gflop_per_s"] == pytest.approx(500.0)
    assert convolution["skipped"] == ["torchvision: not here"]


def test_json_of_models():
    report = to_json(RESULTS)["e2e"]
    assert report["frame_size"] == [480, 360]
    baseline, accel = report["models"]
    assert report["baseline"] == baseline["model"]
    assert report["baseline_deformable_convolution"]
    assert baseline["stream"]["times_baseline"] == 1
    assert list(baseline["frames"]) == ["key"]
    assert accel["frames"]["update"] == {
        "frames": 4,
        "p50_ms": 30,
        "p95_ms": 30,
        "p99_ms": 30,
        "flow_ms": 3,
        "network_ms": 26,
        "output_ms": 1,
    }
    assert accel["other_share_of_update"] == pytest.approx(0.1)
    assert list(accel["intervals"]) == [str(interval) for interval in INTERVALS]
    assert accel["intervals"]["2"] == {
        "ms_per_frame": 60,
        "frames_per_s": pytest.approx(16.67, abs=0.01),
        "times_baseline": 10,
    }
    assert accel["stream"]["interval"] == 3
    assert accel["stream"]["times_baseline"] == pytest.approx(12)
    assert accel["peak_memory_mb"] == 512


def lines(results):
    console = Console(width=140)
    with console.capture() as capture:
        console.print(tables(results))
    return capture.get().splitlines()


def row(results, *start):
    """The words after ``start`` in the first line that begins with these words."""
    words = next(line.split() for line in lines(results) if line.split()[: len(start)] == [*start])
    return words[len(start) :]


def test_operator_tables():
    own = ["2.00", "2.00", "2.00"]
    rivals = ["grid_sample", "8.00", "4.0x", "memcpy", "1.00", "2.00x"]
    assert row(RESULTS, "8x8", "float32", "flow_warp") == own + rivals
    assert row(RESULTS, "other") == ["20.0", "10.0x"]
    assert row(RESULTS, "512x4x4", "bfloat16", "deform_conv2d")[3:6] == ["-", "-", "-"]
    assert " not compared: torchvision: not here" in lines(RESULTS)


def test_model_tables():
    text = "\n".join(lines(RESULTS))
    assert "models at 480x360" in text
    assert row(RESULTS, "made", "up", "key")[:4] == ["2", "90.0", "90.0", "90.0"]
    assert row(RESULTS, "made", "up", "key")[-1] == "512"
    assert row(RESULTS, "update")[-2:] == ["10.0%", "-"]
    assert "16.7 (10.0x)" in text
    assert "20.0 (12.0x) at 3" in text
    assert "interpolation and argmax on every" in text


def test_parts_that_were_not_measured_are_left_out():
    from dataclasses import replace

    no_models, no_operators = replace(RESULTS, models=[]), replace(RESULTS, operators=[])
    assert "e2e" not in to_json(no_models)
    assert "ops" not in to_json(no_operators)
    assert "models" not in "\n".join(lines(no_models))
    assert "flow_warp" not in "\n".join(lines(no_operators))


def test_bars_add_up_to_the_time_of_the_stream():
    baseline, accel = plot.bars(RESULTS.models)
    assert (baseline.ms, baseline.speedup) == (600, 1)
    assert accel.ms == pytest.approx(50)
    assert accel.speedup == pytest.approx(12)
    assert accel.parts["keyframes"] == pytest.approx(30)
    assert accel.parts["update network"] == pytest.approx(16)
    assert accel.parts["flow"] == pytest.approx(2)
    assert accel.parts["other"] == pytest.approx(2)


def test_bars_are_as_long_as_their_times():
    chart = [plot.Bar("a", {"keyframes": 60.0, "flow": 40.0}, None)]
    chart.append(plot.Bar("b", {"keyframes": 25.0}, 4.0))
    (axes,) = plot.draw(chart, "a title", "and more").axes
    lengths: dict[str, float] = {}
    for bars in axes.containers:
        for bar, name in zip(bars, ("a", "b"), strict=True):
            assert bar.get_x() == pytest.approx(lengths.get(name, 0.0))  # parts lie end to end
            lengths[name] = lengths.get(name, 0.0) + bar.get_width()
    assert lengths == {"a": pytest.approx(100), "b": pytest.approx(25)}
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["and more", "100 ms", "25 ms   4.0x"]
    assert axes.get_legend() is not None


def test_a_chart_is_written_as_png(tmp_path):
    plot.write(tmp_path / "chart.png", plot.bars(RESULTS.models), "a title", "and more")
    assert cv2.imread(str(tmp_path / "chart.png")).std() > 10


def test_a_chart_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot write .*: no such file or directory"):
        plot.write(tmp_path / "nowhere" / "chart.png", [plot.Bar("a", {}, None)], "", "")

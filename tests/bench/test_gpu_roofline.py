"""The roofline's arithmetic, and the GPU benchmark where there is no GPU."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from accel_rt import ops
from benchmarks import gpu, roofline

UNIT = roofline.Peak("unit", bandwidth=1.0, tensor=1.0, float32=1.0)


def test_a_cost_takes_the_longer_of_the_two() -> None:
    peak = roofline.Peak("a GPU", bandwidth=10.0, tensor=8.0, float32=2.0)
    assert roofline.Cost("", "", bytes=40, flops=6).seconds(peak) == 4
    assert roofline.Cost("", "", bytes=40, flops=6).bound(peak) == "memory"
    assert roofline.Cost("", "", bytes=40, flops=10).seconds(peak) == 5
    assert roofline.Cost("", "", bytes=40, flops=10).bound(peak) == "arithmetic"
    assert roofline.Cost("", "", bytes=40, flops=10, unit="tensor").bound(peak) == "memory"


def test_figures_of_an_h100_come_out_of_its_properties() -> None:
    properties = SimpleNamespace(
        name="H100", major=9, minor=0, multi_processor_count=132,
        clock_rate=1_830_000, memory_clock_rate=2_619_000, memory_bus_width=5120,
    )  # fmt: skip
    peak = roofline.peak_of(properties)
    assert peak is not None
    for name in ("bandwidth", "tensor", "float32"):
        assert getattr(peak, name) == pytest.approx(getattr(roofline.H100, name), rel=0.08)
    assert roofline.peak_of(SimpleNamespace(major=3, minor=5)) is None


def test_bytes_are_those_of_the_tensors() -> None:
    """Against tensors of the shapes and types that the operators take and give."""
    height, width = 4, 6
    half = torch.float16
    flow = torch.zeros(1, 2, height, width)
    cache = torch.zeros(1, 32, height, width, dtype=half)
    scores = torch.zeros(1, 5, height, width)
    frame = torch.zeros(1, 16 * height, 16 * width, 3, dtype=torch.uint8)
    labels, dense = frame[..., 0].contiguous(), torch.zeros(1, 2, 4 * height, 4 * width, dtype=half)
    size = 16 * height, 16 * width
    offset, weight = torch.zeros(1, 72, height, width), torch.zeros(32, 32, 3, 3, dtype=half)
    matrix = torch.zeros(5, 32)
    colour = (0.5, 0.5, 0.5)

    def total(*tensors: torch.Tensor) -> int:
        return sum(tensor.nbytes for tensor in tensors)

    ready = ops.preprocess(frame, size, mean_rgb=colour, std_rgb=colour, dtype=half)
    small = ops.reduce_flow(dense, size, (height, width), 16)
    best = ops.upsample_argmax(scores, size)
    scored = ops.warp_score(cache, flow, matrix, matrix[:, 0])
    expected = {
        roofline.flow_warp(32, height, width): total(cache, cache, flow),
        roofline.deform_conv2d(32, height, width): total(cache, offset, weight, cache),
        roofline.depthwise_conv2d(32, height, width, 3): total(cache, weight[:10, :, 0, 0], cache),
        roofline.warp_score(32, 5, height, width): total(cache, flow, matrix, scored),
        roofline.upsample_argmax(5, height, width): total(scores, best),
        roofline.preprocess(*size): total(frame, ready),
        roofline.overlay(*size): total(frame, labels, frame),
        roofline.compose_flow(height, width): total(flow, flow, flow),
        roofline.reduce_flow(height, width): total(dense, small),
    }
    assert {cost.op: cost.bytes for cost in expected} == {
        cost.op: number for cost, number in expected.items()
    }


def test_matrix_products_count_two_for_each_product() -> None:
    inner = roofline.deform_conv2d(512, 64, 128).flops - 9 * 512 * 64 * 128 * 8
    assert inner == 2 * 9 * 512 * 512 * 64 * 128
    assert roofline.warp_score(10, 3, 1, 1).flops - 10 * 8 == 2 * 3 * 10


def test_columns_only_add_traffic() -> None:
    fused, columns = (roofline.deform_conv2d(512, 64, 128, columns=c) for c in (False, True))
    assert columns.flops == fused.flops
    assert columns.bytes - fused.bytes == 2 * 9 * 512 * 64 * 128 * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so() -> None:
    result = CliRunner().invoke(gpu.main)
    assert result.exit_code == 1
    assert "no CUDA device here" in result.output


def test_frames_are_not_counted_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(ops.extension_status(), loaded=False, reason="it does not exist")
    monkeypatch.setattr(ops, "extension_status", lambda: missing)
    result = CliRunner().invoke(gpu.main, ["--assume-h100"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: frames are counted as the compiled operators run them")
    assert "(it does not exist): build the library, or add --no-frames" in result.output


def test_presets_are_timed_from_the_first_frame_to_the_last_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_SIZE", (32, 48))
    monkeypatch.setattr(gpu, "_SPANS", 1)
    monkeypatch.setattr(gpu, "PRESETS", {"fastest": gpu.PRESETS["fastest"]})
    gpu.file_presets("cpu")
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\| fastest \| no \| [0-9.]+ \|", row)
    assert float(row.split()[-2]) > 0


def test_least_times_need_no_gpu() -> None:
    result = CliRunner().invoke(gpu.main, ["--assume-h100", "--no-frames"])
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if line.startswith("| deform_conv2d |")]
    assert len(rows) == 1
    assert "| arithmetic |" in rows[0]

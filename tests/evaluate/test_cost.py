"""Operations counted by hand; time, size and memory of real models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from accel_rt import ops
from accel_rt.bench.harness import Effort
from accel_rt.evaluate import cost
from accel_rt.evaluate.flops import count_flops
from accel_rt.models.prepared import PreparedConv2d
from accel_rt.runtime.settings import SegmenterSettings
from tests.ops.inputs import residual_block

SMALL = SegmenterSettings(interval=2, size=(48, 64), precision="fp32", scene_cuts=False)
FRAMES = list(np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8))


@torch.inference_mode()
def test_operations_by_hand() -> None:
    x, flow = torch.zeros(1, 8, 6, 7), torch.zeros(1, 2, 6, 7)
    convolution = nn.Conv2d(8, 5, 3, padding=1)
    assert count_flops(lambda: convolution(x)) == 2 * 9 * 8 * 5 * 42
    if torch.backends.mkldnn.is_available():
        prepared = PreparedConv2d(convolution, nn.ReLU())
        assert count_flops(lambda: prepared(x)) == 2 * 9 * 8 * 5 * 42
        shortcut = torch.zeros(1, 5, 6, 7)
        assert count_flops(lambda: prepared(x, shortcut)) == 2 * 9 * 8 * 5 * 42
    if not ops.extension_status().loaded:
        pytest.skip("the formulas are those of the compiled operators")
    assert count_flops(lambda: ops.flow_warp(x, flow)) == 8 * 8 * 42
    weight, bias = torch.zeros(3, 8), torch.zeros(3)
    assert count_flops(lambda: ops.warp_score(x, flow, weight, bias)) == 42 * (8 * 8 + 2 * 3 * 8)
    offset, kernel = torch.zeros(1, 18, 6, 7), torch.zeros(5, 8, 3, 3)
    deformed = count_flops(lambda: ops.deform_conv2d(x, offset, kernel, padding=1))
    assert deformed == 42 * (2 * 5 * 8 * 9 + 8 * 8 * 9)
    packed = ops.deform_conv2d_pack(kernel, 8, 1)
    assert count_flops(lambda: ops.deform_conv2d_packed(x, offset, packed, padding=1)) == deformed
    packed, many = ops.winograd_conv2d_pack(torch.zeros(72, 32, 3, 3)), torch.zeros(2, 32, 6, 7)
    if packed is not None:
        filtered = count_flops(lambda: ops.winograd_conv2d(many, packed, torch.zeros(72)))
        assert filtered == 2 * 9 * 32 * 72 * 2 * 42
    joined = ops.inverted_residual_pack(*residual_block(outputs=5))
    if joined is not None:
        block = count_flops(lambda: ops.inverted_residual(x, joined, 2))
        assert block == 2 * (42 * 8 * 16 + 12 * 16 * 9 + 12 * 16 * 5)


def test_arithmetic_of_the_modes() -> None:
    accel = cost.arithmetic(SMALL, FRAMES[0])
    assert cost.arithmetic(replace(SMALL, backend="openvino"), FRAMES[0]) == accel
    dff = cost.arithmetic(replace(SMALL, mode="dff"), FRAMES[0])
    deeplab = cost.arithmetic(replace(SMALL, mode="deeplab"), FRAMES[0])
    assert deeplab == {"key_gflops": deeplab["key_gflops"], "mean_gflops": deeplab["key_gflops"]}
    assert accel["key_gflops"] == dff["key_gflops"] == pytest.approx(deeplab["key_gflops"])
    assert 0 < dff["update_gflops"] < 0.01 * dff["key_gflops"] < accel["update_gflops"]
    mean = (accel["key_gflops"] + accel["update_gflops"]) / 2
    assert accel["mean_gflops"] == pytest.approx(mean)


def test_sizes() -> None:
    accel, dff = cost.sizes(SMALL), cost.sizes(replace(SMALL, mode="dff"))
    assert accel["parameters"] > dff["parameters"] > 1e6
    assert accel["file_mb"] > dff["file_mb"] > 1


def test_time_by_kind_of_frame_and_memory() -> None:
    models = {"accel": SMALL, "deeplab": replace(SMALL, mode="deeplab")}
    said: list[str] = []
    found = cost.time_and_memory(models, FRAMES, Effort(0, 2, 2), 1, said.append)
    assert said == ["timing 2 models in turn", "measuring peak memory"]
    accel, deeplab = found["accel"]["time"], found["deeplab"]["time"]
    assert (accel["interval"], deeplab["interval"]) == (2, 1)
    assert (accel["key"]["frames"], accel["update"]["frames"], accel["all"]["frames"]) == (2, 2, 4)
    assert 0 < accel["update"]["p50_s"] <= accel["update"]["p95_s"] <= accel["update"]["p99_s"]
    assert {"flow_s", "network_s", "output_s"} <= accel["update"].keys()
    assert "update" not in deeplab
    assert deeplab["key"]["frames"] == 2
    assert 50 < found["accel"]["peak_memory_mb"] < 5000
    assert found["accel"]["threads"] == 1

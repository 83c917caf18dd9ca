"""Costs of networks, counted on tensors without values."""

import re

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from accel_rt.runtime.schedule import PRESETS
from benchmarks import gpu, network_costs
from benchmarks.network_costs import Model, by_kind, expected_seconds, frames_per_second, pieces
from benchmarks.roofline import Cost, Peak

UNIT = Peak("unit", bandwidth=1.0, tensor=1.0, float32=1.0)
LIGHT = Model("light", "efficientnet_lite0", "efficientnet_lite0", interval=5)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float16, device="meta")


def test_a_convolution_with_its_bias_is_two_kernels() -> None:
    x, weight, bias = zeros(1, 8, 6, 7), zeros(16, 8, 3, 3), zeros(16)
    convolution, added = network_costs._count([lambda: F.conv2d(x, weight, bias, padding=1)])
    out = 16 * 6 * 7
    assert (convolution.op, convolution.unit) == ("convolution 3x3", "tensor")
    assert convolution.flops == 2 * 9 * 8 * out
    assert convolution.bytes == 2 * (8 * 6 * 7 + 16 * 8 * 9 + 16 + out)
    assert (added.op, added.bytes) == ("bias", 2 * 2 * out)


def test_views_are_free_and_copies_are_read_and_written_once() -> None:
    x, y = zeros(4, 5), zeros(5, 4)
    (cost,) = network_costs._count([lambda: x.copy_(y.t()[:, :])])
    assert cost.bytes == 2 * 2 * 20


def test_memory_and_arithmetic_are_those_of_a_good_kernel() -> None:
    assert expected_seconds(Cost("", "", 8, 3), UNIT) == pytest.approx(10)
    assert expected_seconds(Cost("", "", 1, 6), UNIT) == pytest.approx(10)


def test_frames_per_second_are_those_of_a_keyframe_and_the_updates_after_it() -> None:
    one, two = Cost("", "", 0.8, 0), Cost("", "", 1.6, 0)
    counted = {"key": [two], "update": [one], "flow": [one]}
    assert frames_per_second(LIGHT, counted, UNIT) == pytest.approx(5 / (2 + 4 * 2))
    kinds = by_kind([Cost("a", "", 1, 0), Cost("b", "", 5, 0), Cost("a", "", 2, 0)], UNIT)
    assert [(kind, number, cost.bytes) for kind, number, cost, _ in kinds] == [
        ("b", 1, 5),
        ("a", 2, 3),
    ]


def test_a_light_network_has_no_depthwise_convolution_but_ours() -> None:
    counted = pieces(LIGHT, (64, 96))
    assert list(counted) == [
        "efficientnet_lite0, keyframe",
        "efficientnet_lite0, update",
        "DIS",
        "efficientnet_lite0, merge and labels",
    ]
    kernels = {
        kind: number for kind, number, *_ in by_kind(counted["efficientnet_lite0, update"], UNIT)
    }
    assert kernels["depthwise_conv2d"] == 19
    grouped = [c for c in counted["efficientnet_lite0, update"] if c.op.startswith("conv")]
    assert all(cost.unit == "tensor" for cost in grouped)


@pytest.mark.slow
def test_every_network_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_costs, "MODELS", (LIGHT,))
    monkeypatch.setattr(gpu, "_SIZE", (64, 96))
    monkeypatch.setattr(gpu.launches, "LIGHT", LIGHT)
    monkeypatch.setattr(gpu.launches, "PRESETS", {"balanced": PRESETS["balanced"]})
    result = CliRunner().invoke(gpu.main, ["--assume-h100"])
    assert result.exit_code == 0, result.output
    assert "| efficientnet_lite0, update | 360x480 | **all** |" in result.output
    assert "| light | 5 | 64x96 |" in result.output
    rows = re.findall(r"\| balanced \| ([0-9.]+) \| ([0-9.]+) \|", result.output)
    ((kernels, launched),) = ((float(one), float(other)) for one, other in rows)
    assert 5 < launched < 12 < 40 < kernels


def test_a_product_of_matrices_with_its_bias_is_one_kernel() -> None:
    bias, pixels, weight = torch.zeros(5), torch.zeros(7, 3), torch.zeros(3, 5)
    (cost,) = network_costs._count([lambda: torch.addmm(bias, pixels, weight)])
    assert (cost.op, cost.flops) == ("addmm", 2 * 7 * 3 * 5)
    assert cost.bytes == 4 * (5 + 7 * 3 + 3 * 5 + 7 * 5)


def test_a_product_that_is_added_reads_what_it_is_added_to() -> None:
    total, pixels, weight = torch.zeros(7, 5), torch.zeros(7, 3), torch.zeros(3, 5)
    (cost,) = network_costs._count([lambda: total.addmm_(pixels, weight)])
    assert (cost.op, cost.flops) == ("addmm_", 2 * 7 * 3 * 5)
    assert cost.bytes == 4 * (7 * 3 + 3 * 5 + 2 * 7 * 5)


def test_a_step_of_training_computes_three_times_what_a_frame_does() -> None:
    """Each convolution again for the slope of its input, and for that of its weight."""
    costs = network_costs.training_step("plainnet", (64, 96), 2)

    def flops(kind: str) -> float:
        return sum(cost.flops for cost in costs if cost.op.startswith(kind))

    forwards = [cost.flops for cost in costs if cost.op.startswith("convolution ")]
    assert flops("convolution_backward") == 2 * sum(forwards)
    assert len([c for c in costs if c.op == "convolution_backward"]) == len(forwards)
    assert any("batch_norm_backward" in cost.op for cost in costs)

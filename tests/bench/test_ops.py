"""Every case runs, and competitors compute the same thing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from accel_rt import ops as operators
from accel_rt.bench import ops, peers
from accel_rt.bench.harness import Effort, Samples
from tests.ops.inputs import residual_block

TINY = ops.Shapes(
    warp=((8, 6, 7),),
    deform=((8, 6, 7),),
    winograd=((32, 6, 7),),
    depthwise=((8, 6, 7),),
    score=((16, 6, 7),),
    upsample=((5, 6, 8),),
    inverted=((8, 6, 7),),
    classes=3,
)
OPERATORS = {
    "flow_warp",
    "flow_warp backward",
    "deform_conv2d",
    "deform_conv2d backward",
    "winograd_conv2d",
    "warp_score",
    "upsample_argmax",
    "inverted_residual",
}


def operators_in(dtype):
    """Those that have a case: there is none where ordinary convolutions are faster."""
    packed = operators.winograd_conv2d_pack(torch.zeros(32, 32, 3, 3, dtype=dtype))
    block = [(weight.to(dtype), bias.to(dtype)) for weight, bias in residual_block()]
    joined = operators.inverted_residual_pack(*block)
    missing = {"winograd_conv2d": packed, "inverted_residual": joined}
    return OPERATORS - {name for name, weights in missing.items() if weights is None}


def tiny_cases(*dtypes, thorough=True):
    return list(ops.cases(ops.Bench(torch.device("cpu"), dtypes, TINY, thorough)))


def test_on_a_device_there_is_a_case_of_depthwise_convolution() -> None:
    """Its runs on tensors without values, of which the shapes are known."""
    bench = ops.Bench(torch.device("meta"), (torch.float16,), TINY)
    (case,) = ops._depthwise_conv2d(bench, TINY.depthwise[0], torch.float16)
    assert {run.call().shape for run in case.runs} == {(1, 8, 6, 7)}
    assert case.bytes == 2 * 2 * 8 * 6 * 7


@pytest.fixture
def stand_in(monkeypatch):
    """Something in torchvision's place, where it is not installed, with its signature."""
    if peers.torchvision() is None:
        package = SimpleNamespace(ops=SimpleNamespace(deform_conv2d=operators.deform_conv2d))
        monkeypatch.setattr(peers, "torchvision", lambda: package)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peers_compute_the_same(dtype, stand_in):
    compared = set()
    for case in tiny_cases(dtype):
        results = {run.name: run.call() for run in case.runs}
        names = {role: [run.name for run in case.runs if run.role == role] for role in ROLES}
        assert len(names["limit"]) == 1, case.op
        for ours in names["ours"]:
            for peer in names["peer"]:
                compare(case, results[ours], results[peer])
                compared.add((case.op, peer))
    assert {op for op, _ in compared} == operators_in(dtype) - (
        {"deform_conv2d", "deform_conv2d backward"} if dtype == torch.bfloat16 else set()
    )
    assert len([op for op, _ in compared if op == "upsample_argmax"]) == 2


ROLES = ("ours", "peer", "limit")


def compare(case, ours, peer):
    if case.op == "upsample_argmax":
        # In the outermost half cell the deconvolution fades; in bfloat16 near classes tie.
        inner = slice(8, -8)
        same = ours[:, inner, inner] == peer[:, inner, inner]
        assert same.float().mean() > (0.999 if case.dtype == torch.float32 else 0.97), case.shape
        return
    close = 1e-4 if case.dtype == torch.float32 else 5e-2
    ours, peer = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (ours, peer))
    assert len(ours) == len(peer)
    for one, other in zip(ours, peer, strict=True):
        scale = float(other.float().abs().max())
        torch.testing.assert_close(one.float(), other.float(), rtol=close, atol=close * scale)


@pytest.fixture
def no_onnxruntime(monkeypatch):
    """Leaves out the peer that takes seconds to make."""
    monkeypatch.setattr(peers, "onnxruntime_deform_conv2d", lambda *_: None)


def test_limits_do_work_of_the_same_size(no_onnxruntime):
    for case in tiny_cases(torch.float32):
        runs = {run.role: run.call() for run in case.runs if run.role in ("ours", "limit")}
        ours, limit = (x if isinstance(x, torch.Tensor) else x[0] for x in runs.values())
        assert ours.numel() == limit.numel(), case.op


def test_the_output_block_upsamples_bilinearly():
    scores = torch.randn(1, 4, 5, 6)
    expected = torch.nn.functional.interpolate(scores, (80, 96), mode="bilinear")
    inner = (..., slice(8, -8), slice(8, -8))
    upsampled = peers.OutputBlock(4).upsample(scores)
    torch.testing.assert_close(upsampled[inner], expected[inner], rtol=1e-5, atol=1e-5)


def test_a_missing_torchvision_is_named_and_skipped(monkeypatch, no_onnxruntime):
    monkeypatch.setattr(peers, "torchvision", lambda: None)
    for case in tiny_cases(torch.float32):
        deformable = case.op.startswith("deform_conv2d")
        assert case.skipped == ((ops.NOT_INSTALLED,) if deformable else ())
        assert any(run.role == "peer" for run in case.runs) != deformable


def test_a_kernel_that_torchvision_lacks_is_named_and_skipped(stand_in):
    case = next(c for c in tiny_cases(torch.bfloat16) if c.op == "deform_conv2d")
    assert case.skipped == (ops.NO_BF16,)


def test_torchvision_that_does_not_load_counts_as_missing(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(peers.importlib, "import_module", broken)
    assert peers.torchvision.__wrapped__() is None


def test_a_short_run_leaves_out_backward_and_noise():
    cases = tiny_cases(torch.float32, thorough=False)
    assert not any("backward" in case.op or "noise" in case.shape for case in cases)
    wanted = {op for op in operators_in(torch.float32) if "backward" not in op}
    assert {case.op for case in cases} == wanted


def test_inputs_are_the_same_on_every_run():
    first, second = (tiny_cases(torch.float32)[0].runs[0].call() for _ in range(2))
    assert torch.equal(first, second)


def test_measuring_a_case():
    case = tiny_cases(torch.bfloat16)[0]
    measured = ops.measure(case, Effort(0, 2, 2))
    assert (measured.op, measured.precision) == ("flow_warp", "bfloat16")
    assert {name: len(samples.ms) for name, samples in measured.samples.items()} == {
        "flow_warp(out=)": 2,
        "flow_warp": 2,
        "F.grid_sample": 2,
        "memcpy": 2,
    }


def made_up(**work):
    samples = {"a": Samples((2.0, 1.0, 3.0)), "b": Samples((8.0,)), "c": Samples((1.0,))}
    roles = {"a": "ours", "b": "peer", "c": "limit"}
    return ops.Measured("op", "1x1", "float32", roles, samples, skipped=(), **work)


def test_ratios_and_rates():
    measured = made_up(bytes=4_000_000, flops=0)
    assert measured.names("ours") == ["a"]
    assert measured.ratio("b", "a") == 4
    assert measured.ratio("a", "c") == 2
    assert measured.rate("a") == (pytest.approx(2.0), "GB/s")
    assert made_up(bytes=0, flops=10**9).rate("c") == (pytest.approx(1000.0), "GFLOP/s")

"""Which convolutions become one kernel on CUDA with what follows them.

PyTorch's own stand in for cuDNN's, and the CPU's implementation for ours.
"""

import copy
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models.accel import ScoreFusion
from accel_rt.models.fuse import fuse_networks, fused
from accel_rt.models.layers import DeformConv2d, DepthwiseConv2d, FusedConv2d
from accel_rt.models.prepared import (
    CudnnConv2d,
    PreparedDepthwiseConv2d,
    PreparedPointwiseConv2d,
    cuda_module,
    prepare,
)
from accel_rt.models.zoo import build_network
from benchmarks import network_costs

CUDA = torch.device("cuda")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """cuDNN's operators with their documented arguments, counted."""
    counted: Counter[str] = Counter()

    def relu(x: Tensor, weight: Tensor, bias: Tensor, *geometry: object) -> Tensor:
        counted["relu"] += 1
        return F.relu(F.conv2d(x, weight, bias, *geometry))  # type: ignore[arg-type]

    def add_relu(
        x: Tensor, weight: Tensor, z: Tensor, alpha: float, bias: Tensor, *geometry: object
    ) -> Tensor:
        counted["add_relu"] += 1
        return F.relu(F.conv2d(x, weight, bias, *geometry) + alpha * z)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "cudnn_convolution_relu", relu)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", add_relu)
    return counted


@pytest.mark.parametrize("name", ["resnet18", "resnet101", "efficientnet_lite0"])
def test_a_network_gives_the_same_in_fewer_kernels(name: str, calls: Counter[str]) -> None:
    torch.manual_seed(0)
    # In float64, since a hundred layers of random weights magnify what float32 rounds.
    feature = fuse_networks(build_network(name, 5).eval()).feature.double()
    fused = [m for m in feature.modules() if isinstance(m, FusedConv2d)]
    wanted = [
        m
        for m in fused
        if (
            type(m.activation) is nn.ReLU
            or (type(m.activation) is nn.ReLU6 and m.conv.kernel_size != (1, 1))
        )
        and m.conv.groups == 1
        and not isinstance(m.conv, DeformConv2d)
    ]
    prepared = copy.deepcopy(feature)
    prepare(prepared.graph, CUDA, torch.float16)
    frame = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.inference_mode():
        expected, found = feature(frame), prepared(frame)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, CudnnConv2d) for m in prepared.modules()) == len(wanted)
    assert calls.total() == len(wanted)
    if name == "resnet101":  # most bottlenecks end with a shortcut and a ReLU
        assert calls["add_relu"] == 33


@pytest.fixture
def cuda_built(monkeypatch: pytest.MonkeyPatch) -> None:
    status = replace(ops.extension_status(), cuda_built=True)
    monkeypatch.setattr(ops, "extension_status", lambda: status)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_every_depthwise_convolution_of_a_light_network_is_our_kernels(
    name: str, dtype: torch.dtype, cuda_built: None, calls: Counter[str]
) -> None:
    torch.manual_seed(0)
    network = fuse_networks(build_network(name, 5).eval())
    prepared = copy.deepcopy(network)
    for graph in (prepared.feature.graph, prepared.task.encode):
        prepare(graph, CUDA, dtype)
    frame = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected, found = network.encode(frame), prepared.encode(frame)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, PreparedDepthwiseConv2d) for m in prepared.modules()) > 16
    assert not any(isinstance(m, DepthwiseConv2d) for m in prepared.modules())


class Block(nn.Module):
    """A convolution with ReLU6, a depthwise one, and what else uses the first one's result."""

    def __init__(self, kernel: int, use: str) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, kernel, padding=kernel // 2)
        self.narrow = DepthwiseConv2d(8, 3)
        self.relu6, self.use = nn.ReLU6(), use

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        wide = self.relu6(self.wide(x))
        out = self.relu6(self.narrow(wide) + wide if self.use == "shortcut" else self.narrow(wide))
        return (out, wide) if self.use == "returned" else out


@pytest.mark.parametrize("use", ["only here", "shortcut", "returned"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_relu6_is_computed_where_a_depthwise_convolution_alone_reads_it(
    kernel: int, use: str, cuda_built: None, calls: Counter[str]
) -> None:
    torch.manual_seed(0)
    graph = fused(Block(kernel, use).eval())
    prepared = copy.deepcopy(graph)
    for _ in range(2):  # the second time changes nothing
        prepare(prepared, CUDA, torch.float16)
    x = 9 * torch.randn(2, 3, 8, 7)
    with torch.inference_mode():
        torch.testing.assert_close(prepared(x), graph(x))
    reader = next(m for m in prepared.modules() if isinstance(m, PreparedDepthwiseConv2d))
    assert (reader.input_clamp[1] == 6) == (use == "only here")
    (writer,) = (
        m for m in prepared.modules() if isinstance(m, (PreparedPointwiseConv2d, CudnnConv2d))
    )
    assert (writer.clamp[1] == 6) == (use != "only here")


@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()])
def test_a_shortcut_is_added_before_the_activation(
    activation: nn.Module | None, cuda_built: None
) -> None:
    torch.manual_seed(0)
    fused = FusedConv2d(nn.Conv2d(8, 8, 3, padding=1, groups=8), activation)
    ours = cuda_module(fused, torch.float32)
    assert isinstance(ours, PreparedDepthwiseConv2d)
    x, shortcut = 5 * torch.randn(1, 8, 6, 7), 5 * torch.randn(1, 8, 6, 7)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x, shortcut), fused(x, shortcut))


@pytest.mark.parametrize("with_shortcut", [False, True])
@pytest.mark.parametrize("activation", [None, nn.ReLU6(), nn.ReLU()])
@pytest.mark.parametrize("bias", [False, True])
def test_a_pointwise_convolution_is_a_product_of_matrices(
    activation: nn.Module | None, bias: bool, with_shortcut: bool
) -> None:
    torch.manual_seed(0)
    fused = FusedConv2d(nn.Conv2d(5, 7, 1, bias=bias), activation).bfloat16()
    ours = cuda_module(fused, torch.bfloat16)
    assert isinstance(ours, PreparedPointwiseConv2d)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = (9 * torch.randn(2, 5, 6, 3)).bfloat16().contiguous(memory_format=layout)
        shortcut = 9 * torch.randn(2, 7, 6, 3) if with_shortcut else None
        with torch.inference_mode():
            found = ours(x, None if shortcut is None else shortcut.bfloat16())
            expected = F.conv2d(x.double(), *(p.double() for p in fused.conv.parameters()))
            if shortcut is not None:
                expected += shortcut
            expected = expected if activation is None else activation(expected)
        torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=5e-2)
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, padding=1),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1),
    ],
    ids=repr,
)
def test_other_convolutions_without_a_relu_stay_plain(conv: nn.Conv2d) -> None:
    assert cuda_module(FusedConv2d(conv, None), torch.float16) is None


def test_pointwise_convolutions_of_float32_stay_plain() -> None:
    assert cuda_module(FusedConv2d(nn.Conv2d(8, 8, 1), None), torch.float32) is None


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 7, padding=3, groups=8),
        nn.Conv2d(8, 8, 3, 3, 1, groups=8),
        nn.Conv2d(8, 16, 3, 1, 1, groups=8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=4),
        nn.Conv2d(8, 8, (3, 5), 1, (1, 2), groups=8),
        nn.Conv2d(8, 8, 3, 1, "same", groups=8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, padding_mode="reflect"),
    ],
    ids=repr,
)
def test_other_convolutions_in_groups_stay_plain(conv: nn.Conv2d, cuda_built: None) -> None:
    assert cuda_module(FusedConv2d(conv, nn.ReLU6()), torch.float16) is None


def test_without_cuda_kernels_depthwise_convolutions_stay_plain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = replace(ops.extension_status(), cuda_built=False)
    monkeypatch.setattr(ops, "extension_status", lambda: status)
    assert cuda_module(FusedConv2d(DepthwiseConv2d(8, 3), nn.ReLU6()), torch.float16) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_that_were_not_tried_on_a_device_stay_plain(dtype: torch.dtype) -> None:
    feature = fuse_networks(build_network("resnet18", 5).eval()).feature
    prepare(feature.graph, CUDA, dtype)
    assert not any(isinstance(m, CudnnConv2d) for m in feature.modules())


def test_scores_are_fused_by_two_products(cuda_built: None) -> None:
    torch.manual_seed(0)
    fusion = ScoreFusion(11).double()
    nn.init.normal_(fusion.conv.weight)
    nn.init.normal_(fusion.conv.bias)
    scores = torch.randn(2, 2, 11, 6, 10, dtype=torch.float64)
    reference, update = (s.contiguous(memory_format=torch.channels_last) for s in scores)
    with torch.inference_mode():
        expected = fusion(reference, update)
        fuse_networks(fusion)
        torch.testing.assert_close(fusion(reference, update), expected)
        prepare(fusion.fused_halves, CUDA, torch.float16)
        products = [m for m in fusion.modules() if isinstance(m, PreparedPointwiseConv2d)]
        assert len(products) == 2
        with network_costs.Counter() as counter:
            found = fusion(reference, update)
    torch.testing.assert_close(found, expected)
    assert [cost.op for cost in counter.costs] == ["addmm", "addmm_"]
    torch.testing.assert_close(reference, scores[0])  # neither is written over
    torch.testing.assert_close(update, scores[1])

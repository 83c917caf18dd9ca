"""Which convolutions cuDNN takes with what follows them; PyTorch's own stand in for its kernels."""

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.fuse import fuse_networks
from accel_rt.models.layers import DeformConv2d, FusedConv2d
from accel_rt.models.prepared import CudnnConv2d, prepare
from accel_rt.models.zoo import build_network

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
    feature = fuse_networks(build_network(name, 5).eval()).feature
    fused = [m for m in feature.modules() if isinstance(m, FusedConv2d)]
    wanted = [
        m
        for m in fused
        if type(m.activation) is nn.ReLU
        and m.conv.groups == 1
        and not isinstance(m.conv, DeformConv2d)
    ]
    prepared = copy.deepcopy(feature)
    prepare(prepared.graph, CUDA, torch.float16)
    frame = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected, found = feature(frame), prepared(frame)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, CudnnConv2d) for m in prepared.modules()) == len(wanted)
    assert calls.total() == len(wanted)
    if name == "resnet101":  # most bottlenecks end with a shortcut and a ReLU
        assert calls["add_relu"] == 33


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_that_were_not_tried_on_a_device_stay_plain(dtype: torch.dtype) -> None:
    feature = fuse_networks(build_network("resnet18", 5).eval()).feature
    prepare(feature.graph, CUDA, dtype)
    assert not any(isinstance(m, CudnnConv2d) for m in feature.modules())

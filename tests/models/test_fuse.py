"""Fusing for inference: what a convolution takes with it, and what it must leave alone."""

import itertools

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from accel_rt.models.flownet import FlowNetS
from accel_rt.models.fuse import for_inference, fuse_networks, fused
from accel_rt.models.layers import DeformConv2d, FusedConv2d
from accel_rt.models.plain import RepConv2d
from accel_rt.models.preactivation import PreActivationResNet
from accel_rt.models.zoo import NETWORKS, build_network

CPU = torch.device("cpu")


def called(graph: fx.GraphModule) -> list[nn.Module]:
    """The modules that a graph calls, in order."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    return [graph.get_submodule(str(node.target)) for node in nodes]


def functions(graph: fx.GraphModule) -> list[str]:
    nodes = [node for node in graph.graph.nodes if node.op in ("call_function", "call_method")]
    return sorted(getattr(node.target, "__name__", str(node.target)) for node in nodes)


@pytest.mark.parametrize("task", ["paper", "skip", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_takes_what_follows_it(name: str, task: str) -> None:
    """No batch norm and no activation is left, and as many convolutions as before.

    Pre-activation networks keep those of their sums, which are shortcuts, too.
    """
    network = build_network(name, 5, task).eval()  # type: ignore[arg-type]
    offsets = {id(m.offset) for m in network.modules() if isinstance(m, DeformConv2d)}
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    preactivation = isinstance(network.feature, PreActivationResNet)
    beside = sum(isinstance(m, RepConv2d) for m in network.modules())  # a 1x1 beside each 3x3
    encoding = len(convolutions) - len(offsets) - beside - (task == "paper")  # its scoring decodes
    fuse_networks(network)
    graphs = network.feature.graph, network.task.encode
    modules = list(itertools.chain.from_iterable(called(graph) for graph in graphs))
    allowed: set[type] = {FusedConv2d, nn.MaxPool2d}
    if preactivation:
        allowed |= {nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d}
        units = sum(isinstance(module, nn.BatchNorm2d) for module in modules)
        assert units == sum(NETWORKS[name].feature.layers[:3])  # type: ignore[union-attr]
    assert {type(module) for module in modules} <= allowed
    assert sum(isinstance(module, FusedConv2d) for module in modules) == encoding
    assert set(functions(graphs[0])) == set()
    left = {name for name in functions(graphs[1]) if name not in ("getitem", "getattr")}
    assert left <= {"resize_grid", "add"}
    # What stays are sums of two results of which neither is a convolution's own last step.
    assert functions(graphs[1]).count("add") == (0 if task == "paper" else 2)


def test_flownets_convolutions_take_their_leaky_relus() -> None:
    torch.manual_seed(0)
    network = FlowNetS(0.125).eval()
    frames = torch.randn(1, 3, 64, 128), torch.randn(1, 3, 64, 128)
    with torch.inference_mode():
        expected = network(*frames)
        result = for_inference(network, CPU, torch.float32)(*frames)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert network.fused_pyramid is not None
    transposed = {type(m) for m in called(network.fused_pyramid)}
    assert not {nn.Conv2d, nn.BatchNorm2d} & transposed


class Residual(nn.Module):
    """A convolution with a shortcut: one that is free, that is its own input, that is needed once
    more afterwards, or that is computed later."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.norm = nn.BatchNorm2d(3)
        self.case = case

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.relu(self.first(x))
        inner = shortcut if self.case == "own input" else self.middle(shortcut)
        out = self.norm(self.last(inner))
        if self.case == "late":
            shortcut = 2 * shortcut
        out = F.relu(out + shortcut)
        return out * shortcut if self.case == "again" else out


@pytest.mark.parametrize("case", ["free", "own input", "again", "late"])
def test_a_shortcut_that_is_still_needed_is_not_written_over(case: str) -> None:
    torch.manual_seed(1)
    module = Residual(case).eval()
    module.norm.running_mean.normal_()
    x = torch.randn(1, 3, 8, 9)
    with torch.inference_mode():
        expected = module(x.clone())
        graph = fused(module)
        torch.testing.assert_close(graph(x.clone()), expected)
    assert functions(graph).count("add") == (case != "free")


def test_a_result_that_two_read_is_not_activated_for_both() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.conv(x)
            return out, F.relu(out)

    module, x = Both().eval(), torch.randn(1, 3, 4, 5)
    with torch.inference_mode():
        for result, expected in zip(fused(module)(x), module(x), strict=True):
            torch.testing.assert_close(result, expected)


def test_a_batch_norm_without_a_convolution_is_refused() -> None:
    module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval()
    with pytest.raises(RuntimeError, match="no convolution takes the batch norms _1"):
        fused(module)


def test_a_foreign_feature_network_is_left_alone() -> None:
    network = build_network("efficientnet_lite0", 3)
    foreign = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    network.feature = foreign  # type: ignore[assignment]
    assert for_inference(network, CPU, torch.float32).feature is foreign
    assert isinstance(foreign[1], nn.BatchNorm2d)

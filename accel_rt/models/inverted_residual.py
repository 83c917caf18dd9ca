"""Inverted residuals found in a fused graph: three convolutions that are run as one on the CPU."""

from __future__ import annotations

from torch import Tensor, fx, nn

from accel_rt import ops
from accel_rt.models.layers import (
    CLAMPS,
    FusedConv2d,
    bias_of,
    called,
    is_depthwise,
    is_pointwise,
)


class PreparedInvertedResidual(nn.Module):
    """Convolutions by our operator, with their weights laid out for it; see :mod:`accel_rt.ops`."""

    def __init__(
        self,
        weights: ops.InvertedResidualWeights,
        depthwise: nn.Conv2d,
        most: float,
        relu: bool,
    ) -> None:
        super().__init__()
        self._weights = weights
        self._geometry = depthwise.stride[0], depthwise.dilation[0]
        self._most, self._relu = most, relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C_out, H', W']``."""
        return ops.inverted_residual(
            x, self._weights, *self._geometry, self._most, shortcut, self._relu
        )


def join_inverted_residuals(graph: fx.GraphModule) -> None:
    """Replace, in place, every three convolutions of ``graph`` that make an inverted residual."""
    for node in list(graph.graph.nodes):
        chain = _chain(graph, node)
        if chain is None:
            continue
        expand, depthwise, project = (_fused(graph, part) for part in chain)
        assert expand is not None
        assert depthwise is not None
        assert project is not None
        weights = ops.inverted_residual_pack(
            *(_weights(part.conv) for part in (expand, depthwise, project))
        )
        if weights is None:
            continue
        _, most = CLAMPS[type(depthwise.activation)]
        relu = project.activation is not None
        name = f"inverted_residual_{node.name}"
        graph.add_submodule(name, PreparedInvertedResidual(weights, depthwise.conv, most, relu))
        first, _, last = chain
        with graph.graph.inserting_before(last):
            joined = graph.graph.call_module(name, (*first.args, *last.args[1:]))
        last.replace_all_uses_with(joined)
        for part in reversed(chain):
            graph.graph.erase_node(part)
    graph.delete_all_unused_submodules()
    graph.recompile()


def _chain(graph: fx.GraphModule, first: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node] | None:
    """``first`` and the two convolutions after it, if they are an inverted residual whose inner
    results nobody else needs."""
    middle = next(iter(first.users), first)
    last = next(iter(middle.users), first)
    expand, depthwise, project = (_fused(graph, node) for node in (first, middle, last))
    if (
        expand
        and depthwise
        and project
        and all(len(node.users) == len(node.args) == 1 for node in (first, middle))
        and last.args[0] is middle
        and is_pointwise(expand.conv)
        and is_depthwise(depthwise.conv)
        and _keeps_size(depthwise.conv)
        and is_pointwise(project.conv)
        and type(expand.activation) is type(depthwise.activation)
        and type(depthwise.activation) in (nn.ReLU, nn.ReLU6)
        and type(project.activation) in (nn.ReLU, type(None))
    ):
        return first, middle, last
    return None


def _fused(graph: fx.GraphModule, node: fx.Node) -> FusedConv2d | None:
    """The fused convolution that ``node`` calls, if it calls one."""
    module = called(graph, node)
    return module if isinstance(module, FusedConv2d) else None


def _keeps_size(conv: nn.Conv2d) -> bool:
    """Whether the results of a square convolution are as many as its inputs, at a stride of 1."""
    return conv.padding[0] == conv.kernel_size[0] // 2 * conv.dilation[0]


def _weights(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    return conv.weight.detach(), bias_of(conv)

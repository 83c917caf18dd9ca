"""Networks for inference: batch norms folded, and each convolution one call with what follows it.

The graph of a network is traced, not annotated: a convolution takes with it the batch norm, the
shortcut's addition and the activation that use its result and nothing else. That gives
:class:`FusedConv2d` modules, which run anywhere; :mod:`accel_rt.models.prepared` then replaces
them by the processor's own.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from accel_rt.models.accel import ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.layers import (
    FeatureNetwork,
    Features,
    FusedConv2d,
    ModelT,
    called,
    resize_grid,
    to_fast_layout,
)
from accel_rt.models.network import DeconvTaskNetwork, Network, SkipTaskNetwork, TaskNetwork
from accel_rt.models.plain import RepConv2d
from accel_rt.models.prepared import prepare

_ADDITIONS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add)
_CONVOLUTIONS = nn.Conv2d, RepConv2d
_RELUS: tuple[Any, ...] = (F.relu, torch.relu)


def for_inference(model: ModelT, device: torch.device, dtype: torch.dtype) -> ModelT:
    """``model`` in ``eval`` mode on ``device`` in ``dtype``, changed in place to run fast.

    Its parameters are no longer all there: keep a copy of a model that is to be trained on.
    Feature networks that are not ours are only moved.
    """
    fuse_networks(model.eval())
    to_fast_layout(model, device, dtype)
    for graph in [module for module in model.modules() if isinstance(module, fx.GraphModule)]:
        prepare(graph, device, dtype)
    return model


def fuse_networks(model: ModelT) -> ModelT:
    """Fold and fuse every network in ``model``, in place, for any device and type."""
    for module in list(model.modules()):
        if isinstance(module, FlowNetS):
            module.fused_pyramid = fused(module, "pyramid")
        elif isinstance(module, Network):
            feature = module.feature
            if isinstance(feature, FeatureNetwork) and feature.fusible:
                module.feature = FusedFeatures(feature)
            if isinstance(module.task, (TaskNetwork, SkipTaskNetwork)):
                module.task = FusedTask(module.task)  # type: ignore[assignment]
        elif isinstance(module, ScoreFusion):
            module.fused_halves = fused(_Halves(module.conv))
    return model


class _Halves(nn.Module):
    """A 1x1 convolution of two maps, side by side, as the sum of one of each: they need not be
    joined first."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        channels = conv.in_channels // 2
        self.first = nn.Conv2d(channels, conv.out_channels, 1, bias=False)
        self.second = nn.Conv2d(channels, conv.out_channels, 1)
        first, second = conv.weight.detach().split(channels, 1)
        self.first.weight = nn.Parameter(first.contiguous())
        self.second.weight, self.second.bias = nn.Parameter(second.contiguous()), conv.bias

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.second(second) + self.first(first)


class FusedTask(nn.Module):
    """A task network whose encoding is a fused graph; see :class:`.network.TaskNetwork`."""

    def __init__(self, task: TaskNetwork | SkipTaskNetwork) -> None:
        super().__init__()
        self.encode = fused(task, "encode")
        self.scoring, self.stride, self.score_stride = task.scoring, task.stride, task.score_stride
        if isinstance(task, TaskNetwork):
            self.projection = task.projection
        if isinstance(task, DeconvTaskNetwork):
            self.shift, self.upsampling = task.shift, task.upsampling
        self.warp: Callable[[Tensor, Tensor], Tensor] = task.warp
        self.decode: Callable[[Tensor], Tensor] = task.decode
        self.decode_warped: Callable[[Tensor, Tensor], Tensor] = task.decode_warped


class FusedFeatures(FeatureNetwork):
    """A feature network as a fused graph."""

    fusible = False

    def __init__(self, feature: FeatureNetwork) -> None:
        super().__init__()
        self.channels, self.cell = feature.channels, feature.cell
        self.graph = fused(feature)

    def forward(self, frame: Tensor) -> Features:
        return self.graph(frame)


def fused(module: nn.Module, method: str = "forward") -> fx.GraphModule:
    """The graph of ``module``'s ``method`` with every convolution fused; ``module`` is left as is.

    A batch norm of a sum or a pooled map, as pre-activation networks have them, stays. Raises
    RuntimeError if one is left over that follows something else, and should have been folded.
    """
    graph = fx.GraphModule(module, _Tracer(method).trace(module))
    for node in list(graph.graph.nodes):
        if isinstance(called(graph, node), _CONVOLUTIONS):
            _fuse_convolution(graph, node)
    norms = [n for n in graph.graph.nodes if isinstance(called(graph, n), nn.BatchNorm2d)]
    left = [node.name for node in norms if not _stays(graph, node)]
    if left:
        raise RuntimeError(f"no convolution takes the batch norms {', '.join(left)}")
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _stays(graph: fx.GraphModule, norm: fx.Node) -> bool:
    """Whether a batch norm sees a sum, which several read, or a pooled map."""
    (seen,) = norm.all_input_nodes
    return len(seen.users) > 1 or isinstance(called(graph, seen), nn.MaxPool2d)


class _Tracer(fx.Tracer):
    """Traces through our modules down to torch's and to convolutions."""

    def __init__(self, method: str) -> None:
        super().__init__(autowrap_functions=(resize_grid,))
        self.traced_func_name = method

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, _CONVOLUTIONS) or super().is_leaf_module(module, qualified_name)


def _fuse_convolution(graph: fx.GraphModule, node: fx.Node) -> None:
    """Replace the convolution ``node``, and what it takes with it, by a fused one."""
    conv, last = called(graph, node), node
    if isinstance(conv, RepConv2d):
        conv = conv.folded()
    assert isinstance(conv, nn.Conv2d)
    follower = _only_user(last)
    if follower is not None and isinstance(norm := called(graph, follower), nn.BatchNorm2d):
        conv, last = _folded(conv, norm), follower
    shortcut = _shortcut(node, last)
    if shortcut is not None:
        last = next(iter(last.users))
    activation = None
    follower = _only_user(last)
    if follower is not None:
        activation = _activation(graph, follower)
        last = last if activation is None else follower
    name = f"fused_{str(node.target).replace('.', '_')}"
    graph.add_submodule(name, FusedConv2d(conv, activation))
    with graph.graph.inserting_before(last):
        arguments = node.args if shortcut is None else (*node.args, shortcut)
        replacement = graph.graph.call_module(name, arguments)
    last.replace_all_uses_with(replacement)
    while last is not node:
        before = next(n for n in last.all_input_nodes if n is not shortcut)
        graph.graph.erase_node(last)
        last = before
    graph.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _shortcut(conv: fx.Node, last: fx.Node) -> fx.Node | None:
    """What the only user of ``last`` adds to it, if nobody needs that afterwards.

    A fused convolution may write its result over the shortcut. Where someone still needs it, or
    it is computed later than the convolution, the addition stays by itself.
    """
    user = _only_user(last)
    if user is None or user.op != "call_function" or user.target not in _ADDITIONS:
        return None
    others = [argument for argument in user.args if argument is not last]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    shortcut = others[0]
    if shortcut.op == "placeholder" or not shortcut < conv:
        return None
    return shortcut if all(u is user or u < conv for u in shortcut.users) else None


def _activation(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """A ReLU or ReLU6 that ``node`` computes."""
    module = called(graph, node)
    if isinstance(module, (nn.ReLU, nn.ReLU6, nn.LeakyReLU)):
        return module
    is_relu = node.op == "call_function" and node.target in _RELUS
    return nn.ReLU(inplace=True) if is_relu else None


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """``conv`` and ``norm`` in one convolution; the running statistics become constants."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    folded = copy.copy(conv)
    folded._parameters = dict(conv._parameters)
    folded.weight, folded.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return folded

"""Residual sums whose biases are added once, where they begin.

A product of matrices can be added to what is there already, but not with a bias. That of a
convolution whose result is added to a shortcut can be in the shortcut from the start: then a block
adds its last convolution to its input in one kernel, without another pass over both.
"""

from __future__ import annotations

from torch import Tensor, fx, nn

from accel_rt.models.layers import FusedConv2d, bias_of, called, is_pointwise


def move_shortcut_biases(graph: fx.GraphModule) -> None:
    """Move the biases of 1x1 convolutions with a shortcut to where the shortcut comes from.

    ``graph`` is changed in place and gives the same. What else reads a shortcut takes its new bias
    off again, which 1x1 convolutions can; where anything else does, the bias stays where it is.
    """
    for node in reversed(graph.graph.nodes):  # a stage's last bias goes through all its blocks
        last = _convolution(graph, node)
        if len(node.args) < 2 or last is None or not is_pointwise(last):
            continue
        shortcut = node.args[1]
        source, others = _convolution(graph, shortcut), [n for n in shortcut.users if n is not node]
        readers = [r for n in others if (r := _reader(graph, n, shortcut)) is not None]
        if source is None or len(readers) < len(others) or node.args[0] is shortcut:
            continue
        bias = bias_of(last).float()
        last.bias = None
        _add(source, bias)
        for reader in readers:
            _add(reader, -(reader.weight.detach()[:, :, 0, 0].float() @ bias))


def _convolution(graph: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    """The convolution whose result ``node`` is, its own or added to a shortcut."""
    module = called(graph, node)
    return module.conv if isinstance(module, FusedConv2d) and module.activation is None else None


def _reader(graph: fx.GraphModule, node: fx.Node, read: fx.Node) -> nn.Conv2d | None:
    """The 1x1 convolution of ``read`` that ``node`` is, with whatever follows it."""
    module = called(graph, node)
    if not isinstance(module, FusedConv2d) or read in node.args[1:]:
        return None
    return module.conv if is_pointwise(module.conv) else None


def _add(conv: nn.Conv2d, bias: Tensor) -> None:
    total = bias_of(conv).float() + bias
    conv.bias = nn.Parameter(total.to(conv.weight.dtype), requires_grad=False)

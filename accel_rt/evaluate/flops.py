"""Floating-point operations, counted while a model runs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from accel_rt.ops import has_operator

_BILINEAR = 8  # per sample of four taps: a multiplication and an addition each


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of ``run``: convolutions, matrix products and this package's operators.

    A multiply-add is two. Elementwise layers (ReLU, normalisation, interpolation) do not count, as
    is usual.
    """
    with FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        run()
    return counter.get_total_flops()


def _formulas() -> dict[Any, Callable[..., int]]:
    """Shapes to FLOPs; without the extension its twins are counted by torch itself."""
    known: dict[Any, Callable[..., int]] = {}
    if hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        known[torch.ops.mkldnn._convolution_pointwise] = _convolution
        known[torch.ops.mkldnn._convolution_pointwise_] = _convolution_onto
    formulas: dict[str, Callable[..., int]] = {
        "deform_conv2d": _deform_conv2d,
        "deform_conv2d_packed": _deform_conv2d,
        "winograd_conv2d": _winograd_conv2d,
        "depthwise_conv2d": _depthwise_conv2d,
        "inverted_residual": _inverted_residual,
        "warp_score": _warp_score,
        "flow_warp": _flow_warp,
    }
    for name, formula in formulas.items():
        if has_operator(name):
            known[getattr(torch.ops.accel_rt, name)] = formula
    return known


def _convolution(
    x: list[int], weight: list[int], *rest: Any, out_shape: list[int], **named: Any
) -> int:
    return 2 * prod(weight) * out_shape[0] * out_shape[2] * out_shape[3]


def _convolution_onto(shortcut: list[int], *convolution: Any, **named: Any) -> int:
    return _convolution(*convolution, **named)


def _winograd_conv2d(
    x: list[int], packed: list[int], *rest: Any, out_shape: list[int], **named: Any
) -> int:
    """Those of the convolution that it stands for: it takes fewer."""
    return 2 * 9 * x[1] * prod(out_shape)


def _depthwise_conv2d(
    x: list[int], taps: list[int], *rest: Any, out_shape: list[int], **named: Any
) -> int:
    return 2 * taps[0] * taps[1] * prod(out_shape)


def _inverted_residual(
    x: list[int],
    expand: list[int],
    expand_bias: list[int],
    taps: list[int],
    *rest: Any,
    out_shape: list[int],
    **named: Any,
) -> int:
    """Its three convolutions; packed weights are filled up, biases are not."""
    middle = expand_bias[0]
    outside = out_shape[0] * out_shape[2] * out_shape[3]
    return 2 * middle * (prod(x) + outside * (taps[2] * taps[3] + out_shape[1]))


def _deform_conv2d(
    x: list[int],
    offset: list[int],
    weight: list[int],
    *rest: Any,
    out_shape: list[int],
    **named: Any,
) -> int:
    """The convolution, and bilinear sampling of every tap of every input channel."""
    positions = out_shape[0] * out_shape[2] * out_shape[3]
    taps = prod(weight[2:])
    return positions * (2 * prod(weight) + _BILINEAR * x[1] * taps)


def _warp_score(
    cache: list[int], flow: list[int], weight: list[int], *rest: Any, **named: Any
) -> int:
    """Sampling of every channel, then the scoring matrix."""
    return flow[0] * flow[2] * flow[3] * (_BILINEAR * cache[1] + 2 * prod(weight))


def _flow_warp(x: list[int], flow: list[int], *rest: Any, **named: Any) -> int:
    return flow[0] * flow[2] * flow[3] * _BILINEAR * x[1]

"""The inverted residual of light networks as one operator."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.ops._checks import MAX_SIDE, check_sides, check_tensors
from accel_rt.ops._extension import (
    extension_status,
    has_kernels,
    has_operator,
    output_format,
    without_gradient,
)

_PANEL, _STEP = 32, 16  # as in csrc/inverted_residual/kernel.h


class InvertedResidualWeights(NamedTuple):
    """Weights and biases from :func:`inverted_residual_pack`."""

    expand: Tensor
    expand_bias: Tensor
    taps: Tensor
    depthwise_bias: Tensor
    project: Tensor
    project_bias: Tensor


Convolution = tuple[Tensor, Tensor]
"""Weight and bias."""


def inverted_residual_pack(
    expand: Convolution, depthwise: Convolution, project: Convolution
) -> InvertedResidualWeights | None:
    """Weights and biases laid out once as :func:`inverted_residual` reads them.

    Args:
        expand: [M, C, 1, 1] and [M], on the CPU.
        depthwise: [M, 1, K, K] and [M]; K is 3 or 5.
        project: [C_out, M, 1, 1] and [C_out].

    Returns:
        Weights of use for nothing else, or None where ordinary convolutions are faster or the only
        ones: without the compiled operators, without AVX2, for other types than float32, and where
        M is not a multiple of 16.

    Raises:
        UsageError: weights do not fit together or are not on the CPU.
    """
    name = "inverted_residual_pack"
    parts = {"expand": expand, "depthwise": depthwise, "project": project}
    for part, (weight, bias) in parts.items():
        check_tensors(name, (), **{part: weight, f"{part}'s bias": bias})
    middle = len(depthwise[1])
    fits = (
        depthwise[0].shape in [(middle, 1, kernel, kernel) for kernel in (3, 5)]
        and all(
            weight.dim() == 4 and weight.shape[2:] == (1, 1) for weight in (expand[0], project[0])
        )
        and project[0].shape[1] == middle == len(expand[1])
        and all(bias.shape == weight.shape[:1] for weight, bias in parts.values())
    )
    tensors = [*expand, *depthwise, *project]
    same = len({(tensor.dtype, tensor.device.type) for tensor in tensors}) == 1
    if not fits or not same or expand[0].device.type != "cpu":
        shapes = ", ".join(f"{part} {tuple(pair[0].shape)}" for part, pair in parts.items())
        raise UsageError(
            f"{name}: weights must be [M, C, 1, 1], [M, 1, K, K] with K 3 or 5 and [C_out, M, 1,"
            f" 1], with biases, of one type and on the CPU; got {shapes}"
        )
    if (
        middle % _STEP
        or expand[0].dtype != torch.float32
        or 0 in (*expand[0].shape, len(project[1]))
    ):
        return None
    if not has_kernels(expand[0], "inverted_residual") or extension_status().simd == "baseline":
        return None
    with torch.no_grad():
        taps = depthwise[0].transpose(0, 1).contiguous(memory_format=torch.channels_last)
        wide, narrow = _panels(expand[0]), _panels(project[0])
        biases = [bias.clone() for _, bias in parts.values()]
    return InvertedResidualWeights(wide, biases[0], taps, biases[1], narrow, biases[2])


def _panels(weight: Tensor) -> Tensor:
    """``[C_out, C, 1, 1]`` as ``[panels, 32, 1, C]`` in channels_last order: in memory, all outputs
    of a panel for one channel after the other."""
    outputs, channels = weight.shape[:2]
    filled = F.pad(weight[:, :, 0, 0], (0, 0, 0, -outputs % _PANEL))
    panels = filled.reshape(-1, _PANEL, 1, channels)
    return panels.contiguous(memory_format=torch.channels_last)


def inverted_residual(
    input: Tensor,
    weights: InvertedResidualWeights,
    stride: int = 1,
    dilation: int = 1,
    most: float = math.inf,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """A 1x1 convolution to many channels, one of each channel by itself, and a 1x1 one to few.

    The results of the first two are clamped to ``[0, most]``. For inference in float32 on the CPU:
    no gradient flows, and autocast changes nothing. The many channels stay in the processor's
    caches; as three convolutions they go through memory four times.
    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018).

    Args:
        input: [N, C, H, W] on the CPU, float32; channels_last is fastest.
        weights: from :func:`inverted_residual_pack`.
        stride: of the middle convolution: 1 or 2. Its padding keeps the size at 1.
        dilation: pixels between its taps.
        most: ``6`` for ReLU6, ``inf`` for ReLU.
        shortcut: [N, C_out, H', W'], added to the result, or None.
        relu: whether negative results become zero.

    Returns:
        [N, C_out, ceil(H / stride), ceil(W / stride)] in the input's layout.

    Raises:
        UsageError: shapes, types, devices or numbers do not fit together.
    """
    _check(input, weights, stride, dilation, most, shortcut)
    return without_gradient(
        torch.ops.accel_rt.inverted_residual.default,
        *(input, *weights, shortcut, stride, dilation, most, relu),
    )


def _check(
    input: Tensor,
    weights: InvertedResidualWeights,
    stride: int,
    dilation: int,
    most: float,
    shortcut: Tensor | None,
) -> None:
    name = "inverted_residual"
    check_tensors(name, ("shortcut",), input=input, shortcut=shortcut)
    if not isinstance(weights, InvertedResidualWeights):
        raise UsageError(
            f"{name}: weights must come from {name}_pack, got {type(weights).__name__}"
        )
    channels, outputs = weights.expand.shape[3], len(weights.project_bias)
    if (
        input.dim() != 4
        or input.shape[1] != channels
        or input.dtype != torch.float32
        or input.device.type != "cpu"
    ):
        raise UsageError(
            f"{name}: input must be [N, {channels}, H, W] of torch.float32 on the CPU, got"
            f" {tuple(input.shape)} of {input.dtype} on {input.device}"
        )
    check_sides(name, "input", *input.shape[2:])
    for what, value, highest in (("stride", stride, 2), ("dilation", dilation, MAX_SIDE)):
        if not isinstance(value, int) or not 1 <= value <= highest:
            raise UsageError(
                f"{name}: {what} must be a whole number from 1 to {highest}, got {value!r}"
            )
    if not most >= 0:
        raise UsageError(f"{name}: most must be at least 0, got {most!r}")
    size = _size(input, outputs, stride)
    if shortcut is not None and (
        shortcut.shape != size or shortcut.dtype != input.dtype or shortcut.device != input.device
    ):
        raise UsageError(
            f"{name}: shortcut must be {tuple(size)} of {input.dtype} on {input.device}, got"
            f" {tuple(shortcut.shape)} of {shortcut.dtype} on {shortcut.device}"
        )


def _size(input: Tensor, outputs: int, stride: int) -> torch.Size:
    height, width = ((side + stride - 1) // stride for side in input.shape[2:])
    return torch.Size((input.shape[0], outputs, height, width))


def _fake(
    input: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    taps: Tensor,
    depthwise_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    shortcut: Tensor | None,
    stride: int,
    dilation: int,
    most: float,
    relu: bool,
) -> Tensor:
    size = _size(input, project_bias.shape[0], stride)
    return input.new_empty(size).to(memory_format=output_format(input))


if has_operator("inverted_residual"):
    torch.library.register_fake("accel_rt::inverted_residual", _fake)

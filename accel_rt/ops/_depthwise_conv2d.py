"""Convolution of each channel by itself, with its bias, and the activations before and after it."""

import math

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import MAX_SIDE, check_sides, check_tensors
from accel_rt.ops._extension import has_kernels, has_operator, output_format, without_gradient


def depthwise_conv2d_pack(weight: Tensor) -> Tensor:
    """``weight`` ``[C, 1, K, K]`` with one tap's values of all channels side by side in memory, as
    :func:`depthwise_conv2d` reads it: the same values, without a copy in each call."""
    check_tensors("depthwise_conv2d_pack", weight=weight)
    return weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)


def depthwise_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    clamp: tuple[float, float] = (-math.inf, math.inf),
    input_clamp: tuple[float, float] = (-math.inf, math.inf),
) -> Tensor:
    """``F.conv2d(input.clamp(*input_clamp), weight, ..., dilation, C).clamp(*clamp)``.

    For inference: no gradient flows. On CUDA one kernel reads the input once; on the CPU it is
    PyTorch's own.

    Args:
        input: [N, C, H, W]; channels_last with C a multiple of 16 bytes is fastest.
        weight: [C, 1, 3, 3] or [C, 1, 5, 5] of the input's type; fastest from
            :func:`depthwise_conv2d_pack`.
        bias: [C] of the input's type.
        stride: 1 or 2.
        padding: pixels of zeros on each side.
        dilation: pixels from tap to tap.
        clamp: the least and the greatest result: ``(0, inf)`` is ReLU, ``(0, 6)`` ReLU6.
        input_clamp: the same of the input, with 0 between them: the activation before, which then
            needs no pass of its own.

    Returns:
        [N, C, H', W'] in the input's type and layout.

    Raises:
        UsageError: shapes, types, devices or numbers do not fit together.
    """
    _check(input, weight, bias)
    _check_clamps(clamp, input_clamp)
    numbers = {"stride": (stride, 1, 2), "padding": (padding, 0, MAX_SIDE)}
    numbers["dilation"] = (dilation, 1, MAX_SIDE)
    for name, (value, least, most) in numbers.items():
        if not isinstance(value, int) or not least <= value <= most:
            raise UsageError(
                f"depthwise_conv2d: {name} must be a whole number from {least} to {most}, got"
                f" {value!r}"
            )
    reach = dilation * (weight.shape[2] - 1) + 1
    if min(input.shape[2:]) + 2 * padding < reach:
        raise UsageError(
            f"depthwise_conv2d: the kernel reaches over {reach} pixels, more than an input of"
            f" {tuple(input.shape[2:])} with padding {padding} has"
        )
    run = (
        torch.ops.accel_rt.depthwise_conv2d.default
        if has_kernels(input, "depthwise_conv2d")
        else eager.depthwise_conv2d
    )
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    geometry = stride, padding, dilation
    return without_gradient(run, input, taps, bias, *geometry, *input_clamp, *clamp)


def _check(input: Tensor, weight: Tensor, bias: Tensor) -> None:
    check_tensors("depthwise_conv2d", input=input, weight=weight, bias=bias)
    if input.dim() != 4 or not input.is_floating_point():
        raise UsageError(
            "depthwise_conv2d: input must be a floating point tensor [N, C, H, W], got"
            f" {tuple(input.shape)} of {input.dtype}"
        )
    check_sides("depthwise_conv2d", "input", *input.shape[2:])
    channels = input.shape[1]
    wanted = [(channels, 1, side, side) for side in (3, 5)]
    for name, tensor, shapes in (("weight", weight, wanted), ("bias", bias, [(channels,)])):
        if tuple(tensor.shape) not in shapes:
            choice = " or ".join(map(str, shapes))
            raise UsageError(
                f"depthwise_conv2d: {name} must be {choice}, got {tuple(tensor.shape)}"
            )
        if (tensor.dtype, tensor.device) != (input.dtype, input.device):
            raise UsageError(
                f"depthwise_conv2d: {name} is {tensor.dtype} on {tensor.device}, input"
                f" {input.dtype} on {input.device}"
            )


def _check_clamps(clamp: tuple[float, float], input_clamp: tuple[float, float]) -> None:
    if len(clamp) != 2 or not clamp[0] <= clamp[1]:
        raise UsageError(
            f"depthwise_conv2d: clamp must be the least and the greatest result, got {clamp}"
        )
    if len(input_clamp) != 2 or not input_clamp[0] <= 0 <= input_clamp[1]:
        raise UsageError(
            "depthwise_conv2d: input_clamp must be the least and the greatest input, 0 between"
            f" them, got {input_clamp}"
        )


def _fake(
    input: Tensor,
    taps: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    *_clamps: float,
) -> Tensor:
    reach = dilation * (taps.shape[0] - 1) + 1
    sides = [(side + 2 * padding - reach) // stride + 1 for side in input.shape[2:]]
    return input.new_empty(*input.shape[:2], *sides).to(memory_format=output_format(input))


if has_operator("depthwise_conv2d"):
    torch.library.register_fake("accel_rt::depthwise_conv2d", _fake)
    torch.library.impl("accel_rt::depthwise_conv2d", "CPU", eager.depthwise_conv2d)

"""Deformable convolution."""

from typing import Any

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import (
    Pair,
    as_pair_or_number,
    check_packed,
    check_sides,
    check_tensors,
)
from accel_rt.ops._extension import (
    extension_status,
    has_kernels,
    has_operator,
    output_format,
    without_gradient,
)
from accel_rt.ops._flow_warp import fake_gradient


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """A convolution whose taps are displaced by `offset` and sampled bilinearly.

    Same signature, offset layout and result as ``torchvision.ops.deform_conv2d``: version 1
    without `mask`, version 2 with. The image is zero outside. Differentiable in every tensor.
    Under autocast it runs in the autocast type, while offsets and mask keep theirs.

    On x86 tiles of pixels are gathered and summed without storing columns where there is one weight
    group with outputs in multiples of 32: in float32, and in bfloat16 where the processor has it
    (with AMX offset groups are multiples of 32 channels).

    Inf and NaN reach only what is sampled from them, except on AMX, which reads all four neighbours
    of a sample inside the image, and where an Inf may make NaN instead of an infinity.

    On CUDA sampled taps are written to memory as columns, which the library's matrix product
    multiplies: in float32 as ``torch.backends.cuda.matmul`` is set (TF32 or not).

    Args:
        input: [N, C, H, W], any floating point type; channels_last is fastest.
        offset: [N, offset_groups * KH * KW * 2, OH, OW]: for each group of channels and each tap,
            row by row, the displacement (y, x) in pixels. Any floating point type, used in float32
            (float64 with such an input).
        weight: [C_out, C / groups, KH, KW]; the groups follow from its shape.
        bias: [C_out].
        stride, padding, dilation: one number, or (vertical, horizontal).
        mask: [N, offset_groups * KH * KW, OH, OW], a factor for each tap.

    Returns:
        [N, C_out, OH, OW] in the input's element type and layout.

    Raises:
        UsageError: shapes, types or devices do not fit together.
    """
    geometry = _geometry(stride, padding, dilation)
    check_tensors("deform_conv2d", ("bias",), input=input, weight=weight, bias=bias)
    device = input.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        input, weight = _autocast(input, dtype), _autocast(weight, dtype)
        bias = None if bias is None else _autocast(bias, dtype)
    _check(input, offset, weight, bias, mask, *geometry)
    if not has_kernels(input):
        return eager.deform_conv2d(input, offset, weight, bias, mask, *geometry)
    return torch.ops.accel_rt.deform_conv2d(input, offset, weight, bias, mask, *geometry)


def deform_conv2d_pack(weight: Tensor, channels: int, offset_groups: int) -> Tensor | None:
    """`weight` laid out once as :func:`deform_conv2d_packed` reads it on this processor.

    Args:
        weight: [C_out, C / groups, KH, KW] on the CPU, of the input's type.
        channels: C of the inputs to come.
        offset_groups: of the offsets to come.

    Returns:
        A tensor of the same shape, of use for nothing else, or None where the compiled operators
        are missing.

    Raises:
        UsageError: shapes or types do not fit together.
    """
    check_tensors("deform_conv2d_pack", weight=weight)
    if weight.dim() != 4 or not weight.is_floating_point() or weight.device.type == "cuda":
        raise UsageError(
            "deform_conv2d_pack: weight must be a floating point tensor of 4 dimensions on the CPU,"
            f" got {tuple(weight.shape)} of {weight.dtype} on {weight.device}"
        )
    _check_weight(weight, channels)
    if offset_groups < 1 or channels % offset_groups:
        raise UsageError(
            f"deform_conv2d_pack: offset_groups must divide {channels} channels, got"
            f" {offset_groups}"
        )
    if not has_kernels(weight, "deform_conv2d_packed"):
        return None
    with torch.no_grad():
        return torch.ops.accel_rt.deform_conv2d_pack(weight, channels, offset_groups)


def deform_conv2d_packed(
    input: Tensor,
    offset: Tensor,
    packed: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    mask: Tensor | None = None,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """``relu(deform_conv2d(...) + shortcut)`` with weights that were laid out before.

    For inference on the CPU: no gradient flows, and autocast changes nothing.

    Args:
        input, offset, bias, stride, padding, dilation, mask: as of :func:`deform_conv2d`.
        packed: from :func:`deform_conv2d_pack` for as many channels and offset groups.
        shortcut: [N, C_out, OH, OW] in the input's type, or None.
        relu: whether negative results become zero.

    Returns:
        [N, C_out, OH, OW] in the input's element type and layout.

    Raises:
        UsageError: shapes, types or devices do not fit together.
    """
    geometry = _geometry(stride, padding, dilation)
    check_tensors("deform_conv2d_packed", packed=packed)
    check_packed("deform_conv2d_packed", packed)
    _check(input, offset, packed, bias, mask, *geometry)
    if input.device.type == "cuda":
        raise UsageError("deform_conv2d_packed: tensors must be on the CPU, use deform_conv2d")
    _check_shortcut(input, shortcut, (packed.shape[0], *offset.shape[2:]))
    return without_gradient(
        torch.ops.accel_rt.deform_conv2d_packed.default,
        *(input, offset, packed, bias, mask, shortcut, relu, *geometry),
    )


def _check_shortcut(input: Tensor, shortcut: Tensor | None, size: tuple[int, ...]) -> None:
    if shortcut is None:
        return
    check_tensors("deform_conv2d_packed", shortcut=shortcut)
    wanted = (input.shape[0], *size)
    if (shortcut.shape, shortcut.dtype, shortcut.device) != (wanted, input.dtype, input.device):
        raise UsageError(
            f"deform_conv2d_packed: shortcut must be {wanted} of {input.dtype} on {input.device},"
            f" got {tuple(shortcut.shape)} of {shortcut.dtype} on {shortcut.device}"
        )


def _autocast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


def _geometry(
    stride: int | Pair, padding: int | Pair, dilation: int | Pair
) -> tuple[Pair, Pair, Pair]:
    options = (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    one, two, three = (as_pair_or_number("deform_conv2d", *option) for option in options)
    return one, two, three


def _output_size(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Pair:
    height, width = (
        (input.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1)
        // stride[i]
        + 1
        for i in range(2)
    )
    return height, width


def _check(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> None:
    check_tensors(
        "deform_conv2d",
        ("mask", "bias"),
        input=input,
        offset=offset,
        weight=weight,
        mask=mask,
        bias=bias,
    )
    tensors = {"input": input, "offset": offset, "weight": weight, "mask": mask, "bias": bias}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        dims = 1 if name == "bias" else 4
        if tensor.dim() != dims or not tensor.is_floating_point():
            raise UsageError(
                f"deform_conv2d: {name} must be a floating point tensor of {dims} dimensions, got"
                f" {tuple(tensor.shape)} of {tensor.dtype}"
            )
        if tensor.device != input.device:
            raise UsageError(
                f"deform_conv2d: input is on {input.device}, {name} on {tensor.device}"
            )
        if name in ("weight", "bias") and tensor.dtype != input.dtype:
            raise UsageError(
                f"deform_conv2d: {name} must have input's type {input.dtype}, got {tensor.dtype}"
            )
    images, channels, *sides = input.shape
    if min(sides) < 1:
        raise UsageError(
            f"deform_conv2d: input must have rows and columns, got {tuple(input.shape)}"
        )
    _check_weight(weight, channels)
    outputs, _, kernel_height, kernel_width = weight.shape
    if bias is not None and bias.shape != (outputs,):
        raise UsageError(f"deform_conv2d: bias must be ({outputs},), got {tuple(bias.shape)}")
    size = _output_size(input, weight, stride, padding, dilation)
    if min(size) < 1:
        raise UsageError(
            f"deform_conv2d: an input {tuple(input.shape)} with padding {padding} is smaller than"
            f" the kernel {(kernel_height, kernel_width)} with dilation {dilation}"
        )
    padded = (input.shape[2] + 2 * padding[0], input.shape[3] + 2 * padding[1])
    check_sides("deform_conv2d", "the padded input", *padded)
    taps = kernel_height * kernel_width
    offset_groups = offset.shape[1] // (2 * taps)
    wanted = (images, offset_groups * 2 * taps, *size)
    if offset_groups == 0 or channels % offset_groups or offset.shape != wanted:
        raise UsageError(
            f"deform_conv2d: offset must be [{images}, offset_groups * {2 * taps}, {size[0]},"
            f" {size[1]}] with offset_groups dividing {channels} channels, got"
            f" {tuple(offset.shape)}"
        )
    if mask is not None and mask.shape != (images, offset_groups * taps, *size):
        raise UsageError(
            f"deform_conv2d: mask must be {(images, offset_groups * taps, *size)},"
            f" got {tuple(mask.shape)}"
        )


def _check_weight(weight: Tensor, channels: int) -> None:
    outputs, group_channels = weight.shape[:2]
    if weight.numel() == 0 or channels < 1 or channels % group_channels:
        raise UsageError(
            "deform_conv2d: weight must be [C_out, C / groups, KH, KW] for an input of"
            f" {channels} channels, got {tuple(weight.shape)}"
        )
    if outputs % (channels // group_channels):
        raise UsageError(
            f"deform_conv2d: weight's {outputs} outputs must divide into its"
            f" {channels // group_channels} groups"
        )


def _fake(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    shape = (input.shape[0], weight.shape[0], offset.shape[2], offset.shape[3])
    return input.new_empty(shape).to(memory_format=output_format(input))


def _fake_pack(weight: Tensor, channels: int, offset_groups: int) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.channels_last)


def _fake_packed(
    input: Tensor,
    offset: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    shortcut: Tensor | None,
    relu: bool,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return _fake(input, offset, packed, bias, mask, stride, padding, dilation)


def _fake_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    need_input: bool,
    need_offset: bool,
    need_weight: bool,
    need_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        fake_gradient(need_input, input, input),
        fake_gradient(need_offset, offset, input),
        fake_gradient(need_weight, weight, input),
        fake_gradient(need_mask, input if mask is None else mask, input),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset, weight, _, mask, *ctx.geometry = inputs
    ctx.save_for_backward(input, offset, weight, mask)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    input, offset, weight, mask = ctx.saved_tensors
    need_input, need_offset, need_weight, need_bias, need_mask, *_ = ctx.needs_input_grad
    needed = (need_input, need_offset, need_weight, need_mask)
    found: list[Tensor | None] = [None] * 4
    if any(needed):
        gradients = torch.ops.accel_rt.deform_conv2d_backward(
            grad, input, offset, weight, mask, *ctx.geometry, *needed
        )
        found = [g if need else None for g, need in zip(gradients, needed, strict=True)]
    grad_bias = grad.sum((0, 2, 3)) if need_bias else None
    return found[0], found[1], found[2], grad_bias, found[3], None, None, None


if has_operator("deform_conv2d_packed"):
    torch.library.register_fake("accel_rt::deform_conv2d_pack", _fake_pack)
    torch.library.register_fake("accel_rt::deform_conv2d_packed", _fake_packed)
if extension_status().loaded:
    torch.library.register_fake("accel_rt::deform_conv2d", _fake)
    torch.library.register_fake("accel_rt::deform_conv2d_backward", _fake_backward)
    torch.library.register_autograd(
        "accel_rt::deform_conv2d", _backward, setup_context=_setup_context
    )

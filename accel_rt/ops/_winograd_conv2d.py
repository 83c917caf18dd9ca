"""3x3 convolution by minimal filtering."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops._checks import MAX_SIDE, check_packed, check_sides, check_tensors
from accel_rt.ops._extension import has_kernels, has_operator, output_format, without_gradient


def winograd_conv2d_pack(weight: Tensor) -> Tensor | None:
    """`weight` transformed and laid out once as :func:`winograd_conv2d` reads it here.

    Args:
        weight: [C_out, C, 3, 3] on the CPU, of the input's type.

    Returns:
        A tensor of use for nothing else, or None where an ordinary convolution is faster or the
        only one: without the compiled operators, for other types than float32 and bfloat16, in
        bfloat16 on a processor that does not multiply vectors of it or has tiles for it (AMX), for
        C below 32 or not a multiple of 16, and where C_out fills less than two thirds of as many
        times 32.

    Raises:
        UsageError: weight is not of a 3x3 convolution on the CPU.
    """
    check_tensors("winograd_conv2d_pack", weight=weight)
    if weight.dim() != 4 or weight.shape[2:] != (3, 3) or not weight.is_floating_point():
        raise UsageError(
            "winograd_conv2d_pack: weight must be a floating point tensor [C_out, C, 3, 3], got"
            f" {tuple(weight.shape)} of {weight.dtype}"
        )
    if weight.device.type != "cpu":
        raise UsageError(f"winograd_conv2d_pack: weight must be on the CPU, not {weight.device}")
    if not has_kernels(weight, "winograd_conv2d") or weight.numel() == 0:
        return None
    with torch.no_grad():
        if not torch.ops.accel_rt.winograd_conv2d_pays(weight):
            return None
        return torch.ops.accel_rt.winograd_conv2d_pack(weight)


def winograd_conv2d(
    input: Tensor,
    packed: Tensor,
    bias: Tensor,
    dilation: int = 1,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """``relu(F.conv2d(input, weight, bias, 1, dilation, dilation) + shortcut)`` for 3x3 kernels.

    For inference on the CPU: no gradient flows, and autocast changes nothing. Four neighbouring
    outputs take 16 products of a channel instead of 36; in bfloat16 results are off by about 1.5
    times as much as an ordinary convolution's. An infinite or NaN input reaches every output of the
    tiles that it touches.
    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016),
    section 4.1, F(2x2, 3x3).

    Args:
        input: [N, C, H, W] on the CPU, float32 or bfloat16; channels_last is fastest.
        packed: from :func:`winograd_conv2d_pack`, of the input's type.
        bias: [C_out].
        dilation: pixels between neighbouring taps; the padding is the same.
        shortcut: [N, C_out, H, W] in the input's type, or None.
        relu: whether negative results become zero.

    Returns:
        [N, C_out, H, W] in the input's element type and layout.

    Raises:
        UsageError: shapes, types or devices do not fit together.
    """
    _check(input, packed, bias, dilation, shortcut)
    return without_gradient(
        torch.ops.accel_rt.winograd_conv2d.default,
        *(input, packed, bias, shortcut, relu, dilation),
    )


def _check(
    input: Tensor, packed: Tensor, bias: Tensor, dilation: int, shortcut: Tensor | None
) -> None:
    check_tensors(
        "winograd_conv2d", ("shortcut",), input=input, packed=packed, bias=bias, shortcut=shortcut
    )
    check_packed(
        "winograd_conv2d", packed, packed.shape[2:] == (4, 4) and packed.shape[0] % 32 == 0
    )
    channels = packed.shape[1]
    if input.dim() != 4 or input.shape[1] != channels or input.dtype != packed.dtype:
        raise UsageError(
            f"winograd_conv2d: input must be [N, {channels}, H, W] of {packed.dtype}, got"
            f" {tuple(input.shape)} of {input.dtype}"
        )
    for name, tensor in (("packed", packed), ("bias", bias), ("shortcut", shortcut)):
        if tensor is not None and tensor.device != input.device:
            raise UsageError(
                f"winograd_conv2d: input is on {input.device}, {name} on {tensor.device}"
            )
    outputs = packed.shape[0]
    if bias.dim() != 1 or not outputs - 32 < bias.shape[0] <= outputs or bias.dtype != input.dtype:
        raise UsageError(
            "winograd_conv2d: bias must be [C_out] for the weight that was packed, of the input's"
            f" type, got {tuple(bias.shape)} of {bias.dtype}"
        )
    size = (input.shape[0], bias.shape[0], *input.shape[2:])
    if shortcut is not None and (shortcut.shape != size or shortcut.dtype != input.dtype):
        raise UsageError(
            f"winograd_conv2d: shortcut must be {size} of {input.dtype}, got"
            f" {tuple(shortcut.shape)} of {shortcut.dtype}"
        )
    check_sides("winograd_conv2d", "input", *input.shape[2:])
    if not isinstance(dilation, int) or dilation < 1:
        raise UsageError(f"winograd_conv2d: dilation must be at least 1, got {dilation!r}")
    if dilation > MAX_SIDE:
        raise UsageError(f"winograd_conv2d: dilation must be at most {MAX_SIDE}, got {dilation}")


def _fake_pack(weight: Tensor) -> Tensor:
    outputs, channels = weight.shape[:2]
    packed = weight.new_empty((outputs + 31) // 32 * 32, channels, 4, 4)
    return packed.to(memory_format=torch.channels_last)


def _fake(
    input: Tensor,
    packed: Tensor,
    bias: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    dilation: int,
) -> Tensor:
    size = (input.shape[0], bias.shape[0], *input.shape[2:])
    return input.new_empty(size).to(memory_format=output_format(input))


if has_operator("winograd_conv2d"):
    torch.library.register_fake("accel_rt::winograd_conv2d_pack", _fake_pack)
    torch.library.register_fake("accel_rt::winograd_conv2d", _fake)

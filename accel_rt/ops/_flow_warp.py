"""Warping an image or feature map by optical flow."""

from typing import Any, Literal

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import check_sides, check_tensors
from accel_rt.ops._extension import extension_status, has_kernels, output_format

Padding = Literal["border", "zeros"]


def flow_warp(
    input: Tensor, flow: Tensor, padding: Padding = "border", *, out: Tensor | None = None
) -> Tensor:
    """Samples `input` where the flow points: backward warping.

    ``out[n, c, y, x] = bilinear(input[n, c], y + flow[n, 1, y, x], x + flow[n, 0, y, x])``

    Positions are in pixels with pixel centres at integers, so a flow of zero returns the input and
    a flow of (1, 0) moves the picture one pixel to the left; Inf and NaN, too, reach only what is
    sampled from them. Differentiable in `input` and `flow`;
    where the border repeats, the gradient of the flow is zero. A NaN in the flow reads row or
    column 0 with ``padding="border"`` and nothing with ``"zeros"``.

    Args:
        input: [N, C, H, W], any floating point type; channels_last is fastest.
        flow: [N, 2, H, W], x and y displacement in pixels of `input`'s grid, of any floating point
            type (it is used in float32, or in float64 with such an input).
        padding: what lies outside the image: the nearest edge pixel, or zero.
        out: where to write the result, of `input`'s shape, type and device, in memory of its own.
            It saves the allocation, which for large maps takes longer than the warp (with
            ``THP_MEM_ALLOC_ENABLE=1`` in the environment torch asks for huge pages, which on Linux
            take half as long). Without gradients only.

    Returns:
        [N, C, H, W] in `input`'s element type and layout; `out` if given.

    Raises:
        UsageError: a shape, type or padding does not fit.
    """
    _check(input, flow, padding)
    zeros = padding == "zeros"
    if out is not None:
        return _warp_into(out, input, flow, zeros)
    if not has_kernels(input):
        return eager.flow_warp(input, flow, zeros)
    return torch.ops.accel_rt.flow_warp(input, flow, zeros)


def _warp_into(out: Tensor, input: Tensor, flow: Tensor, zeros: bool) -> Tensor:
    check_tensors("flow_warp", out=out)
    if (out.shape, out.dtype, out.device) != (input.shape, input.dtype, input.device):
        raise UsageError(
            f"flow_warp: out must be like input, {tuple(input.shape)} of {input.dtype} on"
            f" {input.device}, got {tuple(out.shape)} of {out.dtype} on {out.device}"
        )
    if torch.is_grad_enabled() and any(t.requires_grad for t in (input, flow, out)):
        raise UsageError("flow_warp: out cannot be given where gradients are needed")
    if not torch.compiler.is_compiling() and _overlaps(out, input, flow):
        raise UsageError(
            "flow_warp: out must have memory of its own, got one that overlaps input, flow or"
            " itself"
        )
    if has_kernels(input):
        torch.ops.accel_rt.flow_warp_out(input, flow, zeros, out)
        if not torch.compiler.is_compiling() and not out.is_inference():
            # What a graph saved of it before can no longer be used: backward says so.
            torch.autograd.graph.increment_version(out)
    else:
        out.copy_(eager.flow_warp(input, flow, zeros))
    return out


def _overlaps(out: Tensor, *others: Tensor) -> bool:
    """Whether elements of `out` share memory with each other, or lie among those of `others`."""
    if out.numel() == 0 or out.device.type == "meta":
        return False
    if any(size > 1 and stride == 0 for size, stride in zip(out.shape, out.stride(), strict=True)):
        return True
    begin, end = _span(out)
    return any(first < end and begin < last for first, last in map(_span, others))


def _span(tensor: Tensor) -> tuple[int, int]:
    """The addresses between which a tensor's elements lie."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.element_size()


def _check(input: Tensor, flow: Tensor, padding: str) -> None:
    check_tensors("flow_warp", input=input, flow=flow)
    if padding not in ("border", "zeros"):
        raise UsageError(f"flow_warp: padding must be 'border' or 'zeros', got {padding!r}")
    if input.dim() != 4 or not input.is_floating_point():
        raise UsageError(
            "flow_warp: input must be a floating point tensor [N, C, H, W], got"
            f" {tuple(input.shape)} of {input.dtype}"
        )
    images, _, height, width = input.shape
    if flow.shape != (images, 2, height, width) or not flow.is_floating_point():
        raise UsageError(
            f"flow_warp: flow must be a floating point tensor {(images, 2, height, width)} for an"
            f" input {tuple(input.shape)}, got {tuple(flow.shape)} of {flow.dtype}"
        )
    if flow.device != input.device:
        raise UsageError(f"flow_warp: input is on {input.device}, flow on {flow.device}")
    check_sides("flow_warp", "input", height, width)


def _fake(input: Tensor, flow: Tensor, zeros: bool) -> Tensor:
    return input.new_empty(input.shape).to(memory_format=output_format(input))


def _fake_out(input: Tensor, flow: Tensor, zeros: bool, out: Tensor) -> None:
    return None


def _fake_backward(
    grad: Tensor, input: Tensor, flow: Tensor, zeros: bool, need_input: bool, need_flow: bool
) -> tuple[Tensor, Tensor]:
    return fake_gradient(need_input, input, input), fake_gradient(need_flow, flow, input)


def fake_gradient(needed: bool, like: Tensor, input: Tensor) -> Tensor:
    """The shape of a backward operator's result for `like`: empty where it is not needed."""
    if needed:
        return like.new_empty(like.shape).to(memory_format=output_format(like))
    wide = torch.float64 if input.dtype == torch.float64 else torch.float32
    return input.new_empty(0, dtype=wide)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, flow, ctx.zeros = inputs
    ctx.save_for_backward(input, flow)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    input, flow = ctx.saved_tensors
    need_input, need_flow, _ = ctx.needs_input_grad
    grad_input, grad_flow = torch.ops.accel_rt.flow_warp_backward(
        grad, input, flow, ctx.zeros, need_input, need_flow
    )
    return grad_input if need_input else None, grad_flow if need_flow else None, None


if extension_status().loaded:
    torch.library.register_fake("accel_rt::flow_warp", _fake)
    torch.library.register_fake("accel_rt::flow_warp_out", _fake_out)
    torch.library.register_fake("accel_rt::flow_warp_backward", _fake_backward)
    torch.library.register_autograd("accel_rt::flow_warp", _backward, setup_context=_setup_context)

"""Following a flow along another one."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops._checks import check_sides, check_tensors
from accel_rt.ops._extension import has_kernels, has_operator, output_format
from accel_rt.ops._flow_warp import flow_warp


def compose_flow(older: Tensor, newer: Tensor) -> Tensor:
    """``O(k -> i)`` from ``O(k -> i-1)`` and ``O(i-1 -> i)``: ``newer + flow_warp(older, newer)``.

    A position moves back by the newer flow, and from there by the older one; outside the grid the
    border repeats. Differentiable in both.

    Args:
        older, newer: [N, 2, H, W] (x, y) in cells, of one floating point type; channels_last is
            fastest.

    Returns:
        [N, 2, H, W] in the flows' type and `newer`'s layout.

    Raises:
        UsageError: shapes, types or devices do not fit together.
    """
    check_tensors("compose_flow", older=older, newer=newer)
    if older.dim() != 4 or older.shape[1] != 2 or not older.is_floating_point():
        raise UsageError(
            "compose_flow: flows must be floating point tensors [N, 2, H, W], got"
            f" {tuple(older.shape)} of {older.dtype}"
        )
    if (newer.shape, newer.dtype, newer.device) != (older.shape, older.dtype, older.device):
        raise UsageError(
            f"compose_flow: newer must be like older, {tuple(older.shape)} of {older.dtype} on"
            f" {older.device}, got {tuple(newer.shape)} of {newer.dtype} on {newer.device}"
        )
    check_sides("compose_flow", "flows", *older.shape[2:])
    needs_gradient = torch.is_grad_enabled() and (older.requires_grad or newer.requires_grad)
    if needs_gradient or not has_kernels(older, "compose_flow"):
        return newer + flow_warp(older, newer)
    return torch.ops.accel_rt.compose_flow(older, newer)


def _compose_on_cpu(older: Tensor, newer: Tensor) -> Tensor:
    warped = torch.ops.accel_rt.flow_warp(older, newer, False)
    return (newer + warped).contiguous(memory_format=output_format(newer))


def _fake(older: Tensor, newer: Tensor) -> Tensor:
    return newer.new_empty(newer.shape).to(memory_format=output_format(newer))


if has_operator("compose_flow"):
    torch.library.register_fake("accel_rt::compose_flow", _fake)
    torch.library.impl("accel_rt::compose_flow", "CPU", _compose_on_cpu)

"""Dense flow to the feature grid, on the flow's device."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import (
    MAX_CUDA_SIDE,
    MAX_SIDE,
    Pair,
    as_pair,
    check_sides,
    check_tensors,
    with_memory,
)
from accel_rt.ops._extension import has_kernels, has_operator


def reduce_flow(
    flow: Tensor, frame: Pair, cells: Pair, stride: int, pixels_of: Pair | None = None
) -> Tensor:
    """Dense flow of a whole frame to the feature grid by area averaging, in cells.

    The tensor form of :func:`accel_rt.flow.grid.reduce_flow`: the grid covers the padded frame,
    whose padding takes the flow of the nearest edge.

    Args:
        flow: [N, 2, h, w] (x, y) of float32, bfloat16 or float16 (on the CPU also float64), at
            any resolution and layout.
        frame: (height, width) of the frame in pixels, without padding.
        cells: (height, width) of the grid.
        stride: pixels of the frame that a cell spans.
        pixels_of: (height, width) of the image in whose pixels `flow` counts; the flow's own
            resolution by default.

    Returns:
        [N, 2, *cells], channels_last, float32 (float64 for such a flow).

    Raises:
        UsageError: a shape or type does not fit, or the flow is coarser than the grid.
    """
    check_tensors("reduce_flow", flow=flow)
    if flow.dim() != 4 or flow.shape[1] != 2 or not flow.is_floating_point():
        raise UsageError(
            "reduce_flow: flow must be a floating point tensor [N, 2, h, w], got"
            f" {tuple(flow.shape)} of {flow.dtype}"
        )
    height, width = flow.shape[2:]
    frame, cells = (
        as_pair("reduce_flow", "frame", frame),
        as_pair("reduce_flow", "cells", cells, "cells"),
    )
    if min(height, width) < 1 or not isinstance(stride, int) or not 1 <= stride <= MAX_SIDE:
        raise UsageError(
            "reduce_flow: the flow's sides and the stride must be positive, and the stride at most"
            f" {MAX_SIDE}, got {(height, width)} and {stride!r}"
        )
    padded = (
        max(height, round(cells[0] * stride * height / frame[0])),
        max(width, round(cells[1] * stride * width / frame[1])),
    )
    check_sides("reduce_flow", "the grid in pixels of the flow", *padded)
    if flow.device.type == "cuda" and max(padded) > MAX_CUDA_SIDE:
        raise UsageError(
            f"reduce_flow: on CUDA the grid must span at most {MAX_CUDA_SIDE} pixels of the flow"
            f" each way, got {padded}"
        )
    if padded[0] < cells[0] or padded[1] < cells[1]:
        raise UsageError(f"reduce_flow: a flow of {padded} is coarser than the grid of {cells}")
    unit = (height, width) if pixels_of is None else as_pair("reduce_flow", "pixels_of", pixels_of)
    factor_x, factor_y = frame[1] / (unit[1] * stride), frame[0] / (unit[0] * stride)
    with torch.no_grad():
        run = (
            torch.ops.accel_rt.reduce_flow
            if has_kernels(flow, "reduce_flow")
            else eager.reduce_flow
        )
        arguments = (flow, padded, cells, factor_x, factor_y)
        return with_memory("reduce_flow", f"a grid of {cells}", run, *arguments)


def _fake(
    flow: Tensor, padded: list[int], cells: list[int], factor_x: float, factor_y: float
) -> Tensor:
    dtype = torch.float64 if flow.dtype == torch.float64 else torch.float32
    shape = (flow.shape[0], 2, cells[0], cells[1])
    return flow.new_empty(shape, dtype=dtype).to(memory_format=torch.channels_last)


if has_operator("reduce_flow"):
    torch.library.register_fake("accel_rt::reduce_flow", _fake)
    torch.library.impl("accel_rt::reduce_flow", "CPU", eager.reduce_flow)

"""One level of optical flow by dense inverse search, on the frames' device."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import check_sides, check_tensors, with_memory
from accel_rt.ops._extension import has_kernels, has_operator


def patch_flow(
    current: Tensor,
    previous: Tensor,
    flow: Tensor,
    rounds: int = 2,
    iterations: int = 4,
    damping: float = 200.0,
) -> Tensor:
    """Backward flow between two grey images, improved from a first guess.

    Patches of 8x8 pixels, four apart, are sought in the previous image by Gauss-Newton steps on
    their brightness less its mean, from the best of the displacements that they and their four
    neighbours have. Each pixel's flow is the mean of those over it, weighed by how well they fit.
    Kroeger et al., Fast Optical Flow using Dense Inverse Search (2016); neighbours are asked in
    rounds, since patches run side by side on a GPU, where the paper goes through them in turn.

    Args:
        current, previous: [N, H, W], float32, brightness from 0 to 255.
        flow: [N, 2, h, w] (x, y), float32: where to begin, in pixels of a map of any size that
            covers the image.
        rounds: how often neighbours are asked.
        iterations: steps in each round.
        damping: added to the squares of a patch's slopes, so that flat ones stay where they are.

    Returns:
        [N, 2, H, W], float32: a pixel (x, y) was at (x, y) + flow in the previous image.

    Raises:
        UsageError: a shape or type does not fit.
    """
    check_tensors("patch_flow", current=current, previous=previous, flow=flow)
    shapes = tuple(current.shape), tuple(previous.shape), tuple(flow.shape)
    fits = current.dim() == 3 and shapes[1] == shapes[0]
    if not fits or flow.dim() != 4 or shapes[2][:2] != (shapes[0][0], 2):
        raise UsageError(
            f"patch_flow: images must be [N, H, W] of one size and flow [N, 2, h, w], got {shapes}"
        )
    if {tensor.dtype for tensor in (current, previous, flow)} != {torch.float32}:
        raise UsageError(
            f"patch_flow: images and flow must be float32, got {current.dtype}, {previous.dtype} "
            f"and {flow.dtype}"
        )
    if len({tensor.device for tensor in (current, previous, flow)}) > 1:
        raise UsageError("patch_flow: images and flow must be on one device")
    if min(shapes[0][1:]) < eager.PATCH:
        raise UsageError(
            f"patch_flow: images must be at least {eager.PATCH} pixels high and wide, got "
            f"{shapes[0][1:]}"
        )
    check_sides("patch_flow", "images", *shapes[0][1:])
    check_sides("patch_flow", "flow", *shapes[2][2:])
    if not (1 <= rounds <= 100 and 0 <= iterations <= 100 and damping > 0):
        raise UsageError(
            f"patch_flow: rounds must be 1 to 100, iterations 0 to 100 and damping above 0, got "
            f"{rounds}, {iterations} and {damping}"
        )
    with torch.no_grad():
        run = (
            torch.ops.accel_rt.patch_flow
            if has_kernels(current, "patch_flow")
            else eager.patch_flow
        )
        arguments = (current, previous, flow, rounds, iterations, damping)
        return with_memory("patch_flow", f"images of {shapes[0]}", run, *arguments)


def _fake(
    current: Tensor, previous: Tensor, flow: Tensor, rounds: int, iterations: int, damping: float
) -> Tensor:
    return flow.new_empty((flow.shape[0], 2, *current.shape[1:]))


if has_operator("patch_flow"):
    torch.library.register_fake("accel_rt::patch_flow", _fake)
    torch.library.impl("accel_rt::patch_flow", "CPU", eager.patch_flow)

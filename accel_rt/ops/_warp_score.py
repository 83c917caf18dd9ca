"""Warping cached features and scoring them, in one pass."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import check_sides, check_tensors
from accel_rt.ops._extension import (
    extension_status,
    has_kernels,
    output_format,
    without_gradient,
)


def warp_score(cache: Tensor, flow: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``weight @ relu(flow_warp(cache, flow)) + bias`` without storing the warped features.

    Positions as in :func:`accel_rt.ops.flow_warp` with ``padding="border"``. For inference: no
    gradient flows.

    A feature of +Inf makes scores infinite, or NaN where its weight is zero or infinities of both
    signs meet. With AMX (K a multiple of 32, any type but float64) it makes all scores NaN, and so
    do Inf and NaN at all four neighbours of a sample, where others skip taps of weight zero.

    Args:
        cache: [N, K, H, W] features before their ReLU, any floating point type; channels_last is
            fastest.
        flow: [N, 2, H, W], x and y displacement in pixels of `cache`'s grid, any floating point
            type.
        weight: [C, K] scoring matrix, any floating point type.
        bias: [C].

    Returns:
        [N, C, H, W] scores, float32 (float64 for such a cache) whatever the cache's type, since
        the sums are kept in it; in the cache's layout.

    Raises:
        UsageError: shapes, types or devices do not fit together.
    """
    arguments = cache, flow, weight, bias
    _check(*arguments)
    if has_kernels(cache):
        return without_gradient(torch.ops.accel_rt.warp_score.default, *arguments)
    with torch.no_grad():  # so that both paths behave alike
        return eager.warp_score(*arguments)


def _check(cache: Tensor, flow: Tensor, weight: Tensor, bias: Tensor) -> None:
    check_tensors("warp_score", cache=cache, flow=flow, weight=weight, bias=bias)
    if cache.dim() != 4 or cache.shape[1] == 0:
        raise UsageError(f"warp_score: cache must be [N, K, H, W], got {tuple(cache.shape)}")
    images, depth, height, width = cache.shape
    if flow.shape != (images, 2, height, width):
        raise UsageError(
            f"warp_score: flow must be {(images, 2, height, width)} for a cache"
            f" {tuple(cache.shape)}, got {tuple(flow.shape)}"
        )
    if weight.dim() != 2 or weight.shape[1] != depth or weight.shape[0] == 0:
        raise UsageError(
            f"warp_score: weight must be [C, {depth}] for a cache {tuple(cache.shape)},"
            f" got {tuple(weight.shape)}"
        )
    if bias.shape != weight.shape[:1]:
        raise UsageError(f"warp_score: bias must be ({weight.shape[0]},), got {tuple(bias.shape)}")
    for name, tensor in {"cache": cache, "flow": flow, "weight": weight, "bias": bias}.items():
        if not tensor.is_floating_point() or tensor.device != cache.device:
            raise UsageError(
                f"warp_score: {name} must be floating point on {cache.device}, got"
                f" {tensor.dtype} on {tensor.device}"
            )
    check_sides("warp_score", "cache", height, width)


def _fake(cache: Tensor, flow: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    images, _, height, width = cache.shape
    dtype = torch.float64 if cache.dtype == torch.float64 else torch.float32
    scores = cache.new_empty((images, weight.shape[0], height, width), dtype=dtype)
    return scores.to(memory_format=output_format(cache))


if extension_status().loaded:
    torch.library.register_fake("accel_rt::warp_score", _fake)

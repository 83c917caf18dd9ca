"""From low-resolution class scores to full-resolution labels, in one pass."""

import math

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import Pair, as_pair, check_sides, check_tensors, with_memory
from accel_rt.ops._extension import extension_status, has_kernels, has_operator

MAX_CLASSES = 255  # labels are bytes, and 255 marks pixels without a class


def upsample_argmax(
    scores: Tensor, size: tuple[int, int], extent: tuple[float, float] | None = None
) -> Tensor:
    """The best class of each output pixel after bilinear upsampling of the scores.

    Without `extent` it equals ``F.interpolate(scores, size, mode="bilinear",
    align_corners=False).argmax(1)``; where several classes tie, the first wins. The upsampled
    scores are never stored. Scores beyond 1e30 either way count as that, NaN as the lowest: a class
    that is switched off by -inf wins nowhere.

    With `extent` the map covers that many output pixels from the origin, of which `size` are
    returned: output pixel ``i`` lies at ``(i + 0.5) * h / extent[0] - 0.5`` rows of the map, the
    edge repeating. It maps the padded frame a network saw back onto its source: a frame of height
    360 processed at scale 1 and padded to 368 has ``size=(360, ...)``, ``extent=(368.0, ...)``.

    Args:
        scores: [N, C, h, w] of any floating point type, C from 1 to 255; computed in float32.
        size: (H, W) of the labels in pixels.
        extent: (height, width) the map covers, in output pixels; `size` by default.

    Returns:
        [N, H, W] uint8 labels in 0 .. C - 1.

    Raises:
        UsageError: a shape, size or extent is out of range.
    """
    size, covered = _check(scores, size, extent)
    with torch.no_grad():
        if not has_kernels(scores):
            return eager.upsample_argmax(scores, size, covered)
        run = torch.ops.accel_rt.upsample_argmax
        return with_memory("upsample_argmax", f"labels of {size}", run, scores, size, *covered)


def upsample_argmax_margin(
    scores: Tensor, size: tuple[int, int], extent: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """The labels of :func:`upsample_argmax`, and by how much each class won.

    The margin is the best upsampled score less the second best: 0 where two classes tie, infinite
    where there is only one. Of scores that are logits it is the logarithm of how many times more
    probable the winner is than the next class.

    Arguments and errors are those of :func:`upsample_argmax`.

    Returns:
        [N, H, W] uint8 labels, and [N, H, W] float32 margins of at least 0.
    """
    size, covered = _check(scores, size, extent)
    with torch.no_grad():
        if not has_kernels(scores, "upsample_argmax_margin"):
            return eager.upsample_argmax_margin(scores, size, covered)
        run = torch.ops.accel_rt.upsample_argmax_margin
        return with_memory("upsample_argmax", f"labels of {size}", run, scores, size, *covered)


def _check(
    scores: Tensor, size: tuple[int, int], extent: tuple[float, float] | None
) -> tuple[Pair, tuple[float, float]]:
    """The size of the labels, and what the map covers in output pixels."""
    check_tensors("upsample_argmax", scores=scores)
    if scores.dim() != 4 or not scores.is_floating_point() or min(scores.shape[1:]) < 1:
        raise UsageError(
            "upsample_argmax: scores must be a floating point tensor [N, C, h, w], got"
            f" {tuple(scores.shape)} of {scores.dtype}"
        )
    if scores.shape[1] > MAX_CLASSES:
        raise UsageError(
            f"upsample_argmax: at most {MAX_CLASSES} classes fit a byte, got {scores.shape[1]}"
        )
    check_sides("upsample_argmax", "scores", *scores.shape[2:])
    size = as_pair("upsample_argmax", "size", size)
    covered = (float(size[0]), float(size[1])) if extent is None else extent
    if len(covered) != 2 or not all(0 < side < math.inf for side in covered):
        raise UsageError(
            f"upsample_argmax: extent must be (height, width), both positive, got {extent}"
        )
    return size, (covered[0], covered[1])


def _fake(scores: Tensor, size: list[int], extent_y: float, extent_x: float) -> Tensor:
    return scores.new_empty((scores.shape[0], size[0], size[1]), dtype=torch.uint8)


def _fake_margin(
    scores: Tensor, size: list[int], extent_y: float, extent_x: float
) -> tuple[Tensor, Tensor]:
    labels = _fake(scores, size, extent_y, extent_x)
    return labels, torch.empty_like(labels, dtype=torch.float32)


if extension_status().loaded:
    torch.library.register_fake("accel_rt::upsample_argmax", _fake)
if has_operator("upsample_argmax_margin"):
    torch.library.register_fake("accel_rt::upsample_argmax_margin", _fake_margin)

"""Class colours blended over frames, on the frames' device."""

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import check_tensors
from accel_rt.ops._extension import has_kernels, has_operator


def overlay(
    frame_bgr: Tensor,
    labels: Tensor,
    palette_bgr: Tensor,
    alpha: float = 0.5,
    keep: Tensor | None = None,
) -> Tensor:
    """Blends each pixel with its class's colour: ``(1 - alpha) * frame + alpha * colour``.

    Rounded to the nearest byte, halves to even: equal to
    :func:`accel_rt.video.overlay.render_overlay` on processors with fused multiply-add.

    Args:
        frame_bgr: [N, H, W, 3] uint8.
        labels: [N, H, W] uint8.
        palette_bgr: [256, 3] uint8.
        alpha: from 0 (frame only) to 1 (colours only).
        keep: [256] uint8, zero for classes whose pixels stay as they are.

    Returns:
        [N, H, W, 3] uint8.

    Raises:
        UsageError: shapes, types or devices do not fit together, or alpha is out of range.
    """
    check_tensors(
        "overlay", ("keep",), frame_bgr=frame_bgr, labels=labels, palette_bgr=palette_bgr, keep=keep
    )
    shapes = {
        "frame_bgr": (frame_bgr, (*labels.shape, 3)),
        "palette_bgr": (palette_bgr, (256, 3)),
        "keep": (keep, (256,)),
        "labels": (labels, labels.shape if labels.dim() == 3 else ("N", "H", "W")),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype != torch.uint8:
            raise UsageError(
                f"overlay: {name} must be uint8 {tuple(shape)} for labels"
                f" {tuple(labels.shape)}, got {tuple(tensor.shape)} of {tensor.dtype}"
            )
        if tensor.device != frame_bgr.device:
            raise UsageError(
                f"overlay: frame_bgr is on {frame_bgr.device}, {name} on {tensor.device}"
            )
    if not 0 <= alpha <= 1:
        raise UsageError(f"overlay: alpha must lie between 0 and 1, got {alpha}")
    run = torch.ops.accel_rt.overlay if has_kernels(frame_bgr, "overlay") else eager.overlay
    return run(frame_bgr, labels, palette_bgr, alpha, keep)


def _fake(
    frame: Tensor, labels: Tensor, palette: Tensor, alpha: float, keep: Tensor | None
) -> Tensor:
    return frame.new_empty(frame.shape)


if has_operator("overlay"):
    torch.library.register_fake("accel_rt::overlay", _fake)
    torch.library.impl("accel_rt::overlay", "CPU", eager.overlay)

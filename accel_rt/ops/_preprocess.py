"""From a frame of bytes to what the networks take, on the frame's device."""

import math

import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.ops import eager
from accel_rt.ops._checks import MAX_CUDA_SIDE, Pair, as_pair, check_tensors, with_memory
from accel_rt.ops._extension import has_kernels, has_operator

Colour = tuple[float, float, float]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def preprocess(
    frame_bgr: Tensor,
    processed: Pair,
    padded: Pair | None = None,
    *,
    mean_rgb: Colour,
    std_rgb: Colour,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """A frame resized, extended right and below by the mean colour, reduced, and normalised.

    What :func:`accel_rt.runtime.preprocess.resize_frame` and ``network_input`` do with OpenCV on
    the CPU: area averaging where the frame shrinks, bilinear otherwise, values rounded to bytes
    after each resize. Shrinking agrees to the bit save for rare ties, enlarging within one level.

    Args:
        frame_bgr: [N, H, W, 3] uint8 in BGR order.
        processed: (height, width) in pixels that the frame is resized to.
        padded: (height, width) in pixels that it is then extended to; `processed` by default.
        mean_rgb, std_rgb: of values in 0..1; the mean's nearest byte is the border's colour.
        scale: reduces the padded frame, whose sides times it are rounded.
        dtype: float32, bfloat16 or float16.

    Returns:
        [N, 3, scale * padded height, scale * padded width] RGB, channels_last.

    Raises:
        UsageError: a shape, size or type is out of range.
    """
    check_tensors("preprocess", frame_bgr=frame_bgr)
    if frame_bgr.dim() != 4 or frame_bgr.dtype != torch.uint8 or frame_bgr.shape[3] != 3:
        raise UsageError(
            "preprocess: frame_bgr must be a uint8 tensor [N, H, W, 3], got"
            f" {tuple(frame_bgr.shape)} of {frame_bgr.dtype}"
        )
    if min(frame_bgr.shape[1:3]) < 1:
        raise UsageError(f"preprocess: a frame needs a pixel, got {tuple(frame_bgr.shape)}")
    processed = as_pair("preprocess", "processed", processed)
    padded = processed if padded is None else as_pair("preprocess", "padded", padded)
    size = _scaled(padded, scale)
    if padded[0] < processed[0] or padded[1] < processed[1]:
        raise UsageError(
            f"preprocess: padded must be not smaller than processed, got {processed}, {padded}"
        )
    if frame_bgr.device.type == "cuda" and max(*frame_bgr.shape[1:3], *padded, *size) > (
        MAX_CUDA_SIDE
    ):
        raise UsageError(
            f"preprocess: on CUDA sizes must be at most {MAX_CUDA_SIDE} pixels high and wide, got"
            f" {tuple(frame_bgr.shape[1:3])}, {padded} and {size}"
        )
    _check_colours(mean_rgb, std_rgb)
    if dtype not in _DTYPES:
        raise UsageError(f"preprocess: dtype must be float32, bfloat16 or float16, got {dtype}")
    run = (
        torch.ops.accel_rt.preprocess if has_kernels(frame_bgr, "preprocess") else eager.preprocess
    )
    arguments = (frame_bgr, processed, padded, size, mean_rgb, std_rgb, dtype)
    return with_memory("preprocess", f"an image of {size}", run, *arguments)


def _scaled(padded: Pair, scale: float) -> Pair:
    if not 0 < scale < math.inf:
        raise UsageError(f"preprocess: scale must be positive and finite, got {scale}")
    size = (round(padded[0] * scale), round(padded[1] * scale))
    return as_pair("preprocess", f"{padded} scaled by {scale}", size)


def _check_colours(mean_rgb: Colour, std_rgb: Colour) -> None:
    if len(mean_rgb) != 3 or not all(0 <= value <= 1 for value in mean_rgb):
        raise UsageError(f"preprocess: mean_rgb must be three numbers in 0..1, got {mean_rgb}")
    if len(std_rgb) != 3 or not all(0 < value < math.inf for value in std_rgb):
        raise UsageError(f"preprocess: std_rgb must be three positive numbers, got {std_rgb}")


def _fake(
    frame: Tensor,
    processed: list[int],
    padded: list[int],
    size: list[int],
    mean: list[float],
    std: list[float],
    dtype: torch.dtype,
) -> Tensor:
    shape = (frame.shape[0], 3, size[0], size[1])
    return frame.new_empty(shape, dtype=dtype).to(memory_format=torch.channels_last)


if has_operator("preprocess"):
    torch.library.register_fake("accel_rt::preprocess", _fake)
    torch.library.impl("accel_rt::preprocess", "CPU", eager.preprocess)

"""What the machine can do at best, as plain calls that are timed beside the operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def memcpy(source: Tensor) -> Callable[[], Tensor]:
    """Copy ``source`` into an output of its layout that is already there."""
    out = torch.empty_like(source)
    return lambda: out.copy_(source)


def fill(shape: tuple[int, ...], device: torch.device) -> Callable[[], Tensor]:
    """Write uint8 labels of ``shape`` into memory that is already there."""
    out = torch.empty(shape, dtype=torch.uint8, device=device)
    return lambda: out.fill_(1)


def plain_conv2d(input: Tensor, weight: Tensor, dilation: int) -> Callable[[], Tensor]:
    """The same-size 3x3 convolution without displaced taps."""
    return lambda: F.conv2d(input, weight, None, 1, dilation, dilation)


def gemm(cache: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """``weight [C, K]`` times every pixel of ``cache`` ``[1, K, H, W]`` channels_last."""
    pixels = cache.permute(0, 2, 3, 1).reshape(-1, cache.shape[1])
    columns = weight.t()
    out = torch.empty((pixels.shape[0], weight.shape[0]), dtype=cache.dtype, device=cache.device)
    return lambda: torch.mm(pixels, columns, out=out)

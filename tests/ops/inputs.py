"""Random inputs and the layouts that tensors come in."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def channel_slice(tensor: Tensor) -> Tensor:
    """The middle channels of a wider channels_last tensor."""
    wide = torch.cat(
        [torch.full_like(tensor[:, :1], 7), tensor, torch.zeros_like(tensor[:, :1])], 1
    )
    return channels_last(wide)[:, 1:-1]


def strided(tensor: Tensor) -> Tensor:
    """Every other pixel of a larger image."""
    return tensor.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, ::2, 1::2]


def between_nan(tensor: Tensor) -> Tensor:
    """channels_last, with NaN before and after: what reads beyond the tensor shows."""
    margin = 32
    images, channels, height, width = tensor.shape
    memory = torch.full((tensor.numel() + 2 * margin,), torch.nan, dtype=tensor.dtype)
    inside = memory[margin:-margin].view(images, height, width, channels).permute(0, 3, 1, 2)
    return inside.copy_(tensor)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": channels_last,
    "channel_slice": channel_slice,
    "strided": strided,
    "between_nan": between_nan,
}


def residual_block(
    channels: int = 8, middle: int = 16, outputs: int = 8, kernel: int = 3
) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of an inverted residual's convolutions, for results of unit scale."""
    shapes = (middle, channels, 1, 1), (middle, 1, kernel, kernel), (outputs, middle, 1, 1)
    return [
        (torch.randn(shape) / math.sqrt(math.prod(shape[1:])), torch.randn(shape[0]) / 4)
        for shape in shapes
    ]


def displacement(*shape: int, reach: int = 3) -> Tensor:
    """Random displacements in pixels, none near an integer: there the gradient by position jumps,
    and rounding decides to which side."""
    whole = torch.randint(-reach, reach + 1, shape)
    return whole + 0.05 + 0.9 * torch.rand(shape)


def on_quarters(*shape: int, reach: int = 3) -> Tensor:
    """Random displacements in pixels, exact in every type, a quarter of them whole numbers."""
    return torch.randint(-4 * reach, 4 * reach + 1, shape) / 4


def with_infinities(tensor: Tensor, share: float = 1 / 6) -> Tensor:
    """The same with Inf, -Inf and NaN at about this share of its elements."""
    values = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=tensor.dtype)
    chosen = values[torch.randint(0, 3, tensor.shape)]
    return torch.where(torch.rand(tensor.shape) < share, chosen, tensor)

"""Weights as small integers with a scale per group: 8 bits, or 4.

A group of 8 bits is an output channel's weights, or 256 in a row where these are more: a few large
ones, such as those of a 3x3 convolution's middle, coarsen fewer others then.

A quantised tensor is stored under its own name as integers, with its scales and (where packing
hides it) its shape beside it under that name and a suffix.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Bits = Literal[4, 8, 32]
"""32: as they are."""

_SCALE = "|scale"
_SHAPE = "|shape"
_QUANTISE_FROM = 1024  # elements; smaller tensors are not worth the error
_GROUP = 64  # 4-bit weights that share a scale
_GROUP_8 = 256  # 8-bit weights that share one, at most
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_CLIPS = (1.0, 0.9, 0.8, 0.7)  # shares of the largest weight that 4 bits may reach up to


def quantise(name: str, tensor: Tensor, bits: Bits) -> dict[str, Tensor]:
    """What is stored for ``tensor``: integers where it pays, else float32 under ``name``.

    Biases, batch norms and depthwise weights stay as they are.
    """
    tensor = tensor.detach().float()
    depthwise = tensor.ndim == 4 and tensor.shape[1] == 1
    if bits == 32 or tensor.ndim < 2 or tensor.numel() < _QUANTISE_FROM or depthwise:
        return {name: tensor.contiguous()}
    if bits == 8:
        rows = tensor.flatten(1)
        scale = _scale(rows, 127)
        if rows.shape[1] > _GROUP_8:
            rows = _groups(tensor, _GROUP_8)
            scale = _scale(rows, 127).half()
        values = (rows / scale.float()).round().clamp(-127, 127).to(torch.int8).flatten()
        whole = values[: tensor.numel()].view(tensor.shape).contiguous()
        return {name: whole, name + _SCALE: scale[:, 0]}
    groups = _groups(tensor, _GROUP)
    scale = _best_clip(groups, 7).half().float()
    values = ((groups / scale).round().clamp(-7, 7) + 8).to(torch.uint8)
    return {
        name: values[:, ::2] + 16 * values[:, 1::2],
        name + _SCALE: scale[:, 0].half(),
        name + _SHAPE: torch.tensor(tensor.shape),
    }


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors that :func:`quantise` made ``stored`` from, but for rounding.

    Raises ``ValueError`` naming a tensor that it cannot have made, or one with NaN or infinities.
    """
    tensors = {}
    for name, values in stored.items():
        if name.endswith((_SCALE, _SHAPE)):
            continue
        try:
            tensors[name] = _dequantised(
                values, stored.get(name + _SCALE), stored.get(name + _SHAPE)
            )
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"'{name}' does not go with its scales or shape") from error
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"'{name}' holds values that are no finite numbers (NaN or infinite)")
    return tensors


def _dequantised(values: Tensor, scale: Tensor | None, shape: Tensor | None) -> Tensor:
    """One tensor; torch's own errors where its parts do not fit together."""
    if values.dtype in _FLOATS:
        return values.float()
    if scale is None or scale.dtype not in _FLOATS:
        raise TypeError(f"{values.dtype} needs scales")
    if values.dtype == torch.int8 and scale.shape != values.shape[:1]:
        rows = _groups(values.float(), _GROUP_8) * scale.float()[:, None]
        return rows.flatten()[: values.numel()].view(values.shape)
    if scale.shape != values.shape[:1]:
        raise TypeError(f"{values.dtype} needs a scale for each of its rows")
    if values.dtype == torch.int8:
        return values.float() * scale.float().view(-1, *[1] * (values.ndim - 1))
    if values.dtype != torch.uint8 or shape is None or shape.dtype != torch.long:
        raise TypeError(f"{values.dtype} are no weights")
    pairs = torch.stack([values % 16, values // 16], 2).flatten(1).float() - 8
    flat = (pairs * scale.float()[:, None]).flatten()
    size = torch.Size(shape.tolist())
    if flat.numel() - size.numel() not in range(_GROUP):
        raise TypeError(f"{flat.numel()} weights do not have the shape {tuple(size)}")
    return flat[: size.numel()].view(size)


def _groups(tensor: Tensor, size: int) -> Tensor:
    """``[groups, size]``: the elements in order, zeros at the end."""
    return F.pad(tensor.flatten(), (0, -tensor.numel() % size)).view(-1, size)


def _scale(rows: Tensor, top: int) -> Tensor:
    """``[rows, 1]``: what one integer step is worth if ``top`` stands for a row's largest."""
    return (rows.abs().amax(1, keepdim=True) / top).clamp(min=1e-7)


def _best_clip(rows: Tensor, top: int) -> Tensor:
    """The scales with the least squared error: a few large weights clipped serve the others."""
    scales = torch.stack([clip * _scale(rows, top) for clip in _CLIPS])
    rounded = (rows / scales).round().clamp(-top, top) * scales
    best = (rounded - rows).square().sum(2, keepdim=True).argmin(0, keepdim=True)
    return scales.gather(0, best)[0]

"""What a user would run instead of the operators: the same results by others' means."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models import onnx
from accel_rt.models.exported import start


def grid_sample_warp(input: Tensor, grid: Tensor) -> Tensor:
    """``flow_warp`` by F.grid_sample, for a
    :func:`~accel_rt.ops.eager.sampling_grid` that is already there.

    Samples in float32: a bfloat16 grid would be off by half a pixel (and is slower).
    """
    warped = F.grid_sample(input.float(), grid, padding_mode="border", align_corners=True)
    return warped.to(input.dtype)


def warp_relu_conv(cache: Tensor, grid: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``warp_score`` by F.grid_sample, ReLU and a 1x1 convolution."""
    features = F.relu(grid_sample_warp(cache, grid))
    return F.conv2d(features, weight[:, :, None, None].to(cache.dtype), bias.to(cache.dtype))


def interpolate_argmax(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """``upsample_argmax`` by F.interpolate and argmax: int64 labels ``[N, H, W]``."""
    return F.interpolate(scores, size, mode="bilinear", align_corners=False).argmax(1)


class OutputBlock(nn.Module):
    """The paper's: x16 deconvolution with bilinear weights, softmax, argmax.

    One group per class, as released; a dense deconvolution gives the same and is slower.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(classes, classes, 32, 16, 8, groups=classes, bias=False)
        ramp = 1 - ((torch.arange(32) + 0.5) / 16 - 1).abs()
        with torch.no_grad():
            self.upsample.weight.copy_((ramp[:, None] * ramp).expand(classes, 1, 32, 32))

    def forward(self, scores: Tensor) -> Tensor:
        """``[N, C, h, w]`` to int64 labels ``[N, 16 h, 16 w]``."""
        return self.upsample(scores).softmax(1).argmax(1)


def onnxruntime_deform_conv2d(
    input: Tensor, offset: Tensor, weight: Tensor, dilation: int
) -> Callable[[], Tensor] | None:
    """onnxruntime's DeformConv of these float32 tensors on the CPU; None where it is missing."""
    if not all(find_spec(name) for name in ("onnxruntime", "onnx", "onnxscript")):
        return None

    class Convolution(nn.Module):
        def forward(self, picture: Tensor) -> tuple[Tensor]:
            return (ops.deform_conv2d(picture, offset, weight, None, 1, dilation, dilation),)

    program = onnx.trace(Convolution(), {"picture": (input, None)})
    _, run = start("onnx", onnx.to_onnx(program, ("out",), {onnx.DESCRIPTION_KEY: ""}))
    return lambda: run(input, "out")


@cache
def torchvision() -> Any | None:
    """The package, None where it is missing or made for another torch."""
    try:
        package = importlib.import_module("torchvision")
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError):
        return None
    return package


def torchvision_deform_conv2d() -> Callable[..., Any] | None:
    """torchvision's operator, None where torchvision cannot be used."""
    package = torchvision()
    return None if package is None else package.ops.deform_conv2d

"""Every operator once, forward and backward, at sizes that tile and at odd ones: for sanitizers.

compute-sanitizer python -m benchmarks.every_operator
"""

from __future__ import annotations

import click
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.normalise import MEAN_RGB, STD_RGB


@click.command()
@click.argument("device", default="cuda")
def main(device: str) -> None:
    """Call all of them on DEVICE."""
    torch.manual_seed(0)
    for dtype in (torch.float16, torch.float32):
        for cells in ((7, 9), (16, 17)):
            with torch.inference_mode():
                forward(torch.device(device), dtype, cells)
    backward(torch.device(device))
    if device == "cuda":
        torch.cuda.synchronize()
    click.echo("every operator ran")


def forward(device: torch.device, dtype: torch.dtype, cells: tuple[int, int]) -> None:
    def noise(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        values = (scale * torch.randn(shape)).to(device, dtype)
        return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8).to(device)

    height, width = cells
    size = 16 * height - 5, 16 * width - 3
    flow = noise(1, 2, *cells, scale=3)
    flow[..., 0, 0] = float("nan")
    features = noise(1, 128, *cells, dtype=dtype)
    ops.flow_warp(features, flow)
    ops.warp_score(features, flow, noise(19, 128, dtype=dtype), noise(19, dtype=dtype))
    offsets = noise(1, 72, *cells, scale=2)
    for inner, outer in ((128, 128), (12, 5)):
        x, weight = noise(1, inner, *cells, dtype=dtype), noise(outer, inner, 3, 3, dtype=dtype)
        ops.deform_conv2d(x, offsets, weight, None, 1, 2, 2)
    for channels, side in ((40, 3), (7, 5)):
        x, bias = noise(1, channels, *cells, dtype=dtype), noise(channels, dtype=dtype)
        weight = noise(channels, 1, side, side, dtype=dtype)
        for geometry in ((1, side // 2, 1), (2, side // 2, 1), (1, side // 2 * 2, 2)):
            ops.depthwise_conv2d(x, weight, bias, *geometry, input_clamp=(0.0, 6.0))
    scores = noise(1, 19, *cells)
    labels = ops.upsample_argmax(scores, size)
    ops.upsample_argmax_margin(scores, size)
    ops.compose_flow(flow, flow)
    frame = bytes_of(1, *size, 3)
    ops.preprocess(frame, size, mean_rgb=MEAN_RGB, std_rgb=STD_RGB, dtype=dtype)
    ops.overlay(frame, labels, bytes_of(256, 3))
    ops.reduce_flow(noise(1, 2, 4 * height, 4 * width), (16 * height, 16 * width), cells, 16)
    planes = [noise(1, 8 * height, 8 * width) for _ in range(2)]
    ops.patch_flow(*planes, noise(1, 2, 8 * height, 8 * width))


def backward(device: torch.device) -> None:
    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, requires_grad=True)

    ops.flow_warp(leaf(1, 16, 7, 9), leaf(1, 2, 7, 9)).sum().backward()
    x, offsets, weight = leaf(1, 16, 7, 9), leaf(1, 72, 7, 9), leaf(8, 16, 3, 3)
    ops.deform_conv2d(x, offsets, weight, None, 1, 2, 2).sum().backward()


if __name__ == "__main__":
    main()

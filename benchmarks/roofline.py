"""The least time an operator can take on a GPU: its bytes over the bandwidth, or its arithmetic
over the peak, whichever is longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

_FLOW_BYTES = 8  # of one cell: two float32
_TAP_FLOPS = 8  # four products and sums for a bilinear sample


@dataclass(frozen=True)
class Peak:
    """What a GPU can do: bytes/s, dense 16-bit tensor core FLOP/s, and float32 FLOP/s."""

    name: str
    bandwidth: float
    tensor: float
    float32: float


H100 = Peak("H100 SXM", 3.35e12, 989e12, 67e12)
"""From its data sheet (dense, without sparsity)."""

# Dense 16-bit tensor core (float32 sums) and float32 FLOP a clock and multiprocessor, by compute
# capability, as in the architectures' white papers; where products differ, the faster ones.
_PER_CLOCK = {
    (7, 5): (1024, 128),
    (8, 0): (2048, 128),
    (8, 6): (512, 256),
    (8, 9): (1024, 256),
    (9, 0): (4096, 256),
    (10, 0): (8192, 256),
    (12, 0): (512, 256),
}


def peak_of(properties: Any) -> Peak | None:
    """From ``torch.cuda.get_device_properties``; None for an architecture we have no figures of.

    Memory transfers twice a clock; rates are in kHz, the bus width in bits.
    """
    per_clock = _PER_CLOCK.get((properties.major, properties.minor))
    if per_clock is None:
        return None
    clocks = properties.multi_processor_count * properties.clock_rate * 1e3
    bandwidth = 2 * properties.memory_clock_rate * 1e3 * properties.memory_bus_width / 8
    return Peak(properties.name, bandwidth, per_clock[0] * clocks, per_clock[1] * clocks)


@dataclass(frozen=True)
class Cost:
    """The least memory traffic and the arithmetic of one call.

    Every input is read once and every output written once: what fits the cache is not counted
    again. ``unit`` is what the arithmetic runs on.
    """

    op: str
    shape: str
    bytes: float
    flops: float
    unit: Literal["tensor", "float32"] = "float32"

    def seconds(self, peak: Peak) -> float:
        """The least time on ``peak``."""
        return max(self.bytes / peak.bandwidth, self.flops / self._peak_flops(peak))

    def bound(self, peak: Peak) -> Literal["memory", "arithmetic"]:
        """What sets that time."""
        arithmetic = self.flops / self._peak_flops(peak)
        return "arithmetic" if arithmetic > self.bytes / peak.bandwidth else "memory"

    def _peak_flops(self, peak: Peak) -> float:
        return peak.tensor if self.unit == "tensor" else peak.float32


def flow_warp(channels: int, height: int, width: int, size: int = 2) -> Cost:
    """``size`` is the bytes of an element, here and below."""
    cells = height * width
    values = channels * cells
    moved = 2 * values * size + _FLOW_BYTES * cells
    return Cost("flow_warp", f"{channels}x{height}x{width}", moved, _TAP_FLOPS * values)


def deform_conv2d(
    channels: int, height: int, width: int, groups: int = 4, columns: bool = False, size: int = 2
) -> Cost:
    """3x3, as many channels out as in; with ``columns`` the gathered taps go through memory."""
    cells = height * width
    moved = 2 * channels * cells * size + 9 * channels**2 * size + groups * 18 * cells * 4
    if columns:
        moved += 2 * 9 * channels * cells * size
    flops = 2 * 9 * channels**2 * cells + 9 * channels * cells * _TAP_FLOPS
    name = "deform_conv2d, columns" if columns else "deform_conv2d"
    return Cost(name, f"{channels}->{channels}, {height}x{width}", moved, flops, "tensor")


def depthwise_conv2d(channels: int, height: int, width: int, side: int, size: int = 2) -> Cost:
    """``side x side`` taps in float32, as many pixels out as in."""
    values = channels * height * width
    shape = f"{channels} {side}x{side}, {height}x{width}"
    moved = 2 * values * size + channels * (side**2 + 1) * size
    return Cost("depthwise_conv2d", shape, moved, 2 * side**2 * values)


def warp_score(depth: int, classes: int, height: int, width: int, size: int = 2) -> Cost:
    """Float32 arithmetic; scores and the scoring matrix are float32."""
    cells = height * width
    moved = depth * cells * size + (_FLOW_BYTES + 4 * classes) * cells + 4 * classes * depth
    flops = depth * cells * (_TAP_FLOPS + 2 * classes)
    return Cost("warp_score", f"{depth}->{classes}, {height}x{width}", moved, flops)


def upsample_argmax(classes: int, height: int, width: int, factor: int = 16) -> Cost:
    """Along a row: one interpolation (two FLOP, as rows are combined before) and a comparison."""
    pixels = factor**2 * height * width
    moved = 4 * classes * height * width + pixels
    shape = f"{classes}x{height}x{width} -> {factor * height}x{factor * width}"
    return Cost("upsample_argmax", shape, moved, 3 * classes * pixels)


def preprocess(height: int, width: int, size: int = 2) -> Cost:
    """A frame at its own size: a product and a sum for each value."""
    values = 3 * height * width
    return Cost("preprocess", f"{height}x{width}", values * (1 + size), 2 * values)


def overlay(height: int, width: int) -> Cost:
    """Frame and labels in, picture out."""
    pixels = height * width
    return Cost("overlay", f"{height}x{width}", 7 * pixels, 9 * pixels)


def compose_flow(height: int, width: int) -> Cost:
    """Two flows in, one out."""
    cells = height * width
    return Cost("compose_flow", f"{height}x{width}", 3 * _FLOW_BYTES * cells, 18 * cells)


def reduce_flow(height: int, width: int, factor: int = 4) -> Cost:
    """FlowNetS's flow (16 bits, ``factor`` times finer than the grid) to the grid."""
    cells = height * width
    moved = 2 * 2 * factor**2 * cells + _FLOW_BYTES * cells
    shape = f"{factor * height}x{factor * width} -> {height}x{width}"
    return Cost("reduce_flow", shape, moved, 2 * factor**2 * cells * 2)


def patch_flow(height: int, width: int) -> Cost:
    """The finest level: two grey images and where flow begins; each round fits a patch nine times.

    Patches are four pixels apart and have 64; a sample takes a row's and two columns' weights.
    """
    pixels = height * width
    fits = 2 * 9 * pixels // 16
    moved = 2 * 4 * pixels + 2 * _FLOW_BYTES * pixels
    return Cost("patch_flow", f"{height}x{width}", moved, fits * 64 * (_TAP_FLOPS + 8))


def standard(height: int = 64, width: int = 128) -> list[Cost]:
    """Every operator on a grid of ``height x width`` cells of 16 pixels, 16 bits, 19 classes."""
    frame = 16 * height, 16 * width
    return [
        flow_warp(1024, height, width),
        deform_conv2d(512, height, width),
        deform_conv2d(512, height, width, columns=True),
        depthwise_conv2d(672, height, width, 5),
        warp_score(1024, 19, height, width),
        upsample_argmax(19, height, width),
        preprocess(*frame),
        overlay(*frame),
        compose_flow(height, width),
        reduce_flow(height, width),
        patch_flow(4 * height, 4 * width),
    ]

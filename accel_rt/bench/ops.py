"""The operators' cases: ours, its peers and the machine's limit on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.bench import limits, peers
from accel_rt.bench.harness import Effort, Samples, interleave
from accel_rt.ops.eager import sampling_grid

Role = Literal["ours", "peer", "limit"]

NOT_INSTALLED = "torchvision.ops.deform_conv2d: torchvision is not installed"
NO_BF16 = "torchvision.ops.deform_conv2d: no bfloat16 kernel"


@dataclass(frozen=True)
class Run:
    """One competitor; all but a limit return the same values."""

    name: str
    role: Role
    call: Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One operator on one shape.

    ``bytes`` is the least memory traffic and ``flops`` the arithmetic of one run, 0 where that is
    not what takes the time. ``skipped`` names peers that cannot run here, and why.
    """

    op: str
    shape: str
    dtype: torch.dtype
    runs: tuple[Run, ...]
    bytes: int = 0
    flops: int = 0
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A case without its tensors, and the times of its runs by name."""

    op: str
    shape: str
    precision: str
    roles: dict[str, Role]
    samples: dict[str, Samples]
    bytes: int
    flops: int
    skipped: tuple[str, ...]

    def names(self, role: Role) -> list[str]:
        """The runs of one role."""
        return [name for name, its_role in self.roles.items() if its_role == role]

    def ratio(self, name: str, to: str) -> float:
        """Median of ``name`` over the median of ``to``."""
        return self.samples[name].median / self.samples[to].median

    def rate(self, name: str) -> tuple[float, str]:
        """What a run achieves: GFLOP/s if arithmetic is its work, else GB/s."""
        seconds = self.samples[name].median / 1e3
        if self.flops:
            return self.flops / seconds / 1e9, "GFLOP/s"
        return self.bytes / seconds / 1e9, "GB/s"


@dataclass(frozen=True)
class Shapes:
    """Sizes of the cases; ``(channels, height, width)`` of the feature maps."""

    warp: tuple[tuple[int, int, int], ...] = ((2048, 64, 128),)
    deform: tuple[tuple[int, int, int], ...] = ((512, 23, 30), (512, 64, 128))
    winograd: tuple[tuple[int, int, int], ...] = ((256, 23, 30), (64, 90, 120))
    depthwise: tuple[tuple[int, int, int], ...] = ((96, 256, 512), (672, 64, 128))
    score: tuple[tuple[int, int, int], ...] = ((1024, 23, 30), (1024, 64, 128))
    upsample: tuple[tuple[int, int, int], ...] = ((11, 23, 30), (19, 64, 128))
    inverted: tuple[tuple[int, int, int], ...] = ((24, 90, 120), (192, 23, 30))
    classes: int = 19


FULL_SHAPES = Shapes()
QUICK_SHAPES = Shapes(
    deform=FULL_SHAPES.deform[:1],
    winograd=FULL_SHAPES.winograd[:1],
    depthwise=FULL_SHAPES.depthwise[1:],
    score=FULL_SHAPES.score[1:],
    upsample=FULL_SHAPES.upsample[1:],
    inverted=FULL_SHAPES.inverted[:1],
)


@dataclass(frozen=True)
class Bench:
    """Where and in what types to run the cases; makes their inputs, the same on every run.

    Unless ``thorough``, backward passes and scores that are noise (the worst case) are left out.
    """

    device: torch.device
    dtypes: tuple[torch.dtype, ...]
    shapes: Shapes = FULL_SHAPES
    thorough: bool = True
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normal noise, channels_last where it has four dimensions."""
        values = torch.randn(shape, generator=self.generator).to(self.device, dtype)
        return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values

    def flow(self, height: int, width: int) -> Tensor:
        """Smooth flow of a few cells, as optical flow is: ``[1, 2, height, width]``."""
        coarse = 2 * torch.randn((1, 2, 4, 6), generator=self.generator)
        return _enlarge(coarse, height, width).to(self.device)

    def regions(self, channels: int, height: int, width: int) -> Tensor:
        """Scores whose best class keeps for several cells, as in pictures of things."""
        coarse = 8 * torch.randn((1, channels, 6, 8), generator=self.generator)
        smooth = _enlarge(coarse, height, width).to(self.device)
        return smooth.contiguous(memory_format=torch.channels_last)


def _enlarge(coarse: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def cases(bench: Bench) -> Iterator[Case]:
    """The cases one after the other; each holds its tensors only until the next is asked for."""
    for make, shapes in (
        (_flow_warp, bench.shapes.warp),
        (_deform_conv2d, bench.shapes.deform),
        (_winograd_conv2d, bench.shapes.winograd),
        (_depthwise_conv2d, bench.shapes.depthwise),
        (_warp_score, bench.shapes.score),
        (_upsample_argmax, bench.shapes.upsample),
        (_inverted_residual, bench.shapes.inverted),
    ):
        for shape in shapes:
            for dtype in bench.dtypes:
                yield from make(bench, shape, dtype)


def measure(case: Case, effort: Effort, synchronise: Callable[[], None] = lambda: None) -> Measured:
    """Time a case's runs in turn."""
    runs = {run.name: run.call for run in case.runs}
    return Measured(
        case.op,
        case.shape,
        str(case.dtype).removeprefix("torch."),
        {run.name: run.role for run in case.runs},
        interleave(runs, effort, synchronise=synchronise),
        case.bytes,
        case.flops,
        case.skipped,
    )


def _flow_warp(bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype) -> Iterator[Case]:
    channels, height, width = shape
    name = f"{channels}x{height}x{width}"
    input = bench.normal(1, channels, height, width, dtype=dtype)
    flow = bench.flow(height, width)
    grid = sampling_grid(flow)
    out = torch.empty_like(input)
    traffic = 2 * input.nbytes
    runs = [
        Run("flow_warp(out=)", "ours", lambda: ops.flow_warp(input, flow, out=out)),
        Run("flow_warp", "ours", lambda: ops.flow_warp(input, flow)),
        Run("F.grid_sample", "peer", lambda: peers.grid_sample_warp(input, grid)),
        Run("memcpy", "limit", limits.memcpy(input)),
    ]
    yield Case("flow_warp", name, dtype, tuple(runs), bytes=traffic)
    if not bench.thorough:
        return
    gradient = bench.normal(1, channels, height, width, dtype=dtype)
    leaf = input.detach().requires_grad_()
    runs = [
        Run("flow_warp", "ours", _backward(ops.flow_warp(leaf, flow), gradient, leaf)),
        Run(
            "F.grid_sample",
            "peer",
            _backward(peers.grid_sample_warp(leaf, grid), gradient, leaf),
        ),
        Run("memcpy", "limit", limits.memcpy(gradient)),
    ]
    yield Case("flow_warp backward", name, dtype, tuple(runs), bytes=traffic)


def _deform_conv2d(bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype) -> Iterator[Case]:
    channels, height, width = shape
    name = f"{channels}->{channels} 3x3 d2, {height}x{width}"
    groups, dilation = 4, 2
    input = bench.normal(1, channels, height, width, dtype=dtype)
    offset = bench.normal(1, groups * 18, height, width)
    weight = bench.normal(channels, channels, 3, 3, dtype=dtype)
    flops = 2 * 9 * channels**2 * height * width
    theirs, skipped = _torchvision(dtype)

    def ours(x: Tensor, w: Tensor, o: Tensor) -> Tensor:
        return ops.deform_conv2d(x, o, w, None, 1, dilation, dilation)

    def peer(x: Tensor, w: Tensor, o: Tensor) -> Tensor:
        assert theirs is not None
        return theirs(x, o, w, None, 1, dilation, dilation)

    # torchvision wants NCHW: another layout would be copied within its time.
    nchw = input.contiguous(), weight.contiguous(), offset.contiguous()
    runs = [Run("deform_conv2d", "ours", lambda: ours(input, weight, offset))]
    on_cpu = bench.device.type == "cpu"
    packed = ops.deform_conv2d_pack(weight, channels, groups) if on_cpu else None
    if packed is not None:
        arguments = input, offset, packed, None, 1, dilation, dilation
        run = partial(ops.deform_conv2d_packed, *arguments)
        runs.append(Run("deform_conv2d_packed", "ours", run))
    if theirs is not None:
        runs.append(Run("torchvision", "peer", lambda: peer(*nchw)))
    if on_cpu and dtype == torch.float32:
        by_onnx = peers.onnxruntime_deform_conv2d(nchw[0], nchw[2], nchw[1], dilation)
        if by_onnx is not None:
            runs.append(Run("onnxruntime", "peer", by_onnx))
    runs.append(Run("F.conv2d", "limit", limits.plain_conv2d(input, weight, dilation)))
    yield Case("deform_conv2d", name, dtype, tuple(runs), flops=flops, skipped=skipped)
    if not bench.thorough:
        return
    gradient = bench.normal(1, channels, height, width, dtype=dtype)
    leaves = _leaves(input, weight, offset)
    runs = [Run("deform_conv2d", "ours", _backward(ours(*leaves), gradient, *leaves))]
    if theirs is not None:
        theirs_leaves = _leaves(*nchw)
        call = _backward(peer(*theirs_leaves), gradient.contiguous(), *theirs_leaves)
        runs.append(Run("torchvision", "peer", call))
    plain = F.conv2d(leaves[0], leaves[1], None, 1, dilation, dilation)
    runs.append(Run("F.conv2d", "limit", _backward(plain, gradient, *leaves[:2])))
    yield Case("deform_conv2d backward", name, dtype, tuple(runs), flops=2 * flops, skipped=skipped)


def _torchvision(dtype: torch.dtype) -> tuple[Callable[..., Tensor] | None, tuple[str, ...]]:
    theirs = peers.torchvision_deform_conv2d()
    if theirs is None:
        return None, (NOT_INSTALLED,)
    return (None, (NO_BF16,)) if dtype == torch.bfloat16 else (theirs, ())


def _winograd_conv2d(
    bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype
) -> Iterator[Case]:
    """None where networks use an ordinary convolution instead."""
    if bench.device.type != "cpu":
        return
    channels, height, width = shape
    input = bench.normal(1, channels, height, width, dtype=dtype)
    weight = bench.normal(channels, channels, 3, 3, dtype=dtype)
    bias = bench.normal(channels, dtype=dtype)
    packed = ops.winograd_conv2d_pack(weight)
    if packed is None:
        return
    # A tile's outputs take as many products of each pair of channels as it has inputs.
    span = packed.shape[-1]
    depth = channels * span**2 // (span - 2) ** 2
    pixels = bench.normal(1, depth, height, width, dtype=dtype)
    products = bench.normal(channels, depth, dtype=dtype)
    runs = (
        Run("winograd_conv2d", "ours", partial(ops.winograd_conv2d, input, packed, bias)),
        Run("F.conv2d", "peer", partial(F.conv2d, input, weight, bias, padding=1)),
        Run("GEMM", "limit", limits.gemm(pixels, products)),
    )
    name = f"{channels}->{channels} 3x3, {height}x{width}"
    flops = 2 * 9 * channels**2 * height * width
    yield Case("winograd_conv2d", name, dtype, runs, flops=flops)


def _depthwise_conv2d(
    bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype
) -> Iterator[Case]:
    """None on the CPU, where networks use PyTorch's."""
    if bench.device.type == "cpu":
        return
    channels, height, width = shape
    input = bench.normal(1, *shape, dtype=dtype)
    weight = bench.normal(channels, 1, 5, 5, dtype=dtype)
    packed = ops.depthwise_conv2d_pack(weight)
    bias = bench.normal(channels, dtype=dtype)
    ours = partial(ops.depthwise_conv2d, input, packed, bias, 1, 2, 1, (0.0, 6.0))
    runs = (
        Run("depthwise_conv2d", "ours", ours),
        Run(
            "F.conv2d + ReLU6",
            "peer",
            lambda: F.relu6(F.conv2d(input, weight, bias, padding=2, groups=channels)),
        ),
        Run("memcpy", "limit", limits.memcpy(input)),
    )
    name = f"{channels} 5x5, {height}x{width}"
    yield Case("depthwise_conv2d", name, dtype, runs, bytes=2 * input.nbytes)


def _inverted_residual(
    bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype
) -> Iterator[Case]:
    """With six times as many channels inside; none where networks use three convolutions."""
    if bench.device.type != "cpu":
        return
    channels, height, width = shape
    middle = 6 * channels
    sizes = (middle, channels, 1, 1), (middle, 1, 5, 5), (channels, middle, 1, 1)
    convolutions = [
        (
            bench.normal(*size, dtype=dtype) / prod(size[1:]) ** 0.5,
            bench.normal(size[0], dtype=dtype),
        )
        for size in sizes
    ]
    weights = ops.inverted_residual_pack(*convolutions)
    if weights is None:
        return
    input = bench.normal(1, *shape, dtype=dtype)
    (expand, depthwise, project) = convolutions

    def peer() -> Tensor:
        wide = F.relu6(F.conv2d(input, *expand))
        wide = F.relu6(F.conv2d(wide, *depthwise, padding=2, groups=middle))
        return F.conv2d(wide, *project) + input

    pixels = bench.normal(1, 2 * middle, height, width, dtype=dtype)
    products = bench.normal(channels, 2 * middle, dtype=dtype)
    runs = (
        Run(
            "inverted_residual",
            "ours",
            partial(ops.inverted_residual, input, weights, most=6.0, shortcut=input),
        ),
        Run("three convolutions", "peer", peer),
        Run("GEMM", "limit", limits.gemm(pixels, products)),
    )
    flops = 2 * height * width * middle * (2 * channels + 25)
    name = f"{channels}->{middle}->{channels} 5x5, {height}x{width}"
    yield Case("inverted_residual", name, dtype, runs, flops=flops)


def _warp_score(bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype) -> Iterator[Case]:
    depth, height, width = shape
    classes = bench.shapes.classes
    cache = bench.normal(1, depth, height, width, dtype=dtype)
    flow = bench.flow(height, width)
    grid = sampling_grid(flow)
    weight = bench.normal(classes, depth, dtype=dtype)
    bias = bench.normal(classes, dtype=dtype)
    runs = (
        Run("warp_score", "ours", lambda: ops.warp_score(cache, flow, weight, bias)),
        Run(
            "grid_sample + ReLU + conv",
            "peer",
            lambda: peers.warp_relu_conv(cache, grid, weight, bias),
        ),
        Run("GEMM", "limit", limits.gemm(cache, weight)),
    )
    name = f"{depth}->{classes}, {height}x{width}"
    yield Case("warp_score", name, dtype, runs, flops=2 * classes * depth * height * width)


def _upsample_argmax(
    bench: Bench, shape: tuple[int, int, int], dtype: torch.dtype
) -> Iterator[Case]:
    classes, height, width = shape
    size = 16 * height, 16 * width
    block = peers.OutputBlock(classes).to(bench.device, dtype)
    contents = {"regions": bench.regions(classes, height, width)}
    if bench.thorough and dtype == torch.float32:
        contents["noise"] = bench.normal(1, classes, height, width)
    for content, values in contents.items():
        scores = values.to(dtype)
        nchw = scores.contiguous()
        runs = (
            Run("upsample_argmax", "ours", partial(ops.upsample_argmax, scores, size)),
            Run("interpolate + argmax", "peer", partial(peers.interpolate_argmax, scores, size)),
            Run("deconv + softmax + argmax", "peer", partial(block, nchw)),
            Run("fill", "limit", limits.fill((1, *size), bench.device)),
        )
        name = f"{classes}x{height}x{width} -> {size[0]}x{size[1]}, {content}"
        traffic = scores.nbytes + size[0] * size[1]
        yield Case("upsample_argmax", name, dtype, runs, bytes=traffic)


def _leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def _backward(output: Tensor, gradient: Tensor, *leaves: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(output, leaves, gradient, retain_graph=True)

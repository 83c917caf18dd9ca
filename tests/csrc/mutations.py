"""Planted mistakes in the CUDA kernels, and checks that each of them fails.

python -m tests.csrc.mutations LIBRARY:CHECK ...   prints one line for each library
"""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accel_rt.normalise import MEAN_RGB, STD_RGB
from accel_rt.ops import eager
from tests.csrc.emulated.build import ROOT, Variant
from tests.ops.inputs import channels_last, displacement
from tests.ops.tolerances import assert_near


@dataclass(frozen=True)
class Mutation:
    """A textual mistake: in a file of ``csrc/``, the first `old` becomes `new`."""

    kernel: str
    what: str
    old: str
    new: str

    @property
    def check(self) -> str:
        return self.kernel.split("/")[0]

    @property
    def name(self) -> str:
        return f"{self.kernel} {self.what}".translate(str.maketrans("/ .", "___"))

    def plant(self, folder: Path) -> Variant:
        kernel = ROOT / "csrc" / self.kernel
        text = kernel.read_text()
        assert self.old in text, f"{self.kernel} has no longer {self.old!r}: plant another mistake"
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / f"{self.name}.cu"
        mutant = text.replace(self.old, self.new, 1)
        if not source.is_file() or source.read_text() != mutant:
            source.write_text(mutant)
        return Variant(self.name, kernel, source)


BARRIER = "__syncthreads();"
# of each kernel: what is wrong, the text that is replaced, and by what
MISTAKES = {
    "compose_flow/cuda.cu": [
        ("swapped coordinates", "newer[0], p.width", "newer[1], p.width"),
        ("wrong tail", "cell >= cells)", "cell >= cells - 1)"),
        ("one component twice", "newer[c] +", "newer[0] +"),
    ],
    "deform_conv2d/cuda.cu": [
        (
            "swapped coordinates",
            "item.k / p.kernel_width, item.k % p.kernel_width",
            "item.k % p.kernel_width, item.k / p.kernel_width",
        ),
        ("wrong tail", "() >= items)", "() >= items - 1)"),
        ("missing exchange", "warp_sum(dots[k])", "dots[k]"),
    ],
    "depthwise_conv2d/cuda.cu": [
        ("swapped coordinates", "y = row * Stride", "y = first * Stride"),
        ("wrong tail", "x >= p.out_width)", "x >= p.out_width - 1)"),
        ("wrong border", "x >= 0 && x < p.width\n", "x >= 0 && x < p.width - 1\n"),
        ("taps side by side", "first = group / p.dilation", "first = group"),
        ("input as it is", "if (p.clamps_input)", "if (false)"),
    ],
    "flow_warp/cuda.cu": [
        ("swapped coordinates", "float(at.y) + flow[1]", "float(at.y) + flow[0]"),
        (
            "wrong tail",
            "channel < p.channels; channel += blockDim.x * N",
            "channel < p.channels - N; channel += blockDim.x * N",
        ),
        ("missing exchange", "warp_sum(dots[k])", "dots[k]"),
    ],
    "overlay/cuda.cu": [
        ("swapped channels", "3 * label + channel", "3 * label + 2 - channel"),
        ("missing barrier", BARRIER, ""),
        ("wrong tail", "pixel < p.pixels;", "pixel + 1 < p.pixels;"),
    ],
    "patch_flow/cuda.cu": [
        ("swapped coordinates", "x = found[0], y = found[1];", "x = found[1], y = found[0];"),
        ("swapped sizes", "float(step_x);", "float(step_y);"),
        ("missing exchange", "  sum = patch_sum(sum);", ""),
        ("wrong tail", "i >= count)", "i >= count - 1)"),
    ],
    "preprocess/cuda.cu": [
        ("swapped coordinates", "at.y, at.x) :", "at.x, at.y) :"),
        ("swapped channels", "bgr[2 - c]", "bgr[c]"),
        ("wrong tail", "i < y.end", "i < y.end - 1"),
        ("channels as they were", "2 - i % 3", "i % 3"),
    ],
    "reduce_flow/cuda.cu": [
        ("swapped coordinates", "p.factor[c]", "p.factor[1 - c]"),
        ("missing exchange", "warp_sum(sum[c])", "sum[c]"),
        ("wrong tail", "pixel < pixels;", "pixel < pixels - 1;"),
    ],
    "upsample_argmax/cuda.cu": [
        ("swapped coordinates", "(row, p.step_y)", "(row, p.step_x)"),
        ("missing barrier", BARRIER, ""),
        ("wrong tail", "i < p.out_width) out", "i + 1 < p.out_width) out"),
        ("cells of the pixel before", "if (moves[i])", "if (i == 0)"),
    ],
    "warp_score/cuda.cu": [
        ("swapped coordinates", "x) + flow[0]", "x) + flow[1]"),
        ("missing barrier", BARRIER, ""),
        ("wrong tail", "pixel < pixels)", "pixel < pixels - 1)"),
        ("the slab before again", "at, depth + slab, padded", "at, depth, padded"),
    ],
}
MUTATIONS = [
    Mutation(kernel, *mistake) for kernel, all_of in MISTAKES.items() for mistake in all_of
]


def check_compose_flow(ops: Any) -> None:
    older, newer = (displacement(1, 2, 5, 7) for _ in range(2))
    assert_near(
        ops.compose_flow(older, newer), newer + eager.flow_warp(older, newer), torch.float32
    )


def check_deform_conv2d(ops: Any) -> None:
    geometry = ([1, 1], [1, 1], [1, 1])
    for outputs in (64, 5):
        input = torch.randn(1, 32, 4, 5)
        offset, weight = displacement(1, 18, 4, 5), torch.randn(outputs, 32, 3, 3) / 17
        tensors = [t.double().requires_grad_() for t in (input, offset, weight)]
        expected = eager.deform_conv2d(*tensors, None, None, *geometry)
        actual = ops.deform_conv2d(input, offset, weight, None, None, *geometry)
        assert_near(actual, expected, torch.float32)
    grad = torch.randn(expected.shape) / 4
    gradients = torch.autograd.grad(expected, tensors, grad.double())
    needed = (True, True, True, False)
    found = ops.deform_conv2d_backward(grad, input, offset, weight, None, *geometry, *needed)
    for one, other in zip(found, gradients, strict=False):
        assert_near(one, other, torch.float32)


def check_depthwise_conv2d(ops: Any) -> None:
    input, bias = channels_last(torch.randn(1, 40, 9, 22)), torch.randn(40)
    for kernel, stride, dilation in ((3, 2, 1), (5, 1, 2)):
        weight = torch.randn(kernel, kernel, 40) / kernel
        arguments = (weight, bias, stride, dilation, dilation, -0.5, 1.0, 0.0, 6.0)
        wide = (a.double() if isinstance(a, torch.Tensor) else a for a in arguments)
        expected = eager.depthwise_conv2d(input.double(), *wide)
        assert_near(ops.depthwise_conv2d(input, *arguments), expected, torch.float32)


def check_flow_warp(ops: Any) -> None:
    input, flow = channels_last(torch.randn(1, 40, 5, 6)), displacement(1, 2, 5, 6)
    wide = [t.double().requires_grad_() for t in (input, flow)]
    expected = eager.flow_warp(*wide)
    assert_near(ops.flow_warp(input, flow, False), expected, torch.float32)
    grad = torch.randn(expected.shape) / math.sqrt(40)
    gradients = torch.autograd.grad(expected, wide, grad.double())
    for one, other in zip(
        ops.flow_warp_backward(grad, input, flow, False, True, True), gradients, strict=True
    ):
        assert_near(one, other, torch.float32)


def check_overlay(ops: Any) -> None:
    frame, labels, palette = (
        torch.randint(0, 256, shape, dtype=torch.uint8)
        for shape in ((1, 9, 21, 3), (1, 9, 21), (256, 3))
    )
    expected = eager.overlay(frame, labels, palette, 0.5, None)
    assert torch.equal(ops.overlay(frame, labels, palette, 0.5, None), expected)


def check_patch_flow(ops: Any) -> None:
    current, previous = 255 * torch.rand(2, 1, 13, 18)
    arguments = (current, previous, displacement(1, 2, 13, 9), 2, 1, 200.0)
    wide = (a.double() if isinstance(a, torch.Tensor) else a for a in arguments)
    apart = (ops.patch_flow(*arguments) - eager.patch_flow(*wide)).abs().amax(1)
    assert (apart > 0.01).double().mean() < 0.02
    assert apart[0, -1, -1] < 0.01


def check_preprocess(ops: Any) -> None:
    frame = torch.randint(0, 256, (1, 37, 50, 3), dtype=torch.uint8)
    for sizes in (((19, 26), (32, 32), (32, 32)), ((37, 50),) * 3):
        arguments = (frame, *sizes, MEAN_RGB, STD_RGB, torch.float32)
        assert_near(ops.preprocess(*arguments), eager.preprocess(*arguments), torch.float32)


def check_reduce_flow(ops: Any) -> None:
    arguments = (displacement(1, 2, 37, 50), (48, 64), (3, 4), 0.25, 0.5)
    assert_near(ops.reduce_flow(*arguments), eager.reduce_flow(*arguments), torch.float32)


def check_upsample_argmax(ops: Any) -> None:
    scores = torch.randn(1, 11, 7, 5)
    expected = eager.upsample_argmax(scores.double(), (70, 33), (70, 33))
    actual = ops.upsample_argmax(scores, (70, 33), 70.0, 33.0)
    assert (actual != expected).double().mean() < 1e-3


def check_warp_score(ops: Any) -> None:
    cache, flow = channels_last(torch.randn(1, 200, 5, 7)), displacement(1, 2, 5, 7)
    weight, bias = torch.randn(19, 200) / 14, torch.randn(19)
    expected = eager.warp_score(*(t.double() for t in (cache, flow, weight, bias)))
    assert_near(ops.warp_score(cache, flow, weight, bias), expected, torch.float32)


CHECKS: dict[str, Callable[[Any], None]] = {
    name.removeprefix("check_"): function
    for name, function in list(globals().items())
    if name.startswith("check_")
}


def passes(library: str, check: str) -> bool:
    """Whether the operators of `library` pass, in a process of their own: they may crash."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of the sanitizer's last words
        try:
            torch.ops.load_library(library)
            CHECKS[check](torch.ops.accel_rt_emulated)
        except (AssertionError, RuntimeError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for argument in sys.argv[1:]:
        library, _, check = argument.rpartition(":")
        print(
            Path(library).stem, check, "passes" if passes(library, check) else "fails", flush=True
        )


if __name__ == "__main__":
    main()

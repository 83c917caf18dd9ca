"""Operators and the frame loop on a GPU, by device events, against the device's roofline.

    python -m benchmarks.gpu                # on the GPU there is
    python -m benchmarks.gpu --assume-h100  # the least times on an H100, without any GPU, and what
                                            # whole networks take by the bytes that they move

Each operator runs at 1024x2048 (a grid of 64x128) in float16, with caches emptied before every
run: the memory that is overwritten for that also keeps the device busy while the host launches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter

import click
import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.bench.stream import street_frames, there_and_back
from accel_rt.normalise import MEAN_RGB, STD_RGB
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.schedule import PRESETS
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.runtime.settings import SegmenterSettings
from benchmarks import launches, network_costs, roofline

_RUNS = 50
_SPANS = 20  # from keyframe to keyframe
_SIZE = (1024, 2048)  # of the frames
_DTYPE = torch.float16
_TRAINED = ("efficientnet_lite2", (368, 480), 16)  # network, frames and how many of them
_NO_DEVICE = (
    "no CUDA device here: run this on a machine with a GPU and a CUDA build of torch, or print "
    "the least times with --assume-h100"
)


@click.command()
@click.option("--assume-h100", is_flag=True, help="Print the least times of an H100 and stop.")
@click.option("--frames/--no-frames", default=True, help="Whole frames, too.")
def main(assume_h100: bool, frames: bool) -> None:
    """Print markdown tables."""
    if assume_h100:
        if frames and not (library := ops.extension_status()).loaded:
            raise click.ClickException(
                f"frames are counted as the compiled operators run them ({library.reason}): build "
                f"the library, or add --no-frames"
            )
        least_times(roofline.H100)
        if frames:
            counted_networks(roofline.H100)
            counted_training(roofline.H100)
            counted_launches()
        return
    if not torch.cuda.is_available():
        raise click.ClickException(_NO_DEVICE)
    properties = torch.cuda.get_device_properties()
    click.echo(f"{properties.name}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    with torch.inference_mode():
        operators(roofline.peak_of(properties), properties.L2_cache_size)
    if frames:
        click.echo()
        whole_frames()
        click.echo()
        file_presets()


def least_times(peak: roofline.Peak) -> None:
    """What each operator moves and computes, and the least time that takes."""
    click.echo("| operator | shape | MB | GFLOP | bound by | least µs |")
    click.echo("|---|---|---|---|---|---|")
    for cost in roofline.standard():
        click.echo(
            f"| {cost.op} | {cost.shape} | {cost.bytes / 1e6:.3g} | {cost.flops / 1e9:.3g} | "
            f"{cost.bound(peak)} | {1e6 * cost.seconds(peak):.3g} |"
        )


def counted_networks(peak: roofline.Peak) -> None:
    """Every network kernel by kernel, and the frames that follow from that."""
    click.echo(
        f"\nBytes at {network_costs.BANDWIDTH_SHARE:.0%} of the bandwidth or arithmetic at "
        f"{network_costs.ARITHMETIC_SHARE:.0%} of its peak, whichever is longer, float16:\n"
    )
    click.echo("| network | frame | kernels | how many | MB | GFLOP | ms |")
    click.echo("|---|---|---|---|---|---|---|")
    rates = []
    for height, width in (_SIZE, (360, 480)):
        seen: set[str] = set()
        for model in network_costs.MODELS:
            counted = network_costs.pieces(model, (height, width))
            rate = network_costs.frames_per_second(model, counted, peak)
            rates.append(f"| {model.name} | {model.interval} | {height}x{width} | {rate:.0f} |")
            for name in [name for name in counted if name not in seen]:
                seen.add(name)
                rows = network_costs.by_kind(counted[name], peak)
                cost = roofline.Cost(
                    "all", "", sum(r[2].bytes for r in rows), sum(r[2].flops for r in rows)
                )
                whole = ("**all**", sum(r[1] for r in rows), cost, sum(r[3] for r in rows))
                for kind, number, cost, seconds in [whole, *rows]:
                    click.echo(
                        f"| {name} | {height}x{width} | {kind} | {number} | {cost.bytes / 1e6:.1f} "
                        f"| {cost.flops / 1e9:.2f} | {1e3 * seconds:.3f} |"
                    )
    click.echo("\n| model | interval | frame | frames/s |\n|---|---|---|---|")
    click.echo("\n".join(rates))


def counted_training(peak: roofline.Peak) -> None:
    """What a step of training takes of the device, without making its samples."""
    name, (height, width), batch = _TRAINED
    costs = network_costs.training_step(name, (height, width), batch)
    seconds = sum(network_costs.expected_seconds(cost, peak) for cost in costs)
    click.echo("\n| a step of training | frame | kernels | ms | images/s |\n|---|---|---|---|---|")
    click.echo(
        f"| {name}, {batch} images | {height}x{width} | {len(costs)} | {1e3 * seconds:.1f} "
        f"| {batch / seconds:.0f} |"
    )


def counted_launches() -> None:
    """What the host launches for the frames of the presets for files."""
    click.echo("\n| preset, light pair | kernels per frame | launches per frame |\n|---|---|---|")
    for name, (kernels, launched) in launches.of_presets((360, 480)).items():
        click.echo(f"| {name} | {kernels:.1f} | {launched:.1f} |")


def operators(peak: roofline.Peak | None, cache_bytes: int) -> None:
    """Time every operator; columns of the roofline stay empty for an unknown architecture."""
    flush = torch.empty(max(2 * cache_bytes, 64 << 20), dtype=torch.uint8, device="cuda")
    click.echo("| operator | shape | µs | GB/s | TFLOP/s | least µs | times the least |")
    click.echo("|---|---|---|---|---|---|---|")
    for cost, call in _calls():
        seconds = _time(call, flush)
        least = cost.seconds(peak) if peak else float("nan")
        click.echo(
            f"| {cost.op} | {cost.shape} | {1e6 * seconds:.1f} | {cost.bytes / seconds / 1e9:.0f} "
            f"| {cost.flops / seconds / 1e12:.2f} | {1e6 * least:.1f} | {seconds / least:.2f} |"
        )


def _time(call: Callable[[], object], flush: Tensor) -> float:
    """Median seconds of ``call`` by device events, caches empty."""
    for _ in range(5):
        call()
    marks = []
    for _ in range(_RUNS):
        flush.zero_()
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        marks.append((first, last))
    torch.cuda.synchronize()
    return median(first.elapsed_time(last) for first, last in marks) / 1e3


def _calls(height: int = 64, width: int = 128) -> list[tuple[roofline.Cost, Callable[[], object]]]:
    """The costs of :func:`roofline.standard`, each with the call that has it."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, dtype: torch.dtype = _DTYPE) -> Tensor:
        values = torch.randn(shape, generator=generator).to("cuda", dtype)
        return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).cuda()

    flow = noise(1, 2, height, width, dtype=torch.float32)
    cache, features = noise(1, 1024, height, width), noise(1, 512, height, width)
    offset, weight = noise(1, 72, height, width, dtype=torch.float32), noise(512, 512, 3, 3)
    frame, labels = (
        bytes_of(1, 16 * height, 16 * width, 3),
        bytes_of(1, 16 * height, 16 * width),
    )
    size = 16 * height, 16 * width
    calls: dict[str, Callable[[], object]] = {
        "flow_warp": partial(ops.flow_warp, cache, flow),
        "deform_conv2d": partial(ops.deform_conv2d, features, offset, weight, None, 1, 2, 2),
        "depthwise_conv2d": partial(
            ops.depthwise_conv2d,
            noise(1, 672, height, width),
            ops.depthwise_conv2d_pack(noise(672, 1, 5, 5)),
            noise(672),
            padding=2,
            clamp=(0.0, 6.0),
        ),
        "warp_score": partial(ops.warp_score, cache, flow, noise(19, 1024), noise(19)),
        "upsample_argmax": partial(
            ops.upsample_argmax, noise(1, 19, height, width, dtype=torch.float32), size
        ),
        "preprocess": partial(
            ops.preprocess, frame, size, mean_rgb=MEAN_RGB, std_rgb=STD_RGB, dtype=_DTYPE
        ),
        "overlay": partial(ops.overlay, frame, labels, bytes_of(256, 3)),
        "compose_flow": partial(ops.compose_flow, flow, flow),
        "reduce_flow": partial(
            ops.reduce_flow, noise(1, 2, 4 * height, 4 * width), size, (height, width), 16
        ),
    }
    calls["patch_flow"] = partial(
        ops.patch_flow,
        *(noise(1, 4 * height, 4 * width, dtype=torch.float32) for _ in range(2)),
        noise(1, 2, 4 * height, 4 * width, dtype=torch.float32),
    )
    costs = {cost.op: cost for cost in roofline.standard(height, width)}
    return [(costs[name], call) for name, call in calls.items()]


def whole_frames() -> None:
    """Accel-18 at 1024x2048: milliseconds by the loop's own events."""
    click.echo("| graphs | frame | network | of it update network | flow | output | whole frame |")
    click.echo("|---|---|---|---|---|---|---|")
    frames = street_frames(6, _SIZE)
    settings = SegmenterSettings(
        reference="resnet101", update="resnet18", size=_SIZE, device="cuda", scene_cuts=False
    )
    for graphs in (True, False):
        _frame_rows(load_segmenter(replace(settings, cuda_graphs=graphs)), frames)


def file_presets(device: str = "cuda") -> None:
    """Frames a second of the presets for files on ``device``, as ``segment`` runs them, from frames
    that are decoded."""
    click.echo("| preset | graphs | frames/s |\n|---|---|---|")
    frames = there_and_back(street_frames(6, _SIZE))
    for name, schedule in PRESETS.items():
        settings = SegmenterSettings.preset(name, size=_SIZE, device=device, scene_cuts=False)
        segmenter = load_segmenter(settings, overlap=True)
        for frame in islice(frames, 3 * schedule.interval + 1):  # by then all has been captured
            segmenter.push(frame)
        segmenter.flush()
        number = _SPANS * schedule.interval + 1
        started = perf_counter()
        for frame in islice(frames, number):
            segmenter.push(frame)
        segmenter.flush()
        rate = number / (perf_counter() - started)
        graphs = segmenter.describe().get("cuda_graphs", "no")
        click.echo(f"| {name} | {graphs} | {rate:.1f} |")


def _frame_rows(segmenter: Segmenter, stream: list[np.ndarray]) -> None:
    seen: dict[str, list[dict[str, float]]] = {"key": [], "update": []}
    for number, frame in enumerate(islice(there_and_back(stream), 80)):
        started = perf_counter()
        result = segmenter.step(frame)
        whole = 1e3 * (perf_counter() - started)
        if number >= 20:  # by then every stage has been captured
            seen[result.kind].append({**result.timings, "whole": whole})
    for kind, times in seen.items():
        columns = ("network", "branch", "flow", "output", "whole")
        cells = " | ".join(f"{median(one.get(name, 0.0) for one in times):.2f}" for name in columns)
        click.echo(f"| {segmenter.describe()['cuda_graphs']} | {kind} | {cells} |")


if __name__ == "__main__":
    main()

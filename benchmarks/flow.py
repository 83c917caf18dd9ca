"""Accuracy and time of optical flow: DIS, FlowNetS, H.264's own vectors, and none at all.

    python -m benchmarks.flow [--weights FILE ...] [--middlebury DIR] [--camvid DIR]

Prints markdown tables: end-point error in pixels on Middlebury's pairs and on rendered drives that
no training saw, and how well CamVid's labels keep when they are warped from 1, 4 and 9 frames
back by composed flow, with the milliseconds that the flow of a 480x360 frame takes. Motion vectors
are held against DIS on an H.264 copy of CamVid's video as low-delay encoders make it, by the light
pair's mIoU at interval 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import click
import cv2
import numpy as np
import torch

from accel_rt.bench.harness import Effort, interleave
from accel_rt.classes import CAMVID
from accel_rt.data.camvid import camvid
from accel_rt.data.flow_files import flow_files
from accel_rt.device import resolve_precision
from accel_rt.evaluate.flow import endpoint_error, network_flow, warped_label_miou
from accel_rt.evaluate.low_delay import low_delay_copy
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.evaluate.remembered import RememberedProgram
from accel_rt.flow.device_dis import DeviceDIS
from accel_rt.flow.dis import DISFlow, Preset
from accel_rt.flow.flownets import load_flownet
from accel_rt.models.foreign.open import load_placed
from accel_rt.models.fuse import for_inference
from accel_rt.runtime.load import load_model, segmenter_of
from accel_rt.runtime.settings import SegmenterSettings
from accel_street import StreetDrive

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Previous and current frame, uint8 BGR, to backward flow ``[H, W, 2]`` in pixels."""

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
OFFSETS = (1, 4, 9)
FIRST_SEED = 4_000_000  # of the drives; training takes far lower ones
DRIVES, PAIRS = 6, 4


def zero(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    return np.zeros((*current.shape[:2], 2), np.float32)


def flownets(path: Path, precision: str) -> Method:
    cpu = torch.device("cpu")
    network = for_inference(load_flownet(path), cpu, resolve_precision(precision, cpu))
    return lambda previous, current: network_flow(network, previous, current)


@click.command()
@click.option("--weights", multiple=True, type=click.Path(path_type=Path), help="FlowNetS files.")
@click.option("--middlebury", type=_FOLDER, help="Middlebury's pairs with flow.")
@click.option("--camvid", type=_FOLDER, help="CamVid's folder.")
@click.option("--precision", default="auto", show_default=True, help="Of FlowNetS.")
@click.option("--threads", type=click.IntRange(min=1))
def main(
    weights: tuple[Path, ...],
    middlebury: Path | None,
    camvid: Path | None,
    precision: str,
    threads: int | None,
) -> None:
    """Print the tables."""
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    methods: dict[str, Method] = {"zero": zero}
    for preset in get_args(Preset):
        methods[f"DIS {preset}"] = DISFlow(preset).dense
    methods["DIS for CUDA, by its CPU twin"] = DeviceDIS(torch.device("cpu")).dense
    for path in weights:
        width = load_flownet(path).width
        methods[f"FlowNetS x{width:g} ({path.parent.name})"] = flownets(path, precision)
    if middlebury is not None:
        _pairs_table(methods, middlebury)
    _drives_table(methods)
    if camvid is not None:
        _labels_table(methods, camvid)
        _codec_table(camvid)


def _pairs_table(methods: dict[str, Method], root: Path) -> None:
    pairs = [(files.name, files.read()) for files in flow_files(root, "middlebury")]
    click.echo(f"\n| EPE, Middlebury | {' | '.join(name for name, _ in pairs)} | mean |")
    click.echo("|---" * (len(pairs) + 2) + "|")
    for name, method in methods.items():
        errors = [
            endpoint_error(method(p.previous_bgr, p.current_bgr), p.flow)[p.valid].mean()
            for _, p in pairs
        ]
        click.echo(_row(name, *errors, mean(map(float, errors))))


def _drives_table(methods: dict[str, Method]) -> None:
    errors: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    seen = []
    for seed in range(FIRST_SEED, FIRST_SEED + DRIVES):
        frames = list(StreetDrive(seed=seed).frames(PAIRS + 1, start=30))
        for before, after in pairwise(frames):
            seen.append(~after.occluded)
            for name, method in methods.items():
                flow = method(before.image_bgr, after.image_bgr)
                errors[name].append(endpoint_error(flow, after.flow))
    click.echo(f"\n| EPE, {DRIVES} drives, {len(seen)} pairs at 480x360, 15 Hz | visible | all |")
    click.echo("|---|---|---|")
    for name, own in errors.items():
        click.echo(_row(name, np.stack(own)[np.stack(seen)].mean(), np.stack(own).mean()))


def _labels_table(methods: dict[str, Method], root: Path) -> None:
    frames = camvid(root, "val").labelled()
    images, labels = [f.image_bgr() for f in frames], [f.labels() for f in frames]
    runs = {name: (lambda m=method: m(images[40], images[41])) for name, method in methods.items()}
    times = interleave(runs, Effort(budget_s=20, least_rounds=15, most_rounds=100))
    click.echo(f"\n| warped labels, mIoU at offset | {' | '.join(map(str, OFFSETS))} | ms |")
    click.echo("|---" * (len(OFFSETS) + 2) + "|")
    for name, method in methods.items():
        flows = [method(a, b) for a, b in pairwise(images)]
        mious = warped_label_miou(labels, flows, OFFSETS, len(CAMVID))
        click.echo(_row(name, *mious, times[name].median))


def _codec_table(root: Path) -> None:
    frames = camvid(root, "val").labelled()
    labels = [frame.labels() for frame in frames]
    copied = low_delay_copy([frame.image_bgr() for frame in frames])
    click.echo("\n| on a low-delay H.264 copy | mIoU at interval 10: dff | accel | flow that ran |")
    click.echo("|---|---|---|---|")
    memory: dict[Any, Any] = {}
    load, program = cache(load_placed), partial(RememberedProgram, memory=memory)
    for flow in ("dis", "codec"):
        cells = []
        for mode in ("dff", "accel"):
            settings = SegmenterSettings(mode=mode, flow=flow, interval=10, scene_cuts=False)
            segmenter = segmenter_of(load_model(settings, load), settings, program=program)
            matrix = ConfusionMatrix(len(CAMVID))
            for phase in range(settings.interval):
                segmenter.reset()
                for frame, truth in zip(copied[phase:], labels[phase:], strict=True):
                    (result,) = segmenter.push(frame.image_bgr, frame.pts, frame.motion)
                    matrix.add(truth, result.labels)
            cells.append(f"{matrix.miou():.2f}")
        click.echo(f"| {flow} | {' | '.join(cells)} | {segmenter.describe()['flow']} |")


def _row(name: str, *values: float) -> str:
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


if __name__ == "__main__":
    main()

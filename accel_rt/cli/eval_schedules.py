"""``accel-rt eval schedules``: what each schedule gives and costs on labelled video."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.eval_options import layout_option
from accel_rt.cli.fields import field_options, from_values
from accel_rt.cli.machine import machine
from accel_rt.cli.text import say, show, table
from accel_rt.errors import UsageError
from accel_rt.files import write_whole
from accel_rt.runtime.settings import SegmenterSettings


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@field_options(
    SegmenterSettings, "reference", "update", "fusion", "flow", "size", "device", "precision"
)
@click.option("--split", default="val", show_default=True, help="Part of the data set.")
@layout_option("How the folder is laid out.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to take times; 0 takes none.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the numbers to FILE, too.",
)
def schedules(
    data: Path,
    split: str,
    layout: Any,
    threads: int | None,
    seconds: float,
    json_file: Path | None,
    **values: Any,
) -> None:
    """Compare single networks, the paper's modes and the presets on DATA.

    DATA is a folder of which one sequence is labelled on every frame, as CamVid's validation video
    is. Every schedule begins at every frame it can begin at. mVC is the share of still pixels that
    are predicted right over 8 and 16 frames.
    """
    import torch

    from accel_rt.bench.harness import Effort
    from accel_rt.data.open import open_dataset
    from accel_rt.evaluate.schedules import WINDOWS, compared, score_schedules

    base = from_values(SegmenterSettings, values)
    if threads:
        torch.set_num_threads(threads)
    sequences = open_dataset(data, split, layout).sequences
    dense = [s.frames for s in sequences if len(list(s.labelled())) == len(s.frames)]
    frames = max(dense, key=len, default=())
    if len(frames) < 2 * max(WINDOWS):
        raise UsageError(
            f"{data} has no sequence of {2 * max(WINDOWS)} frames that are all labelled: "
            f"'accel-rt eval' takes sparse labels"
        )
    effort = Effort(seconds, 3, 1000, 2.0) if seconds else None
    scores = score_schedules(compared(base), frames, effort, say)
    rows = [("", "schedule", "mIoU", *(f"mVC{window}" for window in WINDOWS), "ms a frame")]
    for name, score in scores.items():
        consistency = (f"{value:.1f}" for value in score.consistency.values())
        ms = "" if score.ms is None else f"{score.ms:.1f}"
        rows.append((name, score.schedule, f"{score.miou:.1f}", *consistency, ms))
    if json_file is not None:
        found = {name: asdict(score) for name, score in scores.items()}
        write_whole(json_file, json.dumps({"scores": found, "machine": machine()}, indent=1) + "\n")
    show(f"{len(frames)} labelled frames of {data}\n\n{table(rows, (2, 3, 4, 5))}")

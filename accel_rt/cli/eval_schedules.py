"""``accel-rt eval schedules``: what each schedule gives and costs on labelled video."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.eval_options import layout_option
from accel_rt.cli.fields import (
    Number,
    field_options,
    from_values,
    plot_option,
    threads_option,
    written_option,
)
from accel_rt.cli.machine import machine
from accel_rt.cli.text import say, show, table
from accel_rt.errors import UsageError
from accel_rt.files import write_whole
from accel_rt.plotting import require_matplotlib
from accel_rt.runtime.settings import SegmenterSettings


@click.command()
@click.argument("data")
@field_options(
    SegmenterSettings,
    *("reference", "update", "fusion", "interval", "flow", "size"),
    *("device", "precision", "backend"),
)
@click.option("--split", default="val", show_default=True, help="Part of the data set.")
@layout_option("How the folder is laid out.")
@click.option(
    "--low-delay",
    type=click.IntRange(0, 51),
    metavar="CRF",
    help="Take an H.264 copy of the frames as low-delay encoders make it, with its motion vectors; "
    "of x264's quality 8 (hardly any loss), 20 or 28.",
)
@threads_option()
@click.option(
    "--seconds",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    help="How long to take times; 0 takes none.",
)
@written_option("--json", "FILE", "Write the numbers to FILE, too.", name="json_file")
@plot_option(".svg", "Draw accuracy against time.")
def schedules(
    data: str,
    split: str,
    layout: Any,
    low_delay: int | None,
    threads: int | None,
    seconds: float,
    json_file: Path | None,
    plot: Path | None,
    **values: Any,
) -> None:
    """Compare single networks, the paper's modes and the presets on DATA.

    DATA is a folder of which one sequence of at least 32 frames is labelled on every frame, as
    CamVid's validation video is, or a rendered drive (street:7:150, or street:7:150:stops, which
    stands still and drives on, or street:7:150:overtakes).
    Every schedule begins at every frame it can begin at; --interval is that of the paper's modes.

    mVC is the share of still pixels that are predicted right over 8 and 16 frames; flicker is how
    often a still pixel changes in a second; 'new' is the mIoU on what came into sight since the
    keyframe, which rendered drives know; 'live' is that of the newest finished answer at each
    moment of a camera, by the times measured here.
    """
    import torch

    from accel_rt.bench.harness import Effort
    from accel_rt.evaluate.footage import open_footage
    from accel_rt.evaluate.schedules import (
        SHORTEST,
        LabelledVideo,
        compared,
        schedule_rows,
        score_schedules,
    )
    from accel_rt.runtime.load import load_model

    if plot is not None:
        require_matplotlib()
        if not seconds:
            raise UsageError("--plot draws accuracy against time: it needs --seconds above 0")
    base = from_values(SegmenterSettings, values)
    if threads:
        torch.set_num_threads(threads)
    footage = open_footage(data, split, layout)
    frames = footage.longest_dense()
    if len(frames) < SHORTEST:
        raise UsageError(
            f"{data} has no sequence of {SHORTEST} frames that are all labelled: "
            f"'accel-rt eval' takes sparse labels and short videos"
        )
    effort = Effort(seconds, 3, 1000, 2.0) if seconds else None
    video = LabelledVideo.read(frames, footage.rate, low_delay)
    ran = load_model(base).description["backend"]
    scores = score_schedules(compared(base), video, effort, say)
    lines = schedule_rows(scores)
    title = f"{len(frames)} labelled frames of {data}, networks on {ran}"
    show(f"{title}\n\n{table(lines, range(2, len(lines[0])))}")
    if json_file is not None:
        found = {name: asdict(score) for name, score in scores.items()}
        told = {"scores": found, "machine": {**machine(), "backend": ran}}
        write_whole(json_file, json.dumps(told, indent=1) + "\n")
    if plot is not None:
        from accel_rt.evaluate.report.figures import schedules_chart

        write_whole(plot, schedules_chart(scores).svg())

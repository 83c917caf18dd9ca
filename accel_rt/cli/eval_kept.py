"""``accel-rt eval kept``: what a network's schedules keep of it, on the user's own video."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.fields import (
    CommaList,
    Number,
    field_options,
    from_values,
    plot_option,
    threads_option,
    written_option,
)
from accel_rt.cli.machine import machine
from accel_rt.cli.text import say, show, table
from accel_rt.errors import InputError, UsageError
from accel_rt.files import write_whole
from accel_rt.plotting import require_matplotlib
from accel_rt.runtime.settings import SegmenterSettings


@click.command()
@click.argument("video")
@field_options(SegmenterSettings, "reference", "flow", "size", "device", "precision")
@click.option("--update", metavar="NAME|PATH", help="Compare the presets with it, too.")
@click.option(
    "--interval",
    "intervals",
    type=CommaList(int, "2,5,10"),
    default="2,5,10,20",
    show_default=True,
    metavar="N,N",
    help="Keyframe intervals to compare.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=2),
    default=100,
    show_default=True,
    help="How many frames of VIDEO to look at.",
)
@threads_option()
@click.option(
    "--auto",
    type=Number(0, 100),
    metavar="PERCENT",
    help="Say which schedule is the fastest that keeps so much of the mean IoU, and its options.",
)
@plot_option(".svg", "Draw what is kept against how fast it is, as SVG.")
@written_option("--json", "FILE", "Write the numbers to FILE, too.", name="json_file")
def kept(
    video: str,
    update: str | None,
    intervals: tuple[int, ...],
    frames: int,
    threads: int | None,
    auto: float | None,
    plot: Path | None,
    json_file: Path | None,
    **values: Any,
) -> None:
    """How much of a reference's own labels its schedules keep on VIDEO, and how much faster they
    are.

    VIDEO needs no labels: the reference runs on each of its frames once, and what its keyframes
    give for the others is held against that.
    """
    import torch

    from accel_rt.evaluate.kept import chart, cheapest, measure_kept, schedules
    from accel_rt.video.reader import open_source

    base = from_values(SegmenterSettings, values)
    models = schedules(base, intervals, update)
    if plot is not None:
        require_matplotlib()
    for output in filter(None, (plot, json_file)):
        with suppress(OSError):  # the video may be a URL, the output not there yet
            if output.samefile(video):
                raise UsageError(f"'{output}' is the video itself: name another file")
    if threads:
        torch.set_num_threads(threads)
    with open_source(video) as source:
        images = [frame.image_bgr for frame in islice(source, frames)]
    if len(images) < 2:
        raise InputError(f"{video} has a single frame: there is nothing to carry its labels to")
    found = measure_kept(base, models, images, say)
    rows = [("", "same pixels %", "mIoU %", "ms a frame", "times as fast")]
    for name, one in found.items():
        same, miou = f"{one.agreement:.1f}", f"{one.miou:.1f}"
        rows.append((name, same, miou, f"{one.ms:.1f}", f"{one.speed:.1f}"))
    show(f"{len(images)} frames of {video}\n\n{table(rows, (1, 2, 3, 4))}")
    if auto is not None:
        chosen = cheapest(found, auto)
        show(f"\nfastest that keeps {auto:g}%: {chosen}\n{found[chosen].options}")
    if plot is not None:
        write_whole(plot, chart(found).svg())
    if json_file is not None:
        numbers = {"kept": {name: asdict(one) for name, one in found.items()}}
        write_whole(json_file, json.dumps({**numbers, "machine": machine()}, indent=1) + "\n")

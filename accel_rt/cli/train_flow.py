"""``accel-rt train flow``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.options import CommaList, Size
from accel_rt.cli.train_options import loop_options, run_stage, setting
from accel_rt.train.settings import FlowSettings

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@setting(
    FlowSettings,
    "width",
    "Channels of every layer, of the paper's: 1, or 0.25 for the slim network.",
    type=click.FloatRange(0, 2, min_open=True),
)
@click.option(
    "--data",
    type=_FOLDER,
    metavar="DIR",
    help="A data set whose training images are moved; without it, rendered streets are.",
)
@click.option(
    "--pairs",
    type=_FOLDER,
    metavar="DIR",
    help="Pairs with flow on disk: FlyingChairs, Sintel or Middlebury.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
@setting(
    FlowSettings,
    "street",
    "Share of procedural drives.",
    type=click.FloatRange(0, 1),
    metavar="RATIO",
)
@setting(FlowSettings, "files", "Share of --pairs.", type=click.FloatRange(0, 1), metavar="RATIO")
@setting(FlowSettings, "crop", "Size of the training crops.", type=Size())
@setting(
    FlowSettings,
    "scale",
    "Random scaling, from A to B.",
    type=CommaList(float, "0.8,1.6"),
    metavar="A,B",
)
@setting(FlowSettings, "init", "Start from a FlowNetS weight file.", metavar="none|FILE")
@loop_options(FlowSettings)
def flow(out: Path, threads: int | None, **values: Any) -> int:
    """Train FlowNetS on pairs with known flow; prints the weight file it ends with."""
    from accel_rt.errors import UsageError
    from accel_rt.train.flow import train_flow

    if len(values["scale"]) != 2:
        raise UsageError(f"--scale takes two numbers, got {len(values['scale'])}")
    settings = FlowSettings(**values)
    return run_stage(partial(train_flow, settings, out), threads, "flownets")

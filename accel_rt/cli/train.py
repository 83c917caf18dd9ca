"""``accel-rt train``: one command per training stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accel_rt.cli.options import CommaList, Size
from accel_rt.cli.text import say


@click.group()
def train() -> None:
    """Train networks: each one alone, then the fusion of a pair."""


@train.command()
@click.option("--network", required=True, metavar="NAME", help="Such as resnet18.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="CamVid's folder; without it, procedural street scenes only.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step.")
@click.option("--crop", type=Size(), help="Size of the training crops.")
@click.option(
    "--scale", type=CommaList(float, "0.5,1.75"), metavar="A,B", help="Random scaling, from A to B."
)
@click.option(
    "--street",
    type=click.FloatRange(0, 1),
    metavar="RATIO",
    help="Share of procedural street scenes.",
)
@click.option("--optimiser", type=click.Choice(["adamw", "sgd"]))
@click.option("--rate", type=float, help="Peak learning rate.")
@click.option(
    "--balance",
    type=click.FloatRange(0, 1),
    help="How much rare classes weigh: 0 no more than others, 1 in inverse proportion.",
)
@click.option("--ema", type=click.FloatRange(0, 1), help="Decay of the weight average.")
@click.option(
    "--init",
    metavar="none|imagenet|FILE",
    help="Start from nothing, from installed ImageNet weights, or from a file.",
)
@click.option("--precision", type=click.Choice(["bf16", "fp32"]))
@click.option("--seed", type=int)
@click.option("--workers", type=click.IntRange(min=0), help="Processes that load images.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads.")
def deeplab(out: Path, threads: int | None, **values: Any) -> None:
    """Fine-tune one network alone on labelled frames.

    Prints the weight file it ends with. Ctrl-C saves the run; the same command goes on with it.
    Options left out have the defaults of accel_rt.train.deeplab.DeepLabSettings.
    """
    import torch

    from accel_rt.errors import UsageError
    from accel_rt.train.deeplab import DeepLabSettings, train_deeplab

    if threads:
        torch.set_num_threads(threads)
    chosen = _given(values)
    chosen.setdefault("data", None)
    if chosen["data"] is None and chosen.setdefault("street", 1.0) < 1:
        raise UsageError("a --street ratio below 1 mixes in labelled frames: give --data too")
    if len(chosen.get("scale", (0, 0))) != 2:
        raise UsageError(f"--scale takes two numbers, got {len(chosen['scale'])}")
    click.echo(train_deeplab(DeepLabSettings(**chosen), out, say))


@train.command()
@click.option("--reference", required=True, metavar="NAME|PATH", help="Reference weights.")
@click.option("--update", required=True, metavar="NAME|PATH", help="Update weights.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="CamVid's folder.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file to write, or a folder for it.",
)
@click.option("--interval", type=click.IntRange(min=2), help="Keyframes are up to this far back.")
@click.option("--snippets", type=click.IntRange(min=1), help="Snippets to learn from.")
@click.option("--street", type=click.FloatRange(0, 1), metavar="RATIO", help="Share of street.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--seed", type=int)
def fusion(out: Path, **values: Any) -> None:
    """Train the score fusion of two trained networks, both left as they are.

    Prints the weight file it ends with. Options left out have the defaults of
    accel_rt.train.fusion.FusionSettings.
    """
    from accel_rt.train.fusion import FusionSettings, train_fusion

    click.echo(train_fusion(FusionSettings(**_given(values)), out, say))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; the settings know the defaults of the others."""
    return {name: value for name, value in values.items() if value is not None}

"""``accel-rt train``: one command per training stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.options import CommaList, Size, layout_option
from accel_rt.cli.text import say, show
from accel_rt.cli.train_flow import flow
from accel_rt.cli.train_options import (
    data_options,
    label_options,
    loop_options,
    run_stage,
    setting,
    with_street,
)
from accel_rt.train.settings import DeepLabSettings, FusionSettings, JointSettings

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file to write, or a folder for it.",
)


@click.group()
def train() -> None:
    """Train networks: each one alone, then a pair together.

    Ctrl-C saves a run; the same command goes on with it. Under torchrun
    (torchrun --nproc-per-node N -m accel_rt train ...) the processes share every batch.
    """


train.add_command(flow)


@train.command()
@click.option("--network", required=True, metavar="NAME", help="Such as resnet18.")
@setting(
    DeepLabSettings,
    "task",
    "Its task network, if not its own: the paper's, or one with skips from strides 8 and 4.",
    type=click.Choice(["paper", "skip"]),
)
@data_options(DeepLabSettings)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
@setting(DeepLabSettings, "calibrate", "Take the weights of --balance out of the result again.")
@setting(DeepLabSettings, "crop", "Size of the training crops.", type=Size())
@setting(
    DeepLabSettings,
    "scale",
    "Random scaling, from A to B.",
    type=CommaList(float, "0.5,1.75"),
    metavar="A,B",
)
@setting(
    DeepLabSettings,
    "mix",
    "Share of samples with part of another one pasted in.",
    type=click.FloatRange(0, 1),
)
@setting(
    DeepLabSettings,
    "mix_with",
    "What of it: some of its classes (ClassMix) or a box (CutMix).",
    type=click.Choice(["class", "box"]),
)
@label_options(DeepLabSettings)
@setting(
    DeepLabSettings,
    "hints",
    "Weight of also guessing the first teacher's features.",
    type=click.FloatRange(0),
)
@setting(
    DeepLabSettings,
    "init",
    "Start from nothing, from installed ImageNet weights, from an ImageNet checkpoint, or from "
    "weights of this network, of a shallower ResNet, or of a ResNet with another task network.",
    metavar="none|imagenet|NAME|FILE",
)
@loop_options(DeepLabSettings)
def deeplab(out: Path, threads: int | None, **values: Any) -> int:
    """Fine-tune one network alone on labelled frames; prints the weight file it ends with."""
    from accel_rt.errors import UsageError
    from accel_rt.train.deeplab import train_deeplab

    if len(values["scale"]) != 2:
        raise UsageError(f"--scale takes two numbers, got {len(values['scale'])}")
    settings = DeepLabSettings(**with_street(DeepLabSettings, values))
    return run_stage(partial(train_deeplab, settings, out), threads, values["network"])


@train.command()
@click.option("--reference", required=True, metavar="NAME|PATH", help="Reference weights.")
@click.option(
    "--update", metavar="NAME|PATH", help="Update weights; without them, Deep Feature Flow."
)
@data_options(JointSettings)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
@setting(
    JointSettings,
    "interval",
    "Keyframes are 1 to N-1 frames back.",
    type=click.IntRange(min=2),
    metavar="N",
)
@setting(
    JointSettings,
    "update_scales",
    "Sizes of the update network's input to draw from.",
    type=CommaList(float, "1,0.5"),
    metavar="S[,S]",
)
@setting(
    JointSettings,
    "flow",
    "Fixed DIS flow, or FlowNetS weights to train too.",
    metavar="dis|NAME|PATH",
)
@setting(
    JointSettings,
    "warp",
    "Warp once by composed flow, or frame by frame.",
    type=click.Choice(["composed", "incremental"]),
)
@setting(JointSettings, "fusion", "What is fused.", type=click.Choice(["score", "feature"]))
@setting(
    JointSettings,
    "fusion_steps",
    "Steps of phase 1, which trains the fusion alone.",
    type=click.IntRange(min=0),
)
@setting(JointSettings, "fusion_rate", "Peak learning rate of the score fusion.", type=float)
@setting(
    JointSettings,
    "branch_loss",
    "Weight of each branch's own loss beside the fused one.",
    type=click.FloatRange(0),
)
@setting(JointSettings, "keep_reference", "Train all but the reference.")
@setting(
    JointSettings,
    "batch_norms",
    "Keep their statistics, or take them from the batch in phase 2.",
    type=click.Choice(["frozen", "learning"]),
)
@setting(
    JointSettings,
    "start_share",
    "Share of the weights it started from in what is validated and written.",
    type=click.FloatRange(0, 1, max_open=True),
)
@setting(JointSettings, "crop", "Size of the training crops.", type=Size())
@setting(
    JointSettings,
    "scale",
    "Random scaling, from A to B.",
    type=CommaList(float, "0.5,1.75"),
    metavar="A,B",
)
@label_options(JointSettings)
@setting(
    JointSettings,
    "validate_interval",
    "Keyframe interval of the validation.",
    type=click.IntRange(min=2),
)
@loop_options(JointSettings)
def joint(out: Path, threads: int | None, **values: Any) -> int:
    """Train reference, update, flow and fusion together through time.

    Prints the weight files it ends with; their folder can be $ACCEL_RT_WEIGHTS.
    """
    from accel_rt.train.joint import train_joint

    settings = JointSettings(**with_street(JointSettings, values))
    return run_stage(partial(train_joint, settings, out), threads, values["reference"])


@train.command()
@click.option("--reference", required=True, metavar="NAME|PATH", help="Reference weights.")
@click.option("--update", required=True, metavar="NAME|PATH", help="Update weights.")
@click.option("--data", required=True, type=_FOLDER, metavar="DIR", help="Data set.")
@layout_option("Its layout.")
@_FILE
@setting(
    FusionSettings,
    "interval",
    "Keyframes are 1 to N-1 frames back.",
    type=click.IntRange(min=2),
    metavar="N",
)
@setting(FusionSettings, "snippets", "Snippets to learn from.", type=click.IntRange(min=1))
@setting(FusionSettings, "street", "Share of procedural streets.", type=click.FloatRange(0, 1))
@setting(FusionSettings, "steps", "Optimiser steps.", type=click.IntRange(min=1))
@setting(FusionSettings, "batch", "Snippets of a step.", type=click.IntRange(min=1))
@setting(FusionSettings, "rate", "Peak learning rate.", type=float)
@setting(FusionSettings, "seed", "Of the snippets.")
def fusion(out: Path, **values: Any) -> None:
    """Train the score fusion of two trained networks, both left as they are.

    The short form of 'train joint' with its first phase alone: each branch sees a snippet once.
    Prints the weight file it ends with.
    """
    from accel_rt.train.fusion import train_fusion

    show(train_fusion(FusionSettings(**values), out, say))

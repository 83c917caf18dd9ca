"""Options that the training commands share; their defaults are those of the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from accel_rt.cli.interrupt import EXIT_INTERRUPTED, Interruption, finishing_on_signals
from accel_rt.cli.options import CommaList, layout_option
from accel_rt.cli.progress import steps_bar
from accel_rt.cli.text import show
from accel_rt.train.settings import TrainingSettings

F = TypeVar("F", bound=Callable[..., Any])


def setting(settings: type, name: str, help: str, **details: Any) -> Callable[[F], F]:
    """An option for the field ``name`` of ``settings``, with that field's default."""
    default = getattr(settings, name)
    if isinstance(default, tuple):  # as the user would write it, so that help shows it so
        default = ("x" if name == "crop" else ",").join(f"{part:g}" for part in default)
    flag = name.replace("_", "-")
    flag = f"--{flag}/--no-{flag}" if isinstance(default, bool) else f"--{flag}"
    return click.option(flag, name, default=default, show_default=True, help=help, **details)


class FolderShare(click.ParamType):
    """``DIR=0.3`` as ``(Path("DIR"), 0.3)``."""

    name = "DIR=SHARE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, float]:
        if isinstance(value, tuple):
            return value
        folder, _, share = value.rpartition("=")
        try:
            parsed = float(share)
        except ValueError:
            parsed = -1.0
        if not folder or not 0 <= parsed <= 1:
            self.fail(f"'{value}' is not a folder and a share, such as city=0.3", param, ctx)
        return Path(folder), parsed


def data_options(settings: type[TrainingSettings]) -> Callable[[F], F]:
    """Options of where samples come from; ``street`` None stands for its default."""
    options = (
        click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            metavar="DIR",
            help="Data set; without it, procedural streets only.",
        ),
        layout_option("Of the data set; auto tells by its folders."),
        click.option(
            "--also",
            type=FolderShare(),
            multiple=True,
            help="A further data set and its share of the samples; can be repeated.",
        ),
        click.option(
            "--street",
            type=click.FloatRange(0, 1),
            metavar="RATIO",
            help="Share of procedural streets.  "
            f"[default: {getattr(settings, 'street')}; 1 without --data]",  # noqa: B009
        ),
    )
    return _adding(options)


def label_options(settings: type[TrainingSettings]) -> Callable[[F], F]:
    """Options of what is learned from labels and from other networks."""
    share = click.FloatRange(0, 1)
    options = (
        setting(
            settings,
            "balance",
            "How much rare classes weigh: 0 no more than others, 1 in inverse proportion.",
            type=share,
        ),
        setting(
            settings,
            "hardest",
            "Share of each image's pixels that counts, the hardest ones.",
            type=click.FloatRange(0, 1, min_open=True),
        ),
        click.option(
            "--teacher",
            type=CommaList(),
            default=(),
            metavar="NAME[,NAME]",
            help="Also learn what these networks predict on average (names or files).",
        ),
        setting(
            settings,
            "teacher_scales",
            "Sizes at which they see the samples.",
            type=CommaList(float, "1,1.5"),
            metavar="S[,S]",
        ),
        setting(settings, "distil", "The teachers' share of the loss.", type=share),
    )
    return _adding(options)


def loop_options(settings: type[TrainingSettings]) -> Callable[[F], F]:
    """Options of the loop that all stages share, with a stage's defaults."""
    positive = click.IntRange(min=1)
    options = (
        setting(settings, "steps", "Optimiser steps.", type=positive),
        setting(settings, "batch", "Samples of a step, over all processes.", type=positive),
        setting(settings, "accumulate", "Parts that a batch is taken in.", type=positive),
        setting(settings, "optimiser", "How to step.", type=click.Choice(["adamw", "sgd"])),
        setting(settings, "rate", "Peak learning rate.", type=float),
        setting(settings, "weight_decay", "On convolution weights.", type=float),
        setting(settings, "warmup", "Steps to the peak rate.", type=click.IntRange(min=0)),
        setting(settings, "clip", "Largest norm of the gradient.", type=float),
        setting(settings, "ema", "Decay of the weight average.", type=click.FloatRange(0, 1)),
        setting(
            settings, "precision", "Of the networks.", type=click.Choice(["auto", "bf16", "fp32"])
        ),
        setting(settings, "device", "Where to train.", metavar="auto|cpu|cuda[:N]"),
        setting(settings, "seed", "Of weights and samples."),
        setting(settings, "validate_every", "Steps between validations.", type=positive),
        setting(
            settings,
            "validate_first",
            "Step of an early first validation; 0 is before training.",
            type=click.IntRange(min=0),
        ),
        setting(settings, "log_every", "Steps between rows of log.csv.", type=positive),
        setting(settings, "save_every_s", "Seconds between checkpoints.", type=float),
        setting(settings, "workers", "Processes that make samples.", type=click.IntRange(min=0)),
        setting(settings, "sync_bn", "Batch norms see the samples of all processes."),
        setting(settings, "tensorboard", "Log to TensorBoard too."),
        click.option("--threads", type=positive, metavar="N", help="CPU threads of each process."),
    )
    return _adding(options)


def _adding(options: Sequence[Callable[[Any], Any]]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def with_street(settings: type[TrainingSettings], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the share of streets that was left out."""
    if values["street"] is None:
        alone = values["data"] is None and not values["also"]
        values["street"] = 1.0 if alone else getattr(settings, "street")  # noqa: B009
    return values


def run_stage(train: Callable[..., Any], threads: int | None, title: str) -> int:
    """Call ``train(report=, progress=, stop=)`` and print the weight files it returns.

    The first Ctrl-C or SIGTERM lets it save and stop; returns the exit code.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    interruption = Interruption()
    # torchrun passes a terminal's Ctrl-C on a second time: there it does not mean 'at once'.
    patient = "TORCHELASTIC_RUN_ID" in os.environ
    with finishing_on_signals(interruption, patient), steps_bar(title) as (report, progress):
        try:
            written = train(report=report, progress=progress, stop=interruption.event.is_set)
        except KeyboardInterrupt:
            if interruption.signal is None:
                raise
            return EXIT_INTERRUPTED
    if os.environ.get("RANK", "0") == "0":
        for path in written if isinstance(written, list) else [written]:
            show(path)
    return 0

"""``accel-rt train``: one command per training stage."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.fields import field_options, from_values, output_option, threads_option
from accel_rt.cli.interrupt import EXIT_INTERRUPTED, Interruption, finishing_on_signals
from accel_rt.cli.progress import steps_bar
from accel_rt.cli.text import say, show
from accel_rt.errors import UsageError
from accel_rt.train.pair_settings import FusionSettings, JointSettings, PairSettings
from accel_rt.train.settings import DeepLabSettings, FlowSettings, PolicySettings

_RUN = click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
_FILE_OR_FOLDER = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file to write, or a folder for it.",
)
_THREADS = threads_option("CPU threads of each process.")


class _OrData(click.Group):
    """A group whose first word may also be a folder of data, for ``pair``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["pair", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_OrData)
def train() -> None:
    """Train networks for classes of your own.

    'accel-rt train DATA -o RUN' is all that it takes: short for 'train pair'. The other commands
    train each network alone, then a pair together.

    Ctrl-C saves a run; the same command goes on with it. Under torchrun
    (torchrun --nproc-per-node N -m accel_rt train ...) the processes share every batch.
    """


@train.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Run folder."
)
@field_options(PairSettings)
@_THREADS
def pair(data: Path, out: Path, threads: int | None, **values: Any) -> int:
    """Train reference, update and fusion on the labelled pictures in the folder DATA.

    They start from the weights that ship, whatever your classes. Without a validation split a
    fifth of the pictures is held out. Ends with the accuracy on what was held out, pictures of it,
    and the command that uses the result.
    """
    if data.is_file():
        raise UsageError(f"{data} is a file: unpack it, and name the folder with the pictures")
    from accel_rt.cli.train_pair import conclude
    from accel_rt.train.pair import train_pair

    settings = from_values(PairSettings, {"data": data, **values})
    return _run(partial(train_pair, settings, out), threads, out.name, partial(conclude, out))


@train.command()
@_RUN
@field_options(DeepLabSettings)
@_THREADS
def deeplab(out: Path, threads: int | None, **values: Any) -> int:
    """Fine-tune one network alone on labelled frames; prints the weight file it ends with."""
    from accel_rt.train.deeplab import train_deeplab

    settings = from_values(DeepLabSettings, _with_street(values))
    return _run(partial(train_deeplab, settings, out), threads, values["network"])


@train.command()
@_RUN
@field_options(FlowSettings)
@_THREADS
def flow(out: Path, threads: int | None, **values: Any) -> int:
    """Train FlowNetS on pairs with known flow; prints the weight file it ends with."""
    from accel_rt.train.flow import train_flow

    settings = from_values(FlowSettings, values)
    return _run(partial(train_flow, settings, out), threads, "flownets")


@train.command()
@_RUN
@field_options(JointSettings)
@_THREADS
def joint(out: Path, threads: int | None, **values: Any) -> int:
    """Train reference, update, flow and fusion together through time.

    Prints the weight files it ends with; their folder can be $ACCEL_RT_WEIGHTS.
    """
    from accel_rt.train.joint import train_joint

    settings = from_values(JointSettings, _with_street(values))
    return _run(partial(train_joint, settings, out), threads, values["reference"])


@train.command()
@_FILE_OR_FOLDER
@field_options(FusionSettings)
def fusion(out: Path, **values: Any) -> None:
    """Train the score fusion of two trained networks, both left as they are.

    The short form of 'train joint' with its first phase alone: each branch sees a snippet once.
    Prints the weight file it ends with.
    """
    from accel_rt.train.fusion import train_fusion

    show(train_fusion(from_values(FusionSettings, values), out, say))


@train.command()
@click.argument(
    "videos", nargs=-1, required=True, metavar="VIDEO...", type=click.Path(path_type=Path)
)
@_FILE_OR_FOLDER
@field_options(PolicySettings)
def policy(videos: tuple[Path, ...], out: Path, **values: Any) -> None:
    """Learn where keyframes help most, from videos without labels, for '--policy budget'.

    Prints the weight file it ends with; its folder can be $ACCEL_RT_WEIGHTS.
    """
    from accel_rt.train.policy import train_policy

    show(train_policy(videos, from_values(PolicySettings, values), out, say))


@train.command()
@click.argument("networks", nargs=-1, required=True, metavar="NAME|PATH...")
@output_option("The .safetensors file to write.", "--out")
def soup(networks: tuple[str, ...], out: Path) -> None:
    """Write the mean of networks that were trained from one start; often better than each."""
    from accel_rt.train.soup import mean_network

    show(mean_network(networks, out))


@train.command("pack-data")
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@output_option("The file to write.", "--out")
@field_options(DeepLabSettings, "layout", "shorter")
@click.option(
    "--quality", type=click.IntRange(1, 100), default=92, show_default=True, help="JPEG's."
)
def pack_data(data: Path, out: Path, **values: Any) -> None:
    """Write DATA's labelled frames to one small file, to carry to another machine.

    It is a tar archive: unpack it there, and train on the folder.
    """
    from accel_rt.data.packed import pack_data as pack

    counts = pack(data, out, **{name: v for name, v in values.items() if v is not None})
    frames = ", ".join(f"{count} frames of {split}" for split, count in counts.items())
    show(f"{out}: {frames}, {out.stat().st_size / 1e6:.1f} MB")


def _with_street(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with streets alone where there is no other data, and no share is given."""
    if values["street"] is None and values["data"] is None and not values["also"]:
        values["street"] = 1.0
    return values


def _show_files(written: Path | list[Path]) -> None:
    for path in written if isinstance(written, list) else [written]:
        show(path)


def _run(
    train: Callable[..., Any],
    threads: int | None,
    title: str,
    conclude: Callable[[Any], None] = _show_files,
) -> int:
    """Call ``train(report=, progress=, stop=)`` and ``conclude`` with what it returns.

    The first Ctrl-C, SIGTERM or SIGHUP lets it save and stop; returns the exit code.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    interruption = Interruption()
    # torchrun passes a terminal's Ctrl-C on a second time: there it does not mean 'at once'.
    patient = "TORCHELASTIC_RUN_ID" in os.environ
    with finishing_on_signals(interruption, patient), steps_bar(title) as (report, progress):
        try:
            result = train(report=report, progress=progress, stop=interruption.event.is_set)
        except KeyboardInterrupt:
            if interruption.signal is None:
                raise
            return EXIT_INTERRUPTED
    if os.environ.get("RANK", "0") == "0":
        conclude(result)
    return 0

"""``accel-rt pack``: the same weights in a smaller file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from accel_rt.cli.fields import output_option
from accel_rt.cli.text import show
from accel_rt.errors import UsageError

_PACKED = ", before packing"


@click.command()
@click.argument("weights", metavar="NAME|PATH")
@output_option("The file to write.")
@click.option(
    "--bits",
    type=click.Choice(["4", "8"]),
    help="Bits of a weight. Large networks lose little with 4, small ones more.  [default: 4]",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Keep the weights, and add the network in 8-bit integers for --backend openvino or onnx.",
)
@click.option(
    "--calibrate",
    metavar="VIDEO|FOLDER",
    help="Typical frames, which tell --int8 the ranges of the activations.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    metavar="N",
    help="Calibrate by so many of them, evenly spread.",
)
def pack(
    weights: str, output: Path, bits: str | None, int8: bool, calibrate: str | None, frames: int
) -> None:
    """Write the weights of a network or model again with fewer bits; prints the file.

    What the file says of its accuracy was measured before; 'accel-rt eval' measures it again.
    """
    if int8 != (calibrate is not None):
        raise click.UsageError("--int8 and --calibrate VIDEO|FOLDER go together: give both")
    if int8 and bits:
        raise click.UsageError("--int8 leaves the weights as they are: omit --bits, or pack twice")
    if output.suffix != ".safetensors":
        raise UsageError(
            f"'{output}' would hold weights as safetensors: end its name in .safetensors, or use "
            f"'accel-rt export' for .onnx and .pt2"
        )

    from accel_rt.models import store
    from accel_rt.models.weights import split_part

    path = store.find(weights)
    file, _ = split_part(path)
    if output.exists() and output.samefile(file):
        raise UsageError(f"'{output}' is what is packed: name another file")
    if calibrate is not None:
        from accel_rt.runtime.calibrate import pack_int8

        pack_int8(weights, calibrate, frames, output)
        show(output)
        return

    from dataclasses import replace

    from accel_rt.models.weights import (
        load_network,
        load_tensors,
        read_description,
        save_network,
        save_tensors,
    )

    number = cast(Literal[4, 8], int(bits or 4))
    is_whole = not split_part(Path(weights))[1]
    if is_whole and read_description(file)["kind"] == "model":
        save_tensors(output, *load_tensors(file), number)
    else:
        network, info = load_network(path)
        if info.miou is not None and _PACKED not in info.evaluated_on:
            before = f"{info.evaluated_on}{_PACKED} in {number} bits"
            info = replace(info, evaluated_on=before)
        save_network(output, network, info, number)
    show(output)

"""``accel-rt pack``: the same weights in a smaller file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from accel_rt.cli.text import show


@click.command()
@click.argument("weights", metavar="NAME|PATH")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file to write.",
)
@click.option(
    "--bits",
    type=click.Choice(["4", "8"]),
    default="4",
    show_default=True,
    help="Bits of a weight. Large networks lose little with 4, small ones more.",
)
def pack(weights: str, output: Path, bits: str) -> None:
    """Write the weights of a network or model again with fewer bits; prints the file.

    What the file says of its accuracy was measured before; 'accel-rt eval' measures it again.
    """
    from dataclasses import replace

    from accel_rt.models import store
    from accel_rt.models.weights import (
        load_network,
        load_tensors,
        read_description,
        save_network,
        save_tensors,
        split_part,
    )

    path, number = store.find(weights), cast(Literal[4, 8], int(bits))
    file, _ = split_part(path)
    if "#" not in weights and read_description(file)["kind"] == "model":
        save_tensors(output, *load_tensors(file), number)
    else:
        network, info = load_network(path)
        if info.miou is not None:
            before = f"{info.evaluated_on}, before packing in {bits} bits"
            info = replace(info, evaluated_on=before)
        save_network(output, network, info, number)
    show(output)

"""``accel-rt import``: networks that others trained, as weight files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

from accel_rt.cli.fields import output_option
from accel_rt.cli.text import say, show

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("import")
def importing() -> None:
    """Bring networks that were trained elsewhere."""


@importing.command()
@click.argument("checkpoint", type=_FILE, metavar="FILE.params")
@click.option(
    "--base",
    type=_FILE,
    metavar="FILE.params",
    help="The checkpoint that it was trained from, for what it lacks.",
)
@output_option("The .safetensors to write.")
@click.option(
    "--bits",
    type=click.Choice(["4", "8", "32"]),
    default="32",
    show_default=True,
    help="Bits of a weight; 32 keeps the weights as they are.",
)
def mxnet(checkpoint: Path, base: Path | None, output: Path, bits: str) -> None:
    """A checkpoint of the paper's authors: Accel-18, -34, -50, -101, or Deep Feature Flow.

    Prints the file, which holds all networks of the model: give it to --weights. MXNet is not
    needed.
    """
    from accel_rt.models.mxnet.model import import_model, model_parts
    from accel_rt.models.weights import save_model

    if output.suffix != ".safetensors":
        raise click.UsageError(f"the output must be a .safetensors file, got {output}")
    converted = import_model(checkpoint, base)
    if converted.unused:
        names = ", ".join(name.partition(":")[2] for name in converted.unused)
        say(f"note: {len(converted.unused)} parameters have no use here: {names}")
    title = f"{converted.version.title} of the paper's authors ({checkpoint.name})"
    parts = model_parts(converted, title)
    save_model(output, parts, title, cast(Literal[4, 8, 32], int(bits)))
    show(output)

"""``accel-rt export``: networks for other runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from accel_rt.cli.fields import Size, field_options, from_values, output_option
from accel_rt.cli.text import say, show
from accel_rt.runtime.settings import SegmenterSettings

_SUFFIXES = ".onnx", ".pt2"


@click.command()
@click.argument("reference", metavar="NAME|PATH")
@click.option(
    "--update",
    metavar="NAME|PATH",
    help="The update network of a pair, with its trained fusion if there is one: writes two files.",
)
@field_options(SegmenterSettings, "update_scale")
@output_option("FILE.onnx, or FILE.pt2 for torch.export; of a pair FILE-keyframe and FILE-update.")
@click.option(
    "--size",
    type=Size(),
    metavar="WxH",
    help="Write for frames of this size alone.  [default: any multiple of the networks' cells, in "
    "a .pt2 at least two]",
)
def export(
    reference: str,
    update: str | None,
    update_scale: float | None,
    output: Path,
    size: tuple[int, int] | None,
) -> None:
    """Write a network, or both halves of a pair, as ONNX or for torch.export; prints the files.

    A network's file turns a picture [1, 3, H, W], normalised RGB, into 'scores' and the 'state'
    that flow moves. The file of a pair's other frames takes 'state', 'flow' (from each of the
    picture's cells to where it was in the keyframe) and a picture. An
    ONNX file runs here too, as --reference onnx:FILE or openvino:FILE.
    """
    if output.suffix not in _SUFFIXES:
        raise click.UsageError(f"the output must be an .onnx or .pt2 file, got {output}")

    if update is None and update_scale not in (None, 1.0):
        raise click.UsageError("--update-scale is of an update network: name it by --update")

    from accel_rt.files import write_whole
    from accel_rt.runtime.halves import halves
    from accel_rt.runtime.load import load_model

    values = {"reference": reference, "update": update, "update_scale": update_scale}
    mode = "deeplab" if update is None else "accel"
    settings = from_values(SegmenterSettings, {**values, "mode": mode, "backend": "torch"})
    loaded = load_model(settings)
    if "note" in loaded.description:
        say(f"note: {loaded.description['note']}")
    names = ("keyframe",) if update is None else ("keyframe", "update")
    pieces = halves(loaded.model, loaded.info, settings.update_scale, size, names)
    for name, piece in pieces.items():
        path = output if update is None else output.with_stem(f"{output.stem}-{name}")
        write_whole(path, piece.to_onnx() if output.suffix == ".onnx" else piece.to_torch())
        show(path)

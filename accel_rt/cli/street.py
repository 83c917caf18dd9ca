"""``accel-rt street``: a rendered drive as a video, for trying things out offline."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accel_rt.cli.fields import Number, Size
from accel_rt.cli.text import show

if TYPE_CHECKING:
    from accel_street import Driving


@click.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--seconds", type=Number(min=0, min_open=True), default=6.0, help="Length.", show_default=True
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=7,
    show_default=True,
    help="Another seed, another street.",
)
@click.option(
    "--size", type=Size(), default="480x360", show_default=True, help="Width and height in pixels."
)
@click.option(
    "--rate", type=click.IntRange(1, 120), default=15, show_default=True, help="Frames per second."
)
@click.option(
    "--driving",
    type=click.Choice(("steady", "stops", "overtakes")),
    default="steady",
    help="stops: stand still, turn aside and drive on, by turns; overtakes: pass those ahead.",
)
def street(
    output: Path, seconds: float, seed: int, size: tuple[int, int], rate: int, driving: Driving
) -> None:
    """Render a procedural street drive to the video file OUTPUT and print its path."""
    from accel_rt.video.codecs import CODECS
    from accel_rt.video.output import check_output_path
    from accel_rt.video.writer import VideoWriter
    from accel_street import StreetDrive

    check_output_path(output, [])
    drive = StreetDrive(seed=seed, size=size, rate=rate, driving=driving)
    suffix = output.suffix.lower()
    codec = next((name for name, found in CODECS.items() if suffix in found.suffixes), "h264")
    with VideoWriter(output, size, Fraction(rate), codec) as writer:
        for frame in drive.frames(max(1, round(seconds * rate))):
            writer.write(frame.image_bgr, Fraction(frame.index, rate))
    show(output)

"""``accel-rt cameras``: what ``accel-rt live`` can open here."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from accel_rt.cli.text import say, show, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cameras(as_json: bool) -> None:
    """List the cameras of this machine, with sizes and frame rates."""
    from accel_rt.live.cameras import find_cameras

    found = find_cameras()
    if as_json:
        show(json.dumps([asdict(camera) for camera in found], indent=2))
        return
    if not found:
        say(
            "no camera can be opened here: plug one in, or give 'accel-rt live' the URL of a "
            "stream or a video file"
        )
        return
    rows = [("source", "name", "sizes and frames a second")]
    for camera in found:
        modes = (
            f"{mode.width}x{mode.height}" + (f" at {mode.rate:g}" if mode.rate else "")
            for mode in camera.modes
        )
        rows.append((str(camera.index), camera.name, ", ".join(modes)))
    show(table(rows))

"""``accel-rt eval diff``: what changed between two evaluations."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from accel_rt.cli.text import show, table

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("a", type=_FILE, metavar="A.json")
@click.argument("b", type=_FILE, metavar="B.json")
@click.option(
    "--interval",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Keyframe interval at which both are compared.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(a: Path, b: Path, interval: int, as_json: bool) -> None:
    """Show what changed from A to B beyond noise.

    A change counts if the 95% interval of a paired bootstrap over frames leaves out zero.
    """
    from accel_rt.evaluate.diff import compare
    from accel_rt.evaluate.results import read

    changes = compare(read(a), read(b), interval)
    if as_json:
        rows = [{**asdict(change), "beyond_noise": change.beyond_noise} for change in changes]
        show(json.dumps(rows, indent=2))
        return
    lines = [("model", "score", "A", "B", "change", "95% interval", "")]
    lines += [
        (
            change.model,
            change.score,
            f"{change.before:.2f}",
            f"{change.after:.2f}",
            f"{change.after - change.before:+.2f}",
            f"{change.low:+.2f} to {change.high:+.2f}",
            "beyond noise" if change.beyond_noise else "",
        )
        for change in changes
    ]
    show(table(lines, (2, 3, 4, 5)))

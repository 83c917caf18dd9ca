"""Operators against their peers and limits: some of the cases, for as long as wanted.

    python benchmarks/ops.py [--only warp_score] [--seconds 8] [--threads 2] [--json FILE]

The cases and what they are compared with are those of ``accel-rt bench ops``.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from rich.console import Console

from accel_rt.bench import ops
from accel_rt.bench.harness import Effort
from accel_rt.bench.report import operator_json, operator_tables
from accel_rt.bench.run import synchroniser, threads_set_to
from accel_rt.device import resolve_device


@click.command()
@click.option("--only", default="", metavar="TEXT", help="Cases with this in their name.")
@click.option("--seconds", default=8.0, show_default=True, help="For each case.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE")
def main(
    only: str, seconds: float, threads: int | None, device: str, json_file: Path | None
) -> None:
    """Print a table for each operator."""
    where = resolve_device(device)
    fast = torch.float16 if where.type == "cuda" else torch.bfloat16
    measured = []
    with threads_set_to(threads):
        for case in ops.cases(ops.Bench(where, (torch.float32, fast))):
            name = f"{case.op} {case.shape} {case.dtype}"
            if only in name:
                click.echo(name, err=True)
                measured.append(ops.measure(case, Effort(seconds, 5, 500), synchroniser(where)))
    console = Console(highlight=False, markup=False, width=140)
    console.print(*operator_tables(measured), sep="\n")
    if json_file:
        json_file.write_text(json.dumps([operator_json(one) for one in measured], indent=2))


if __name__ == "__main__":
    main()

"""What ``benchmarks/device.sh`` found, as OUT/device.json and OUT/table.md.

Reads its steps from standard input, ``NAME CODE SECONDS`` a line, and their logs and timings.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from accel_rt.version import __version__

_LOG_LINES = 60


@click.command()
@click.argument("out", type=click.Path(path_type=Path, exists=True))
def main(out: Path) -> None:
    """Write both files, and print the table."""
    steps = [step(out, *line.split()) for line in sys.stdin if line.strip()]
    there = torch.cuda.is_available()
    found = {
        "device": torch.cuda.get_device_name() if there else platform.processor() or "cpu",
        "torch": torch.__version__,
        "accel-rt": __version__,
        "steps": steps,
    }
    (out / "device.json").write_text(json.dumps(found, indent=1))
    lines = ["| step | exit code | s | frames/s | ms a frame |", "|---|---|---|---|---|"]
    for each in steps:
        cells = (each["name"], each["code"], each["seconds"], each.get("rate"), each.get("ms"))
        lines.append(f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |")
    text = "\n".join(lines) + "\n"
    for each in steps:
        if each["name"] in ("operators", "frames", "bench"):
            text += f"\n## {each['name']}\n" + "\n".join(each["log"]) + "\n"
    (out / "table.md").write_text(text)
    click.echo(text)


def step(out: Path, name: str, code: str, seconds: str) -> dict[str, Any]:
    """A step with the end of its log and, of a ``segment``, its rate."""
    log = (out / f"{name}.log").read_text(errors="replace").splitlines()[-_LOG_LINES:]
    found: dict[str, Any] = {"name": name, "code": int(code), "seconds": float(seconds), "log": log}
    timing = out / f"{name}.csv"
    if timing.is_file() and code == "0":
        with timing.open(newline="") as file:
            totals = [float(row["total_ms"]) for row in csv.DictReader(file)]
        found["rate"] = round(len(totals) / found["seconds"], 1)
        found["ms"] = round(median(totals), 2)
    return found


if __name__ == "__main__":
    main()

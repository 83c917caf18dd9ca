"""The tables of this folder's README, measured anew: Markdown to stdout, in about six minutes.

    python benchmarks/results.py > results.md

Runs ``accel-rt bench`` with all threads, then its operators with one thread, each in a process of
its own, and torch's profiler on an update frame of Accel-18. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_BENCH = "from accel_rt.cli.main import main; main()"
_PROFILE = Path(__file__).with_name("frame_profile.py")


@click.command()
@click.option("--quick", is_flag=True, help="The short benchmark: to try this script.")
def main(quick: bool) -> None:
    """Print the machine, the operators, the models and the profile."""
    short = ["--quick"] if quick else []
    whole = bench("all", *short)
    alone = bench("ops", "--threads", "1", *short)
    click.echo(f"{json.dumps(whole['machine'])}\n")
    for line in operator_table(whole["ops"], alone["ops"]):
        click.echo(line)
    click.echo()
    for line in model_table(whole["e2e"]["models"]):
        click.echo(line)
    profile = [sys.executable, str(_PROFILE), "--rows", "12"]
    click.echo(
        f"\n```\n{subprocess.run(profile, check=True, capture_output=True, text=True).stdout}```"
    )


def bench(part: str, *options: str) -> dict[str, Any]:
    """What ``accel-rt bench PART OPTIONS --json`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        command = [sys.executable, "-c", _BENCH, "bench", part, *options, "--json", str(path)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(path.read_text())


def operator_table(cases: list[dict[str, Any]], alone: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each of our runs; ``alone`` are the same cases with one thread."""
    yield (
        "| operator | shape | type | ms | peer: ms, how many times faster"
        " | limit: ms, ratio to it | 1 -> 2 |"
    )
    yield "|---|---|---|---|---|---|---|"
    for case, single in zip(cases, alone, strict=True):
        runs = case["runs"]
        (limit,) = (name for name, run in runs.items() if run["role"] == "limit")
        for name, run in runs.items():
            if run["role"] != "ours":
                continue
            peers = "; ".join(
                f"{peer} {number(runs[peer]['median_ms'])}, **{faster:.1f}x**"
                for peer, faster in run["times_faster_than"].items()
            )
            bound = f"{limit} {number(runs[limit]['median_ms'])}, {run['times_the_limit']:.2f}x"
            gain = single["runs"][name]["median_ms"] / run["median_ms"]
            label = name if name.startswith(case["op"]) else case["op"]
            yield (
                f"| {label} | {case['shape']} | {case['precision']} | {number(run['median_ms'])}"
                f" | {peers or '-'} | {bound} | {gain:.1f} |"
            )


def model_table(models: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each model."""
    intervals = list(models[0]["intervals"])
    yield (
        "| model | keyframe p50 / p95 | update frame p50 / p95 | of it flow | other | peak MB"
        f" | frames/s at {' | '.join(intervals)} | 5 as streamed |"
    )
    yield "|---" * (7 + len(intervals)) + "|"
    for model in models:
        frames, share = model["frames"], model["other_share_of_update"]
        cells = [
            f"{number(of['p50_ms'])} / {number(of['p95_ms'])}" if of else "-"
            for of in (frames.get("key"), frames.get("update"))
        ]
        cells.append(number(frames["update"]["flow_ms"]) if "update" in frames else "-")
        cells.append("-" if share is None else f"{100 * share:.1f}%")
        cells.append(number(model["peak_memory_mb"]) if model["peak_memory_mb"] else "-")
        for speed in (*model["intervals"].values(), model["stream"]):
            cells.append(f"{speed['frames_per_s']:.1f} ({speed['times_baseline']:.1f}x)")
        yield f"| {model['model']} | {' | '.join(cells)} |"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()

"""``accel-rt bench``: how fast it all is on this machine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accel_rt import threads
from accel_rt.cli.fields import plot_option, threads_option, written_option
from accel_rt.cli.machine import machine
from accel_rt.cli.text import say
from accel_rt.errors import UsageError
from accel_rt.files import write_whole
from accel_rt.plotting import require_matplotlib
from accel_rt.runtime.settings import PRECISIONS
from accel_rt.size import wxh

if TYPE_CHECKING:
    from accel_rt.bench.run import Part, Results

_NARROWEST = 140  # columns; what the widest table needs, where nobody watches a terminal


@click.command()
@click.argument(
    "part", type=click.Choice(("ops", "e2e", "all")), default="all", metavar="[ops|e2e|all]"
)
@click.option("--quick", is_flag=True, help="Fewer cases and runs: half a minute, not three.")
@written_option("--json", "FILE", "Write every measurement to FILE.", name="json_file")
@plot_option(".png", "Draw the time of each model.")
@threads_option("CPU threads.  [default: one for each core]")
@click.option(
    "--only", default="", metavar="TEXT", help="Operators' cases with TEXT in their name."
)
@click.option("--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="auto: operators in fp32 and the fast type of the device, models in the latter.",
)
def bench(
    part: Part, quick: bool, json_file: Path | None, plot: Path | None, **values: Any
) -> None:
    """Time operators and models on this machine.

    ops: every operator against what PyTorch and torchvision offer, and against what the machine
    can do at best. e2e: DeepLab, Deep Feature Flow and Accel on a rendered street. Competitors
    take turns.
    """
    if plot is not None and part == "ops":
        raise UsageError("--plot draws the models, and ops measures none: use e2e or all")
    if plot is not None:
        require_matplotlib()
    if values["only"] and part == "e2e":
        raise UsageError("--only chooses operators' cases, and e2e measures none: use ops or all")
    from accel_rt.bench.run import BenchSettings, run

    before = threads.crowding()
    if before.is_busy:
        say(f"note: the machine is busy ({before}): times will be too long and vary")
    results = run(BenchSettings(part=part, quick=quick, **values), say)
    info = {**bench_machine(results), "load_before": before.load, "throttled": before.throttled}
    with ExitStack() as outputs:  # the last one first, and the others even if one fails
        if plot is not None:
            outputs.callback(_plot, plot, results, info)
        if json_file is not None:
            outputs.callback(_write_json, json_file, results, info)
        outputs.callback(_print, results, info)


def bench_machine(results: Results) -> dict[str, Any]:
    """The machine as far as it matters to speed, with what ran on it."""
    import cv2
    import torch

    from accel_rt.bench.peers import torchvision
    from accel_rt.ops import extension_status

    return {
        **machine(),
        "simd": extension_status().simd,
        "torch_simd": torch.backends.cpu.get_cpu_capability(),
        "threads": results.threads,
        "device": results.device,
        "precision": results.precision,
        "opencv": cv2.__version__,
        "torchvision": getattr(torchvision(), "__version__", None),
    }


def _machine_line(info: dict[str, Any]) -> str:
    parts = [
        info.get("gpu", "") if info["device"].startswith("cuda") else "",
        info["cpu"],
        f"{info['threads']} threads on {info['cores']} cores",
        f"{info['simd']} kernels",
        f"models in {info['precision']}",
        f"torch {info['torch']}",
        f"torchvision {info['torchvision'] or 'not installed'}",
        f"OpenCV {info['opencv']}",
        f"accel-rt {info['accel_rt']}",
    ]
    return ", ".join(part for part in parts if part)


def _print(results: Results, info: dict[str, Any]) -> None:
    from rich.console import Console

    from accel_rt.bench.report import tables

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_NARROWEST)
    console.print(_machine_line(info), soft_wrap=True)
    console.print(tables(results))


def _write_json(path: Path, results: Results, info: dict[str, Any]) -> None:
    from accel_rt.bench.report import to_json

    write_whole(path, json.dumps({"machine": info, **to_json(results)}, indent=2) + "\n")


def _plot(path: Path, results: Results, info: dict[str, Any]) -> None:
    from accel_rt.bench import plot
    from accel_rt.bench.run import FRAME_SIZE

    title = f"Time per frame at {wxh(FRAME_SIZE)}, keyframe interval 5"
    machine_line = (
        f"{info['cpu']}, {info['threads']} threads, {info['precision']} "
        "(DeepLab-101 in plain PyTorch: float32)"
    )
    plot.write(path, plot.bars(results.models), title, machine_line)

"""``accel-rt eval paper``: the paper's tables and figures for the models at hand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from accel_rt.cli.eval_options import footage_options, open_dataset_info, worker_count
from accel_rt.cli.fields import Number, field_options, threads_option
from accel_rt.cli.machine import machine
from accel_rt.cli.text import say, show
from accel_rt.errors import OutputError
from accel_rt.files import why_unwritable
from accel_rt.plotting import require_matplotlib
from accel_rt.runtime.settings import SegmenterSettings


@click.command()
@click.argument("data")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("eval-paper"),
    show_default=True,
    metavar="DIR",
    help="Folder for report.html, report.md with figures/, report.json and scores.csv.",
)
@click.option(
    "--longest",
    type=click.IntRange(min=5),
    default=10,
    show_default=True,
    metavar="N",
    help="Largest keyframe interval.",
)
@field_options(SegmenterSettings, "warp", "size", "device", "precision")
@threads_option("CPU threads of the timing.  [default: one for each core]")
@click.option(
    "--seconds",
    type=Number(min=1),
    default=120,
    show_default=True,
    help="How long to time all models in turn.",
)
@footage_options
def paper(data: str, out: Path, longest: int, **values: Any) -> None:
    """Reproduce the paper's four tables and figures 3a, 3b and 4 on DATA.

    Every installed network takes part; what is missing is named. An interrupted run goes on where
    it stopped. Prints the files written.
    """
    require_matplotlib()
    from accel_rt.evaluate.paper import available_models
    from accel_rt.evaluate.paper_run import PaperRun, run_paper
    from accel_rt.evaluate.report.write import FIGURES, write_report
    from accel_rt.evaluate.run import forget

    figures = out / FIGURES
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(why_unwritable(figures, error)) from error
    base = SegmenterSettings(
        warp=values["warp"],
        size=values["size"],
        device=values["device"],
        precision=values["precision"],
    )
    footage, dataset = open_dataset_info(data, values)
    models = available_models(base, footage.classes, longest)
    plan = PaperRun(
        footage,
        dataset,
        models,
        out / "parts",
        worker_count(values["workers"], values["device"]),
        None if values["no_timing"] else values["seconds"],
        values["threads"],
    )
    results, figure_rows = run_paper(plan, say)
    results.command = shlex.join(["accel-rt", *sys.argv[1:]])
    results.machine = {**machine(), **results.machine}
    written = write_report(out, results, models.families, figure_rows)
    forget(plan.work)
    show("\n".join(map(str, written)))

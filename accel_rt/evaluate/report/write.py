"""Write the report: a page that needs nothing else, markdown, CSV and JSON."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from accel_rt.evaluate.bootstrap import RESAMPLES
from accel_rt.evaluate.counts import SCORES
from accel_rt.evaluate.paper import INTERVAL, NetworkFamily
from accel_rt.evaluate.paper_run import FigureRow
from accel_rt.evaluate.report import tables
from accel_rt.evaluate.report.figures import Figure, beyond, figure_3a, figure_3b
from accel_rt.evaluate.results import Results, write
from accel_rt.files import write_whole
from accel_rt.size import wxh

_PICTURE_WIDTH = 240
_JPEG_QUALITY = 82
FIGURES = "figures"
"""Folder of the charts beside the markdown report."""


def write_report(
    folder: Path,
    results: Results,
    families: Sequence[NetworkFamily],
    figure_rows: Sequence[FigureRow],
) -> list[Path]:
    """Write ``report.html``, ``report.md`` with ``figures/``, ``scores.csv`` and ``report.json``.

    Returns their paths. Raises :class:`~accel_rt.errors.OutputError` if one cannot be written, and
    :class:`~accel_rt.errors.UsageError` without matplotlib.
    """
    names = ("report.html", "report.md", FIGURES, "scores.csv", "report.json")
    page_path, markdown_path, figures, csv_path, json_path = (folder / name for name in names)
    write_whole(page_path, page(results, families, figure_rows))
    write_whole(markdown_path, markdown(results, families))
    figures.mkdir(exist_ok=True)
    for figure in all_figures(results, families):
        for name, (_, chart) in zip(_files(figure), figure.charts, strict=True):
            write_whole(folder / name, chart.svg())
    write_whole(csv_path, scores_csv(results))
    write(json_path, results)
    return [page_path, markdown_path, figures, csv_path, json_path]


def all_figures(results: Results, families: Sequence[NetworkFamily]) -> list[Figure]:
    """The paper's figures 3a and 3b, then those beyond the paper, family by family."""
    further = [figure for family in families for figure in beyond(results, family)]
    return [figure_3a(results, families), figure_3b(results, families), *further]


def _files(figure: Figure) -> list[str]:
    """The files of a figure's charts, seen from the report's folder."""
    numbers = [f"-{n}" for n in range(1, len(figure.charts) + 1)]
    return [f"{FIGURES}/{figure.key}{'' if len(numbers) == 1 else n}.svg" for n in numbers]


def paper_tables(results: Results, families: Sequence[NetworkFamily]) -> list[tables.Table]:
    """The paper's four."""
    made = (tables.table_1, tables.table_2, tables.table_3, tables.table_4)
    return [make(results, families) for make in made]


def page(
    results: Results, families: Sequence[NetworkFamily], figure_rows: Sequence[FigureRow]
) -> str:
    """The whole report as one HTML page without outside parts."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("accel_rt.evaluate.report").joinpath("page.html.j2")
    template = environment.from_string(source.read_text(encoding="utf-8"))
    one, *others = paper_tables(results, families)
    return template.render(
        results=results,
        facts=facts(results),
        missing=not_measured(results),
        differences=differences(results),
        table_1=one,
        tables=others,
        figures=[_drawn(f) for f in (figure_3a(results, families), figure_3b(results, families))],
        figure_4=[_pictures(row) for row in figure_rows],
        legend=list(zip(results.dataset.classes.names, _css_colours(results), strict=True)),
        by_family=[
            {
                "title": family.title,
                "scores": tables.scores_table(results, family),
                "classes": tables.classes_table(results, family),
                "beyond": [_drawn(figure) for figure in beyond(results, family)],
            }
            for family in families
        ],
        costs=tables.cost_table(results),
    )


def markdown(results: Results, families: Sequence[NetworkFamily]) -> str:
    """Every table and what is to be known about it."""
    lines = [f"# The paper's evaluation on {results.dataset.footage}", ""]
    lines += [f"- **{name}**: {value}" for name, value in facts(results)]
    lines += ["", "What differs from the paper:", ""]
    lines += [f"- {text}" for text in differences(results)]
    if results.missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- {'; '.join(names)}: {why}" for why, names in not_measured(results).items()]
    lines += [""]
    lines += [table.markdown() for table in paper_tables(results, families)]
    lines += [
        _markdown(figure) for figure in (figure_3a(results, families), figure_3b(results, families))
    ]
    for family in families:
        lines.append(tables.scores_table(results, family).markdown())
        lines.append(tables.classes_table(results, family).markdown())
        lines += [_markdown(figure) for figure in beyond(results, family)]
    lines.append(tables.cost_table(results).markdown())
    return "\n".join(lines)


def _markdown(figure: Figure) -> str:
    lines = [f"### {figure.title}", ""]
    if figure.text:
        lines += [figure.text, ""]
    for (name, _), file in zip(figure.charts, _files(figure), strict=True):
        lines += [f"![{name or figure.title}]({file})", ""]
    rows = [table.markdown(heading=False) for table in figure.tables]
    return "\n".join([*lines, *rows])


def scores_csv(results: Results) -> str:
    """One number a row: scores by interval and by distance, IoU by class, cost."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("model", "quantity", "interval", "distance", "class", "value", "low", "high"))
    for name, model in results.models.items():
        for interval in model.counts.schedule.intervals:
            scores, spread = results.summary(name, interval), results.confidence(name, interval)
            for score in SCORES:
                values = (scores[score], *spread[score])
                rows.writerow((name, score, interval, "", "", *map(_cell, values)))
            shares = results.class_iou(name, interval)
            for label, value in zip(results.dataset.classes.names, shares, strict=True):
                rows.writerow((name, "iou", interval, "", label, _cell(value), "", ""))
        for offset in range(model.longest):
            scores = model.counts.at_offset(offset).summary(results.dataset.rate)
            for score in SCORES:
                rows.writerow((name, score, "", offset, "", _cell(scores[score]), "", ""))
        interval = min(INTERVAL, model.longest)
        for quantity, value in _numbers(model.cost):
            rows.writerow((name, quantity, interval, "", "", _cell(value), "", ""))
    return text.getvalue()


def _numbers(cost: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers of nested dictionaries with their keys joined by dots."""
    found: list[tuple[str, float]] = []
    for key, value in cost.items():
        nested = isinstance(value, dict)
        found += _numbers(value, f"{prefix}{key}.") if nested else [(prefix + key, value)]
    return found


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def facts(results: Results) -> list[tuple[str, str]]:
    """On what, how and with what it was measured."""
    dataset, machine = results.dataset, results.machine
    clips = sum(1 for run in dataset.runs if run)
    block = dataset.block
    protocol = {
        "dense": "dense: every labelled frame at every distance from the keyframe",
        "sparse": "sparse: the keyframe's distance rotates over the labelled frames",
    }[dataset.density]
    return [
        (
            "footage",
            f"{dataset.footage}: {sum(dataset.runs)} labelled frames in {clips} "
            f"{'clip' if clips == 1 else 'clips'}, {wxh(dataset.frame_size)}, "
            f"{dataset.rate:g} frames/s, {len(dataset.classes)} classes",
        ),
        ("protocol", protocol),
        (
            "95% intervals",
            f"{RESAMPLES} bootstrap resamples of blocks of {block} consecutive labelled "
            f"{'frame' if block == 1 else 'frames'}. They tell how far these frames determine the "
            "number, not how another street would score",
        ),
        (
            "machine",
            f"{machine.get('gpu') or machine.get('cpu', 'unknown')}, "
            f"{machine.get('threads', '?')} threads, {machine.get('precision', '?')}, torch "
            f"{machine.get('torch', '?')}, accel-rt {machine.get('accel_rt', '?')}",
        ),
        ("command", results.command),
    ]


def not_measured(results: Results) -> dict[str, list[str]]:
    """Names of the models that are missing, by the reason."""
    found: dict[str, list[str]] = {}
    for name, why in results.missing.items():
        found.setdefault(why, []).append(name)
    return found


def differences(results: Results) -> list[str]:
    """Why the paper's numbers stand beside ours and not against them."""
    dataset = results.dataset
    warp = next(iter(results.models.values())).settings["warp"]
    found = [
        f"Data: the paper has Cityscapes, 19 classes at 2048x1024, 500 validation snippets of "
        f"which one frame each is labelled; here it is {dataset.footage}, {len(dataset.classes)} "
        f"classes at {wxh(dataset.frame_size)}.",
        "Weights: the paper fine-tunes ImageNet's on 2975 labelled Cityscapes frames with jointly "
        "trained flow; those here are the installed ones, trained as their model card says, "
        "mostly on far less. Their accuracy says what these weights can do, not the method.",
        "Time: the paper's is a Tesla K80's at 2048x1024, everything included; here it is the "
        "median of the machine above, without reading files.",
        "Optical flow: the paper's FlowNetS is trained with the networks; here it is OpenCV's DIS "
        "unless a model's name says otherwise.",
    ]
    if warp == "composed":
        found.append(
            "Warp: the paper warps the cached features again with every frame; here they are "
            "warped once by composed flow (--warp incremental gives the paper's). Both are "
            "compared below."
        )
    if dataset.density == "dense":
        found.append(
            "Protocol: the paper scores every labelled frame once, at a distance that rotates; "
            "with dense labels every frame is scored at every distance, which has the same mean "
            "and less noise. Frames before a stream's first keyframe are left out of it."
        )
    return found


def _css_colours(results: Results) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in results.dataset.classes.colors_rgb]


def _drawn(figure: Figure) -> dict[str, Any]:
    """A figure whose charts are pictures in the page."""
    charts = [(name, _data_url("svg+xml", chart.svg().encode())) for name, chart in figure.charts]
    return {
        "key": figure.key,
        "title": figure.title,
        "text": figure.text,
        "tables": figure.tables,
        "charts": charts,
    }


def _pictures(row: FigureRow) -> dict[str, Any]:
    pictures = [
        (name, [_small(image, name == "frame") for image in images])
        for name, images in row.pictures.items()
    ]
    return {
        "title": row.family.title,
        "shot": row.shot,
        "offsets": row.offsets,
        "pictures": pictures,
    }


def _small(image: np.ndarray | None, photo: bool) -> str | None:
    """A picture in the page: JPEG for frames, PNG for labels, whose edges are sharp."""
    if image is None:
        return None
    height = round(_PICTURE_WIDTH * image.shape[0] / image.shape[1])
    method = cv2.INTER_AREA if photo else cv2.INTER_NEAREST
    small = cv2.resize(image, (_PICTURE_WIDTH, height), interpolation=method)
    suffix, kind = (".jpg", "jpeg") if photo else (".png", "png")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if photo else []
    return _data_url(kind, cv2.imencode(suffix, small, options)[1].tobytes())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

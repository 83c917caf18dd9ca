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
from accel_rt.evaluate.paper import INTERVAL, Family
from accel_rt.evaluate.paper_run import Strip
from accel_rt.evaluate.report import tables
from accel_rt.evaluate.report.figures import Figure, beyond, figure_3a, figure_3b
from accel_rt.evaluate.results import Results, write
from accel_rt.evaluate.tally import SCORES
from accel_rt.files import write_whole

_PICTURE_WIDTH = 240
_JPEG_QUALITY = 82


def write_report(
    folder: Path, results: Results, families: Sequence[Family], strips: Sequence[Strip]
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``scores.csv`` and ``report.json``; their paths.

    Raises :class:`~accel_rt.errors.OutputError` if one cannot be written.
    """
    paths = [folder / name for name in ("report.html", "report.md", "scores.csv", "report.json")]
    write_whole(paths[0], page(results, families, strips))
    write_whole(paths[1], markdown(results, families))
    write_whole(paths[2], scores_csv(results))
    write(paths[3], results)
    return paths


def paper_tables(results: Results, families: Sequence[Family]) -> list[tables.Table]:
    """The paper's four."""
    made = (tables.table_1, tables.table_2, tables.table_3, tables.table_4)
    return [make(results, families) for make in made]


def page(results: Results, families: Sequence[Family], strips: Sequence[Strip]) -> str:
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
        figures=[_safe(f) for f in (figure_3a(results, families), figure_3b(results, families))],
        strips=[_pictures(strip) for strip in strips],
        legend=list(zip(results.about.classes.names, _css_colours(results), strict=True)),
        by_family=[
            {
                "title": family.title,
                "scores": tables.scores_table(results, family),
                "classes": tables.classes_table(results, family),
                "beyond": [_safe(figure) for figure in beyond(results, family)],
            }
            for family in families
        ],
        costs=tables.cost_table(results),
    )


def markdown(results: Results, families: Sequence[Family]) -> str:
    """Every table and what is to be known about it."""
    lines = [f"# The paper's evaluation on {results.about.footage}", ""]
    lines += [f"- **{name}**: {value}" for name, value in facts(results)]
    lines += ["", "What differs from the paper:", ""]
    lines += [f"- {text}" for text in differences(results)]
    if results.missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- {'; '.join(names)}: {why}" for why, names in not_measured(results).items()]
    lines += [""]
    lines += [table.markdown() for table in paper_tables(results, families)]
    for family in families:
        lines.append(tables.scores_table(results, family).markdown())
        lines.append(tables.classes_table(results, family).markdown())
        for figure in beyond(results, family):
            lines += [table.markdown() for table in figure.tables]
            if not figure.tables:
                lines += [f"### {figure.title}", "", figure.text, ""]
    lines.append(tables.cost_table(results).markdown())
    return "\n".join(lines)


def scores_csv(results: Results) -> str:
    """One number a row: scores by interval and by distance, IoU by class, cost."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("model", "quantity", "interval", "distance", "class", "value", "low", "high"))
    for name, model in results.models.items():
        for interval in model.tally.protocol.intervals:
            scores, spread = results.summary(name, interval), results.confidence(name, interval)
            for score in SCORES:
                values = (scores[score], *spread[score])
                rows.writerow((name, score, interval, "", "", *map(_cell, values)))
            shares = results.class_iou(name, interval)
            for label, value in zip(results.about.classes.names, shares, strict=True):
                rows.writerow((name, "iou", interval, "", label, _cell(value), "", ""))
        for offset in range(model.longest):
            scores = model.tally.at_offset(offset).summary(results.about.rate)
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
    about, machine = results.about, results.machine
    width, height = about.frame_size
    clips = sum(1 for run in about.runs if run)
    block = about.block
    protocol = {
        "dense": "dense: every labelled frame at every distance from the keyframe",
        "sparse": "sparse: the keyframe's distance rotates over the labelled frames",
    }[about.density]
    return [
        (
            "footage",
            f"{about.footage}: {sum(about.runs)} labelled frames in {clips} "
            f"{'clip' if clips == 1 else 'clips'}, {width}x{height}, {about.rate:g} frames/s, "
            f"{len(about.classes)} classes",
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
    about = results.about
    warp = next(iter(results.models.values())).settings["warp"]
    width, height = about.frame_size
    found = [
        f"Data: the paper has Cityscapes, 19 classes at 2048x1024, 500 validation snippets of "
        f"which one frame each is labelled; here it is {about.footage}, {len(about.classes)} "
        f"classes at {width}x{height}.",
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
    if about.density == "dense":
        found.append(
            "Protocol: the paper meets every labelled frame once, at a distance that rotates; with "
            "dense labels every frame is met at every distance, which has the same mean and less "
            "noise. Frames before a stream's first keyframe are left out of it."
        )
    return found


def _css_colours(results: Results) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in results.about.classes.colors_rgb]


def _safe(figure: Figure) -> dict[str, Any]:
    """A figure whose drawings, which :mod:`.svg` escapes, go into the page as they are."""
    from markupsafe import Markup

    charts = [(name, Markup(drawing)) for name, drawing in figure.charts]
    return {
        "key": figure.key,
        "title": figure.title,
        "text": figure.text,
        "tables": figure.tables,
        "charts": charts,
    }


def _pictures(strip: Strip) -> dict[str, Any]:
    rows = [
        (name, [_data_url(image, name == "frame") for image in images])
        for name, images in strip.rows.items()
    ]
    return {"title": strip.family.title, "shot": strip.shot, "offsets": strip.offsets, "rows": rows}


def _data_url(image: np.ndarray | None, photo: bool) -> str | None:
    """A picture in the page: JPEG for frames, PNG for labels, whose edges are sharp."""
    if image is None:
        return None
    height = round(_PICTURE_WIDTH * image.shape[0] / image.shape[1])
    method = cv2.INTER_AREA if photo else cv2.INTER_NEAREST
    small = cv2.resize(image, (_PICTURE_WIDTH, height), interpolation=method)
    suffix, kind = (".jpg", "jpeg") if photo else (".png", "png")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if photo else []
    _, data = cv2.imencode(suffix, small, options)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"

"""The figures of the report, ours beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accel_rt.evaluate.paper import (
    INTERVAL,
    LONGEST,
    OTHER_WARP,
    PAPER,
    TABLE_1,
    TABLE_2,
    NetworkFamily,
    variant,
)
from accel_rt.evaluate.report.charts import Chart, Series
from accel_rt.evaluate.report.tables import (
    Table,
    by_distance,
    longest_interval,
    milliseconds,
    offsets_table,
)
from accel_rt.evaluate.results import Results
from accel_rt.evaluate.schedules import ScheduleScore, schedule_rows
from accel_rt.runtime.schedule import PRESETS

_MIOU, _DISTANCE = "mIoU (%)", "frames since the keyframe"


@dataclass(frozen=True)
class Figure:
    """Named charts side by side, what they show, and the numbers where no table has them."""

    key: str
    title: str
    charts: list[tuple[str, Chart]]
    text: str = ""
    tables: tuple[Table, ...] = ()


def figure_3a(results: Results, families: Sequence[NetworkFamily]) -> Figure:
    """Accuracy against time."""
    points: dict[str, list[tuple[float, float, str]]] = {}
    for name in _plain(results, families):
        ms = milliseconds(results, name)
        if ms is not None:
            point = (ms, results.summary(name, INTERVAL)["miou"], name)
            points.setdefault(name.split("-")[0], []).append(point)
    theirs: dict[str, list[tuple[float, float, str]]] = {}
    for name, (miou, seconds) in TABLE_1.items():
        theirs.setdefault(name.split("-")[0], []).append((1e3 * seconds, miou, name))
    title = f"Figure 3a: accuracy against time at interval {INTERVAL}"
    charts = [
        ("here", Chart("milliseconds a frame", _MIOU, _scatter(points))),
        ("in the paper", Chart("milliseconds a frame (Tesla K80)", _MIOU, _scatter(theirs))),
    ]
    return Figure("fig3a", title, charts)


def _scatter(points: dict[str, list[tuple[float, float, str]]]) -> list[Series]:
    """A series for each kind of model; a point is named by what its model's name has beyond it."""
    series = []
    for kind in ("DeepLab", "DFF", "Accel"):
        if kind in points:
            xs, ys, names = zip(*sorted(points[kind]), strict=True)
            labels = [name.removeprefix(f"{kind}-") for name in names]
            series.append(Series(kind, xs, ys, labels=labels))
    return series


def figure_3b(results: Results, families: Sequence[NetworkFamily]) -> Figure:
    """Accuracy against the interval."""
    intervals = range(1, longest_interval(results) + 1)
    title = "Figure 3b: accuracy against the keyframe interval"
    charts = []
    for family in families:
        series = []
        for name in (family.dff, *family.accel):
            if name in results.models:
                ys = [results.summary(name, n)["miou"] for n in intervals]
                series.append(Series(name, intervals, ys))
        alone = family.deeplab(family.first)
        if alone in results.models:
            y = results.summary(alone, 1)["miou"]
            series.append(Series(alone, [1, intervals[-1]], [y, y], quiet=True))
        chart = Chart("keyframe interval", _MIOU, series, intervals)
        charts.append((f"here: {family.title}", chart))
    published = range(1, LONGEST + 1)
    theirs = [Series(name, published, values) for name, values in TABLE_2.items()]
    y = TABLE_1["DeepLab-18"][0]
    theirs.append(Series("DeepLab-18", [1, LONGEST], [y, y], quiet=True))
    charts.insert(1, ("in the paper", Chart("keyframe interval", _MIOU, theirs, published)))
    return Figure("fig3b", title, charts)


def _plain(results: Results, families: Sequence[NetworkFamily]) -> list[str]:
    names = [name for name in TABLE_1 if name in results.models]
    for family in families:
        if family is PAPER:
            continue
        alone = [family.deeplab(s) for s in (*family.updates, family.reference_suffix)]
        names += [n for n in (*alone, family.dff, *family.accel) if n in results.models]
    return names


def by_offset(
    results: Results, key: str, title: str, names: Sequence[str], score: str, text: str
) -> Figure | None:
    """A score of some models by distance from the keyframe; None if fewer than two are there."""
    names = [name for name in names if name in results.models]
    if len(names) < 2:
        return None
    table = offsets_table(results, title, names, score)
    offsets = list(range(len(table.columns) - 1))
    series = []
    for name in names:
        ys = by_distance(results, name, score)
        if len(ys) == 1:
            series.append(Series(name, [0, offsets[-1]], ys * 2, quiet=True))
        else:
            series.append(Series(name, offsets, ys))
    label = _MIOU if score == "miou" else "temporal consistency (%)"
    return Figure(key, title, [("", Chart(_DISTANCE, label, series, offsets))], text, (table,))


def beyond(results: Results, family: NetworkFamily) -> list[Figure]:
    """What the paper does not ask, for one family."""
    dff, accel = family.dff, family.accel[0]
    warp = results.models[dff].settings["warp"]
    other = OTHER_WARP[warp]
    alone = family.deeplab(family.first)
    asked = [
        (
            "warp",
            f"Composed or incremental warp (otherwise: {warp})",
            [dff, variant(dff, other), variant(dff, "copied"), accel, variant(accel, other)],
            "miou",
            "Composed warp moves the keyframe's features once, by the flow of all frames since; "
            "incremental warp, the paper's, moves them again with every frame and blurs them.",
        ),
        (
            "flow",
            "DIS or FlowNetS (otherwise: DIS)",
            [dff, variant(dff, "FlowNetS"), accel, variant(accel, "FlowNetS")],
            "miou",
            "",
        ),
        (
            "scale",
            "Update network at full or half size",
            [accel, variant(accel, "update x0.5"), dff, alone],
            "miou",
            "Half size quarters the update network's cost. At the keyframe itself the update "
            "network has no part; differences there come from the padding that half size needs.",
        ),
        (
            "steady",
            "Temporal consistency",
            [dff, variant(dff, other), accel, variant(accel, "update x0.5"), alone],
            "consistency",
            "mIoU of the previous prediction, warped here, against this one. At 0 the keyframe's "
            "prediction is compared with the last one of the interval before.",
        ),
    ]
    found = [
        by_offset(results, f"{key}-{family.reference}", title, names, score, text)
        for key, title, names, score, text in asked
    ]
    with_flownets = [variant(name, "FlowNetS") for name in (dff, accel)]
    if not any(name in results.models for name in with_flownets):
        _, (key, title, *_), *_ = asked
        found[1] = Figure(
            f"{key}-{family.reference}",
            title,
            [],
            "Not measured: no FlowNetS weights are installed. Every model here uses DIS.",
        )
    if family.title in results.schedules:
        found.append(_schedules(results.schedules[family.title], family))
    return [figure for figure in found if figure is not None]


def _schedules(scores: Mapping[str, ScheduleScore], family: NetworkFamily) -> Figure:
    """What schedules beyond the paper's give and cost."""
    timed = any(score.ms is not None for score in scores.values())
    columns, *rows = schedule_rows(scores)
    title = "Schedules: accuracy against time"
    table = Table(f"schedules-{family.reference}", title, columns, [list(row) for row in rows])
    text = (
        "Every schedule begins at every frame it can begin at. mVC8 and mVC16: the share of still "
        "pixels that are right over so many frames. flicker: changes of a still pixel in a second. "
        "live: mIoU of the newest finished answer at each frame of the camera, by the times here."
    )
    charts = [("", schedules_chart(scores))] if timed else []
    return Figure(f"schedules-{family.reference}", title, charts, text, (table,))


def schedules_chart(scores: Mapping[str, ScheduleScore]) -> Chart:
    """Accuracy against time of schedules, those that nothing beats in both joined by a line."""
    timed = [(score.ms, score.miou, name) for name, score in scores.items() if score.ms is not None]
    groups: dict[str, list[tuple[float, float, str]]] = {}
    for point in timed:
        groups.setdefault(_group(point[2]), []).append(point)
    best, front = -math.inf, []
    for ms, miou, _ in sorted(timed):
        if miou > best:
            best = miou
            front.append((ms, miou))
    series = []
    for name, points in groups.items():
        xs, ys, names = zip(*sorted(points), strict=True)
        series.append(Series(name, xs, ys, labels=names))
    xs, ys = zip(*front, strict=True)
    return Chart("milliseconds a frame", _MIOU, [*series, Series("best", xs, ys, quiet=True)])


def _group(name: str) -> str:
    if name.endswith("on every frame"):
        return "one network"
    first = name.split()[0]
    return {"live": "live presets", "paper:": "the paper's"}.get(
        first, "presets" if first in PRESETS else "the paper's, changed"
    )

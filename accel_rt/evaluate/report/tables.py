"""The tables of the report, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from accel_rt.evaluate.metrics import miou
from accel_rt.evaluate.paper import (
    INTERVAL,
    LONGEST,
    PAPER,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    NetworkFamily,
    variant,
)
from accel_rt.evaluate.results import Results

NONE = "–"


@dataclass(frozen=True)
class Table:
    """Text in rows; the first column is a name, the others numbers.

    ``best`` holds (row, column) of cells to stress, ``quiet`` the rows that cite the paper.
    """

    key: str
    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    note: str = ""
    best: set[tuple[int, int]] = field(default_factory=set)
    quiet: set[int] = field(default_factory=set)

    def markdown(self, heading: bool = True) -> str:
        """As a markdown table, under its title unless ``heading`` is False."""
        lines = [f"### {self.title}", ""] if heading else []
        lines.append(_pipes(self.columns))
        lines.append(_pipes(["---", *["---:"] * (len(self.columns) - 1)]))
        for r, row in enumerate(self.rows):
            cells = [f"**{cell}**" if (r, c) in self.best else cell for c, cell in enumerate(row)]
            lines.append(_pipes(f"*{cell}*" if r in self.quiet else cell for cell in cells))
        return "\n".join([*lines, "", self.note, ""] if self.note else [*lines, ""])


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def percent(value: float) -> str:
    """One digit, or a dash for what is not there."""
    return NONE if value is None or np.isnan(value) else f"{value:.1f}"


def miou_at(results: Results, name: str, interval: int) -> str:
    """mIoU, or a dash for a model that is not there."""
    if name not in results.models:
        return NONE
    return percent(results.summary(name, interval)["miou"])


def milliseconds(results: Results, name: str) -> float | None:
    """Milliseconds a frame at the interval of table 1, None where nothing was timed."""
    if name not in results.models or "time" not in results.models[name].cost:
        return None
    return 1e3 * results.models[name].cost["time"]["median_s_per_frame"]


def shown_ms(results: Results, name: str) -> str:
    """:func:`milliseconds` as text."""
    value = milliseconds(results, name)
    return NONE if value is None else f"{value:.1f}"


def family_models(results: Results, family: NetworkFamily) -> list[str]:
    """Names of a family's plain models that are there: DeepLab, DFF, Accel."""
    suffixes = dict.fromkeys([*family.updates, family.reference_suffix])
    names = [family.deeplab(suffix) for suffix in suffixes]
    return [name for name in (*names, family.dff, *family.accel) if name in results.models]


def longest_interval(results: Results) -> int:
    """The largest interval that was evaluated."""
    return max(model.longest for model in results.models.values())


def table_1(results: Results, families: Sequence[NetworkFamily]) -> Table:
    """mIoU and time at interval 5."""
    names = list(TABLE_1)
    for family in families:
        names += [name for name in family_models(results, family) if name not in names]
    rows = []
    for name in names:
        theirs = TABLE_1.get(name)
        spread = NONE
        if name in results.models:
            low, high = results.confidence(name, INTERVAL)["miou"]
            spread = f"{low:.1f} to {high:.1f}"
        rows.append(
            [
                name,
                miou_at(results, name, INTERVAL),
                spread,
                shown_ms(results, name),
                f"{theirs[0]:.1f}" if theirs else NONE,
                f"{1e3 * theirs[1]:.0f}" if theirs else NONE,
            ]
        )
    columns = ["model", "mIoU", "95%", "ms a frame", "paper: mIoU", "paper: ms a frame"]
    return Table("table1", f"Table 1: accuracy and time at interval {INTERVAL}", columns, rows)


def table_2(results: Results, families: Sequence[NetworkFamily]) -> Table:
    """mIoU at intervals 1 to 10, the paper's below ours."""
    intervals = range(1, longest_interval(results) + 1)
    columns = ["model", *map(str, intervals)]
    rows, quiet = [], set()
    names = list(TABLE_2)
    names += [n for f in families if f is not PAPER for n in (f.dff, *f.accel)]
    for name in names:
        if name in results.models or name in TABLE_2:
            rows.append([name, *(miou_at(results, name, n) for n in intervals)])
        if name in TABLE_2:
            quiet.add(len(rows))
            theirs = [f"{value:.1f}" for value in TABLE_2[name]][: len(intervals)]
            rows.append(["paper", *theirs, *[NONE] * (len(intervals) - len(theirs))])
    return Table(
        "table2", "Table 2: mIoU against the keyframe interval", columns, rows, quiet=quiet
    )


def miou_where(results: Results, name: str, offset: int, frames: np.ndarray) -> float:
    """mIoU of a model at a distance (0 for a network alone) over chosen frames, bool ``[F]``."""
    if name not in results.models:
        return float("nan")
    model = results.models[name]
    sums = model.counts.at_offset(offset if model.longest > 1 else 0)
    return float(miou(sums.pixels[frames].sum(0)))


def table_3(results: Results, families: Sequence[NetworkFamily]) -> Table:
    """Both branches alone and together at the largest offset of interval 5."""
    offset, best = INTERVAL - 1, set()
    rows: list[list[str]] = []
    for family in _with_paper(families):
        for suffix, name in zip(family.updates, family.accel, strict=True):
            ours = [NONE] * 3
            if name in results.models:
                frames = results.models[name].counts.at_offset(offset).pixels[:, 1].sum(1) > 0
                parts = (family.dff, family.deeplab(suffix), name)
                values = [miou_where(results, part, offset, frames) for part in parts]
                ours = [percent(value) for value in values]
                if np.isfinite(values).any():
                    best.add((len(rows), 1 + int(np.nanargmax(values))))
            theirs = [f"{value:.1f}" for value in TABLE_3.get(name, ())] or [NONE] * 3
            rows.append([name, *ours, *theirs])
    columns = ["model", "reference alone", "update alone", "Accel"]
    columns += [f"paper: {column}" for column in columns[1:]]
    title = f"Table 3: the branches alone and together, {offset} frames after the keyframe"
    note = "All three columns on the same frames: those with a keyframe that far before them."
    return Table("table3", title, columns, rows, note, best)


def table_4(results: Results, families: Sequence[NetworkFamily]) -> Table:
    """Feature against score fusion."""
    offset, rows = INTERVAL - 1, []
    for family in _with_paper(families):
        base = family.accel[0]
        if family is not PAPER and variant(base, "feature fusion") not in results.models:
            continue
        for kind in ("feature fusion", "score fusion"):
            name = variant(base, kind)
            if kind == "score fusion" and name not in results.models:
                name = base  # of the same networks
            theirs = TABLE_4[kind] if family is PAPER else None
            value = NONE
            if name in results.models:
                model = results.models[name]
                value = percent(
                    model.counts.at_offset(offset).summary(results.dataset.rate)["miou"]
                )
            rows.append(
                [
                    f"{base}, {kind}",
                    value,
                    shown_ms(results, name),
                    f"{theirs[0]:.1f}" if theirs else NONE,
                    f"{1e3 * theirs[1]:.0f}" if theirs else NONE,
                ]
            )
    title = f"Table 4: where to fuse, {offset} frames after the keyframe"
    columns = ["model", "mIoU", "ms a frame", "paper: mIoU", "paper: ms a frame"]
    return Table("table4", title, columns, rows)


def _with_paper(families: Sequence[NetworkFamily]) -> Iterator[NetworkFamily]:
    """The paper's family first, there or not: its rows are cited all the same."""
    yield PAPER
    yield from (family for family in families if family is not PAPER)


def classes_table(results: Results, family: NetworkFamily) -> Table:
    """IoU per class at interval 5."""
    names = family_models(results, family)
    values = np.stack([results.class_iou(name, INTERVAL) for name in names], 1)
    rows = [
        [label, *map(percent, row)]
        for label, row in zip(results.dataset.classes.names, values, strict=True)
    ]
    rows.append(["mean", *(miou_at(results, name, INTERVAL) for name in names)])
    best = {
        (r, 1 + int(np.nanargmax(row)))
        for r, row in enumerate(values)
        if np.isfinite(row).any() and len(names) > 1
    }
    title = f"IoU by class at interval {INTERVAL}: {family.title}"
    return Table("classes", title, ["class", *names], rows, best=best)


def scores_table(results: Results, family: NetworkFamily) -> Table:
    """Every score at interval 5."""
    rows = []
    for name in family_models(results, family):
        scores = results.summary(name, INTERVAL)
        keys = ("miou", "pixel_accuracy", "mean_accuracy", "boundary_f", "consistency")
        low, high = results.confidence(name, INTERVAL)["consistency"]
        rows.append(
            [
                name,
                *(percent(scores[key]) for key in keys),
                f"{low:.1f} to {high:.1f}",
                NONE if np.isnan(scores["flicker"]) else f"{scores['flicker']:.2f}",
            ]
        )
    columns = ["model", "mIoU", "pixel accuracy", "mean accuracy", "boundary F"]
    columns += ["temporal consistency", "95%", "flicker"]
    note = (
        "Flicker: label changes per second of a pixel that stands still (moves less than half a "
        "pixel a frame)."
    )
    title = f"Accuracy and steadiness at interval {INTERVAL}: {family.title}"
    return Table("scores", title, columns, rows, note)


def cost_table(results: Results) -> Table:
    """Time by kind of frame, arithmetic, memory and size."""
    rows = []
    for name, model in results.models.items():
        cost, time = model.cost, model.cost.get("time", {})
        row = [name]
        for kind in ("key", "update"):
            for p in ("p50", "p95", "p99"):
                found = time.get(kind, {}).get(f"{p}_s")
                row.append(NONE if found is None else f"{1e3 * found:.1f}")
        mean = time.get("all", {}).get("mean_s")
        row.append(NONE if mean is None else f"{1e3 * mean:.1f}")
        row.append(f"{cost['key_gflops']:.1f}")
        row.append(f"{cost['update_gflops']:.2f}" if "update_gflops" in cost else NONE)
        peak = cost.get("peak_memory_mb")
        row += [NONE if peak is None else f"{peak:.0f}", f"{cost['parameters'] / 1e6:.1f}"]
        rows.append([*row, f"{cost['file_mb']:.1f}"])
    columns = ["model", "key p50", "p95", "p99", "update p50", "p95", "p99", "mean"]
    columns += ["key GFLOPs", "update GFLOPs", "peak MB", "M parameters", "MB on disk"]
    note = (
        f"Milliseconds a frame at interval {INTERVAL}, without reading files. A multiply-add is "
        "two FLOPs; optical flow on the CPU is no network and is not in them. Peak memory is that "
        "of a process that runs the model alone."
    )
    return Table("cost", "What each model costs", columns, rows, note)


def offsets_table(results: Results, title: str, names: Sequence[str], score: str) -> Table:
    """A score by distance from the keyframe, 0 to the longest interval's end."""
    offsets = range(min(LONGEST, longest_interval(results)))
    rows = []
    for name in names:
        scores = by_distance(results, name, score)
        rows.append([name, *map(percent, scores * (len(offsets) if len(scores) == 1 else 1))])
    columns = ["model", *map(str, offsets)]
    note = "All distances on the same frames: those with a keyframe as far back as the last column."
    sparse = results.dataset.density == "sparse"
    return Table("offsets", title, columns, rows, "" if sparse else note)


def by_distance(results: Results, name: str, score: str) -> list[float]:
    """A score at each distance from the keyframe; a single one for a network on every frame.

    With dense labels all distances are scored on the same frames: those with a keyframe as far
    back as the longest. With sparse labels each distance has frames of its own.
    """
    dataset, counts = results.dataset, results.models[name].counts
    frames = np.ones(sum(dataset.runs), bool)
    if dataset.density == "dense":
        furthest = max(results.models.values(), key=lambda model: model.longest).counts
        frames = furthest.at_offset(furthest.schedule.longest - 1).pixels[:, 1].sum(1) > 0
    weights = frames[None].astype(np.float64)
    return [
        float(counts.at_offset(offset).scores(weights, dataset.rate)[score][0])
        for offset in range(counts.schedule.longest)
    ]

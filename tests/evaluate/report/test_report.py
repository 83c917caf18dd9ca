"""The report: complete, self-contained, honest about what is missing."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from accel_rt.evaluate.paper import TABLE_1
from accel_rt.evaluate.paper_run import Strip
from accel_rt.evaluate.report import tables
from accel_rt.evaluate.report.figures import beyond, figure_3a, figure_3b
from accel_rt.evaluate.report.svg import Chart, Series, round_ticks
from accel_rt.evaluate.report.write import markdown, page, scores_csv, write_report
from accel_rt.evaluate.results import read
from tests.evaluate.made_up import FAMILY, results


class Page(HTMLParser):
    """Counts tags, and collects what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def strip() -> Strip:
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    rows = {"frame": [picture] * 2, "ground truth": [picture, None], "DFF-Tiny": [picture] * 2}
    return Strip(FAMILY, "nowhere_0001", (1, 9), rows)


def test_page_is_whole_and_fetches_nothing() -> None:
    text = page(results(), [FAMILY], [strip()])
    found = Page(text)
    assert not found.open
    assert all(link.startswith(("data:image/", "#")) for link in found.fetched)
    assert "url(" not in text
    assert "@import" not in text
    assert found.tags["img"] == 5
    assert found.tags["svg"] >= 6
    for theme in ("prefers-color-scheme: dark", "@media print"):
        assert theme in text
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert {link[1:] for link in found.fetched if link.startswith("#")} <= ids


def test_page_says_what_is_missing_and_what_differs() -> None:
    text = page(results(), [FAMILY], [])
    for words in (
        "Accel-101: no &#39;resnet101&#39; weights",
        "an &lt;abacus&gt;",
        "What differs from the paper",
        "no FlowNetS weights are installed",
        "nowhere val",
    ):
        assert words in text


def test_table_1_has_ours_beside_the_papers() -> None:
    made = results()
    rows = {row[0]: row[1:] for row in tables.table_1(made, [FAMILY]).rows}
    assert list(rows)[: len(TABLE_1)] == list(TABLE_1)
    assert rows["Accel-18"] == ["–", "–", "–", "72.1", "440"]
    ours = made.summary("Accel-S", 5)["miou"]
    low, high = made.confidence("Accel-S", 5)["miou"]
    assert rows["Accel-S"] == [f"{ours:.1f}", f"{low:.1f} to {high:.1f}", "40.0", "–", "–"]


def test_table_2_follows_the_interval() -> None:
    made = results()
    table = tables.table_2(made, [FAMILY])
    row = next(row for row in table.rows if row[0] == "DFF-Tiny")
    values = [float(cell) for cell in row[1:]]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
    cited = [row for number, row in enumerate(table.rows) if number in table.quiet]
    assert cited[0][:3] == ["paper", "75.2", "73.8"]


def test_table_3_compares_on_the_same_frames() -> None:
    made = results()
    table = tables.table_3(made, [FAMILY])
    row = next(row for row in table.rows if row[0] == "Accel-S")
    deeplab = made.models["DeepLab-S"].tally
    late = deeplab.at_offset(0)
    frames = np.arange(30) >= 4
    hits, true, predicted = late.counts[frames].sum(0)
    assert row[2] == f"{100 * (hits / (true + predicted - hits)).mean():.1f}"
    assert row[4:] == ["–", "–", "–"]
    assert next(row for row in table.rows if row[0] == "Accel-18")[4:] == ["62.4", "57.7", "69.2"]


def test_figures_draw_what_is_there() -> None:
    made = results()
    ours, paper = (chart for _, chart in figure_3a(made, [FAMILY]).charts)
    assert "Accel-S: " in ours
    assert "Accel-18" not in ours
    assert "Accel-18: 72.1 at 440" in paper
    by_interval = figure_3b(made, [FAMILY]).charts
    assert [name for name, _ in by_interval] == ["here: made-up networks", "in the paper"]
    for _, chart in (*figure_3a(made, [FAMILY]).charts, *by_interval):
        ElementTree.fromstring(chart)
    shown = {figure.key: figure for figure in beyond(made, FAMILY)}
    assert list(shown) == ["warp-big", "flow-big", "scale-big", "steady-big"]
    assert "DFF-Tiny, incremental: " in shown["warp-big"].charts[0][1]
    assert not shown["flow-big"].charts
    assert [row[0] for row in shown["warp-big"].tables[0].rows] == [
        "DFF-Tiny",
        "DFF-Tiny, incremental",
        "Accel-S",
    ]


def test_markdown_tables_are_rectangular() -> None:
    text = markdown(results(), [FAMILY])
    assert "### Table 4" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_csv_has_every_number() -> None:
    made = results()
    rows = list(csv.DictReader(io.StringIO(scores_csv(made))))
    found = [
        row
        for row in rows
        if (row["model"], row["quantity"], row["interval"]) == ("DFF-Tiny", "miou", "7")
    ]
    assert len(found) == 1
    assert float(found[0]["value"]) == pytest.approx(made.summary("DFF-Tiny", 7)["miou"], rel=1e-4)
    assert float(found[0]["low"]) < float(found[0]["value"]) < float(found[0]["high"])
    assert {"iou", "flicker", "peak_memory_mb", "time.key.p95_s"} <= {r["quantity"] for r in rows}


def test_all_files_are_written(tmp_path) -> None:
    paths = write_report(tmp_path, results(), [FAMILY], [strip()])
    names = [path.name for path in paths]
    assert names == ["report.html", "report.md", "scores.csv", "report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert read(tmp_path / "report.json").models.keys() == results().models.keys()


def test_without_timing() -> None:
    made = results()
    for model in made.models.values():
        for key in ("time", "peak_memory_mb"):
            del model.cost[key]
    text = page(made, [FAMILY], [])
    assert "no model to draw" in text
    assert "nan" not in scores_csv(made)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (61.2, 68.4, [60, 62, 64, 66, 68, 70]), (3, 3, None)],
)
def test_round_ticks(low: float, high: float, ticks: list | None) -> None:
    found = round_ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    if ticks:
        assert found == ticks


def test_labels_do_not_overlap() -> None:
    series = [Series(f"model {n}", [0, 1], [50, 50 + n / 10], n) for n in range(5)]
    drawn = Chart("t", "x", "y").draw(series)
    heights = sorted(
        float(y) for y in re.findall(r'class="label[^"]*" x="[^"]*" y="([^"]*)"', drawn)
    )
    assert len(heights) == 5
    assert min(np.diff(heights)) >= 14


def test_names_are_escaped_and_gaps_left_out() -> None:
    drawn = Chart("a < b", "x", "y").draw([Series("<i>", [0, 1, 2], [1, float("nan"), 3], 0)])
    root = ElementTree.fromstring(drawn)
    assert "<i>" in "".join(root.itertext())
    assert drawn.count('class="mark') == 2

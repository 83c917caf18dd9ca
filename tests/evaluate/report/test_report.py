"""The report: complete, self-contained, honest about what is missing."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from accel_rt.evaluate.paper import TABLE_1, TABLE_2
from accel_rt.evaluate.paper_run import FigureRow
from accel_rt.evaluate.report import tables
from accel_rt.evaluate.report.charts import Chart, Series
from accel_rt.evaluate.report.figures import beyond, figure_3a, figure_3b
from accel_rt.evaluate.report.write import markdown, page, scores_csv, write_report
from accel_rt.evaluate.results import read
from accel_rt.plotting import new_figure
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


def figure_row() -> FigureRow:
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    rows = {"frame": [picture] * 2, "ground truth": [picture, None], "DFF-Tiny": [picture] * 2}
    return FigureRow(FAMILY, "nowhere_0001", (1, 9), rows)


def test_page_is_whole_and_fetches_nothing() -> None:
    text = page(results(), [FAMILY], [figure_row()])
    found = Page(text)
    assert not found.open
    assert all(link.startswith(("data:image/", "#")) for link in found.fetched)
    assert "url(" not in text
    assert "@import" not in text
    assert found.tags["img"] == 5 + 4 + 3  # of figure 4, the paper's figures, and those beyond
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
    deeplab = made.models["DeepLab-S"].counts
    late = deeplab.at_offset(0)
    frames = np.arange(30) >= 4
    hits, true, predicted = late.pixels[frames].sum(0)
    assert row[2] == f"{100 * (hits / (true + predicted - hits)).mean():.1f}"
    assert row[4:] == ["–", "–", "–"]
    assert next(row for row in table.rows if row[0] == "Accel-18")[4:] == ["62.4", "57.7", "69.2"]


def test_table_3_stresses_nothing_where_no_frame_was_scored() -> None:
    made = results()
    made.models["Accel-S"].counts.pixels[:, 4] = 0
    table = tables.table_3(made, [FAMILY])
    row = next(row for row in table.rows if row[0] == "Accel-S")
    assert row[1:4] == ["–", "–", "–"]
    assert not table.best


def test_figures_draw_what_is_there() -> None:
    made = results()
    ours, paper = (
        {(series.name, label) for series in chart.series for label in series.labels}
        for _, chart in figure_3a(made, [FAMILY]).charts
    )
    assert ours == {("DeepLab", "S"), ("DeepLab", "B"), ("DFF", "Tiny"), ("Accel", "S")}
    assert ("Accel", "18") in paper
    by_interval = figure_3b(made, [FAMILY]).charts
    assert [name for name, _ in by_interval] == ["here: made-up networks", "in the paper"]
    shown = {figure.key: figure for figure in beyond(made, FAMILY)}
    assert list(shown) == ["warp-big", "flow-big", "scale-big", "steady-big"]
    (chart,) = (chart for _, chart in shown["warp-big"].charts)
    assert [series.name for series in chart.series] == [
        "DFF-Tiny",
        "DFF-Tiny, incremental",
        "Accel-S",
    ]
    assert not shown["flow-big"].charts
    assert [row[0] for row in shown["warp-big"].tables[0].rows] == [
        "DFF-Tiny",
        "DFF-Tiny, incremental",
        "Accel-S",
    ]


def test_figure_3b_has_the_numbers_of_table_2() -> None:
    made = results()
    (_, chart), (_, paper) = figure_3b(made, [FAMILY]).charts
    shown = {series.name: list(series.y) for series in chart.series}
    assert shown["DFF-Tiny"] == [made.summary("DFF-Tiny", n)["miou"] for n in range(1, 11)]
    assert {series.name: series.y for series in paper.series}["DFF"] == TABLE_2["DFF"]


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
    paths = write_report(tmp_path, results(), [FAMILY], [figure_row()])
    names = [path.name for path in paths]
    assert names == ["report.html", "report.md", "figures", "scores.csv", "report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (tmp_path / "report.md").read_text())
    assert {tmp_path / name for name in shown} == set((tmp_path / "figures").iterdir())
    for name in shown:
        ElementTree.parse(tmp_path / name)
    assert read(tmp_path / "report.json").models.keys() == results().models.keys()


def test_without_timing() -> None:
    made = results()
    for model in made.models.values():
        for key in ("time", "peak_memory_mb"):
            del model.cost[key]
    (_, ours), _ = figure_3a(made, [FAMILY]).charts
    assert "no model to draw" in ours.svg()
    page(made, [FAMILY], [])
    assert "nan" not in scores_csv(made)


def test_a_chart_has_its_words_as_text_and_leaves_gaps_out() -> None:
    series = [
        Series("<i>", [0, 1, 2], [1, float("nan"), 3]),
        Series("nowhere", [0, 1], [float("nan")] * 2),
        Series("flat", [0, 2], [2, 2], quiet=True),
    ]
    chart = Chart("frames", "mIoU (%)", series, [0, 1, 2])
    text = "".join(ElementTree.fromstring(chart.svg()).itertext())
    for words in ("<i>", "flat", "frames", "mIoU (%)"):
        assert words in text
    assert "nowhere" not in text
    axes = new_figure(4, 3).add_subplot()
    chart.draw(axes)
    line, flat = axes.get_lines()
    assert np.isfinite(line.get_ydata()).tolist() == [True, False, True]
    assert (line.get_linestyle(), flat.get_linestyle()) == ("-", "--")


def test_points_have_names_of_their_own_and_no_line() -> None:
    axes = new_figure(4, 3).add_subplot()
    Chart("ms", "mIoU", [Series("Accel", [30, 50], [69, 70], labels=["18", "34"])]).draw(axes)
    (line,) = axes.get_lines()
    assert (line.get_linestyle(), line.get_xdata().tolist()) == ("None", [30, 50])
    assert [text.get_text() for text in axes.texts] == ["18", "34"]
    assert axes.get_xlim()[0] == 0


def test_a_chart_is_the_same_whenever_it_is_drawn() -> None:
    chart = Chart("x", "y", [Series("a", [0, 1], [1, 2])], [0, 1])
    assert chart.svg() == chart.svg()

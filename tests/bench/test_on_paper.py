"""A cluster played on paper, with the planner, board and manifest that run."""

import json

import pytest

from benchmarks import cluster


def test_a_few_videos_are_planned_done_and_joined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cluster.py", "--videos", "3", "--workers", "2"])
    cluster.main()
    told, _, figures = capsys.readouterr().out.partition("\n")
    assert told.startswith("3 videos of ")
    assert json.loads(figures)["of_ideal"] > 0

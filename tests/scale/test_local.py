"""Processes of this machine: one or several, killed or not, give the same bytes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from accel_rt.errors import OutputError, UsageError
from accel_rt.scale.board import Board
from accel_rt.scale.drive import drive
from accel_rt.scale.local import LocalCrew, attempt
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Task, Video
from tests.scale import small


def everything(folder: Path) -> dict[str, bytes]:
    """All that a run left; of timings the frames alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name.startswith("t_"):
                data = b"\n".join(b",".join(row.split(b",")[:3]) for row in data.splitlines())
            found[str(path.relative_to(folder))] = data
    return found


def run(work, videos, workers):
    board = Board(videos, Manifest([], [].append), drop=work.chunks.remove)
    with LocalCrew(work, workers) as crew:
        drive(board, crew)
    return board


def videos(folder, into):
    paths = [folder / "x.mp4", folder / "y.mp4"]
    outs = [small.outputs(into, name) for name in "xy"]
    return [Video(str(p), out, p.stem) for p, out in zip(paths, outs, strict=True)]


@pytest.mark.slow
def test_two_workers_that_are_killed_give_the_bytes_of_one_process(tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for seed, name in enumerate("xy"):
        small.clip(tmp_path / f"{name}.mp4", 80, seed)
    alone, many, deaths = (tmp_path / name for name in ("alone", "many", "deaths"))
    board = Board(videos(tmp_path, alone), Manifest([], [].append))
    drive(board, small.Serial(small.work(alone)))
    assert not board.failures
    deaths.mkdir()
    for number in range(2):
        (deaths / str(number)).touch()
    work = small.work(many, kind=small.Dying, deaths=deaths)
    board = run(work, videos(tmp_path, many), 2)
    assert not board.failures
    assert not list(deaths.iterdir())
    assert board.frames == 160
    expected = {n: data for n, data in everything(alone).items() if ".accel-rt" not in n}
    assert len(expected) > 160
    found = {n: data for n, data in everything(many).items() if ".accel-rt" not in n}
    assert found == expected
    assert not list((many / ".accel-rt/chunks").glob("[!.]*[!t]"))  # all are joined
    assert not list(temporary.iterdir())


class Unable(small.Dying):
    def prepare(self):
        raise UsageError("no such weights")


@pytest.mark.slow
def test_what_no_worker_could_do_ends_the_run_at_once(tmp_path):
    small.clip(tmp_path / "x.mp4", 30)
    work = small.work(tmp_path, kind=Unable)
    with pytest.raises(UsageError, match="no such weights"):
        run(work, [Video(str(tmp_path / "x.mp4"), small.outputs(tmp_path), "x")], 1)


class Stillborn:
    def __reduce__(self):
        return exit, (3,)


@pytest.mark.slow
def test_workers_that_die_at_once_are_not_replaced_for_ever(tmp_path):
    video = Video(str(tmp_path / "x.mp4"), replace(small.outputs(tmp_path)), "x")
    board = Board([video], Manifest([], [].append))
    with LocalCrew(Stillborn(), 1) as crew, pytest.raises(OutputError, match="exit code 3"):
        drive(board, crew)


class Failing(small.Dying):
    def prepare(self):
        raise RuntimeError("out of memory")


def test_an_unexpected_error_of_preparing_is_that_of_the_chunk(tmp_path):
    video = Video(str(tmp_path / "x.mp4"), small.outputs(tmp_path), "x")
    event = attempt(small.work(tmp_path, kind=Failing), Task("chunk", video), 0)
    assert (event.kind, event.why) == ("failed", "unexpected RuntimeError: out of memory")

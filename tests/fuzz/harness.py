"""Runs a case in a process of its own, within limits, and says what is wrong with how it went.

What must hold of every case: exit code 0, 1 or 2; an error is one sentence and none is
"unexpected"; no crash, no hanging, no more memory than :data:`MEMORY_BYTES`; inputs stay as they
are; nothing lies in ``out/`` but what was asked for, and a video there can be played.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random

import av
import click

import accel_rt.runtime.load
from accel_rt.cli import main
from tests.cli.fake import FakeSegmenter
from tests.fuzz.targets import TARGETS, VIDEOS, Trial

CPU_S = 30
WALL_S = 120
MEMORY_BYTES = 1500 << 20
FILE_BYTES = 256 << 20
_BUILD_FAILED = 99


@dataclass(frozen=True)
class Case:
    """A target and the seed of its damage."""

    target: str
    seed: int

    def __str__(self) -> str:
        return f"{self.target}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Case:
        target, _, seed = text.partition(":")
        return cls(target, int(seed))


def run_case(case: Case, originals: Path, folder: Path) -> list[str]:
    """What is wrong with ``case``, run in the new ``folder``; an empty list if nothing is."""
    for name in ("in", "out"):
        (folder / name).mkdir(parents=True)
    child = os.fork()
    if child == 0:
        _work(case, originals.resolve(), folder)
    status, usage, hung = _wait(child)
    report = (folder / "report.txt").read_text(errors="replace")
    said = (folder / "said.txt").read_bytes().decode("utf-8", "surrogateescape")
    wrong = []
    if hung:
        wrong.append(f"hung: no end after {WALL_S} s")
    elif os.WIFSIGNALED(status):
        wrong.append(f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
    elif os.WEXITSTATUS(status) == _BUILD_FAILED:
        wrong.append(f"the case could not be made: {said.splitlines()[-1:]}")
    else:
        wrong += _wrong_words(os.WEXITSTATUS(status), said)
        wrong += report.splitlines()[1:]
    if usage.ru_maxrss << 10 > MEMORY_BYTES:
        wrong.append(f"took {usage.ru_maxrss >> 10} MB")
    return wrong


def _wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    """Exit status, resources used, and whether the process had to be killed."""
    deadline = time.monotonic() + WALL_S
    while time.monotonic() < deadline:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return status, usage, False
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, usage, True


def _work(case: Case, originals: Path, folder: Path) -> None:
    """In the child: make the case, run it, check its files; never returns.

    ``report.txt`` gets the command and, after that, what is wrong with the files, a line each.
    """
    code = _BUILD_FAILED
    try:
        os.chdir(folder)
        report = os.open("report.txt", os.O_WRONLY | os.O_CREAT, 0o666)
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT, 0o666)
        for stream in (1, 2):
            os.dup2(said, stream)
        trial = TARGETS[case.target](originals, Path("in"), Random(str(case)))
        os.write(report, f"{trial}\n".encode("utf-8", "replace"))
        before = _digests(Path("in"))
        _limit()
        os.environ.update(trial.environment)
        code = _run(trial)
        sys.stdout.flush()
        sys.stderr.flush()
        for line in _wrong_files(trial, code, before):
            os.write(report, f"{line}\n".encode("utf-8", "replace"))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _run(trial: Trial) -> int:
    if not trial.networks:
        accel_rt.runtime.load.load_segmenter = lambda settings, **_: FakeSegmenter(settings)
    if isinstance(trial.command, list):
        return main.run(trial.command)
    main.cli.add_command(click.Command("trial", callback=trial.command))
    return main.run(["trial"])


def _wrong_words(code: int, said: str) -> list[str]:
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    wrong = []
    if code not in (0, 1, 2):
        wrong.append(f"exit code {code}")
    if len(errors) != (code != 0):
        wrong.append(f"{len(errors)} errors with exit code {code}")
    for sign in ("unexpected", "Traceback", "Exception ignored", "\x1b", "\udcff"):
        wrong += [f"said {sign!r}: {line}" for line in lines if sign in line]
    return wrong


def _wrong_files(trial: Trial, code: int, before: dict[str, str]) -> list[str]:
    wrong = [] if _digests(Path("in")) == before else ["the inputs were changed"]
    found = {path.name: path for path in Path("out").iterdir()}
    wrong += [f"left behind: {name}" for name in sorted(found.keys() - set(trial.outputs))]
    inside = (path for path in Path("out").glob("*/**/*") if path.suffix in (".part", ".lock"))
    wrong += [f"left behind: {path}" for path in inside]
    if code == 0:
        wrong += [f"not written: {name}" for name in sorted(set(trial.wanted) - found.keys())]
    for name in sorted(found.keys() & set(VIDEOS)):
        problem = _unplayable(found[name])
        wrong += [f"{name} cannot be played: {problem}"] if problem else []
    return wrong


def _unplayable(path: Path) -> str:
    try:
        with av.open(str(path)) as container:
            return "" if sum(1 for _ in container.decode(video=0)) else "no frames"
    except (av.FFmpegError, OSError, IndexError) as error:
        return str(error)


def _digests(folder: Path) -> dict[str, str]:
    """What lies in ``folder``, for comparing."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

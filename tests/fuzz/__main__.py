"""Fuzzing of everything that is read: ``python -m tests.fuzz --cases 5000``.

Failing cases are printed as TARGET:SEED with what is wrong, and their inputs, outputs and words
are kept in a folder; ``--replay TARGET:SEED`` runs one again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

import torch

from tests.fuzz import specimens
from tests.fuzz.harness import Case, run_case
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all cases; a new one if it is not given")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no more then")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only these")
    parser.add_argument("--replay", action="append", type=Case.parse, metavar="TARGET:SEED")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="failing cases")
    given = parser.parse_args()
    seed = SystemRandom().randrange(2**31) if given.seed is None else given.seed
    cases = given.replay or _draw(given.target or list(TARGETS), seed, given.cases)
    print(f"seed {seed}, {len(cases)} cases, failing ones are kept in {given.keep}", flush=True)
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="accel-rt-fuzz-") as folder:
        scratch = Path(folder)
        # in a process of its own: threads that training starts would not survive a fork
        maker = get_context("fork").Process(target=_make, args=(scratch / "originals",))
        maker.start()
        maker.join()
        if maker.exitcode:
            print("the specimens could not be made", file=sys.stderr)
            return 1
        return _run_all(cases, scratch, given.keep, given.jobs, given.seconds, bool(given.replay))


def _draw(targets: list[str], seed: int, count: int) -> list[Case]:
    """Cases of all targets in turn, so that the first ones cover everything."""
    random = Random(seed)
    return [Case(targets[n % len(targets)], random.randrange(2**31)) for n in range(count)]


def _make(folder: Path) -> None:
    folder.mkdir()
    specimens.make(folder)


def _run_all(
    cases: list[Case], scratch: Path, keep: Path, jobs: int, seconds: float, replay: bool
) -> int:
    run = partial(_run_one, scratch, keep, time.monotonic() + seconds, replay)
    done = failed = 0
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        for case, wrong in zip(cases, pool.map(run, cases), strict=True):
            done += wrong is not None
            if wrong:
                failed += 1
                print("\n    ".join((str(case), *wrong)), flush=True)
    print(f"{done} cases, {failed} failed", flush=True)
    return 1 if failed else 0


def _run_one(
    scratch: Path, keep: Path, deadline: float, replay: bool, case: Case
) -> list[str] | None:
    """What is wrong with ``case``; None where the time is over. Keeps what failed."""
    if time.monotonic() > deadline:
        return None
    folder = scratch / f"{case.target}-{case.seed}"
    wrong = run_case(case, scratch / "originals", folder)
    if wrong or replay:
        shutil.rmtree(keep / folder.name, ignore_errors=True)
        shutil.copytree(folder, keep / folder.name, symlinks=True)
    shutil.rmtree(folder, ignore_errors=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())

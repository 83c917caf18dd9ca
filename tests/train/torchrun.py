"""The training commands in processes of their own, alone or under torchrun."""

import csv
import os
import subprocess
import sys
from pathlib import Path


def train(command: list[str], out: Path, processes: int = 1) -> tuple[list[Path], list[dict]]:
    """Run ``python -m accel_rt train COMMAND``; the files it names, and the rows of its log."""
    launcher = []
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "accel_rt", "train", *command, "--out", out],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((out / "log.csv").open()))
    return [Path(line) for line in done.stdout.split()], rows

"""Training and evaluation end like Ctrl-C on every signal that asks for it, with work kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.data.test_samples import write_camvid

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
WAIT_S = 240  # the machine may be busy; nothing here depends on the time


def start(*args: object) -> subprocess.Popen:
    """``accel-rt ARGS...`` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "accel_rt", *map(str, args)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def training(data: Path, out: Path) -> subprocess.Popen:
    options = "--network efficientnet_lite0 --street 0 --steps 100000 --batch 2 --crop 32x32"
    options += " --workers 2 --threads 1 --log-every 1 --validate-every 100000 --no-tensorboard"
    return start("train", "deeplab", *options.split(), "--data", data, "--out", out)


def rows(out: Path) -> int:
    path = out / "log.csv"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def wait_until(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_camvid(tmp_path / "data", "val", 2)
    return write_camvid(tmp_path / "data", "train", 4)


@pytest.mark.slow
@pytest.mark.timeout(2 * WAIT_S)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_whole_group_saves_the_run(data: Path, tmp_path: Path, number: int) -> None:
    """Workers that make samples get it too, as from a terminal, a container or a scheduler."""
    out = tmp_path / "run"
    process = training(data, out)
    wait_until(lambda: rows(out) >= 3, process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, said
    step = torch.load(out / "checkpoint.pt", weights_only=True)["step"]
    assert f"interrupted: saved at step {step}" in said
    assert step >= 2
    for word in ("Traceback", "error", "killed"):
        assert word not in said


@pytest.mark.slow
@pytest.mark.timeout(2 * WAIT_S)
def test_a_hangup_that_nohup_has_ignored_does_not_end_the_run(data: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = training(data, tmp_path / "run")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_until(lambda: rows(tmp_path / "run") >= 2, process)
    os.killpg(process.pid, signal.SIGHUP)
    seen = rows(tmp_path / "run")
    wait_until(lambda: rows(tmp_path / "run") >= seen + 3, process)
    process.terminate()
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(2 * WAIT_S)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_evaluation_keeps_the_parts_that_were_begun(tmp_path: Path, number: int) -> None:
    out = tmp_path / "a.json"
    parts = tmp_path / "a.json.parts"
    options = "--mode deeplab --reference efficientnet_lite0 --size 64x48 --workers 2 --no-timing"
    process = start("eval", "street:3:400", *options.split(), "--json", out)
    wait_until(lambda: list(parts.glob("part-*.npz")), process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert list(parts.glob("part-*.npz"))
    for word in ("Traceback", "error", "died"):
        assert word not in said


@pytest.mark.slow
@pytest.mark.timeout(WAIT_S)
def test_a_picture_that_cannot_be_read_ends_it(data: Path, tmp_path: Path) -> None:
    """Workers that ignore signals do not keep the process from its end."""
    for image in (data / "train").glob("*.png"):
        image.write_bytes(b"junk")
    process = training(data, tmp_path / "run")
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "cannot read the image" in said

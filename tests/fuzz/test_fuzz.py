"""The fuzzer itself: cases can be replayed, and damage is done where it hurts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutate import mutate_bytes, mutate_tree
from tests.fuzz.parts import borders
from tests.fuzz.specimens import MEDIA

ROOT = Path(__file__).parents[2]
CASES, SECONDS, SEED = 200, 60, 20


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_damaged_files_end_in_one_sentence(tmp_path: Path) -> None:
    done = fuzz("--seed", SEED, "--cases", CASES, "--seconds", SECONDS, "--keep", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_is_the_same_every_time(tmp_path: Path) -> None:
    """It can be replayed by its seed, and what it read and said is kept."""
    outcomes = []
    for name in ("a", "b"):
        done = fuzz("--replay", "gif:7", "--keep", tmp_path / name)
        (kept,) = (tmp_path / name).iterdir()
        (source,) = (kept / "in").iterdir()
        outcomes.append((source.read_bytes(), (kept / "report.txt").read_text()))
        assert "1 cases, 0 failed" in done.stdout
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1].startswith("accel-rt segment in/moving.gif -o out/v.")


@pytest.mark.parametrize("name", ["mp4", "mkv-tracks", "avi", "ts", "apng", "gif", "flv", "h264"])
def test_borders_are_where_parts_begin(tmp_path: Path, name: str) -> None:
    data = MEDIA[name](tmp_path).read_bytes()
    expected = {
        "mp4": [b"moov", b"stts", b"mdhd"],
        "mkv-tracks": [b"\x1f\x43\xb6\x75", b"\x44\x89", b"\x73\x73"],
        "avi": [b"strh", b"00dc", b"idx1"],
        "ts": [b"G@\x11", b"G\x41\x00"],
        "apng": [b"IHDR", b"fcTL", b"IEND"],
        "gif": [b",\0\0\0\0"],
        "flv": [b"\x09\0"],
        "h264": [b"\0\0\x01\x67", b"\0\0\x01\x65"],
    }[name]
    skip = 4 if name in ("mp4", "apng") else 0  # the size comes first
    found = [data[at + skip : at + skip + 8] for at in borders(data)]
    for mark in expected:
        assert any(part.startswith(mark) for part in found), mark


def test_mutations_change_something() -> None:
    """Nearly always; and never what they were given."""
    data, tree = bytes(range(256)) * 4, {"a": [1, 2, {"b": "text"}], "c": 0.5}
    changed = [mutate_bytes(data, Random(seed)) != data for seed in range(100)]
    assert sum(changed) > 95
    trees = [repr(mutate_tree(tree, Random(seed))) != repr(tree) for seed in range(100)]
    assert sum(trees) > 95
    assert tree == {"a": [1, 2, {"b": "text"}], "c": 0.5}

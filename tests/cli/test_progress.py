"""The two faces of progress: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from accel_rt.cli.progress import Progress

ROOT = Path(__file__).parents[2]


def test_terminal_shows_a_bar(tmp_path, clip):
    """stderr is a terminal here, stdout is not: results stay clean of the bar."""
    terminal, child_side = pty.openpty()
    program = [sys.executable, "-m", "tests.cli.fake", "0@-1", "segment", str(clip)]
    env = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    done = subprocess.run(program, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=child_side)
    os.close(child_side)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # how a terminal says that its other side is closed
        pass
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert done.returncode == 0
    assert "clip.mp4" in text
    assert "20/20" in text
    assert "frames/s" in text
    assert "3 key, 17 update" in text
    assert b"\x1b" not in done.stdout


def test_line_tells_what_is_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("accel_rt.cli.progress.monotonic", lambda: clock[0])
    with Progress("a.mp4", 100) as progress:
        for number in range(20):
            progress.add("update" if number % 5 else "key")
        clock[0] = 104.0
        expected = "a.mp4: 20 of 100 frames, 5.0 frames/s, 4 key, 16 update, 16 s left"
        assert progress.line() == expected


def test_line_without_a_known_length(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("accel_rt.cli.progress.monotonic", lambda: clock[0])
    with Progress("stream", None) as progress:
        progress.add("key")
        clock[0] = 102.0
        assert progress.line() == "stream: 1 frames, 0.5 frames/s, 1 key, 0 update"


def test_lines_come_every_few_seconds(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("accel_rt.cli.progress.monotonic", lambda: clock[0])
    with Progress("a.mp4", 100) as progress:
        for _ in range(100):
            clock[0] += 0.11
            progress.add("key")
    assert len(capsys.readouterr().err.splitlines()) == 2

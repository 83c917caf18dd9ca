"""Runs the command line in this process, with a segmenter that needs no networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from accel_rt.cli import main
from tests.cli.fake import FakeSegmenter
from tests.video.clips import write_clip


@dataclass(frozen=True)
class Finished:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong; the rest of stderr must not have another."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Finished]


@pytest.fixture
def accel(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """``accel("segment", path, ...)`` in an empty folder; returns a :class:`Finished`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(main.DEBUG_VARIABLE, raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards

    def run(*args: object) -> Finished:
        capsys.readouterr()
        code = main.run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[FakeSegmenter]:
    """Puts :class:`FakeSegmenter` in place of the real one; the list of those made."""
    import accel_rt.runtime.load

    made: list[FakeSegmenter] = []

    def load(settings, **_):
        made.append(FakeSegmenter(settings))
        return made[-1]

    monkeypatch.setattr(accel_rt.runtime.load, "load_segmenter", load)
    monkeypatch.setattr(accel_rt.runtime.load, "weights_digests", lambda settings: ["fake"])
    return made


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 frames of 64x48 at 25 frames/s with a second of sound."""
    return write_clip(tmp_path / "clip.mp4", audio_s=0.8)

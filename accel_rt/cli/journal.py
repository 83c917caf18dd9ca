"""The journal of a run: what must be known to go on with it after the process has died.

It lies beside the run's main output as ``NAME.TOKEN.journal`` until all outputs have their names;
the token is that of the run's unfinished files. Its lines are JSON: a header, a checkpoint every
hundred frames or so, and ``done`` once all that remains is to give the outputs their names.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel_rt.errors import OutputError
from accel_rt.files import beside
from accel_rt.video.output import LineFile

_FORMAT = "accel-rt unfinished run 1"


@dataclass(frozen=True)
class Checkpoint:
    """A keyframe that a run can go on from: its index, and what was there before it.

    ``pictures`` counts the coded pictures of the video, ``pts`` is the frame's time in seconds as
    a fraction, ``policy`` what :class:`~accel_rt.runtime.resumable.ResumableSegmenter` remembers.
    """

    frame: int
    pictures: int
    pts: str
    policy: dict[str, Any]


@dataclass(frozen=True)
class UnfinishedRun:
    """What is left of a run that did not end.

    ``settings`` are those that change its outputs, ``source`` tells its input from others (None
    where the input cannot be read again), ``done`` says that its outputs are complete.
    """

    path: Path
    token: str
    settings: dict[str, Any]
    source: Any
    checkpoints: tuple[Checkpoint, ...]
    done: bool
    lines: int

    @property
    def frames(self) -> int:
        """Frames before the last checkpoint."""
        return self.checkpoints[-1].frame if self.checkpoints else 0


class Journal:
    """Writes a journal; :meth:`remove` it when the run has ended."""

    def __init__(self, path: Path, settings: dict[str, Any], source: Any) -> None:
        self.path = path
        self._file = LineFile(path)
        try:
            self._add({"format": _FORMAT, "settings": settings, "source": source})
        except OutputError:
            self.remove()
            raise

    @classmethod
    def reopen(cls, run: UnfinishedRun) -> Journal:
        """Go on with the journal of ``run``."""
        journal = cls.__new__(cls)
        journal.path = run.path
        journal._file = LineFile(run.path, keep=run.lines)
        return journal

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Note that the run can go on from here."""
        self._add({"checkpoint": vars(checkpoint)})

    def done(self) -> None:
        """Note that every output is complete."""
        self._add({"done": True})

    def remove(self) -> None:
        """Close and remove the journal; a second call does nothing."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _add(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line))


def journal_path(output: Path, token: str) -> Path:
    """The journal of the run with ``token`` whose main output is ``output``."""
    return beside(output, f".{token}.journal")


def unfinished_runs(output: Path) -> list[UnfinishedRun]:
    """The runs that were to write ``output`` and did not end, the one that got furthest first."""
    sample = journal_path(output, "TOKEN").name
    pattern = re.compile(re.escape(sample).replace("TOKEN", "([0-9a-f]{8})"))
    found = []
    for name in sorted(os.listdir(output.parent)) if output.parent.is_dir() else ():
        if match := pattern.fullmatch(name):
            run = _read(output.with_name(name), match[1])
            if run is not None:
                found.append(run)
    return sorted(found, key=lambda run: (run.done, run.frames), reverse=True)


def _read(path: Path, token: str) -> UnfinishedRun | None:
    """The run that a journal tells of, up to its first incomplete line; None if it is none."""
    try:
        text = b"" if path.is_symlink() else path.read_bytes()
        lines = [json.loads(line) for line in text.split(b"\n")[:-1]]  # the last may be cut
        if not lines or lines[0].get("format") != _FORMAT:
            return None
        header, *rest = lines
        return UnfinishedRun(
            path=path,
            token=token,
            settings=dict(header["settings"]),
            source=header["source"],
            checkpoints=tuple(Checkpoint(**e["checkpoint"]) for e in rest if "checkpoint" in e),
            done=any("done" in entry for entry in rest),
            lines=len(lines),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def difference(run: UnfinishedRun, settings: dict[str, Any]) -> str | None:
    """The first of ``settings`` that ``run`` was made with another value of, in words."""
    stored = json.loads(json.dumps(settings))
    for name in {**run.settings, **stored}:
        then, now = run.settings.get(name), stored.get(name)
        if then != now:
            return f"{name} {_shown(then)} then, and {_shown(now)} now"
    return None


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)

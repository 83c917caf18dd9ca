"""A run's folder: checkpoints, logs and sample pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.files import Claim, make_parent, replacing, why_unwritable
from accel_rt.jsonfile import member


class RunFolder:
    """A folder with ``checkpoint.pt`` and ``log.csv``; both survive an interruption."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot create the run folder {path}: {error.strerror}") from error
        self._saved_at = time.monotonic()

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint.pt"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other run out; raises :class:`~accel_rt.errors.OutputError` if one is in."""
        claim = Claim(self.path)
        try:
            yield
        finally:
            claim.release()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; the old one stays until the new one is complete."""
        try:
            with replacing(self.checkpoint_path) as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's own, where a write fails
            raise OutputError(f"cannot save {self.checkpoint_path}: {error}") from error
        self._saved_at = time.monotonic()

    def save_is_due(self, every_s: float) -> bool:
        return time.monotonic() - self._saved_at >= every_s

    def load(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The checkpoint, or None for a fresh folder.

        Raises :class:`~accel_rt.errors.UsageError` if it was made with other settings, and
        :class:`~accel_rt.errors.InputError` if it cannot be read.
        """
        if not self.checkpoint_path.is_file():
            return None
        with self.resuming():
            state = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
            made_with, step = member(state, "settings", dict), member(state, "step", int)
            if step < 0 or not isinstance(made_with.get("steps", step), int):
                raise ValueError(f"it is at step {step} of {made_with.get('steps')}")
            # What an earlier version did not note may be the same.
            others = [n for n in settings if made_with.get(n, settings[n]) != settings[n]]
        if others:
            name = others[0]
            raise UsageError(
                f"{self.path} holds a run with {name} = {made_with.get(name)}, not "
                f"{settings[name]}: use the same settings to resume it, or another --out"
            )
        return state

    @contextmanager
    def resuming(self) -> Iterator[None]:
        """Turn what goes wrong in taking up the checkpoint into one sentence."""
        try:
            yield
        except Exception as error:  # pickle, zip files and torch raise many kinds
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"cannot go on from {self.checkpoint_path} ({why}): remove it to start again, or "
                f"give another --out"
            ) from error

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to ``log.csv``; the first row names the columns."""
        path = self.path / "log.csv"
        try:
            fresh = not path.is_file() or not path.stat().st_size
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, row)
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise OutputError(why_unwritable(path, error)) from error


def weight_file(out: Path, stem: str) -> Path:
    """Where weights go: ``out``, a ``.safetensors`` file, or ``stem`` in the folder ``out``.

    Its folder is made. Raises :class:`~accel_rt.errors.OutputError` if there can be no such file,
    before anything is learnt.
    """
    path = out if out.suffix == ".safetensors" else out / f"{stem}.safetensors"
    make_parent(path)
    if path.is_dir():
        raise OutputError(f"cannot write '{path}': it is a folder")
    return path

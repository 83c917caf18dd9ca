"""What a run leaves to look at: ``log.csv``, TensorBoard events and sample pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from accel_rt.train.run import RunFolder

MISSING_TENSORBOARD = (
    "tensorboard is not installed: logging to log.csv and samples.png only "
    "(pip install tensorboard, or accel-rt[train])"
)


class RunLog:
    """Meters between two rows, and where the rows go. A context manager.

    A row has the step, the mean loss, the learning rate, samples per second, the share of the
    time spent waiting for samples, and the validation's ``scores``, empty where there was none.
    """

    def __init__(
        self,
        folder: RunFolder,
        scores: tuple[str, ...],
        batch: int,
        tensorboard: bool,
        report: Callable[[str], None],
    ) -> None:
        self._folder, self._scores, self._batch = folder, scores, batch
        self._events = _event_writer(folder.path, report) if tensorboard else None
        self.restart()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._events:
            self._events.close()

    def restart(self) -> None:
        """Begin the time and the losses of the next row."""
        self._started, self._waited = time.monotonic(), 0.0
        self._losses: list[float] = []

    def add(self, loss: float, waited_s: float) -> None:
        """Count one step."""
        self._losses.append(loss)
        self._waited += waited_s

    def row(self, step: int, rate: float) -> dict[str, Any]:
        """The row of the steps since the last one, without validation."""
        elapsed = time.monotonic() - self._started
        steps = len(self._losses)
        return {
            "step": step,
            "loss": round(float(np.mean(self._losses)), 4) if steps else "",
            "rate": f"{rate:.3e}",
            "images_per_s": round(steps * self._batch / elapsed, 2),
            "waited": round(self._waited / elapsed, 3),
            **dict.fromkeys(self._scores, ""),
        }

    def write(self, row: dict[str, Any]) -> None:
        """Append a row to ``log.csv`` and to TensorBoard."""
        self._folder.log(row)
        if self._events:
            for name, value in row.items():
                if name != "step" and value != "":
                    self._events.add_scalar(name, float(value), row["step"])

    def picture(self, picture_bgr: np.ndarray, step: int) -> None:
        """Keep a picture, uint8 BGR ``[H, W, 3]``, as ``samples.png`` and in TensorBoard."""
        cv2.imwrite(str(self._folder.path / "samples.png"), picture_bgr)
        if self._events:
            rgb = np.ascontiguousarray(picture_bgr[..., ::-1])
            self._events.add_image("samples", rgb, step, dataformats="HWC")


def _event_writer(path: Path, report: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        report(MISSING_TENSORBOARD)
        return None
    return SummaryWriter(str(path))

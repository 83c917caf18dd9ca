"""What ``accel-rt train DATA`` says when it is done."""

from __future__ import annotations

import shlex
from pathlib import Path

from accel_rt.cli.text import show, table
from accel_rt.train.verdict import PICTURE, Verdict


def conclude(out: Path, verdict: Verdict) -> None:
    """Print each class's accuracy, the mean with its interval, and what to do next."""
    rows = [("class", "IoU")]
    rows += [
        (name, "not there" if value is None else f"{value:.1f}")
        for name, value in verdict.class_iou.items()
    ]
    show(table(rows, right=(1,)))
    low, high = verdict.ci95
    show(
        f"\nmIoU {verdict.miou:.1f} (95% interval {low:.1f} to {high:.1f}), {verdict.frames} frames"
    )
    show(f"pictures of what it finds: {out / PICTURE}")
    show(f"use it: accel-rt segment VIDEO --weights {shlex.quote(str(out))}")

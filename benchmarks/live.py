"""What a live viewer feels: the hitch of a keyframe, and hours of running.

    python -m benchmarks.live keyframes [--reference NAME] [--update NAME] [--modes accel,dff]
    python -m benchmarks.live soak SOURCE [--minutes 10]

``keyframes`` steps a synchronous and an asynchronous segmenter over a rendered street at the pace
of a camera, in turns of some keyframes each, and prints a markdown table. ``soak`` runs the live
loop over a repeated file and prints age, drops and memory of every minute and of the whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import click
import numpy as np
import torch

from accel_rt.live import LiveLoop, LiveSettings
from accel_rt.live.stats import memory_mb
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE, SegmenterSettings
from accel_street import StreetDrive

_SIZE, _CLIP_FRAMES = (360, 480), 60


@click.group()
def main() -> None:
    """Measurements of live running."""


@main.command()
@click.option("--reference", default=DEFAULT_REFERENCE, show_default=True)
@click.option("--update", default=DEFAULT_UPDATE, show_default=True)
@click.option("--modes", default="accel,dff", show_default=True)
@click.option("--update-scale", default=1.0, show_default=True)
@click.option("--interval", default=5, show_default=True)
@click.option("--rate", default=15.0, show_default=True, help="Frames a second; 0: no pauses.")
@click.option("--frames", default=300, show_default=True, help="Of each kind.")
def keyframes(
    reference: str,
    update: str,
    modes: str,
    update_scale: float,
    interval: int,
    rate: float,
    frames: int,
) -> None:
    """Frame times with keyframes that are waited for, and with asynchronous ones."""
    drive = StreetDrive(seed=7, size=_SIZE, rate=15)
    clip = [frame.image_bgr for frame in drive.frames(_CLIP_FRAMES)]
    base = SegmenterSettings(
        reference=reference, update=update, update_scale=update_scale, interval=interval
    )
    click.echo(f"{torch.get_num_threads()} threads, {rate:g} frames a second (0: no pauses)\n")
    click.echo("| mode | networks | keyframes | p50 ms | p99 ms | p99 / p50 | frames late |")
    click.echo("|---|---|---|---|---|---|---|")
    for mode in modes.split(","):
        settings = replace(base, mode=mode)
        names = ("synchronous", "asynchronous")
        runs = [Run(load_segmenter(settings, name == names[1]), clip, rate) for name in names]
        while len(runs[0].ms) < frames:
            for run in runs:
                run.turn(10 * interval)
        networks = f"{reference}, {update}" if mode == "accel" else reference
        for name, run in zip(names, runs, strict=True):
            p50, p99 = np.percentile(run.ms, (50, 99))
            share = np.mean(np.array(run.ms) > 1e3 / rate) if rate else 0.0
            click.echo(
                f"| {mode} | {networks} | {name} | {p50:.1f} | {p99:.1f} | {p99 / p50:.2f} | "
                f"{share:.1%} |"
            )
            run.close()


class Run:
    """A segmenter in a thread of its own, where it has its own number of CPU threads."""

    def __init__(self, segmenter: Segmenter, clip: Sequence[np.ndarray], rate: float) -> None:
        self.ms: list[float] = []
        self._segmenter = segmenter
        self._frames: Iterator[np.ndarray] = cycle(clip)
        self._gap_s = 1 / rate if rate else 0.0
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, initializer=lambda: torch.set_num_threads(threads))
        self._thread.submit(self._steps, 20).result()
        self.ms.clear()

    def turn(self, frames: int) -> None:
        """Step over so many frames; the first three of a turn are not counted."""
        self._thread.submit(self._steps, 3).result()
        del self.ms[-3:]
        self._thread.submit(self._steps, frames).result()

    def close(self) -> None:
        self._thread.submit(self._segmenter.close).result()
        self._thread.shutdown()

    def _steps(self, frames: int) -> None:
        due = time.perf_counter()
        for frame in (next(self._frames) for _ in range(frames)):
            time.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            self._segmenter.step(frame)
            self.ms.append(1e3 * (time.perf_counter() - started))
            due = max(due + self._gap_s, time.perf_counter())


@main.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--mode", default="accel", show_default=True)
@click.option("--update-scale", default=1.0, show_default=True)
@click.option("--interval", default=5, show_default=True)
@click.option("--record", type=click.Path(path_type=Path), help="Record to this file, too.")
def soak(
    source: Path, minutes: float, mode: str, update_scale: float, interval: int, record: Path | None
) -> None:
    """Run the live loop over SOURCE again and again."""
    settings = LiveSettings(interval=interval, mode=mode, update_scale=update_scale)
    ages: list[float] = []
    click.echo("| minute | frames | dropped | age p50 | age p95 | memory MB |")
    click.echo("|---|---|---|---|---|---|")
    with LiveLoop(source, settings, repeat=True, recording=record) as loop:
        if record:
            loop.record(True)
        index, ended, minute, of_minute = -1, time.monotonic() + 60 * minutes, 1, 0
        next_line = time.monotonic() + 60
        while time.monotonic() < ended and (picture := loop.wait_picture(index, 5)) is not None:
            index = picture.index
            ages.append(1e3 * (time.monotonic() - picture.captured_at))
            if time.monotonic() >= next_line:
                p50, p95 = np.percentile(ages[of_minute:], (50, 95))
                stats = loop.stats()
                click.echo(
                    f"| {minute} | {stats.frames} | {stats.dropped} | {p50:.0f} | {p95:.0f} | "
                    f"{memory_mb():.0f} |"
                )
                next_line, minute, of_minute = next_line + 60, minute + 1, len(ages)
        stats = loop.stats()
    if loop.failure:
        raise loop.failure
    assert stats.source_fps
    p50, p95, p99 = np.percentile(ages, (50, 95, 99))
    frame_ms = stats.frame_ms.p50 if stats.frame_ms else 0.0
    click.echo(f"\nage p50/p95/p99 {p50:.0f}/{p95:.0f}/{p99:.0f} ms over {len(ages)} frames")
    bound = 2e3 / stats.source_fps + frame_ms
    click.echo(f"two frame intervals and one processing time: {bound:.0f} ms")
    click.echo(f"dropped {stats.dropped} of {stats.dropped + stats.frames}")


if __name__ == "__main__":
    main()

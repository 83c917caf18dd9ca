"""How much of a network's own answer on every frame its schedules keep, on video without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from time import perf_counter

import numpy as np

from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.evaluate.report.charts import Chart, Series
from accel_rt.models.foreign.open import load_placed
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.schedule import PRESETS
from accel_rt.runtime.settings import SegmenterSettings


@dataclass(frozen=True)
class Kept:
    """What a schedule keeps, in percent: pixels that agree with the reference's own labels, and the
    mean IoU with these; milliseconds a frame, and how many times as fast that is.

    ``options`` ask the command line for the schedule.
    """

    agreement: float
    miou: float
    ms: float
    speed: float
    options: str


def schedules(
    base: SegmenterSettings, intervals: Sequence[int], update: str | None
) -> dict[str, tuple[SegmenterSettings, str]]:
    """What is compared, and the options that ask for it: each interval, carried from one side and
    both; with an ``update`` network the presets, too."""
    base = replace(base, mode="dff", look_ahead=False, gate=False)
    found: dict[str, tuple[SegmenterSettings, str]] = {}
    for interval in intervals:
        one = replace(base, interval=interval)
        both = replace(one, look_ahead=True, gate=True)
        options = f"--mode dff --interval {interval}"
        found[f"interval {interval}"] = one, options
        found[f"interval {interval}, both sides"] = both, f"{options} --look-ahead --gate"
    if update is not None:
        for name, schedule in PRESETS.items():
            chosen = replace(base, mode="accel", update=update, **vars(schedule))
            found[name] = chosen, f"--update {update} --preset {name}"
    return found


def measure_kept(
    base: SegmenterSettings,
    models: Mapping[str, tuple[SegmenterSettings, str]],
    frames: Sequence[np.ndarray],
    report: Callable[[str], None],
) -> dict[str, Kept]:
    """Every model on ``frames``, held against the reference on every frame, which comes first.

    Times are those of ``push``, without reading files. Raises as
    :func:`~accel_rt.runtime.load.load_segmenter`.
    """
    every = replace(base, mode="deeplab")
    load = cache(load_placed)
    segmenter = load_segmenter(every, load=load)
    wanted, whole_ms = _run(segmenter, frames)
    kept = {"every frame": Kept(100.0, 100.0, whole_ms, 1.0, "--mode deeplab")}
    report(f"every frame: {whole_ms:.1f} ms a frame")
    for name, (settings, options) in models.items():
        labels, ms = _run(load_segmenter(settings, load=load), frames)
        matrix, same = ConfusionMatrix(len(segmenter.classes)), 0.0
        for truth, found in zip(wanted, labels, strict=True):
            matrix.add(truth, found)
            same += float(np.mean(truth == found)) / len(wanted)
        kept[name] = Kept(100 * same, matrix.miou(), ms, whole_ms / ms, options)
        report(f"{name}: {kept[name].miou:.1f}% kept, {kept[name].speed:.1f} times as fast")
    return kept


def cheapest(kept: Mapping[str, Kept], percent: float) -> str:
    """The fastest that keeps at least ``percent`` of the mean IoU; what keeps all is among them."""
    enough = {name: found for name, found in kept.items() if found.miou >= percent}
    return min(enough, key=lambda name: enough[name].ms)


def chart(kept: Mapping[str, Kept]) -> Chart:
    """What is kept against how fast it is."""
    points = [Series(n, [found.speed], [found.miou], labels=[n]) for n, found in kept.items()]
    return Chart("times as fast as every frame", "mean IoU with every frame's labels, %", points)


def _run(segmenter: FrameSegmenter, frames: Sequence[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Labels of all frames, and milliseconds a frame after a first keyframe to warm up."""
    segmenter.push(frames[0])
    segmenter.reset()
    started = perf_counter()
    results = [result for frame in frames for result in segmenter.push(frame)]
    results += segmenter.flush()
    ms = 1e3 * (perf_counter() - started) / len(frames)
    return [result.labels for result in results], ms

"""The measurements behind ``accel-rt eval paper``: accuracy, cost and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from accel_rt.bench.harness import Effort
from accel_rt.device import resolve_device, resolve_precision
from accel_rt.evaluate import cost
from accel_rt.evaluate.footage import Clip, Footage
from accel_rt.evaluate.paper import INTERVAL, ModelSet, NetworkFamily
from accel_rt.evaluate.predict import SharedPredictor
from accel_rt.evaluate.results import DatasetInfo, Results, model_result
from accel_rt.evaluate.run import Evaluation, evaluate
from accel_rt.evaluate.schedules import (
    SHORTEST,
    LabelledVideo,
    ScheduleScore,
    compared,
    score_schedules,
)
from accel_rt.runtime.load import keyframe_interval
from accel_rt.runtime.settings import SegmenterSettings

_TIMED_FRAMES = 10
_ROW_FRAMES = 5


@dataclass(frozen=True)
class PaperRun:
    """``work`` keeps finished parts; ``seconds`` is spent on timing, None leaves it out."""

    footage: Footage
    dataset: DatasetInfo
    model_set: ModelSet
    work: Path
    workers: int
    seconds: float | None
    threads: int | None


@dataclass(frozen=True)
class FigureRow:
    """Pictures uint8 BGR of one shot: a row for each of frame, labels and models (figure 4).

    ``offsets`` are the distances from the keyframe, ``shot`` names the keyframe.
    """

    family: NetworkFamily
    shot: str
    offsets: tuple[int, ...]
    pictures: dict[str, list[np.ndarray | None]]


def run_paper(plan: PaperRun, report: Callable[[str], None]) -> tuple[Results, list[FigureRow]]:
    """Evaluate, measure and picture every model of the set."""
    models = plan.model_set.models
    evaluation = Evaluation(plan.footage, models, plan.dataset.density)
    evaluation.check()
    report(f"{len(models)} models, {plan.workers} workers")
    counts = evaluate(evaluation, plan.work, plan.workers, report)
    results = Results(
        plan.dataset, {name: model_result(models[name], counts[name]) for name in models}
    )
    results.missing = plan.model_set.missing
    for name, found in _costs(plan, report).items():
        results.models[name].cost = found
    any_model = next(iter(models.values()))
    device = resolve_device(any_model.device)
    results.machine = {
        "threads": plan.threads or torch.get_num_threads(),
        "device": str(device),
        "precision": str(resolve_precision(any_model.precision, device)).removeprefix("torch."),
    }
    results.schedules = _schedules(plan, report)
    report("drawing")
    return results, [figure_row(plan.footage, models, family) for family in plan.model_set.families]


def _costs(plan: PaperRun, report: Callable[[str], None]) -> dict[str, dict]:
    """Of every model at the interval of table 1."""
    models = {
        name: replace(settings, interval=min(INTERVAL, settings.interval))
        for name, settings in plan.model_set.models.items()
    }
    clip = max(plan.footage.clips, key=lambda clip: len(clip.frames))
    images = [frame.image_bgr() for frame in clip.frames[:_TIMED_FRAMES]]
    report("counting operations")
    found = {
        name: {**cost.sizes(settings), **cost.arithmetic(settings, images[0])}
        for name, settings in models.items()
    }
    if plan.seconds is None:
        return found
    threads = plan.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    effort = Effort(plan.seconds, 3, 60)
    measured = cost.time_and_memory(models, images, effort, threads, report)
    return {name: found[name] | measured[name] for name in models}


def _schedules(
    plan: PaperRun, report: Callable[[str], None]
) -> dict[str, dict[str, ScheduleScore]]:
    """Each family's schedules on the longest densely labelled clip, if there is one."""
    frames = plan.footage.longest_dense()
    families = [f for f in plan.model_set.families if f.accel[0] in plan.model_set.models]
    if len(frames) < SHORTEST or not families:
        return {}
    video = LabelledVideo.read(frames, plan.dataset.rate)
    effort = None if plan.seconds is None else Effort(plan.seconds / 2, 3, 1000)
    found = {}
    for family in families:
        report(f"schedules of {family.title}")
        pair = replace(plan.model_set.models[family.accel[0]], interval=INTERVAL)
        found[family.title] = score_schedules(compared(pair), video, effort, report)
    return found


def figure_row(
    footage: Footage, models: Mapping[str, SegmenterSettings], family: NetworkFamily
) -> FigureRow:
    """Figure 4 for a family, on the shot in the middle of the footage (nobody chose it)."""
    shown = {
        name: models[name]
        for name in (family.dff, family.deeplab(family.first), family.accel[0])
        if name in models
    }
    longest = max(keyframe_interval(settings) for settings in shown.values())
    clip, keyframe = _middle(footage, longest)
    frames = clip.frames[keyframe : keyframe + longest]
    offsets = np.unique(np.linspace(1, len(frames) - 1, _ROW_FRAMES).round().astype(int))
    predictor = SharedPredictor(shown, longest)
    palette = footage.classes.palette_bgr()
    pictures: dict[str, list[np.ndarray | None]] = {
        name: [] for name in ("frame", "ground truth", *shown)
    }
    for offset, frame in enumerate(frames):
        image = frame.image_bgr()
        predictor.observe(image)
        if offset not in offsets:
            continue
        pictures["frame"].append(image)
        pictures["ground truth"].append(palette[frame.read()[1]] if frame.labelled else None)
        for name, settings in shown.items():
            distance = offset if keyframe_interval(settings) > 1 else 0
            pictures[name].append(palette[predictor.labels(name, distance)])
    return FigureRow(family, frames[0].name, tuple(int(offset) for offset in offsets), pictures)


def _middle(footage: Footage, longest: int) -> tuple[Clip, int]:
    """The clip in the middle and the place of a keyframe: a labelled frame ends its interval."""
    labelled = [clip for clip in footage.clips if any(frame.labelled for frame in clip.frames)]
    clip = labelled[len(labelled) // 2]
    places = [index for index, frame in enumerate(clip.frames) if frame.labelled]
    reachable = [index for index in places if index >= longest - 1] or places[-1:]
    return clip, max(0, reachable[len(reachable) // 2] - longest + 1)

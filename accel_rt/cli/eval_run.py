"""``accel-rt eval run``: one model on labelled video."""

from __future__ import annotations

import math
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accel_rt.cli.eval_options import footage_options, open_dataset_info, worker_count
from accel_rt.cli.fields import written_option
from accel_rt.cli.machine import machine
from accel_rt.cli.options import segmenter_options, segmenter_settings
from accel_rt.cli.text import say, show, table
from accel_rt.errors import InputError
from accel_rt.size import wxh

if TYPE_CHECKING:
    from accel_rt.evaluate.results import Results


@click.command()
@click.argument("data")
@segmenter_options
@footage_options
@click.option(
    "--corrupt",
    metavar="NAME:S[,...]",
    help="Measure it on corrupted frames, too, such as noise:10,jpeg:30,blur:7 (sigma of 255, "
    "quality, pixels).",
)
@written_option(
    "--json",
    "FILE",
    "Write everything that was counted to FILE; 'eval diff' compares two.",
    name="json_file",
)
def run(data: str, corrupt: str | None, json_file: Path | None, **values: Any) -> None:
    """Measure one model on DATA at every distance from the keyframe up to --interval.

    Prints accuracy, steadiness and time. With --json an interrupted run goes on where it stopped.
    """
    settings = replace(segmenter_settings(values), scene_cuts=False)
    from accel_rt.data.corrupt import parse_corruptions
    from accel_rt.evaluate.results import Results, model_result, write
    from accel_rt.evaluate.run import Evaluation, evaluate, forget
    from accel_rt.runtime.load import load_model

    corruptions = parse_corruptions(corrupt) if corrupt else ()
    footage, dataset = open_dataset_info(data, values)
    name = model_name(settings)
    footages = {name: footage}
    for kind, strength in corruptions:
        footages[f"{name}, {kind} {strength:g}"] = footage.corrupted(kind, strength)
    workers = worker_count(values["workers"], settings.device)
    results = Results(dataset, {})
    with tempfile.TemporaryDirectory(prefix="accel-rt-eval-") as scratch:
        place = json_file.with_name(json_file.name + ".parts") if json_file else Path(scratch, "w")
        works = [place, *(Path(f"{place}-{kind}-{s:g}") for kind, s in corruptions)]
        for (condition, frames), work in zip(footages.items(), works, strict=True):
            evaluation = Evaluation(frames, {condition: settings}, dataset.density)
            evaluation.check()
            counts = evaluate(evaluation, work, workers, say)
            results.models[condition] = model_result(settings, counts[condition])
    if all(math.isnan(results.summary(name, n)["miou"]) for n in (1, results.models[name].longest)):
        raise InputError(
            f"no pixel of {data} has a label of its classes: there is nothing to count"
        )
    results.command = shlex.join(["accel-rt", *sys.argv[1:]])
    results.machine = {**machine(), "backend": load_model(settings).description["backend"]}
    _measure(results, name, settings, footage, values)
    if json_file is not None:
        write(json_file, results)
        for work in works:
            forget(work)
    show("\n\n".join(report(results, name)))


# Distances from a keyframe mean nothing where cuts place others, or where frames are carried from
# both sides: 'eval schedules' runs those as they are.
_LEFT_OUT = ("scene_cuts", "update_every", "fuse_keyframes", "look_ahead", "gate", "policy")
run.params = [option for option in run.params if option.name not in _LEFT_OUT]


def model_name(settings: Any) -> str:
    """A model in a few words: ``accel efficientnet_lite2 + efficientnet_lite0``."""
    names = [Path(settings.reference).stem]
    if settings.mode == "accel":
        names.append(Path(settings.update).stem)
    extras = [
        text
        for text, there in (
            (f"update x{settings.update_scale:g}", settings.update_scale != 1),
            (settings.warp, settings.warp != "auto" and settings.mode in ("accel", "dff")),
            (settings.flow, settings.flow not in ("auto", "dis")),
            (f"{settings.fusion} fusion", settings.fusion != "score"),
        )
        if there
    ]
    return ", ".join([f"{settings.mode} {' + '.join(names)}", *extras])


def _measure(
    results: Results, name: str, settings: Any, footage: Any, values: dict[str, Any]
) -> None:
    import torch

    from accel_rt.bench.harness import Effort
    from accel_rt.evaluate import cost

    clip = max(footage.clips, key=lambda clip: len(clip.frames))
    images = [frame.image_bgr() for frame in clip.frames[: max(2, min(10, len(clip.frames)))]]
    found = {**cost.sizes(settings), **cost.arithmetic(settings, images[0])}
    if not values["no_timing"]:
        threads = values["threads"] or torch.get_num_threads()
        torch.set_num_threads(threads)
        measured = cost.time_and_memory({name: settings}, images, Effort(20, 3, 40), threads, say)
        found |= measured[name]
    results.models[name].cost = found


_SCORES = {
    "mIoU": "miou",
    "pixel acc.": "pixel_accuracy",
    "mean acc.": "mean_accuracy",
    "boundary F": "boundary_f",
    "consistency": "consistency",
    "flicker/s": "flicker",
}


def report(results: Results, name: str) -> list[str]:
    """The tables to print: by interval, by distance, on corrupted frames, by class; and its cost.

    ``name`` is the model on the frames as they are.
    """
    model, dataset = results.models[name], results.dataset
    frames = f"{sum(dataset.runs)} labelled frames of {wxh(dataset.frame_size)}"
    rows = [("interval", *_SCORES, "mIoU 95%")]
    for n in model.counts.schedule.intervals:
        low, high = results.confidence(name, n)["miou"]
        rows.append((str(n), *_row(results.summary(name, n)), f"{low:.1f} to {high:.1f}"))
    ran = f"{dataset.density} protocol, networks on {results.machine['backend']}"
    title = f"{name} on {dataset.footage}: {frames}, {ran}"
    parts = [title, table(rows, range(len(rows[0])))]
    if model.longest > 1:
        rows = [("distance", *_SCORES)]
        for offset in range(model.longest):
            scores = model.counts.at_offset(offset).summary(dataset.rate)
            rows.append((str(offset), *_row(scores)))
        parts.append(table(rows, range(len(rows[0]))))
    by_condition = _by_condition(results, name)
    if len(by_condition) > 2:
        parts.append(table(by_condition, range(1, len(by_condition[0]))))
    last = model.counts.schedule.longest
    labels = [row[0] for row in by_condition[2:]]
    rows = [("class", f"IoU at {last}", *labels)]
    shares = [results.class_iou(condition, last) for condition in results.models]
    for label, *values in zip(dataset.classes.names, *shares, strict=True):
        rows.append((label, *(f"{value:.1f}" for value in values)))
    parts.append(table(rows, range(1, len(rows[0]))))
    return [*parts, _cost_line(model.cost)]


def _by_condition(results: Results, name: str) -> list[tuple[str, ...]]:
    """mIoU at each interval, of frames as they are and of corrupted ones."""
    intervals = results.models[name].counts.schedule.intervals
    rows = [("mIoU at interval", *map(str, intervals))]
    for condition in results.models:
        label = "as they are" if condition == name else condition.removeprefix(f"{name}, ")
        scores = (results.summary(condition, n)["miou"] for n in intervals)
        rows.append((label, *(f"{score:.1f}" for score in scores)))
    return rows


def _row(scores: dict[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{scores[key]:.2f}" if key == "flicker" else f"{scores[key]:.1f}"
        for key in _SCORES.values()
    )


def _cost_line(cost: dict[str, Any]) -> str:
    parts = ["the size of the networks is not known"]
    if cost["parameters"]:
        parts = [
            f"{cost['parameters'] / 1e6:.1f} M parameters",
            f"{cost['file_mb']:.1f} MB of weights",
            f"{cost['mean_gflops']:.2f} GFLOPs a frame",
        ]
    if "time" in cost:
        spread = cost["time"]["all"]
        parts += [
            f"{1e3 * spread['mean_s']:.1f} ms a frame (p50 {1e3 * spread['p50_s']:.1f}, "
            f"p95 {1e3 * spread['p95_s']:.1f}, p99 {1e3 * spread['p99_s']:.1f})",
            f"{cost['peak_memory_mb']:.0f} MB at most",
        ]
    return ", ".join(parts)

"""What an evaluation found, as JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import InputError
from accel_rt.evaluate.bootstrap import block_length, interval_95, resampled_weights
from accel_rt.evaluate.boundary import boundary_f
from accel_rt.evaluate.counts import SCORES, Counts, ScoreCounts
from accel_rt.evaluate.footage import Footage
from accel_rt.evaluate.metrics import iou
from accel_rt.evaluate.schedule import DENSITIES, Density
from accel_rt.files import write_whole
from accel_rt.jsonfile import member, read_json, typed
from accel_rt.runtime.settings import SegmenterSettings

if TYPE_CHECKING:
    from accel_rt.evaluate.schedules import ScheduleScore

FORMAT = "accel-rt eval 1"
MOST_FRAMES = 1_000_000
"""Labelled frames that a file may be about."""
_LEVELS = 4  # of JSON that have lines of their own
DEFAULT_RATE = 25.0
"""Frames per second where neither the data set nor the user says."""


@dataclass(frozen=True)
class DatasetInfo:
    """What was evaluated on: ``runs`` are the labelled frames of each clip.

    ``frame_size`` is ``(height, width)``; files have it as width and height.
    """

    footage: str
    classes: ClassSet
    density: Density
    rate: float
    runs: tuple[int, ...]
    frame_size: tuple[int, int]

    @classmethod
    def of(cls, footage: Footage, density: Density, rate: float | None) -> DatasetInfo:
        """Facts of ``footage``; ``rate`` overrides its own. Reads one frame."""
        runs = tuple(sum(flags) for flags in footage.labelled())
        clip = next(c for c, run in zip(footage.clips, runs, strict=True) if run)
        size = clip.frames[0].image_bgr().shape[:2]
        known = rate or footage.rate or DEFAULT_RATE
        return cls(footage.name, footage.classes, density, known, runs, size)

    @property
    def block(self) -> int:
        """Labelled frames that are drawn at once."""
        return block_length(self.density == "dense", self.rate, sum(self.runs))

    @cached_property
    def weights(self) -> np.ndarray:
        """Resampled weights of the labelled frames, ``[B, F]``."""
        runs = [run for run in self.runs if run]
        return resampled_weights(runs, self.block)


@dataclass
class ModelResult:
    """One model: its settings, what was counted, and what it costs (as far as measured)."""

    settings: dict[str, Any]
    counts: Counts
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """The largest interval there is; 1 for a network on every frame."""
        return self.counts.schedule.longest

    def at_interval(self, interval: int) -> ScoreCounts:
        """The stream at ``interval``, or the network alone where every frame is a keyframe."""
        return self.counts.at_interval(min(interval, self.longest))


@dataclass
class Results:
    """Every model that was evaluated on one footage."""

    dataset: DatasetInfo
    models: dict[str, ModelResult]
    command: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    schedules: dict[str, dict[str, ScheduleScore]] = field(default_factory=dict)
    """By family and name; not read back from a file."""

    def summary(self, name: str, interval: int) -> dict[str, float]:
        """Scores of a model at an interval."""
        return self.models[name].at_interval(interval).summary(self.dataset.rate)

    def confidence(self, name: str, interval: int) -> dict[str, tuple[float, float]]:
        """95% intervals of :meth:`summary`."""
        sums = self.models[name].at_interval(interval)
        scores = sums.scores(self.dataset.weights, self.dataset.rate)
        return {score: interval_95(values) for score, values in scores.items()}

    def class_iou(self, name: str, interval: int) -> np.ndarray:
        """IoU in percent per class; NaN for a class that does not occur."""
        return 100 * iou(self.models[name].at_interval(interval).pixels.sum(0))


def model_result(settings: SegmenterSettings, counts: Counts) -> ModelResult:
    """The result of a model before its cost is measured."""
    stored = {**asdict(settings), "size": settings.size and settings.size[::-1]}  # width first
    return ModelResult(json.loads(json.dumps(stored, default=str)), counts)


def to_json(results: Results) -> dict[str, Any]:
    """Plain types: scores to read, and the counts that they follow from."""
    dataset = asdict(results.dataset)
    dataset["frame_size"] = results.dataset.frame_size[::-1]
    return {
        "format": FORMAT,
        "command": results.command,
        "machine": results.machine,
        "about": {**dataset, "resamples": len(results.dataset.weights)},
        "missing": results.missing,
        "schedules": {
            family: {name: asdict(score) for name, score in scores.items()}
            for family, scores in results.schedules.items()
        },
        "models": {name: _model_json(results, name) for name in results.models},
    }


def _model_json(results: Results, name: str) -> dict[str, Any]:
    model, names = results.models[name], results.dataset.classes.names
    intervals = {}
    for interval in model.counts.schedule.intervals:
        contours = boundary_f(model.counts.at_interval(interval).boundary.sum(0))
        confidence = results.confidence(name, interval)
        intervals[str(interval)] = {
            **{key: _number(value) for key, value in results.summary(name, interval).items()},
            "ci95": {key: [_number(v) for v in confidence[key]] for key in SCORES},
            "class_iou": _by_name(names, results.class_iou(name, interval)),
            "class_boundary_f": _by_name(names, contours),
            "confusion": model.counts.confusion[interval - 1].tolist(),
        }
    offsets = {
        str(offset): {
            key: _number(value)
            for key, value in model.counts.at_offset(offset).summary(results.dataset.rate).items()
        }
        for offset in range(model.longest)
    }
    return {
        "settings": model.settings,
        "intervals": intervals,
        "offsets": offsets,
        "cost": model.cost,
        "tally": model.counts.to_json(),
    }


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def from_json(stored: dict[str, Any]) -> Results:
    """The results that :func:`to_json` wrote; ``ValueError`` names what is missing or wrong."""
    dataset = _dataset(member(stored, "about", dict))
    models = member(stored, "models", dict)
    if not models:
        raise ValueError("'models' names none")
    return Results(
        dataset,
        {name: _model(model, dataset) for name, model in models.items()},
        member(stored, "command", str),
        member(stored, "machine", dict),
        member(stored, "missing", dict),
    )


def _dataset(stored: Any) -> DatasetInfo:
    classes = ClassSet.from_json(member(stored, "classes", dict))
    density, rate = member(stored, "density", str), member(stored, "rate", float)
    if density not in DENSITIES or not 0 < rate < math.inf:
        raise ValueError(f"labels cannot be '{density}' at {rate} frames/s")
    runs, size = (
        tuple(typed(number, int, f"a part of '{name}'") for number in member(stored, name, list))
        for name in ("runs", "frame_size")
    )
    if min(runs, default=0) < 0 or not 1 <= sum(runs) <= MOST_FRAMES:
        raise ValueError(f"'runs' must be of 1 to {MOST_FRAMES} labelled frames in all")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"'frame_size' must be a width and a height, got {size}")
    footage = member(stored, "footage", str)
    return DatasetInfo(footage, classes, density, rate, runs, size[::-1])


def _model(stored: Any, dataset: DatasetInfo) -> ModelResult:
    frames, classes = sum(dataset.runs), len(dataset.classes)
    counts = Counts.from_json(member(stored, "tally", dict), frames, classes)
    return ModelResult(member(stored, "settings", dict), counts, member(stored, "cost", dict))


def read(path: Path) -> Results:
    """Results from a file.

    Raises :class:`~accel_rt.errors.InputError` if it is missing or something else.
    """
    try:
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise InputError(f"{path} holds no results of 'accel-rt eval': give a JSON it wrote")
        return from_json(stored)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{path} cannot be used ({error}): give a JSON that 'accel-rt eval' wrote"
        ) from error


def write(path: Path, results: Results) -> None:
    """Write results as JSON.

    Raises :class:`~accel_rt.errors.OutputError` if that cannot be done.
    """
    write_whole(path, _lines(to_json(results)) + "\n")


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for every interval, distance and setting of a model."""
    if not isinstance(value, dict) or not value or depth == _LEVELS:
        return json.dumps(value)
    indent = "\n" + " " * depth
    rows = (f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
    return f"{{{indent} " + f",{indent} ".join(rows) + f"{indent}}}"

"""What a model costs: time, arithmetic, memory and size, with the real segmenter.

python -m accel_rt.evaluate.cost SETTINGS_JSON HEIGHT WIDTH THREADS    # peak memory in MB
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accel_rt.bench.harness import Effort, Samples, interleave
from accel_rt.bench.memory import own_peak_mb
from accel_rt.errors import AccelError
from accel_rt.evaluate.flops import count_flops
from accel_rt.models import store
from accel_rt.models.weights import load_network
from accel_rt.runtime.load import keyframe_interval, load_model, load_segmenter
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.runtime.settings import SegmenterSettings

PERCENTILES = (50, 95, 99)
_AT_ONCE = 2  # processes; what they take does not depend on how fast they run


class _Stepper:
    """Steps through ``images`` there and back, an interval a call, and keeps each frame's time."""

    def __init__(self, segmenter: Segmenter, interval: int, images: Sequence[np.ndarray]) -> None:
        self.steps: list[tuple[str, dict[str, float]]] = []
        self._segmenter, self._interval = segmenter, interval
        there = list(images)
        self._images = cycle(chain(there, there[-2:0:-1]))

    def __call__(self) -> None:
        for _ in range(self._interval):
            result = self._segmenter.step(next(self._images))
            self.steps.append((result.kind, dict(result.timings)))


def time_models(
    models: Mapping[str, SegmenterSettings], images: Sequence[np.ndarray], effort: Effort
) -> dict[str, dict[str, Any]]:
    """Seconds a frame of each model's stream, the models taking turns interval by interval.

    A frame's time is that of :meth:`Segmenter.step`: resizing, flow, networks and output, without
    reading the file. Each model's first interval is not counted.
    """
    load = cache(load_network)
    steppers = {}
    for name, settings in models.items():
        segmenter = load_segmenter(replace(settings, scene_cuts=False), load=load)
        steppers[name] = _Stepper(segmenter, keyframe_interval(settings), images)
    rounds = interleave(steppers, effort)
    return {
        name: _timing(stepper.steps, rounds[name], keyframe_interval(models[name]))
        for name, stepper in steppers.items()
    }


def _timing(
    steps: list[tuple[str, dict[str, float]]], rounds: Samples, interval: int
) -> dict[str, Any]:
    steps = steps[interval:]
    found: dict[str, Any] = {
        "interval": interval,
        "median_s_per_frame": rounds.median / interval / 1e3,
        "all": _percentiles([sum(stages.values()) for _, stages in steps]),
    }
    for kind in ("key", "update"):
        of_kind = [stages for k, stages in steps if k == kind]
        if of_kind:
            found[kind] = _percentiles([sum(stages.values()) for stages in of_kind])
            for stage in of_kind[0]:
                ms = float(np.median([stages.get(stage, 0.0) for stages in of_kind]))
                found[kind][f"{stage}_s"] = ms / 1e3
    return found


def _percentiles(ms: list[float]) -> dict[str, float]:
    values = {f"p{q}_s": float(np.percentile(ms, q)) / 1e3 for q in PERCENTILES}
    return {"frames": len(ms), "mean_s": float(np.mean(ms)) / 1e3, **values}


def sizes(settings: SegmenterSettings) -> dict[str, Any]:
    """``parameters`` in all branches, and ``file_mb`` of their weight files on disk."""
    loaded = load_model(settings)
    model, named = loaded.model, loaded.description
    paths = [store.find(settings.reference)]
    if model.update is not None:
        fusion = settings.fusion
        if fusion is None and settings.fuse != "mean":
            fusion = store.find_fusion(named["reference"], named["update"], settings.fuse)
        paths += [path for path in (store.find(settings.update), fusion) if path is not None]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "file_mb": sum(path.stat().st_size for path in set(paths)) / 1e6,
    }


def arithmetic(settings: SegmenterSettings, image_bgr: np.ndarray) -> dict[str, float]:
    """GFLOPs (two per multiply-add) of a keyframe, of an update frame, and in the mean.

    Optical flow on the CPU (DIS) is no network and does not count; FlowNetS does.
    """
    interval = keyframe_interval(settings)
    segmenter = load_segmenter(replace(settings, scene_cuts=False))
    flops = [count_flops(lambda: segmenter.step(image_bgr)) for _ in range(min(2, interval))]
    key, update = flops[0], flops[-1]
    mean = (key + (interval - 1) * update) / interval
    found = {"key_gflops": key / 1e9, "mean_gflops": mean / 1e9}
    return {**found, "update_gflops": update / 1e9} if interval > 1 else found


def peak_memory_mb(
    models: Mapping[str, SegmenterSettings],
    size: tuple[int, int],
    threads: int,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Megabytes of a process that runs one model alone: of the GPU for CUDA, else resident.

    ``size`` is the frames' (height, width). Raises :class:`~accel_rt.errors.AccelError` if a model
    does not run.
    """

    def peak(name: str) -> float:
        stored = json.dumps(asdict(models[name]), default=str)
        command = [sys.executable, "-m", __name__, stored, *map(str, (*size, threads))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise AccelError(f"the memory of {name} could not be measured: {lines[-1]}")
        report(f"measured the memory of {name}")
        return float(done.stdout)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(models, pool.map(peak, models), strict=True))


def _main(arguments: list[str]) -> None:
    stored = json.loads(arguments[0])
    height, width, threads = map(int, arguments[1:])
    torch.set_num_threads(threads)
    stored["fusion"] = Path(stored["fusion"]) if stored["fusion"] else None
    stored["size"] = tuple(stored["size"]) if stored["size"] else None
    settings = SegmenterSettings(**stored)
    segmenter = load_segmenter(replace(settings, scene_cuts=False))
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for _ in range(keyframe_interval(settings) + 1):
        segmenter.step(frame)
    on_device = segmenter.describe()["device"].startswith("cuda")
    print(torch.cuda.max_memory_allocated() / 1e6 if on_device else own_peak_mb())


if __name__ == "__main__":
    _main(sys.argv[1:])

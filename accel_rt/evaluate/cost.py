"""What a model costs: time, arithmetic, memory and size, with the real segmenter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from accel_rt.bench.harness import Effort, Samples
from accel_rt.bench.memory import peak_memory_mb
from accel_rt.bench.models import Model
from accel_rt.bench.stream import ModelTimes, make_streams, measure
from accel_rt.evaluate.flops import count_flops
from accel_rt.models import store
from accel_rt.models.foreign.open import place
from accel_rt.models.weights import split_part
from accel_rt.runtime.load import keyframe_interval, load_model, load_segmenter, update_place
from accel_rt.runtime.schedule import FrameKind
from accel_rt.runtime.settings import SegmenterSettings

PERCENTILES = (50, 95, 99)


def time_and_memory(
    models: Mapping[str, SegmenterSettings],
    images: Sequence[np.ndarray],
    effort: Effort,
    threads: int,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """``time``, ``peak_memory_mb`` and ``threads`` of each model.

    The models' streams over ``images`` take turns, interval by interval. A frame's time is that of
    :meth:`Segmenter.step`: resizing, flow, networks and output, without reading the file.
    """
    named = [Model(name, replace(models[name], scene_cuts=False)) for name in models]
    report(f"timing {len(named)} models in turn")
    times = measure(list(make_streams(named, images)), effort)
    report("measuring peak memory")
    height, width = images[0].shape[:2]
    memory = peak_memory_mb(named, (height, width), threads)
    return {
        found.model.name: {
            "time": _seconds(found),
            "peak_memory_mb": memory[found.model.name],
            "threads": threads,
        }
        for found in times
    }


def _seconds(times: ModelTimes) -> dict[str, Any]:
    every = Samples(tuple(frame.step for frame in times.frames))
    found: dict[str, Any] = {
        "interval": times.model.interval,
        "median_s_per_frame": times.measured_ms() / 1e3,
        "all": _spread(every),
    }
    for kind in get_args(FrameKind):
        samples = times.step(kind)
        if samples.ms:
            stages = next(frame.stages for frame in times.frames if frame.kind == kind)
            medians = {f"{name}_s": times.stage(kind, name) / 1e3 for name in stages}
            found[kind] = {**_spread(samples), **medians}
    return found


def _spread(samples: Samples) -> dict[str, float]:
    percentiles = {f"p{q}_s": samples.percentile(q) / 1e3 for q in PERCENTILES}
    return {"frames": len(samples.ms), "mean_s": float(np.mean(samples.ms)) / 1e3, **percentiles}


def sizes(settings: SegmenterSettings) -> dict[str, Any]:
    """``parameters`` in all branches, and ``file_mb`` of their weight files on disk."""
    model = load_model(replace(settings, backend="torch")).model
    paths = [place(settings.reference)]
    if model.update is not None:
        paths.append(update_place(settings))
        fusion = settings.fusion_weights
        if fusion is None and settings.fusion != "mean":
            fusion = store.find_fusion(paths[0], paths[1], settings.fusion)
        paths += [fusion] if fusion else []
    files = {split_part(path)[0] for path in paths if isinstance(path, Path)}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "file_mb": sum(file.stat().st_size for file in files) / 1e6,
    }


def arithmetic(settings: SegmenterSettings, image_bgr: np.ndarray) -> dict[str, float]:
    """GFLOPs (two per multiply-add) of a keyframe, of an update frame, and in the mean.

    Optical flow on the CPU (DIS) is no network and does not count; FlowNetS does. They are those of
    our networks in PyTorch, whatever backend runs them.
    """
    interval = keyframe_interval(settings)
    segmenter = load_segmenter(replace(settings, scene_cuts=False, backend="torch"))
    flops = [count_flops(lambda: segmenter.step(image_bgr)) for _ in range(min(2, interval))]
    key, update = flops[0], flops[-1]
    mean = (key + (interval - 1) * update) / interval
    found = {"key_gflops": key / 1e9, "mean_gflops": mean / 1e9}
    return {**found, "update_gflops": update / 1e9} if interval > 1 else found

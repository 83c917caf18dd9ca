"""Results that nobody measured, to draw and compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accel_rt.classes import CAMVID
from accel_rt.evaluate.counts import Counts
from accel_rt.evaluate.paper import NetworkFamily, variant
from accel_rt.evaluate.results import DatasetInfo, Results, model_result
from accel_rt.evaluate.schedule import KeyframeSchedule
from accel_rt.runtime.settings import SegmenterSettings

LONGEST, FRAMES, CLASSES = 10, 30, len(CAMVID)
FAMILY = NetworkFamily("made-up networks", "big", {"S": "small"}, "B", "-Tiny")
BASE = SegmenterSettings(interval=LONGEST, reference="big", update="small", warp="composed")
DEEPLAB = replace(BASE, mode="deeplab")


def counts(right: float, longest: int = LONGEST, loss: float = 0.0, seed: int = 0) -> Counts:
    """Of every class the unit ``right - loss * distance`` of the pixels is found, about."""
    rng = np.random.default_rng(seed)
    made = Counts(KeyframeSchedule("dense", longest), range(FRAMES), CLASSES)
    for frame in range(FRAMES):
        for offset in range(min(longest, frame + 1)):
            unit = np.clip(right - loss * offset + rng.normal(0, 0.02), 0, 1)
            hits = int(100 * unit)
            matrix = np.full((CLASSES, CLASSES), (100 - hits) // (CLASSES - 1))
            np.fill_diagonal(matrix, hits)
            made.add(frame, offset, matrix, np.full((4, CLASSES), [[hits], [100]] * 2))
    made.consistency[:, :, :] = np.array([90, 100, 100])[:, None]
    made.flicker[:, :, :] = (2, 100)
    return made


def cost(ms: float) -> dict:
    spread = {"frames": 5, "mean_s": ms / 1e3, "p50_s": ms / 1e3, "p95_s": 0.3, "p99_s": 0.4}
    time = {"interval": 5, "median_s_per_frame": ms / 1e3, "all": spread, "key": spread}
    return {
        "parameters": 1_500_000,
        "file_mb": 2.5,
        "key_gflops": 3.0,
        "mean_gflops": 2.0,
        "time": {**time, "update": spread},
        "peak_memory_mb": 512.0,
        "threads": 2,
    }


def results(better: float = 0.0) -> Results:
    """DeepLab, DFF and Accel with a variant; ``better`` lifts all of them."""
    models = {
        "DeepLab-S": model_result(DEEPLAB, counts(0.6 + better, 1)),
        "DeepLab-B": model_result(DEEPLAB, counts(0.7 + better, 1)),
        "DFF-Tiny": model_result(replace(BASE, mode="dff"), counts(0.7 + better, loss=0.02)),
        "Accel-S": model_result(BASE, counts(0.7 + better, loss=0.005)),
        variant("DFF-Tiny", "incremental"): model_result(
            replace(BASE, mode="dff", warp="incremental"), counts(0.7 + better, loss=0.03)
        ),
    }
    for number, model in enumerate(models.values()):
        model.cost = cost(10.0 * (number + 1))
    dataset = DatasetInfo("nowhere val", CAMVID, "dense", 15.0, (FRAMES,), (48, 64))
    missing = {"Accel-101": "no 'resnet101' weights for these classes are installed"}
    return Results(dataset, models, "accel-rt eval paper nowhere", {"cpu": "an <abacus>"}, missing)

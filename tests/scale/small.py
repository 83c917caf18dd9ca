"""Small networks, moving clips and simple crews for the tests of many workers."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accel_rt.cli.chunk_work import SegmentWork
from accel_rt.cli.segment_run import SegmentOptions
from accel_rt.flow.codec import CodecFlow
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.runtime.load import build_segmenter, keyframe_policy
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.scale.drive import Event
from accel_rt.scale.local import attempt
from accel_rt.scale.place import Chunks
from accel_rt.scale.plan import Outputs
from accel_rt.video.display import FileDisplay
from accel_rt.video.limits import DEFAULT_LIMITS
from tests.runtime.test_segmenter import CLASSES, colour_network
from tests.video.clips import write_clip

SIZE = (96, 160)
OPTIONS = SegmentOptions(
    FileDisplay(), DEFAULT_LIMITS, None, None, None, None, "h264", None, False, "png", None, False
)


def load(settings: SegmenterSettings, values: dict[str, Any], overlap: bool = False) -> Any:
    """A segmenter whose networks see colours; what it gives depends on the frames around."""
    torch.manual_seed(0)
    model = Accel(colour_network(), colour_network(), ScoreFusion(len(CLASSES)))
    return build_segmenter(
        model,
        CLASSES,
        schedule=settings.schedule,
        flow=CodecFlow(),
        size=SIZE,
        policy=keyframe_policy(settings),
    )


def moving(count: int, seed: int = 0) -> list[np.ndarray]:
    """Frames of boxes that move, with a cut now and then; uint8 BGR ``[96, 160, 3]``."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        if number % 37 == 0:
            boxes = rng.integers(0, (160, 96), (12, 2))
            steps = rng.integers(-4, 5, (12, 2))
            colours = rng.integers(0, 256, (12, 3))
            back = rng.integers(0, 120)
        image = np.full((*SIZE, 3), back, np.uint8)
        for (x, y), colour in zip(boxes % (160, 96), colours, strict=True):
            image[y : y + 24, x : x + 30] = colour
        frames.append(image)
        boxes = boxes + steps
    return frames


def clip(path: Path, count: int = 80, seed: int = 0, **options: Any) -> Path:
    """A video of :func:`moving`, keyframes every 12 frames, with sound."""
    options = {"options": {"g": "12"}, "audio_s": count / 25, "beep_s": 2.0, **options}
    return write_clip(path, images=moving(count, seed), **options)


def outputs(folder: Path, name: str = "x", **others: Any) -> Outputs:
    """All outputs of a video called ``name``, in ``folder``."""
    video, masks = folder / f"{name}_accel.mp4", folder / f"masks_{name}"
    timing, stats = folder / f"t_{name}.csv", folder / f"s_{name}.csv"
    return replace(Outputs(str(video), str(masks), str(timing), str(stats)), **others)


def work(folder: Path | str, chunk_s: float = 1.0, **others: Any) -> SegmentWork:
    """What workers do, with small networks and chunks of a second."""
    options = replace(OPTIONS, **others.pop("options", {}))
    settings = others.pop("settings", SegmenterSettings.preset("balanced"))
    values = {"threads": 1}
    kind = others.pop("kind", SegmentWork)
    chunks = Chunks(f"{folder}/.accel-rt/chunks")
    return kind(settings, values, options, chunks, chunk_s, load=load, **others)


class Serial:
    """One worker: this process."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._tasks: deque[Any] = deque()
        self._greeted = False

    def give(self, worker, task):
        self._tasks.append(task)

    def wait(self, timeout_s):
        if not self._greeted:
            self._greeted = True
            return [Event("ready", 0)]
        return [attempt(self._work, self._tasks.popleft(), 0)] if self._tasks else []


@dataclass
class Dying(SegmentWork):
    """Work whose process is killed while it does a chunk, once for each file in ``deaths``."""

    deaths: Path | None = None
    slow_s: float = 0.0

    def __call__(self, task):
        if task.kind == "chunk":
            time.sleep(self.slow_s)
            for each in sorted(self.deaths.iterdir()) if self.deaths else ():
                try:
                    each.unlink()
                except FileNotFoundError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


def times(path: Path) -> list[Fraction]:
    from tests.video.clips import probe

    return probe(path).times

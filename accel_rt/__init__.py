"""accel-rt: real-time semantic video segmentation with Accel, Deep Feature Flow and DeepLab.

The names below are the Python interface; they load on first use, so importing the package is
cheap. Import it before torch, so that it can say how torch's threads wait (accel_rt.threads). ::

    import accel_rt

    segmenter = accel_rt.load_segmenter(accel_rt.SegmenterSettings(interval=5))
    with accel_rt.open_source("drive.mp4") as source:
        for frame, result in accel_rt.segment_frames(source, segmenter):
            print(frame.pts, result.kind, result.labels.shape)

    for frame, answer in accel_rt.accelerate(your_network).stream("drive.mp4"):
        print(answer)

    for picture in accel_rt.live("rtsp://camera/stream"):
        print(picture.kind, picture.labels.shape)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from accel_rt import threads
from accel_rt.version import __version__

threads.prepare()  # before anything loads torch

if TYPE_CHECKING:
    from accel_rt.live import LiveLoop as LiveLoop
    from accel_rt.live import LiveSettings as LiveSettings
    from accel_rt.live import live as live
    from accel_rt.runtime.accelerate import accelerate as accelerate
    from accel_rt.runtime.load import load_segmenter as load_segmenter
    from accel_rt.runtime.pipeline import run_pipeline as run_pipeline
    from accel_rt.runtime.pipeline import segment_frames as segment_frames
    from accel_rt.runtime.result import FrameResult as FrameResult
    from accel_rt.runtime.segmenter import Segmenter as Segmenter
    from accel_rt.runtime.settings import SegmenterSettings as SegmenterSettings
    from accel_rt.video.overlay import render_overlay as render_overlay
    from accel_rt.video.reader import open_source as open_source
    from accel_rt.video.writer import VideoWriter as VideoWriter

_HOMES = {
    "FrameResult": "accel_rt.runtime.result",
    "LiveLoop": "accel_rt.live",
    "LiveSettings": "accel_rt.live",
    "Segmenter": "accel_rt.runtime.segmenter",
    "SegmenterSettings": "accel_rt.runtime.settings",
    "VideoWriter": "accel_rt.video.writer",
    "accelerate": "accel_rt.runtime.accelerate",
    "live": "accel_rt.live",
    "load_segmenter": "accel_rt.runtime.load",
    "open_source": "accel_rt.video.reader",
    "render_overlay": "accel_rt.video.overlay",
    "run_pipeline": "accel_rt.runtime.pipeline",
    "segment_frames": "accel_rt.runtime.pipeline",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'accel_rt' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

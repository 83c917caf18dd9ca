"""Segmentation of cameras and streams as it happens: capture, loop, window and browser page.

The package itself can be called, so that this is all it takes::

    for picture in accel_rt.live("rtsp://camera/stream"):
        print(picture.kind, picture.labels.shape)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from accel_rt.live.loop import LiveLoop
from accel_rt.live.settings import LiveSettings
from accel_rt.live.stats import LivePicture, LiveStats, Percentiles
from accel_rt.runtime.settings import SegmenterSettings

__all__ = ["LiveLoop", "LivePicture", "LiveSettings", "LiveStats", "Percentiles", "live"]


def live(
    source: str | int | Path,
    settings: LiveSettings | None = None,
    networks: SegmenterSettings | None = None,
    **options: Any,
) -> Iterator[LivePicture]:
    """The pictures of a live source, each the newest at the time it is asked for.

    Takes the arguments of :class:`LiveLoop` and raises its errors, also the one that ended the
    run. Whoever takes long over a picture misses some; breaking off stops the run.
    """
    with LiveLoop(source, settings, networks, **options) as loop:
        index = -1
        while (picture := loop.wait_picture(index)) is not None:
            index = picture.index
            yield picture
    if loop.failure:
        raise loop.failure


class _CallablePackage(ModuleType):
    """Makes ``accel_rt.live(...)`` the same as ``accel_rt.live.live(...)``."""

    def __call__(self, *args: Any, **options: Any) -> Iterator[LivePicture]:
        return live(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage

"""The cameras of this machine, with what they deliver."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from accel_rt.live.camera import quiet_opencv

SIZES = ((480, 640), (720, 1280), (1080, 1920), (2160, 3840))
"""Sizes, height first, that cameras are asked for."""

_MAX_INDEX = 8  # tried where the system does not list its cameras


@dataclass(frozen=True)
class Mode:
    """A size in pixels and the frames a second that the driver promises (0: does not say)."""

    width: int
    height: int
    rate: float


@dataclass(frozen=True)
class Camera:
    """A camera that could be opened; the first of ``modes`` is the one it starts with."""

    index: int
    name: str
    modes: tuple[Mode, ...]


def find_cameras(
    open_device: Callable[[int], Any] = cv2.VideoCapture, folder: Path | None = None
) -> list[Camera]:
    """Open every camera in turn and ask it for the common sizes.

    Cameras that another program uses may be missing. ``folder`` is where Linux lists them.
    """
    return [
        camera
        for index, name in _candidates(folder or Path("/sys/class/video4linux"))
        if (camera := _examine(index, name, open_device)) is not None
    ]


def _candidates(folder: Path) -> Iterator[tuple[int, str]]:
    if not sys.platform.startswith("linux"):
        yield from ((index, f"camera {index}") for index in range(_MAX_INDEX))
        return
    for entry in sorted(folder.glob("video*"), key=lambda path: (len(path.name), path.name)):
        name = entry / "name"
        if entry.name[5:].isdigit():
            index = int(entry.name[5:])
            yield index, name.read_text().strip() if name.is_file() else f"camera {index}"


def _examine(index: int, name: str, open_device: Callable[[int], Any]) -> Camera | None:
    with quiet_opencv():
        device = open_device(index)
        try:
            if not device.isOpened() or not device.read()[0]:
                return None  # also the metadata devices that cameras bring along
            modes = {_mode(device): None}
            for height, width in SIZES:
                device.set(cv2.CAP_PROP_FRAME_WIDTH, width)
                device.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
                modes[_mode(device)] = None
        finally:
            device.release()
    return Camera(index, name, tuple(modes))


def _mode(device: Any) -> Mode:
    width, height = device.get(cv2.CAP_PROP_FRAME_WIDTH), device.get(cv2.CAP_PROP_FRAME_HEIGHT)
    return Mode(round(width), round(height), round(max(0.0, device.get(cv2.CAP_PROP_FPS)), 2))

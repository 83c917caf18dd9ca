"""A drive through a procedural street: pictures with exact labels, flow and occlusion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accel_rt.errors import UsageError
from accel_street import sensor, shade
from accel_street.camera import DRIVINGS, Driving
from accel_street.raster import Raster, rasterise
from accel_street.scene import Scene, View


@dataclass(frozen=True)
class StreetFrame:
    """One frame of a drive.

    ``image_bgr`` uint8 ``[H, W, 3]``; ``labels`` uint8 ``[H, W]``, indices of
    :data:`accel_rt.classes.CAMVID`; ``flow`` float32 ``[H, W, 2]``, where the point that a
    pixel shows was one frame earlier, as (dx, dy) in pixels from the pixel's centre; ``occluded``
    bool ``[H, W]``, where that point was not in sight then (its flow is exact all the same).
    Frame 0 has no frame before it: its flow is zero and nothing is occluded.
    """

    index: int
    image_bgr: np.ndarray
    labels: np.ndarray
    flow: np.ndarray
    occluded: np.ndarray


class StreetDrive:
    """An endless drive, the same for the same arguments at whatever frame it is entered.

    ``seed``: any int >= 0, gives the street, its traffic, weather and camera; ``size``: (height,
    width) in pixels; ``rate``: frames per second; ``speed_mps``: mean speed of the camera, drawn
    from the seed if None, 0 for a camera that stands still; ``effects``: False leaves out the
    sensor (exposure, vignette, blur, noise), for pictures that are pure geometry and light;
    ``driving``: the camera ``stops`` and drives on, or ``overtakes`` those ahead, again and again.

    Raises :class:`UsageError` if an argument is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (360, 480),
        rate: float = 15.0,
        *,
        speed_mps: float | None = None,
        effects: bool = True,
        driving: Driving = "steady",
    ) -> None:
        height, width = size
        if seed < 0:
            raise UsageError(f"a drive's seed must not be negative, got {seed}")
        if min(size) < 1 or max(size) > 16384:
            raise UsageError(f"a drive's size must be 1 to 16384 pixels, got {width}x{height}")
        if not 0 < rate < math.inf:
            raise UsageError(f"a drive's rate must be positive and finite, got {rate}")
        if speed_mps is not None and not 0 <= speed_mps < math.inf:
            raise UsageError(f"a drive's speed must be finite and not negative, got {speed_mps}")
        if driving not in DRIVINGS:
            known = ", ".join(DRIVINGS)
            raise UsageError(f"a drive's driving must be one of {known}, got '{driving}'")
        self.size = size
        self.rate = rate
        self._seed = seed
        self._scene = Scene(seed, size, speed_mps, driving)
        camera = self._scene.camera
        self._intrinsics = camera.intrinsics()
        self._grid = shade.grid(size, camera.focal_px, camera.centre_px)
        self._effects = effects
        self._sensor = sensor.Sensor(np.random.default_rng((seed, 2)), size)
        self._latest: tuple[int, View, Raster] | None = None

    def frames(self, count: int, start: int = 0) -> Iterator[StreetFrame]:
        """Frames ``start`` to ``start + count - 1``; any start costs the same."""
        for index in range(start, start + count):
            yield self.frame(index)

    def frame(self, index: int) -> StreetFrame:
        """Frame ``index`` (>= 0); fastest if the one before was the last one asked for.

        For single pictures of many streets take frame 0 of many seeds: it needs no frame before
        it, and drives start anywhere along their street.
        """
        if index < 0:
            raise UsageError(f"a drive's frames start at 0, got {index}")
        before = self._visible(index - 1)[1] if index else None
        view, raster = self._visible(index)
        flow, depth_before = shade.motion(view, raster, self._grid)
        if before is None:
            flow = np.zeros_like(flow)
            hidden = np.zeros(raster.ids.shape, bool)
        else:
            hidden = shade.occluded(flow, depth_before, before, self._grid)
        labels = view.mesh.label.take(raster.ids)
        return StreetFrame(index, self._picture(index, view, raster), labels, flow, hidden)

    def _visible(self, index: int) -> tuple[View, Raster]:
        if self._latest is None or self._latest[0] != index:
            view = self._scene.view(index / self.rate, (index - 1) / self.rate)
            raster = rasterise(view.mesh, view.pose, self._intrinsics, self.size)
            self._latest = index, view, raster
        return self._latest[1], self._latest[2]

    def _picture(self, index: int, view: View, raster: Raster) -> np.ndarray:
        picture = shade.colour(view.mesh, raster, self._scene.light, self._grid)
        picture = sensor.smooth_edges(picture, raster.ids)
        if not self._effects:
            return sensor.to_bytes(picture)
        rng = np.random.default_rng((self._seed, 3, index))
        return self._sensor.expose(picture, index / self.rate, rng)

"""Segmentation of cameras and streams as it happens: capture, loop, window and browser page."""

from __future__ import annotations

from accel_rt.live.loop import LiveLoop
from accel_rt.live.settings import LiveSettings
from accel_rt.live.stats import LivePicture, LiveStats, Percentiles

__all__ = ["LiveLoop", "LivePicture", "LiveSettings", "LiveStats", "Percentiles"]

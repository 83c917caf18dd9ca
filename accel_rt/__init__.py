"""accel-rt: real-time semantic video segmentation with Accel, Deep Feature Flow and DeepLab."""

from accel_rt.version import __version__

__all__ = ["__version__"]

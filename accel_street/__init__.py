"""A procedural street for training, tests and the demo.

:class:`StreetDrive` renders a drive through a random street with exact per-pixel labels, optical
flow and occlusion.
"""

from accel_street.camera import DRIVINGS, Driving
from accel_street.drive import StreetDrive, StreetFrame

__all__ = ["DRIVINGS", "Driving", "StreetDrive", "StreetFrame"]

"""Post-training quantisation: an ONNX file in 8-bit integers, by what pictures make of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np

from accel_rt.errors import UsageError


def in_integers(file: bytes, pictures: Sequence[np.ndarray]) -> bytes:
    """The ONNX file of a network with weights and activations in 8 bits, where that pays.

    ``pictures``, float32 ``[1, 3, H, W]`` as the network takes them, tell the activations' ranges.
    Raises :class:`~accel_rt.errors.UsageError` without the packages of ``accel-rt[int8]``.
    """
    try:
        import nncf
        import onnx
    except ImportError as error:
        raise UsageError(
            f"networks are quantised with nncf ({error}): pip install 'accel-rt[int8]'"
        ) from error
    nncf.set_log_level(40)  # errors
    with contextlib.redirect_stdout(io.StringIO()):  # its progress
        model = nncf.quantize(
            onnx.load_from_string(file),
            nncf.Dataset(pictures, lambda picture: {"picture": picture}),
            subset_size=len(pictures),
            target_device=nncf.TargetDevice.CPU,
        )
    return model.SerializeToString()

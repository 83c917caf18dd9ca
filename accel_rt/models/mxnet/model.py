"""The authors' checkpoints as a model's file of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accel_rt.classes import CITYSCAPES
from accel_rt.models.mxnet.convert import REFERENCE, Converted, convert
from accel_rt.models.mxnet.params import read_params
from accel_rt.models.weights import ModelInfo, Part

_SIZE = (1024, 2048)


def import_model(path: Path, base: Path | None = None) -> Converted:
    """A checkpoint; what it lacks may be in ``base``, the one that it was trained from.

    Raises :class:`~accel_rt.errors.WeightsError` for files that cannot be read, or that together
    are none of the authors' models.
    """
    return convert({**(read_params(base) if base else {}), **read_params(path)})


def model_parts(converted: Converted, trained_on: str) -> dict[str, Part]:
    """What :func:`~accel_rt.models.weights.save_model` writes."""
    update = converted.version.update
    descriptions: dict[str, dict[str, Any]] = {
        "reference": _network(REFERENCE, converted, "reference", trained_on),
        "flow": converted.flow.describe(trained_on),
    }
    if update is not None:
        descriptions["update"] = _network(update, converted, "update", trained_on)
        if "update" not in converted.parts:
            descriptions["update"]["tensors"] = "reference"
        kind = "feature-fusion" if update == REFERENCE else "fusion"
        pair = {"reference": REFERENCE, "update": update}
        descriptions["fusion"] = {"kind": kind, **pair, "trained_on": trained_on}
    return {name: Part(converted.parts.get(name, {}), d) for name, d in descriptions.items()}


def _network(name: str, converted: Converted, part: str, trained_on: str) -> dict[str, Any]:
    normalisation = converted.normalisations[part]
    info = ModelInfo(
        name,
        CITYSCAPES,
        _SIZE,
        trained_on,
        mean_rgb=normalisation.mean_rgb,
        std_rgb=normalisation.std_rgb,
    )
    return info.to_json()

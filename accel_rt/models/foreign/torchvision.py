"""Segmentation models of torchvision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.foreign.network import ModuleNetwork
from accel_rt.models.foreign.place import Place
from accel_rt.models.optional import package, reason
from accel_rt.normalise import Normalisation

_SIZE = 520  # of the shorter side, that torchvision's own weights were trained for


def open_torchvision(text: str, told: ClassSet | None = None) -> tuple[ModuleNetwork, ClassSet]:
    """``NAME``, ``NAME@WEIGHTS`` or ``NAME@FILE`` of a state dict; ``?classes=`` may follow.

    Without weights those that torchvision thinks best, which it fetches or has in its cache.
    """
    place = Place.parse(text, ("classes", "normalise"), told)
    name, _, wanted = place.name.partition("@")
    place = replace(place, name=name)
    package("torchvision", "torchvision", "torchvision")
    segmentation = package("torchvision.models.segmentation", "torchvision", "torchvision")
    models = package("torchvision.models", "torchvision", "torchvision")
    names = models.list_models(segmentation)
    if place.name not in names:
        raise UsageError(f"torchvision has no '{place.name}': choose from {', '.join(names)}")
    if Path(wanted).suffix or "/" in wanted:
        return _from_file(models, place, Place(wanted).file())
    try:
        found = models.get_model_weights(place.name)
        weights = found[wanted] if wanted else found.DEFAULT
        model = models.get_model(place.name, weights=weights)
    except KeyError:
        choice = ", ".join(weights.name for weights in models.get_model_weights(place.name))
        raise UsageError(
            f"{place.name} has no weights '{wanted}': choose from {choice}, or name a file"
        ) from None
    except Exception as error:  # of the network, of the cache
        raise WeightsError(
            f"the weights of torchvision's {place.name} are not in its cache and could not be "
            f"fetched ({reason(error)}): name a file as {place.name}@FILE"
        ) from error
    transform: Any = weights.transforms()
    classes = place.classes(len(weights.meta["categories"]), weights.meta["categories"])
    side = transform.resize_size[0]
    normalisation = Normalisation(tuple(transform.mean), tuple(transform.std))
    return ModuleNetwork(model, len(classes), normalisation, size=(side, side)), classes


def _from_file(models: Any, place: Place, file: Path) -> tuple[ModuleNetwork, ClassSet]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, "cpu", weights_only=True)
        main = {name: part for name, part in state.items() if not name.startswith("aux_classifier")}
        count = len(next(part for name, part in reversed(main.items()) if name.endswith("bias")))
        model = models.get_model(place.name, weights=None, weights_backbone=None, num_classes=count)
        model.aux_classifier = None
        model.load_state_dict(main)
    except Exception as error:  # of damaged and of other files, many kinds
        raise WeightsError(f"{file} holds no weights of {place.name} ({reason(error)})") from error
    classes = place.classes(count)
    return ModuleNetwork(model, count, place.normalisation(), size=(_SIZE, _SIZE)), classes

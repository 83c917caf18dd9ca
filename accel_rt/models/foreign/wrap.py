"""Networks that are in memory already, whatever library they are of."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.models.foreign.huggingface import of_model
from accel_rt.models.foreign.network import ForeignNetwork, ModuleNetwork
from accel_rt.models.foreign.place import Place
from accel_rt.models.foreign.runtimes import of_session
from accel_rt.models.optional import reason


def wrap(
    network: Any, classes: ClassSet | None, processor: Any = None
) -> tuple[ForeignNetwork, ClassSet]:
    """``network``, a torch module or a model of another library, as a branch, and its classes.

    Modules are copied, since a branch is changed for inference. ``processor`` is the image
    processor of a model of transformers. Raises :class:`~accel_rt.errors.UsageError` if it is
    neither, or does not say its classes and ``classes`` do not either.
    """
    place = Place(type(network).__name__, told=classes)
    if type(network).__module__.startswith("onnxruntime"):
        return of_session(network, place)
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{place.name} is no network: give a function from a frame to scores, labels or masks"
        )
    if is_transformers(network):
        return of_model(_copied(network), processor, place)
    if classes is None:
        raise UsageError("a torch module does not say its classes: give them as 'classes'")
    return ModuleNetwork(_copied(network), len(classes)), classes


def is_transformers(network: Any) -> bool:
    """Whether it is a model of transformers that says its classes."""
    return isinstance(network, nn.Module) and hasattr(getattr(network, "config", None), "id2label")


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # of what modules hold, many kinds
        raise UsageError(
            f"{type(module).__name__} cannot be copied ({reason(error)}): give a function from a "
            f"frame to scores that calls it"
        ) from error

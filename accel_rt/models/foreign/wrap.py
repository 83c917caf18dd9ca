"""Networks that are in memory already, whatever library they are of."""

from __future__ import annotations

from typing import Any

from torch import nn

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.models.foreign.huggingface import of_model
from accel_rt.models.foreign.network import ForeignNetwork, ModuleNetwork
from accel_rt.models.foreign.open import is_foreign, load_placed
from accel_rt.models.foreign.place import Place
from accel_rt.models.foreign.runtimes import of_session


def wrap(network: Any, classes: ClassSet | None) -> tuple[ForeignNetwork, ClassSet]:
    """``network``, a torch module or a model of another library, as a branch, and its classes.

    Raises :class:`~accel_rt.errors.UsageError` if it is neither, or does not say its classes and
    ``classes`` do not either.
    """
    place = Place(type(network).__name__, told=classes)
    if type(network).__module__.startswith("onnxruntime"):
        return of_session(network, place)
    if isinstance(network, nn.Module) and hasattr(getattr(network, "config", None), "id2label"):
        return of_model(network, place=place)
    if isinstance(network, str) and is_foreign(network):
        opened, info = load_placed(network)
        assert isinstance(opened, ForeignNetwork)
        return opened, info.classes
    if isinstance(network, nn.Module):
        if classes is None:
            raise UsageError("a torch module does not say its classes: give them as 'classes'")
        return ModuleNetwork(network, len(classes)), classes
    raise UsageError(
        f"{type(network).__name__} is no network: give a function from a frame to scores, labels "
        f"or masks"
    )

"""Tensors by name, for work without arguments."""

from __future__ import annotations

from torch import Tensor

from accel_rt.runtime.program import State

_PARTS = ("features", "flow", "picture")  # of a state


class Kept(dict[str, Tensor]):
    """What one piece of work leaves for others.

    Where tensors ``stay``, each keeps the place that it got first, which graphs know, and a copy is
    stored; else the tensor itself is.
    """

    def __init__(self, stay: bool = True) -> None:
        super().__init__()
        self.stay = stay

    def keep(self, name: str, value: Tensor) -> None:
        """Store ``value``."""
        if not self.stay:
            self[name] = value
        elif name not in self:
            self[name] = value.clone()
        elif self[name] is not value:
            self[name].copy_(value)

    def keep_state(self, name: str, state: State) -> None:
        """Store what there is of ``state``, but for its size."""
        for part in _PARTS:
            if (value := getattr(state, part)) is not None:
                self.keep(f"{name} {part}", value)

    def state(self, name: str, size: tuple[int, int] | None) -> State:
        """The state that was stored, of a frame of ``size``."""
        features, flow, picture = (self.get(f"{name} {part}") for part in _PARTS)
        return State(features, flow, picture, size)

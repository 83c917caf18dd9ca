"""Parameter groups, optimisers and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from accel_rt.train.settings import TrainingSettings


def parameter_groups(
    modules: Iterable[nn.Module], weight_decay: float, factor: float = 1.0
) -> list[dict[str, Any]]:
    """Weight decay on convolution weights only; offsets learn at a tenth of the rate.

    ``factor`` multiplies the learning rate of all of them.
    """
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    offsets: list[Tensor] = []
    for module in modules:
        for name, parameter in module.named_parameters():
            if ".offset." in name:
                offsets.append(parameter)
            else:
                (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "rate_factor": factor},
        {"params": plain, "weight_decay": 0.0, "rate_factor": factor},
        {"params": offsets, "weight_decay": 0.0, "rate_factor": 0.1 * factor},
    ]
    return [group for group in groups if group["params"]]


def make_optimiser(
    groups: list[dict[str, Any]], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum."""
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.rate)


def load_moments(optimiser: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take up what ``saved``, a state of such an optimiser, knows of the gradients so far.

    Rates and their kind stay those that the optimiser was made with. Raises ``ValueError`` if the
    state is not that of the same parameters, and what torch raises.
    """
    own = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({**saved, "param_groups": own})
    names = {name for state in optimiser.state.values() for name in state}
    parameters = {p for group in optimiser.param_groups for p in group["params"]}
    for parameter, state in optimiser.state.items():
        shape = parameter.shape if parameter in parameters else None
        shapes = {name: torch.Size() if name == "step" else shape for name in names}
        if {name: getattr(value, "shape", None) for name, value in state.items()} != shapes:
            raise ValueError("its optimiser's state is not that of these parameters")


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate to ``rate`` times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_factor"]


def cosine_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Learning rate at ``step``: linear warm-up to ``peak``, then half a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

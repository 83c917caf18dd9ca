"""In which precision networks are trained."""

from __future__ import annotations

import torch

from accel_rt.device import has_fast_bf16
from accel_rt.train.settings import TrainingSettings


def autocast(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    """The context that a network runs in as ``settings.precision`` says.

    It is for networks as they are trained. The runtime's, which are folded and cast already, lose
    accuracy in it.
    """
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and has_fast_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)

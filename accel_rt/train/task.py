"""What a kind of training adds to the shared loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class TrainingTask(ABC):
    """One kind of training: a model, its samples, its loss, and what is written.

    ``model`` is a module whose ``forward`` :meth:`loss` calls once per part of a batch;
    ``scores`` names what :meth:`validate` measures, the main one first.
    """

    model: nn.Module
    scores: tuple[str, ...] = ()
    least_is_best: bool = False
    """Of the main score."""
    sample_device: torch.device | None = None
    """Where :meth:`samples` makes them, if not in the CPU's memory."""
    drawn_from: str = ""
    """What samples are drawn from, in words; a run goes on with the same alone."""
    notes: tuple[str, ...] = ()
    """What the user should know before training starts."""

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with a ``rate_factor``."""

    @abstractmethod
    def samples(self) -> Dataset:
        """At least ``steps * batch`` samples, of which number i depends on the seed and i alone."""

    def begin(self, step: int) -> bool:
        """Put the model into the mode of ``step``; True if other parameters are trained now."""
        self.model.train()
        return False

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The summed loss of a part of a batch and its weight; the step's loss is their quotient.

        ``model`` is :attr:`model`, or a wrapper of it that several processes share.
        """

    def validate(self, model: nn.Module) -> dict[str, float]:
        """:attr:`scores` of the averaged model. Every process is asked, and gets all of them."""
        return {}

    def pictures(self, model: nn.Module, batch: Any) -> np.ndarray | None:
        """What the averaged model makes of ``batch``: one picture, uint8 BGR ``[H, W, 3]``."""
        return None

    @abstractmethod
    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        """Write the averaged model's weight files; the main one first."""

"""A network whose classes stand for those of another one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.classes import ClassSet
from accel_rt.errors import InputError
from accel_rt.jsonfile import read_json, typed
from accel_rt.models.accel import probabilities
from accel_rt.models.network import Network

_NONE = type(None)


class MappedNetwork(Network):
    """``network`` with probabilities of other classes: of each, those of the classes for it.

    They sum to less than one where it sees what stands for none. ``matrix`` is float
    ``[other classes, classes]`` of ones and zeros.
    """

    matrix: Tensor

    def __init__(self, network: Network, matrix: Tensor) -> None:
        nn.Module.__init__(self)
        self.feature = self.task = nn.Identity()  # type: ignore[assignment]
        self.network = network
        self.normalisation, self.foreign = network.normalisation, network.foreign
        self.register_buffer("matrix", matrix[:, :, None, None])

    @property
    def stride(self) -> int:
        return self.network.stride

    @property
    def score_stride(self) -> int:
        return self.network.score_stride

    @property
    def cell(self) -> int:
        return self.network.cell

    @property
    def classes(self) -> int:
        return len(self.matrix)

    @property
    def known(self) -> list[bool]:
        """Of each class whether any stands for it."""
        return self.matrix.flatten(1).any(1).tolist()

    def forward(self, frame: Tensor) -> Tensor:
        return F.conv2d(probabilities(self.network(frame)), self.matrix)


def read_map(path: Path, own: ClassSet, other: ClassSet) -> Tensor:
    """The matrix of a JSON file that gives names of ``own`` those of ``other``, or null.

    Classes without a name there stand for none. Raises :class:`~accel_rt.errors.InputError` for a
    file that cannot be used.
    """
    try:
        stored = typed(read_json(path), dict, "a map of classes")
        matrix = torch.zeros(len(other), len(own))
        for name, target in stored.items():
            target = typed(target, (str, _NONE), f"'{name}'")
            if target is not None:
                matrix[other.indices([target])[0], own.indices([name])[0]] = 1
        if not matrix.any():
            raise ValueError("it gives no class another one")
    except (OSError, ValueError) as error:
        raise InputError(
            f'\'{path}\' is no map of classes such as {{"car": "vehicle", "sky": null}}: {error}'
        ) from error
    return matrix

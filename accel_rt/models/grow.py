"""Deeper networks from shallower ones that are already trained.

A residual block whose last batch norm has weight zero adds nothing to its shortcut, so inserting
such blocks leaves a network's output as it was (Chen et al., Net2Net, 2016: function-preserving
deepening). ResNet-34 can so start from ResNet-18 and ResNet-101 from ResNet-50.
"""

from __future__ import annotations

import re

from torch import Tensor

from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet

_BLOCK = re.compile(r"feature\.layer(\d)\.(\d+)\.(.+)")


def grow(network: Network, shallow: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for ``network`` made from those of a shallower one of the same block type.

    A stage's trained blocks keep their order at its front; the blocks behind them keep
    ``network``'s own fresh weights but for their last norm, which starts at zero. Tensors of
    ``shallow`` that ``network`` has no place for are kept, so that loading names them.
    """
    assert isinstance(network.feature, ResNet)
    last_norm = "bn2" if network.feature.spec.block == "basic" else "bn3"
    grown = dict(shallow)
    for name, fresh in network.state_dict().items():
        block = _BLOCK.fullmatch(name)
        if name in grown or block is None:
            continue
        inserted_norm = block[3] == f"{last_norm}.weight"
        grown[name] = fresh.new_zeros(fresh.shape) if inserted_norm else fresh
    return grown

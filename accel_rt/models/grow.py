"""ResNets from shallower ones, or ones with another task network, that are already trained.

A residual block whose last batch norm has weight zero adds nothing to its shortcut, so inserting
such blocks leaves a network's output as it was (Chen et al., Net2Net, 2016: function-preserving
deepening). ResNet-34 can so start from ResNet-18 and ResNet-101 from ResNet-50.
"""

from __future__ import annotations

import re

from torch import Tensor

from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet

_TASK = "task."
_BLOCK = re.compile(r"feature\.layer(\d)\.(\d+)\.(.+)")


def grow(network: Network, shallow: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for ``network`` made from those of one of the same block type, shallower perhaps.

    A stage's trained blocks keep their order at its front; the blocks behind them keep
    ``network``'s own fresh weights but for their last norm, which starts at zero. A task network
    of another kind is left out, and ``network``'s own starts fresh. Other tensors of ``shallow``
    that ``network`` has no place for are kept, so that loading names them.
    """
    assert isinstance(network.feature, ResNet)
    last_norm = "bn2" if network.feature.spec.block == "basic" else "bn3"
    own = network.state_dict()
    task = {name: tensor for name, tensor in own.items() if name.startswith(_TASK)}
    grown = dict(shallow)
    if not task.keys() <= shallow.keys():
        features = {name: tensor for name, tensor in shallow.items() if not name.startswith(_TASK)}
        grown = {**features, **task}
    for name, fresh in own.items():
        block = _BLOCK.fullmatch(name)
        if name in grown or block is None:
            continue
        inserted_norm = block[3] == f"{last_norm}.weight"
        grown[name] = fresh.new_zeros(fresh.shape) if inserted_norm else fresh
    return grown

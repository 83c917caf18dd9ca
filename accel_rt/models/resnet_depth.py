"""ResNets from others that are trained already: shallower, deeper, or with another task network.

A residual block whose last batch norm has weight zero adds nothing to its shortcut, so inserting
such blocks leaves a network's output as it was (Chen et al., Net2Net, 2016: function-preserving
deepening). ResNet-34 can so start from ResNet-18 and ResNet-101 from ResNet-50. The other way a
stage's last blocks are left out (Huang et al., stochastic depth, 2016: residual networks bear that
well), which is no more than a better start than none.
"""

from __future__ import annotations

import re

from torch import Tensor

from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet

_TASK = "task."
_BLOCK = re.compile(r"feature\.layer(\d)\.(\d+)\.(.+)")


def with_depth_of(network: Network, trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for ``network`` made from those of one of the same block type.

    A stage's trained blocks keep their order at its front, those that are too many at its end are
    left out; blocks behind them keep ``network``'s own fresh weights but for their last norm, which
    starts at zero. A task network of another kind is left out, and ``network``'s own starts fresh.
    Other tensors of ``trained`` that ``network`` has no place for are kept, so that loading names
    them.
    """
    assert isinstance(network.feature, ResNet)
    last_norm = "bn2" if network.feature.spec.block == "basic" else "bn3"
    kept = network.feature.spec.layers
    own = network.state_dict()
    task = {name: tensor for name, tensor in own.items() if name.startswith(_TASK)}
    changed = dict(trained)
    if not task.keys() <= trained.keys():
        features = {name: tensor for name, tensor in trained.items() if not name.startswith(_TASK)}
        changed = {**features, **task}
    for name in trained:
        block = _BLOCK.fullmatch(name)
        if block and int(block[2]) >= kept[int(block[1]) - 1]:
            changed.pop(name)
    for name, fresh in own.items():
        block = _BLOCK.fullmatch(name)
        if name in changed or block is None:
            continue
        inserted_norm = block[3] == f"{last_norm}.weight"
        changed[name] = fresh.new_zeros(fresh.shape) if inserted_norm else fresh
    return changed

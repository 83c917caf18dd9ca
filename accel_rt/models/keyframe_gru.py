"""A small recurrent network that says where in a video a keyframe helps most."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HIDDEN = 8
_SHARPNESS = 8.0  # of a fixed interval's odds: by how much they rise in one interval
_THRIFT = 2.0  # by how much each keyframe spent too many lowers the odds


class KeyframeGRU(nn.Module):
    """Follows how the picture moves, and says how much sooner than a fixed interval, or later.

    Untrained it keeps to the interval. The recurrent state depends on the video alone and not on
    its keyframes, so that one pass over a video serves all ways in which they can be placed
    (:mod:`accel_rt.train.policy`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2, _HIDDEN)
        last = nn.Linear(16, 1)
        self.head = nn.Sequential(nn.Linear(_HIDDEN + 3, 16), nn.Tanh(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def start(self, videos: int = 1) -> Tensor:
        """The state ``[N, 8]`` before the first frame."""
        return torch.zeros(videos, _HIDDEN)

    def follow(self, state: Tensor, changed: Tensor, moved: Tensor) -> Tensor:
        """The state ``[N, 8]`` after a frame; both ``[N]``, see
        :class:`accel_rt.runtime.watching.Signs`."""
        return self.cell(torch.log1p(torch.stack([changed, moved], -1)), state)

    def forward(
        self, state: Tensor, residual: Tensor, age: Tensor, spent: Tensor, interval: Tensor
    ) -> Tensor:
        """The log odds ``[...]`` of a keyframe, of a state ``[..., 8]`` and values whose shapes fit
        ``[...]``: the residual of a keyframe that is ``age`` frames old, and how many more are
        ``spent`` than one each ``interval`` frames."""
        late = age / interval - 1
        known = torch.log1p(residual) - 1, late, torch.log(interval / 6)
        shape = torch.broadcast_shapes(state.shape[:-1], *(value.shape for value in known))
        columns = [value.expand(shape)[..., None] for value in known]
        found = self.head(torch.cat([state.expand(*shape, -1), *columns], -1))[..., 0]
        return _SHARPNESS * (late + found) - _THRIFT * spent

"""Keyframes where a small recurrent network says that they help most."""

from __future__ import annotations

import torch

from accel_rt.models import store
from accel_rt.runtime.watching import LONGEST, Signs, Watching


class Budget(Watching):
    """A budget of a keyframe every ``interval`` frames, spent as
    :class:`~accel_rt.models.keyframe_gru.KeyframeGRU` has learnt (after Mahasseni, Todorovic and
    Fern, Budget-aware deep semantic video segmentation, 2017), never more than one ahead of it."""

    def __init__(self, interval: int, update_every: int = 1) -> None:
        store.load_policy()  # tells at once if there is none
        super().__init__(interval, update_every)

    def reset(self) -> None:
        super().reset()
        self._state = store.load_policy().start().numpy()

    @torch.inference_mode()
    def _enough(self, signs: Signs, since_keyframe: int) -> bool:
        network = store.load_policy()
        further = self._spent - 1  # the first comes whatever there is to spend
        values = torch.tensor([[*signs, since_keyframe, further, self._interval]])
        residual, changed, moved, age, spent, interval = values.unbind(1)
        state = network.follow(torch.from_numpy(self._state), changed, moved)
        self._state = state.numpy()
        if since_keyframe >= LONGEST * self._interval:
            return True
        return further <= 0 and bool(network(state, residual, age, spent, interval) > 0)

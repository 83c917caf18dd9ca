"""Biases of what is added to a shortcut: added at its beginning, with the same result."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.fuse import fused
from accel_rt.models.shortcut_biases import move_shortcut_biases


class Stage(nn.Module):
    """A stage of inverted residuals; ``window`` is the kernel of what reads the middle one."""

    def __init__(self, window: int = 1) -> None:
        super().__init__()
        self.begin = nn.Conv2d(3, 6, 1)
        self.expand = nn.ModuleList(
            nn.Conv2d(6, 12, side, padding=side // 2) for side in (1, window, 1)
        )
        self.project = nn.ModuleList(nn.Conv2d(12, 6, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.begin(x)
        for expand, project in zip(self.expand, self.project, strict=True):
            x = project(F.relu(expand(x))) + x
        return x


class Twice(nn.Module):
    """A shortcut that is also what is projected, and one that is added twice."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.begin(x)
        y = self.first(x) + x
        z = self.second(F.relu(y)) + y
        return self.third(F.relu(z)) + y


def test_what_is_read_in_another_way_keeps_its_value() -> None:
    torch.manual_seed(0)
    graph = fused(Twice().double().eval())
    moved = copy.deepcopy(graph)
    move_shortcut_biases(moved)
    frame = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(moved(frame), graph(frame), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("window", "left"), [(1, []), (3, [1])])
def test_biases_go_as_far_as_they_can(window: int, left: list[int]) -> None:
    """The last block's goes through all others; none is moved under a window, whose padding is
    zero."""
    torch.manual_seed(0)
    stage = Stage(window).double().eval()
    graph = fused(stage)
    moved = copy.deepcopy(graph)
    move_shortcut_biases(moved)
    frame = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(moved(frame), graph(frame), rtol=1e-5, atol=1e-6)
    names = [f"fused_project_{number}" for number in range(3)]
    having = [n for n, name in enumerate(names) if moved.get_submodule(name).conv.bias is not None]
    assert having == left

"""Which convolutions of a graph are joined to an inverted residual."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel_rt.models.fuse import fused
from accel_rt.models.inverted_residual import PreparedInvertedResidual, join_inverted_residuals
from accel_rt.ops import inverted_residual_pack
from tests.ops.inputs import residual_block


class Block(nn.Module):
    """An inverted residual and what may be different about it."""

    def __init__(self, inner: Any = nn.ReLU6, middle: int = 32, **depthwise: Any) -> None:
        super().__init__()
        self.expand, self.first = nn.Conv2d(8, middle, 1), nn.ReLU6()
        self.depthwise = nn.Conv2d(
            middle, middle, **{"kernel_size": 3, "padding": 1, "groups": middle, **depthwise}
        )
        self.second = inner()
        self.project = nn.Conv2d(middle, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.second(self.depthwise(self.first(self.expand(x)))))


class WithShortcut(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        return super().forward(x) + x


class ExpansionIsNeeded(Block):
    def forward(self, x: Tensor) -> Tensor:
        wide = self.first(self.expand(x))
        return self.project(self.second(self.depthwise(wide))) + wide[:, :8]


class MiddleIsNeeded(Block):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        wide = self.second(self.depthwise(self.first(self.expand(x))))
        return self.project(wide), wide


@pytest.fixture(autouse=True)
def _only_where_served() -> None:
    if inverted_residual_pack(*residual_block()) is None:
        pytest.skip("ordinary convolutions are faster on this processor")


@pytest.mark.parametrize(
    ("block", "joined"),
    [
        (Block(), True),
        (WithShortcut(), True),
        (Block(kernel_size=5, padding=4, dilation=2, stride=2), True),
        (ExpansionIsNeeded(), False),
        (MiddleIsNeeded(), False),
        (Block(inner=nn.ReLU), False),
        (Block(inner=nn.Identity), False),
        (Block(middle=24), False),
        (Block(groups=16), False),
        (Block(padding=0), False),
        (Block(kernel_size=7, padding=3), False),
        (Block(kernel_size=(3, 5), padding=(1, 2)), False),
        (Block(padding_mode="reflect"), False),
    ],
)
def test_what_is_one_is_joined_and_computes_the_same(block: nn.Module, joined: bool) -> None:
    graph = fused(block.eval())
    x = torch.randn(2, 8, 9, 12)
    with torch.inference_mode():
        wanted = graph(x)
        join_inverted_residuals(graph)
        actual = graph(x)
    torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)
    assert joined == any(isinstance(m, PreparedInvertedResidual) for m in graph.modules())

"""A network of someone else's as a branch: its scores, or labels as one-hot scores, are the state.

What such a network is fed and what it answers is an adapter's business, one file each beside this.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.errors import UsageError
from accel_rt.models.accel import are_probabilities
from accel_rt.models.layers import resize_grid
from accel_rt.models.network import Network
from accel_rt.normalise import BYTES, IMAGENET, Normalisation

STRIDE = 4


class ForeignNetwork(Network):
    """A network that is asked for its answer alone; frames reach it as they are, without padding.

    ``size`` is the ``(height, width)`` it was trained for, of which the shorter side counts; None
    stands for any. ``fixed_size`` is the only one it takes.
    """

    normalisation = BYTES
    foreign = True

    def __init__(
        self,
        classes: int,
        size: tuple[int, int] | None = None,
        fixed_size: tuple[int, int] | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.feature = self.task = nn.Identity()  # type: ignore[assignment]
        self.size, self.fixed_size = size, fixed_size
        self._classes = classes

    @abstractmethod
    def answer(self, frame: Tensor) -> Tensor:
        """Byte values RGB ``[N, 3, H, W]`` to scores ``[N, C, h, w]`` or labels ``[N, h, w]``.

        Scores are of floating point, labels are not; both cover the frame.
        """

    @property
    def stride(self) -> int:
        return STRIDE

    @property
    def score_stride(self) -> int:
        return STRIDE

    @property
    def cell(self) -> int:
        return STRIDE

    @property
    def classes(self) -> int:
        return self._classes

    def encode(self, frame: Tensor) -> Tensor:
        """Byte values RGB ``[N, 3, H, W]`` to scores ``[N, classes, H/4, W/4]``."""
        answer = self.answer(frame)
        cells = frame.shape[-2] // STRIDE, frame.shape[-1] // STRIDE
        if not answer.is_floating_point():
            return one_hot_cells(answer, self.classes, cells).to(frame)
        if answer.shape[1] != self.classes:
            raise UsageError(
                f"the network gave scores of {answer.shape[1]} classes, and {self.classes} were "
                f"expected: give it the classes it has"
            )
        return on_cells(answer, cells).to(frame).contiguous(memory_format=torch.channels_last)

    def decode(self, state: Tensor) -> Tensor:
        """The state is the scores."""
        return state

    def warp(self, state: Tensor, flow: Tensor) -> Tensor:
        return ops.flow_warp(state, flow)

    def decode_warped(self, state: Tensor, flow: Tensor) -> Tensor:
        return self.warp(state, flow)

    def forward(self, frame: Tensor) -> Tensor:
        return self.encode(frame)


class ModuleNetwork(ForeignNetwork):
    """A torch module from normalised RGB ``[N, 3, H, W]`` to scores, alone or as ``out``."""

    def __init__(
        self,
        module: nn.Module,
        classes: int,
        normalisation: Normalisation = IMAGENET,
        **options: Any,
    ) -> None:
        super().__init__(classes, **options)
        self.module = module
        self._wanted = normalisation

    def answer(self, frame: Tensor) -> Tensor:
        parameter = next(self.module.parameters(), frame)
        return self.scores(self.module(self._wanted.of_bytes(frame).to(parameter)))

    def scores(self, output: Any) -> Tensor:
        """The scores in what the module returned."""
        if isinstance(output, dict):
            output = output.get("out", output.get("logits"))
        if isinstance(output, (tuple, list)):
            output = output[0]
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise UsageError(
                "the module does not return scores [N, classes, h, w]: wrap it in a function that "
                "takes a frame and does"
            )
        return output


def on_cells(scores: Tensor, cells: tuple[int, int]) -> Tensor:
    """Scores ``[N, C, h, w]`` on a grid of the same extent; on a coarser one nearly those that come
    closest to ``scores`` when they are upsampled: means would blur what was upsampled before.

    Probabilities stay such. Infinite scores, as of a class that is switched off, become finite ones
    beyond all others, beside which nothing is sharpened.
    """
    scores, size = scores.float(), scores.shape[-2:]
    infinite = None
    if not torch.stack(scores.aminmax()).isfinite().all():  # asking each takes as long as the rest
        infinite = ~scores.isfinite()
        scores = _finite(scores, infinite)
    found = resize_grid(scores, cells)
    if size[0] <= cells[0] or size[1] <= cells[1]:
        return found
    missing = resize_grid(scores - resize_grid(found, size), cells)
    if infinite is not None:
        beside = resize_grid(infinite.float(), cells)
        beside += resize_grid(resize_grid(beside, size), cells)
        missing = missing.masked_fill(beside > 0, 0.0)
    found = found + missing
    shares = found.clamp(min=0)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    return torch.where(are_probabilities(scores), shares, found)


def _finite(scores: Tensor, infinite: Tensor) -> Tensor:
    """``scores`` whose infinities are so far out that they win, or lose, over half a cell, too."""
    known = scores.masked_fill(infinite, 0.0)
    low, high = known.aminmax()
    beyond = high - low + 100
    return scores.nan_to_num(float(low - beyond), float(high + beyond), float(low - beyond))


def one_hot_cells(labels: Tensor, classes: int, cells: tuple[int, int]) -> Tensor:
    """Labels ``[N, h, w]`` to each class's share of each cell, float32 ``[N, classes, *cells]``.

    Labels of no class count for none. Finer grids than the labels' repeat these.
    """
    height, width = (max(side, n) for side, n in zip(labels.shape[-2:], cells, strict=True))
    if (height, width) != labels.shape[-2:]:
        labels = F.interpolate(labels[:, None].float(), (height, width))[:, 0]
    labels = labels.long()
    known = (labels >= 0) & (labels < classes)
    row = torch.arange(height, device=labels.device) * cells[0] // height
    column = torch.arange(width, device=labels.device) * cells[1] // width
    place = (row[:, None] * cells[1] + column) * (classes + 1)
    slot = place + torch.where(known, labels, classes)
    size = cells[0] * cells[1] * (classes + 1)
    counts = torch.stack([torch.bincount(one.flatten(), minlength=size) for one in slot])
    counts = counts.view(-1, *cells, classes + 1).permute(0, 3, 1, 2)
    return counts[:, :classes] / counts.sum(1, keepdim=True)

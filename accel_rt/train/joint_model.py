"""Both branches, flow and fusion as one trainable module, from keyframes to labelled frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.accel import Accel, FeatureFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.layers import resize_grid
from accel_rt.runtime.program import FrameProgram, State, inverse_flow


class JointScores(NamedTuple):
    """Scores ``[N, C, h, w]`` of labelled frames.

    ``branches`` are each one's own under score fusion: the reference's, carried to the frame, and
    the update's. ``sizes`` are the update's of those frames that it saw reduced, and what it says
    of them whole, if that was asked for.
    """

    fused: Tensor
    branches: Sequence[Tensor] = ()
    sizes: Sequence[Tensor] = ()


class JointModel(nn.Module):
    """Scores of a snippet's labelled frame, differentiable in everything that is trained.

    What the update branch makes of the frames in between does not reach the labelled one (equations
    1 and 2), so only its pass over that is computed. ``flow`` is None where flow comes with the
    samples; ``incremental`` warps the state frame by frame as the paper does, instead of once by
    composed flow. With ``gate`` the flow's errors say how much each side and the update count, as
    in the runtime. ``compare`` fills :attr:`JointScores.sizes`.
    """

    def __init__(
        self,
        accel: Accel,
        flow: FlowNetS | None,
        incremental: bool = False,
        gate: bool = False,
        compare: bool = False,
    ) -> None:
        super().__init__()
        self.accel = accel
        self.flow = flow
        self._incremental, self._gate, self._compare = incremental, gate, compare

    def forward(
        self,
        frames: Tensor,
        flows: Tensor,
        moves: Tensor,
        scales: Tensor,
        shares: Tensor,
        ahead: int = 0,
    ) -> JointScores:
        """Fused scores, and each branch's own under score fusion.

        Args:
            frames: uint8 BGR ``[N, F, H, W, 3]``: keyframe, labelled frame, and the next keyframe
                if any sample has one. With a flow network also the frames between them, and copies
                of the keyframes before and behind these where a snippet is shorter.
            flows: backward flow ``[N, T, 2, h, w]`` in cells from each frame to the next, zero
                where a snippet is shorter; not read if there is a flow network.
            moves: bool ``[N, T]``, False where a snippet is shorter.
            scales: the update branch's input scale ``[N]``: 1, 0.5 or 0.25.
            shares: how much of the way from the keyframe to the next one lies behind the labelled
                frame, ``[N]``, 0 to 1; 0 where there is no next one.
            ahead: how many of the ``T`` flows come after the labelled frame.
        """
        accel = self.accel
        program = FrameProgram(accel, frames.device, torch.float32, incremental=self._incremental)
        if self.flow is not None:
            flows = self._flows(frames, moves)
        there, behind = flows.split((flows.shape[1] - ahead, ahead), 1)
        seen = frames[:, 1 if self.flow is None else there.shape[1]]
        before, after = self._moved(program, frames[:, 0], there.unbind(1)), None
        if ahead:
            back = [inverse_flow(flow) for flow in behind.flip(1).unbind(1)]
            after = self._moved(program, frames[:, -1], back)
        share: float | Tensor = shares[:, None, None, None]
        residual = inconsistency = None
        if self._gate:
            with torch.no_grad():
                picture = _picture(program, seen)
                share, residual, inconsistency = program.errors(before, after, picture, share)

        sides = before, after, share
        if accel.update is None:
            return JointScores(program.merge_sides(*sides, None))
        fresh, sizes = self._refresh(program, seen, scales)
        if isinstance(accel.fusion, FeatureFusion):
            return JointScores(program.merge_sides(*sides, fresh))
        assert accel.fusion is not None
        carried = program.merge_sides(*sides, None)
        fused = accel.fusion(carried, fresh)
        if residual is not None:
            fused = program.gated(fused, fresh, residual, inconsistency)
        return JointScores(fused, (carried, fresh), sizes)

    def _moved(self, program: FrameProgram, frames: Tensor, flows: Sequence[Tensor]) -> State:
        """The state of keyframes ``[N, H, W, 3]`` moved by each flow in turn."""
        state, _ = program.key(self.accel.reference.normalisation(frames))
        if self._gate:
            state = replace(state, picture=_picture(program, frames))
        for flow in flows:
            state = program.advance(state, flow)
        return state

    def _flows(self, frames: Tensor, moves: Tensor) -> Tensor:
        """The flow network's ``[N, T, 2, h, w]`` in cells of the reference's grid."""
        assert self.flow is not None
        stride = self.accel.reference.stride
        height, width = frames.shape[2:4]
        normalise = self.flow.normalisation
        previous, current = normalise(frames[:, :-1][moves]), normalise(frames[:, 1:][moves])
        fine = self.flow(previous, current).float() / stride
        if stride > self.flow.stride:
            fine = F.avg_pool2d(fine, stride // self.flow.stride)
        flows = fine.new_zeros(*moves.shape, 2, height // stride, width // stride)
        flows[moves] = resize_grid(fine, flows.shape[-2:])
        return flows

    def _refresh(
        self, program: FrameProgram, frames: Tensor, scales: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The update branch over frames ``[N, H, W, 3]`` of several scales, on one grid; and
        :attr:`JointScores.sizes`."""
        accel = self.accel
        assert accel.update is not None
        images = accel.update.normalisation(frames)
        stride = program.finest_stride
        if isinstance(accel.fusion, FeatureFusion):
            stride = accel.reference.stride
        cells = images.shape[-2] // stride, images.shape[-1] // stride
        parts, order = [], []
        for scale in scales.unique().tolist():
            chosen = (scales == scale).nonzero()[:, 0]
            shrunk = images[chosen]
            if scale != 1:
                shrunk = F.avg_pool2d(shrunk, round(1 / scale))
            parts.append(resize_grid(program.refresh(shrunk), cells))
            order.append(chosen)
        fresh = torch.cat(parts)[torch.cat(order).argsort()]
        reduced = scales < 1
        if not self._compare or not reduced.any():
            return fresh, []
        with torch.no_grad():
            whole = resize_grid(program.refresh(images[reduced]), cells)
        return fresh, [fresh[reduced], whole]


def _picture(program: FrameProgram, frames: Tensor) -> Tensor:
    """Mean colours of frames ``[N, H, W, 3]`` in the cells that scores are carried in."""
    return F.avg_pool2d(frames.permute(0, 3, 1, 2).float(), program.finest_stride)

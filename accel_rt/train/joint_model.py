"""Both branches, flow and fusion as one trainable module, from keyframe to labelled frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.models.accel import Accel, FeatureFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.layers import resize_grid
from accel_rt.runtime.program import FrameProgram


class JointModel(nn.Module):
    """Scores of a snippet's last frame, differentiable in everything that is trained.

    What the update branch makes of the frames in between does not reach the last frame (equations
    1 and 2), so only its pass over the last frame is computed. ``flow`` is None where flow comes
    with the samples; ``incremental`` warps the state frame by frame as the paper does, instead of
    once by composed flow.
    """

    def __init__(self, accel: Accel, flow: FlowNetS | None, incremental: bool = False) -> None:
        super().__init__()
        self.accel = accel
        self.flow = flow
        self._incremental = incremental

    def forward(
        self, frames: Tensor, flows: Tensor, moves: Tensor, scales: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Fused scores ``[N, C, h, w]``, and each branch's own under score fusion.

        Args:
            frames: uint8 BGR ``[N, F, H, W, 3]``, keyframe first, labelled frame last. With a
                flow network also the ``T - 1`` frames between them, and copies of the keyframe
                before it where a snippet is shorter; else just these two.
            flows: backward flow ``[N, T, 2, h, w]`` in cells from each frame to the next, zero
                where a snippet is shorter; not read if there is a flow network.
            moves: bool ``[N, T]``, False where a snippet is shorter.
            scales: the update branch's input scale ``[N]``: 1, 0.5 or 0.25.
        """
        accel = self.accel
        program = FrameProgram(accel, frames.device, torch.float32, incremental=self._incremental)
        state, _ = program.key(accel.reference.normalisation(frames[:, 0]))
        if self.flow is not None:
            flows = self._flows(frames, moves)
        for flow in flows.unbind(1):
            state = program.advance(state, flow)
        if accel.update is None:
            return program.merge(state, None), []
        fresh = self._refresh(program, frames[:, -1], scales)
        if isinstance(accel.fusion, FeatureFusion):
            return program.merge(state, fresh), []
        assert accel.fusion is not None
        carried = program.reference_scores(state)
        return accel.fusion(carried, fresh), [carried, fresh]

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

    def _refresh(self, program: FrameProgram, frames: Tensor, scales: Tensor) -> Tensor:
        """The update branch over frames ``[N, H, W, 3]`` of several scales, on one grid."""
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
        return torch.cat(parts)[torch.cat(order).argsort()]

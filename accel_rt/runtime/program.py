"""What happens to a frame: Accel, Deep Feature Flow, Clockwork and DeepLab in one place.

    keyframe       state, scores = key(prepare(frame))
    update         state = advance(state, flow from the frame before)
                   scores = merge(state, refresh(prepare(frame, "update")))
    carried frame  scores = moved(advance(scores of the frame before, flow))
    every frame    labels = output(scores)

DeepLab has keyframes only. Clockwork copies the state (no flow), Deep Feature Flow moves it by
flow; neither has an update network, so nothing is refreshed. Which frame is a keyframe is the
policy's choice (:mod:`.policy`), where this runs is the executor's (:mod:`.eager`, :mod:`.cuda`).

With ``W`` the bilinear warp and ``U`` the bilinear upsampling, both linear with weights that sum
to one, four rewrites of the paper's equations make it fast without changing its result:

1. ``proj(W(f)) = W(proj(f))``: the state holds projected features (:mod:`accel_rt.models.network`).
2. ``score(relu(W(state)))`` is one operator, :func:`accel_rt.ops.warp_score`. Since it warps, the
   state can stay as the keyframe left it while the flow since then is composed.
3. ``SF([U s^R, U s^U]) = U SF([s^R, s^U])``: scores are fused before they are upsampled.
4. ``argmax(U s)`` is one operator, :func:`accel_rt.ops.upsample_argmax`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.models.accel import (
    Accel,
    FeatureFusion,
    Gate,
    ProbabilityFusion,
    ScoreFusion,
    filled,
    probabilities,
)
from accel_rt.models.layers import resize_grid
from accel_rt.ops.eager import resized_flow
from accel_rt.runtime.geometry import Geometry, plan
from accel_rt.runtime.preprocess import network_input, thumbnail
from accel_rt.runtime.result import Overlay

# Chosen by mIoU on CamVid's validation video; colours are 0 to 255.
_RESIDUAL_BLUR = 20  # pixels of the processed frame
_MOST_INCONSISTENT = 32.0  # pixels; beyond, the flow is wrong and that is all there is to know
_SIDE_WIDTH = 5.0

Branch = Literal["reference", "update"]


@dataclass(frozen=True)
class State:
    """What a keyframe leaves for the frames after it.

    ``features`` is ``[N, C, h, w]`` on the reference's grid; ``flow`` is ``[N, 2, h, w]``, backward
    flow in cells from the frame that the features belong to, None if that is the current frame.
    ``features`` None stands for those of a keyframe that is still being computed. ``picture`` is
    ``[N, 3, h, w]``, the frame that the features belong to in the grid's cells, for
    :meth:`FrameProgram.residual`. ``size`` is the keyframe's ``(height, width)`` as the network saw
    it; None for scores that are carried.
    """

    features: Tensor | None
    flow: Tensor | None = None
    picture: Tensor | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Output:
    """A frame's results on the device, at the source's size.

    ``labels`` is uint8 ``[H, W]``, ``margin`` float32 ``[H, W]``, ``picture`` uint8 BGR
    ``[H, W, 3]``, the frame with its classes drawn over it.
    """

    labels: Tensor
    margin: Tensor | None = None
    picture: Tensor | None = None


@dataclass(frozen=True)
class Brush:
    """An :class:`~accel_rt.runtime.result.Overlay` on the device that draws it.

    ``palette_bgr`` is uint8 ``[256, 3]``, ``drawn`` uint8 ``[256]``, zero for classes left out.
    """

    palette_bgr: Tensor
    alpha: float
    drawn: Tensor

    @classmethod
    def of(cls, overlay: Overlay, device: torch.device) -> Brush:
        """``overlay`` on ``device``."""
        drawn = torch.ones(256, dtype=torch.uint8)
        if overlay.keep is not None:
            drawn.zero_()[list(overlay.keep)] = 1
        palette = torch.from_numpy(overlay.palette_bgr)
        return cls(palette.to(device), overlay.alpha, drawn.to(device))


class FrameProgram:
    """The steps of a frame, for the networks of ``model`` on ``device`` in ``dtype``.

    ``incremental`` warps the state frame by frame, as the paper does, instead of composing flow.
    ``update_scale`` is the linear size of the update branch's input, 1, 0.5 or 0.25. All steps but
    :meth:`prepare` and :meth:`output` are differentiable and take batches.
    """

    def __init__(
        self,
        model: Accel,
        device: torch.device,
        dtype: torch.dtype,
        *,
        incremental: bool = False,
        update_scale: float = 1.0,
    ) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.incremental = incremental
        self.update_scale = update_scale if model.update is not None else 1.0

    @property
    def stride(self) -> int:
        """Pixels of the processed frame per cell of the state's grid."""
        return self.model.reference.stride

    @property
    def update_stands_alone(self) -> bool:
        """Whether :meth:`refresh` gives scores, which can be shown without a state."""
        return self.model.update is not None and not isinstance(self.model.fusion, FeatureFusion)

    def plan(
        self,
        source: tuple[int, int],
        trained: tuple[int, int] | None,
        size: tuple[int, int] | None,
    ) -> Geometry:
        """The processing size of frames of ``source``; arguments are those of
        :func:`~accel_rt.runtime.geometry.plan`."""
        model = self.model
        return plan(source, trained, size, self.update_scale, model.cell, not model.foreign)

    def prepare(
        self, frame: np.ndarray | Tensor, geometry: Geometry, branch: Branch = "reference"
    ) -> Tensor:
        """A branch's input ``[1, 3, H', W']``, normalised as its network wants it.

        ``frame`` is uint8 BGR ``[H, W, 3]``: an array of the processed size on the CPU, or a tensor
        of the source's size on the networks' device.
        """
        network = self.model.reference if branch == "reference" else self.model.update
        assert network is not None
        scale = 1.0 if branch == "reference" else self.update_scale
        return network_input(frame, geometry, network.normalisation, scale, self.device, self.dtype)

    def picture(self, frame: np.ndarray | Tensor, geometry: Geometry) -> Tensor:
        """A frame, as :meth:`prepare` takes it, in the cells that scores are carried in."""
        return thumbnail(frame, geometry, self.finest_stride, self.device)

    def key_fused(self, take: Callable[[Branch], Tensor], fuse: bool) -> tuple[State, Tensor]:
        """:meth:`key`, its scores to ``fuse`` with the update branch's, if there is one.

        ``take`` gives each branch its input.
        """
        state, scores = self.key(take("reference"))
        if fuse and self.model.update is not None:
            scores = self.merge(state, self.refresh(take("update")))
        return state, scores

    def key(self, frame: Tensor) -> tuple[State, Tensor]:
        """Keyframe ``[N, 3, H, W]`` to state and scores: ``S_k = N_task^R(N_feat^R(I_k))``."""
        reference, fusion = self.model.reference, self.model.fusion
        size = frame.shape[-2], frame.shape[-1]
        if isinstance(fusion, FeatureFusion):
            features = reference.feature(frame)
            state = State(fusion.reference_state(features[-1]), size=size)
            return state, reference.cut(reference.score(features), size)
        state = State(reference.encode(frame), size=size)
        return state, self._to_blend(self.reference_scores(state))

    def advance(self, state: State, flow: Tensor | None) -> State:
        """The state moved to the next frame by ``flow`` ``[N, 2, h, w]``, backward, in cells.

        None copies it. The flow is composed with that since the keyframe, or, if the program is
        incremental and the state has no flow yet, applied to the features at once. A state may hold
        scores, too, on a grid of their own.
        """
        if flow is None:
            return state
        if self.incremental and state.features is not None and state.flow is None:
            picture = None if state.picture is None else _warp(state.picture, flow)
            moved = self.moved(replace(state, flow=flow))
            return replace(state, features=moved, flow=None, picture=picture)
        if state.flow is not None:
            flow = ops.compose_flow(state.flow, flow)
        return replace(state, flow=flow)

    def refresh(self, frame: Tensor) -> Tensor:
        """What the update branch makes of a frame ``[N, 3, H', W']``: scores, or features."""
        update, fusion = self.model.update, self.model.fusion
        assert update is not None
        if isinstance(fusion, FeatureFusion):
            return fusion.update_state(update.feature(frame)[-1])
        return self._to_blend(update(frame))

    def _to_blend(self, scores: Tensor) -> Tensor:
        """One branch's scores on the scale of fused ones."""
        takes_any = isinstance(self.model.fusion, ProbabilityFusion)
        return probabilities(scores) if takes_any else scores

    def merge_gated(self, state: State, fresh: Tensor | None, picture: Tensor | None) -> Tensor:
        """:meth:`merge`, then :meth:`gated` where there is a ``picture`` of the frame."""
        scores = self.merge(state, fresh)
        if fresh is None or picture is None:
            return scores
        residual = self.residual(state, picture)
        return self.gated(scores, fresh, residual, self.inconsistency(state))

    def merge(self, state: State, fresh: Tensor | None) -> Tensor:
        """Scores ``[N, C, h, w]`` of a frame between keyframes (equations 1 and 2, then SF).

        ``fresh`` is :meth:`refresh`'s result, None without an update branch.
        """
        fusion = self.model.fusion
        if fresh is None or fusion is None:
            return self.reference_scores(state)
        if isinstance(fusion, FeatureFusion):
            features = self.moved(state)
            fresh = resize_grid(fresh, features.shape[-2:])
            return self.reference_scores(replace(state, features=features + fresh, flow=None))
        return fusion(self.reference_scores(state), fresh)

    def moved(self, state: State) -> Tensor:
        """The state's features, or scores, ``[N, C, h, w]`` where they belong in its frame."""
        assert state.features is not None
        if state.flow is None:
            return state.features
        if state.size is None:
            return _warp(state.features, state.flow)
        return self.model.reference.warp(state.features, state.flow)

    @property
    def finest_stride(self) -> int:
        """Pixels of the processed frame per cell of the grid on which scores are carried."""
        reference, update = self.model.reference, self.model.update
        strides = [network.score_stride for network in (reference, update) if network is not None]
        return min(strides)

    def carried(self, scores: Tensor, geometry: Geometry, picture: Tensor | None = None) -> State:
        """Scores ``[1, C, h, w]`` of a frame as a state that is carried on.

        It is on the finer of both branches' grids, whichever branch the scores are from.
        """
        cells = geometry.grid(self.finest_stride).cells
        return State(resize_grid(scores, cells), None, picture)

    def residual(self, state: State, picture: Tensor) -> Tensor:
        """How wrong the state's flow is, ``[N, 1, h, w]``: the mean absolute difference of colours,
        0 to 255, of the state's picture, moved, and the frame's ``picture [N, 3, h, w]``.

        Where something has come into view since the keyframe, no flow leads to it and the
        difference is large.
        """
        assert state.picture is not None
        moved = state.picture
        if state.flow is not None:
            moved = _warp(moved, state.flow)
        return self._blurred((moved - picture).abs().mean(1, keepdim=True))

    def inconsistency(self, state: State) -> Tensor | None:
        """How far the state's flow and its inverse miss each other, ``[N, 1, h, w]`` in pixels of
        the processed frame: large where surfaces part or come over one another.

        None where the model's gate does not ask for it, or flow is not composed.
        """
        if state.flow is None or not self._gate.inconsistency:
            return None
        assert state.picture is not None
        missed = state.flow + ops.flow_warp(inverse_flow(state.flow), state.flow)
        pixels = self.stride * missed.norm(dim=1, keepdim=True)
        height, width = (side * self.stride // self.finest_stride for side in pixels.shape[-2:])
        pixels = resize_grid(pixels.clamp(max=_MOST_INCONSISTENT), (height, width))
        rows, columns = state.picture.shape[-2:]  # cells of flow may reach beyond the frame
        return self._blurred(pixels[..., :rows, :columns])

    def _blurred(self, error: Tensor) -> Tensor:
        side = max(1, _RESIDUAL_BLUR // self.finest_stride) // 2 * 2 + 1
        return F.avg_pool2d(error, side, 1, side // 2, count_include_pad=False)

    @property
    def _gate(self) -> Gate:
        fusion = self.model.fusion
        return fusion.gate if isinstance(fusion, ScoreFusion) else Gate()

    def gated(
        self, scores: Tensor, fresh: Tensor, residual: Tensor, inconsistency: Tensor | None = None
    ) -> Tensor:
        """Fused scores, but the update branch's where the flow's errors say that warping failed."""
        fresh = resize_grid(fresh, scores.shape[-2:])
        if isinstance(self.model.fusion, ProbabilityFusion):
            fresh = filled(fresh, scores)
        return blend(scores, fresh, self._gate.share(residual, inconsistency))

    def both_sides(
        self, before: State, after: State, picture: Tensor, share: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`share_after` of the states on a frame's sides, and both residuals so blended.

        ``share`` is the way from one to the other that lies behind the frame, 0 to 1.
        """
        residual, other = self.residual(before, picture), self.residual(after, picture)
        share = self.share_after(share, residual, other)
        return share, torch.lerp(residual, other, share)

    def errors(
        self, before: State, after: State | None, picture: Tensor, share: float | Tensor
    ) -> tuple[float | Tensor, Tensor, Tensor | None]:
        """:meth:`both_sides`, or what one side has of it, and the inconsistency alike."""
        inconsistency = self.inconsistency(before)
        if after is None:
            return share, self.residual(before, picture), inconsistency
        share, residual = self.both_sides(before, after, picture, share)
        if inconsistency is not None and (other := self.inconsistency(after)) is not None:
            inconsistency = blend(inconsistency, other, share)
        return share, residual, inconsistency

    @staticmethod
    def share_after(share: float | Tensor, before: Tensor, after: Tensor) -> Tensor:
        """How much the side after a frame counts, 0 to 1 in each cell: its ``share`` by distance,
        less where its residual ``after`` is larger than that of the side ``before``."""
        odds = torch.logit(torch.as_tensor(share)) + (before - after) / _SIDE_WIDTH
        return torch.sigmoid(odds)

    def merge_sides(
        self, before: State, after: State | None, share: float | Tensor, fresh: Tensor | None
    ) -> Tensor:
        """:meth:`merge` with states from a keyframe before and, if there is one, after the frame.

        ``share`` is that of the state after it, 0 to 1, one number or ``[N, 1, h, w]``.
        """
        if after is None:
            return self.merge(before, fresh)
        fusion = self.model.fusion
        if fresh is not None and isinstance(fusion, FeatureFusion):
            both = blend(self.moved(before), self.moved(after), share)
            return self.merge(replace(before, features=both, flow=None), fresh)
        scores = blend(self.reference_scores(before), self.reference_scores(after), share)
        return scores if fresh is None or fusion is None else fusion(scores, fresh)

    def reference_scores(self, state: State) -> Tensor:
        """The reference branch's scores ``[N, C, h, w]`` of the state's current frame."""
        reference, features = self.model.reference, state.features
        assert features is not None
        if state.flow is None:
            scores = reference.decode(features)
        else:
            scores = reference.decode_warped(features, state.flow)
        return scores if state.size is None else reference.cut(scores, state.size)

    def output(
        self,
        scores: Tensor,
        geometry: Geometry,
        *,
        margins: bool = False,
        frame: Tensor | None = None,
        brush: Brush | None = None,
    ) -> Output:
        """Scores ``[1, C, h, w]`` to each pixel's class, by how much it won, and a picture.

        A picture is drawn if ``frame`` (uint8 ``[H, W, 3]``) and ``brush`` are given.
        """
        where = geometry.source, geometry.extent
        margin = None
        if margins:
            labels, margin = ops.upsample_argmax_margin(scores, *where)
        else:
            labels = ops.upsample_argmax(scores, *where)
        picture = None
        if frame is not None and brush is not None:
            drawn = ops.overlay(frame[None], labels, brush.palette_bgr, brush.alpha, brush.drawn)
            picture = drawn[0]
        return Output(labels[0], None if margin is None else margin[0], picture)


def blend(before: Tensor, after: Tensor, share: float | Tensor) -> Tensor:
    """``before`` and ``after``, ``[N, C, h, w]``, of which the second has ``share``, 0 to 1."""
    if isinstance(share, Tensor):
        share = resize_grid(share, before.shape[-2:]).to(before.dtype)
    return torch.lerp(before, after, share)


def inverse_flow(flow: Tensor) -> Tensor:
    """Flow to the frame after, from that to the frame before it: ``-W(flow, -flow)``, nearly."""
    return -ops.flow_warp(flow, -flow)


def _warp(grid: Tensor, flow: Tensor) -> Tensor:
    """A map ``[N, C, h, w]`` warped by flow in cells of its grid, or of one of the same extent."""
    return ops.flow_warp(grid, resized_flow(flow, grid.shape[-2:]))

"""The frame program's steps as nodes of CUDA graphs: without arguments, on tensors that stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from accel_rt.flow.source import FlowSource
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.kept import Kept
from accel_rt.runtime.preprocess import network_input
from accel_rt.runtime.program import Branch, Brush, FrameProgram, Output, State
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import Schedule


class FrameNodes:
    """The nodes for frames of one size.

    Every node reads and writes tensors that keep their place, so that a graph of it can be
    replayed: ``frame`` (uint8 ``[H, W, 3]``) and, for flow from the host, ``newer`` (float32
    ``[1, 2, h, w]``, flow from the frame before) go in, ``results`` come out: ``labels`` (uint8
    ``[H, W]``) and, if wanted, ``margin`` (float32 ``[H, W]``) and ``picture`` (uint8
    ``[H, W, 3]``). The device may be any: on the CPU the nodes give what the eager executor gives.
    """

    def __init__(
        self,
        program: FrameProgram,
        geometry: Geometry,
        flow: FlowSource | None,
        schedule: Schedule,
        overlay: Overlay | None = None,
        margins: bool = False,
    ) -> None:
        self._program, self._geometry, self._schedule = program, geometry, schedule
        self._flow = flow if flow is not None and flow.normalisation else None
        self._moves, self._margins = flow is not None, margins
        self._gates = schedule.gate and self._moves and program.update_stands_alone
        self.grid = geometry.grid(program.stride)
        self._kept = Kept()
        device = program.device
        self.frame = torch.zeros((*geometry.source, 3), dtype=torch.uint8, device=device)
        self._pending_frame = torch.zeros_like(self.frame)
        self.newer = torch.zeros((1, 2, *self.grid.cells), device=device)
        self.results = {"labels": torch.zeros(geometry.source, dtype=torch.uint8, device=device)}
        if margins:
            self.results["margin"] = torch.zeros(geometry.source, device=device)
        self.draw(overlay)

    def draw(self, overlay: Overlay | None) -> None:
        """Draw so from now on; graphs of the nodes that output results are of no use then."""
        self._brush = None if overlay is None else Brush.of(overlay, self.frame.device)
        self.results.pop("picture", None)
        if overlay is not None:
            self.results["picture"] = torch.zeros_like(self.frame)

    def key(self) -> None:
        """A keyframe of the frame: state and scores."""
        state, scores = self._program.key_fused(self._input, self._schedule.fuse_keyframes)
        flow = None
        if self._composes(state):  # a place for flow, which a graph needs
            flow = torch.zeros_like(self.newer)
        self._kept.keep_state("state", replace(state, flow=flow, picture=self._picture()))
        self._kept.keep("key scores", scores)
        self._begin_carrying(scores)

    def observe(self) -> None:
        """Take the frame as the one before the next."""
        if self._flow is not None:
            self._kept.keep("view", self._view())

    def look(self) -> None:
        """Flow on the device, from the frame before to this one."""
        assert self._flow is not None
        current = self._view()
        self.newer.copy_(self._flow.between(self._kept["view"], current, self.grid))
        self._kept.keep("view", current)

    def advance(self) -> None:
        """The state moved to this frame."""
        self._kept.keep_state("state", self._program.advance(self._state("state"), self.newer))

    def advance_carried(self) -> None:
        """The scores that are carried on."""
        self._kept.keep_state("carried", self._program.advance(self._state("carried"), self.newer))

    def advance_pending(self) -> None:
        """The way that the pending keyframe's state will have to be moved."""
        self._kept.keep_state("pending", self._program.advance(self._state("pending"), self.newer))

    def refresh(self) -> None:
        """The update branch."""
        self._kept.keep("fresh", self._program.refresh(self._input("update")))

    def merge(self) -> None:
        """State and update branch to scores."""
        fresh = None if self._program.model.update is None else self._kept["fresh"]
        scores = self._program.merge_gated(self._state("state"), fresh, self._picture())
        self._kept.keep("scores", scores)
        self._begin_carrying(scores)

    def carry(self) -> None:
        """The scores of the frame before, moved to this frame."""
        self._kept.keep("scores", self._program.moved(self._state("carried")))

    def request(self) -> None:
        """Put the frame aside for :meth:`pending_key`; nothing has moved since."""
        self._pending_frame.copy_(self.frame)
        self._kept.keep("pending flow", torch.zeros_like(self.newer))
        if (picture := self._picture()) is not None:
            self._kept.keep("arriving picture", picture)

    def pending_key(self) -> None:
        """The keyframe of the frame that was put aside."""
        state, _ = self._program.key(
            self._program.prepare(self._pending_frame, self._geometry, "reference")
        )
        assert state.features is not None
        self._kept.keep("arriving features", state.features)

    def take_pending(self) -> None:
        """The pending keyframe becomes the state, moved to the frame before this one."""
        picture = self._kept.get("arriving picture")
        features = self._kept["arriving features"]
        arrived = State(features, None, picture, self._geometry.padded)
        flow = self._kept["pending flow"] if self._moves else None
        if self._composes(arrived):
            self._kept.keep_state("state", replace(arrived, flow=flow))
        else:
            self._kept.keep_state("state", self._program.advance(arrived, flow))

    def key_output(self) -> None:
        """Results of a keyframe."""
        self._output("key scores")

    def output(self) -> None:
        """Results of merged scores."""
        self._output("scores")

    def refreshed_output(self) -> None:
        """Results of the update branch alone."""
        self._output("fresh")

    def _output(self, scores: str) -> None:
        out: Output = self._program.output(
            self._kept[scores],
            self._geometry,
            margins=self._margins,
            frame=self.frame,
            brush=self._brush,
        )
        for name, result in self.results.items():
            result.copy_(getattr(out, name))

    def _composes(self, state: State) -> bool:
        """Whether flow is composed: also where warping frame by frame would change the size."""
        assert state.features is not None
        off_grid = state.features.shape[-2:] != self.grid.cells
        return self._moves and (not self._program.incremental or off_grid)

    def _begin_carrying(self, scores: Tensor) -> None:
        if self._schedule.carries:
            carried = self._program.carried(scores, self._geometry).features
            assert carried is not None
            flow = torch.zeros_like(self.newer)
            composes = self._moves and not self._program.incremental
            self._kept.keep_state("carried", State(carried, flow if composes else None))

    def _state(self, name: str) -> State:
        return self._kept.state(name, None if name == "carried" else self._geometry.padded)

    def _picture(self) -> Tensor | None:
        """The frame for the gate, if there is one."""
        return self._program.picture(self.frame, self._geometry) if self._gates else None

    def _input(self, branch: Branch) -> Tensor:
        return self._program.prepare(self.frame, self._geometry, branch)

    def _view(self) -> Tensor:
        assert self._flow is not None
        return flow_view(self._program, self._geometry, self._flow, self.frame)


def flow_view(program: FrameProgram, geometry: Geometry, flow: FlowSource, frame: Tensor) -> Any:
    """``frame``, uint8 BGR ``[H, W, 3]`` on the device, as the flow there wants it: normalised,
    without padding."""
    assert flow.normalisation is not None
    height, width = geometry.processed
    view = network_input(frame, geometry, flow.normalisation, 1.0, program.device, program.dtype)
    return flow.view(view[..., :height, :width])

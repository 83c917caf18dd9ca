"""What a frame runs on the device, cut into stages where streams part and meet."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.flow.grid import Grid
from accel_rt.models.accel import Accel
from accel_rt.normalise import MEAN_RGB, STD_RGB
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.result import Overlay


@runtime_checkable
class DeviceFlow(Protocol):
    """Flow that is computed where the networks are; see :class:`~accel_rt.flow.flownets`."""

    def between(self, previous: Tensor, current: Tensor, grid: Grid) -> Tensor: ...


class Stages:
    """The stages for frames of one size.

    Every stage reads and writes tensors that keep their place, so that a graph of it can be
    replayed: ``frame`` (uint8 ``[H, W, 3]``) and, for flow from the host, ``newer`` (float32
    ``[1, 2, h, w]``, flow from the frame before) go in, ``results`` come out: ``labels`` (uint8
    ``[H, W]``) and, if wanted, their ``margin`` (float32 ``[H, W]``) and the frame with its
    classes drawn over it, ``picture`` (uint8 ``[H, W, 3]``). The device may be any: on the CPU
    the stages give what the segmenter gives.
    """

    def __init__(
        self,
        model: Accel,
        geometry: Geometry,
        *,
        warped: bool,
        flow: DeviceFlow | None = None,
        incremental: bool = False,
        update_scale: float = 1.0,
        margins: bool = False,
        overlay: Overlay | None = None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._model, self._geometry, self._flow = model, geometry, flow
        self._warped, self._incremental = warped, incremental
        self._update_scale, self._margins, self._dtype = update_scale, margins, dtype
        self.grid = geometry.grid(model.reference.stride)
        self._kept: dict[str, Tensor] = {}
        self.frame = torch.zeros((*geometry.source, 3), dtype=torch.uint8, device=device)
        self.newer = torch.zeros((1, 2, *self.grid.cells), device=device)
        self.results = {"labels": torch.zeros(geometry.source, dtype=torch.uint8, device=device)}
        if margins:
            self.results["margin"] = torch.zeros(geometry.source, device=device)
        self._overlay = overlay
        if overlay is not None:
            self.results["picture"] = torch.zeros_like(self.frame)
            self._palette = torch.from_numpy(overlay.palette_bgr).to(device)
            kept = torch.ones(256, dtype=torch.uint8)
            if overlay.keep is not None:
                kept.zero_()[list(overlay.keep)] = 1
            self._drawn = kept.to(device)

    def key(self) -> None:
        """The reference network: frame to state and scores."""
        state, scores = self._model.keyframe(self._input())
        self._keep("state", state)
        self._keep("key scores", scores)

    def observe(self) -> None:
        """Start the flow over at a keyframe."""
        if not self._incremental:
            self._keep("composed", torch.zeros_like(self.newer))
        if self._flow is not None:
            self._keep("previous", self._flow_input())

    def fresh(self) -> None:
        """The update network."""
        self._keep("fresh", self._model.refresh(self._input(self._update_scale)))

    def advance(self) -> None:
        """Flow from the frame before to this one, composed or applied to the state."""
        newer = self.newer
        if self._flow is not None:
            current = self._flow_input()
            newer = self._flow.between(self._kept["previous"], current, self.grid)
            self._keep("previous", current)
        if self._incremental:
            self._keep("state", ops.flow_warp(self._kept["state"], newer))
        else:
            self._keep("composed", ops.compose_flow(self._kept["composed"], newer))

    def merge(self) -> None:
        """State, flow and update branch to scores."""
        state = self._kept["state"]
        flow = self._kept["composed"] if self._warped and not self._incremental else None
        if self._model.update is None:
            self._keep("scores", self._model.intermediate(state, flow))
        else:
            self._keep("scores", self._model.fuse(state, flow, self._kept["fresh"]))

    def key_output(self) -> None:
        """A keyframe's scores to labels of the source's size."""
        self._output("key scores")

    def output(self) -> None:
        """Merged scores to labels of the source's size."""
        self._output("scores")

    def _output(self, scores: str) -> None:
        where = self._geometry.source, self._geometry.extent
        if self._margins:
            labels, margin = ops.upsample_argmax_margin(self._kept[scores], *where)
            self.results["margin"].copy_(margin[0])
        else:
            labels = ops.upsample_argmax(self._kept[scores], *where)
        self.results["labels"].copy_(labels[0])
        if self._overlay is not None:
            picture = ops.overlay(
                self.frame[None], labels, self._palette, self._overlay.alpha, self._drawn
            )
            self.results["picture"].copy_(picture[0])

    def _keep(self, name: str, value: Tensor) -> None:
        """Store ``value``, from the second time on in the place that graphs know."""
        if name in self._kept:
            self._kept[name].copy_(value)
        else:
            self._kept[name] = value.clone()

    def _input(self, scale: float = 1.0) -> Tensor:
        return ops.preprocess(
            self.frame[None],
            self._geometry.processed,
            self._geometry.padded,
            mean_rgb=MEAN_RGB,
            std_rgb=STD_RGB,
            scale=scale,
            dtype=self._dtype,
        )

    def _flow_input(self) -> Tensor:
        height, width = self._geometry.processed
        return self._input()[..., :height, :width]

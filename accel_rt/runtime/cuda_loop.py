"""The keyframe loop on a GPU: two streams, graphs, and one wait of the host per frame.

Per frame, with every line in order and ``->`` for what waits:

    keyframe   main: upload, key              -> output, download    host waits
               side:         -> observe                 (with flow)

    update     main: upload, fresh            -> merge, output, download    host waits
               side:         -> advance                 (with flow)

``advance`` computes FlowNetS, or takes the flow that the host computed while the update network
was running. A frame crosses the bus once in each direction, as bytes, through pinned memory.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accel_rt.flow.grid import Grid
from accel_rt.models.accel import Accel
from accel_rt.runtime.cuda_device import CudaDevice, Device, Work
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.result import FrameKind, Overlay
from accel_rt.runtime.stages import DeviceFlow, Stages

PLAIN_RUNS = 2
"""Runs of a stage before it is captured: the first allocates, the last times cuDNN's choices."""


_EVENTS = ("start", "uploaded", "branched", "flow from", "flow to", "joined", "merged", "done")


class HostFlow(Protocol):
    """Flow that is computed on the CPU from processed frames."""

    def observe(self, frame_bgr: np.ndarray) -> None: ...

    def step(self, frame_bgr: np.ndarray, grid: Grid) -> Tensor: ...


@dataclass
class _Stage:
    """One stage on its stream, and what replays it once it has been captured."""

    stream: Any
    work: Work
    runs: int = 0
    replay: Work | None = None


class CudaLoop:
    """Runs keyframes and update frames of a model on a GPU.

    ``flow`` with a ``between`` method runs on the device (FlowNetS), another one on the host, None
    copies the state. A stage is captured once it has run :data:`PLAIN_RUNS` times on frames of one
    size; if it cannot be, launches stay plain and :meth:`describe` says why. ``graphs=False`` never
    tries.
    """

    def __init__(
        self,
        model: Accel,
        device: torch.device,
        dtype: torch.dtype,
        *,
        flow: DeviceFlow | HostFlow | None = None,
        incremental: bool = False,
        update_scale: float = 1.0,
        margins: bool = False,
        graphs: bool = True,
        cuda: Device | None = None,
    ) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._device_flow = flow if isinstance(flow, DeviceFlow) else None
        self._host_flow = None if isinstance(flow, DeviceFlow) else flow
        self._warped, self._incremental = flow is not None, incremental
        self._update_scale, self._margins = update_scale, margins
        self._cuda: Device = cuda or CudaDevice(device)
        self._main, self._side = self._cuda.stream(), self._cuda.stream()
        self._events: dict[str, Any] = {name: self._cuda.event() for name in _EVENTS}
        self._no_graphs = "" if graphs else "switched off"
        self._overlay: Overlay | None = None
        self._geometry: Geometry | None = None

    def draw(self, overlay: Overlay | None) -> None:
        """Draw ``overlay`` on every frame from now on; the next frame must be a keyframe."""
        self._overlay, self._geometry = overlay, None

    def describe(self) -> str:
        """Whether stages become graphs, and if not, why."""
        return f"no: {self._no_graphs}" if self._no_graphs else "yes"

    def step(
        self, kind: FrameKind, frame_bgr: np.ndarray, geometry: Geometry
    ) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """The stages' results for a frame uint8 BGR ``[H, W, 3]``, and milliseconds by stage.

        The first frame of a geometry must be a keyframe. Stages overlap, so that their times add
        up to more than the frame took; ``branch`` is the update network's part of ``network``.
        """
        if geometry != self._geometry:
            self._prepare(geometry)
        np.copyto(self._host_frame.numpy(), frame_bgr)
        self._mark("start", self._main)
        self._copy(self._main, self._stages.frame, self._host_frame)
        self._mark("uploaded", self._main)
        self._side.wait_event(self._events["uploaded"])
        if kind == "key":
            host_ms = self._keyframe(frame_bgr)
        else:
            host_ms = self._intermediate(frame_bgr)
        for name, result in self._stages.results.items():
            self._copy(self._main, self._host_results[name], result)
        self._mark("done", self._main)
        self._events["done"].synchronize()
        results = {name: host.numpy().copy() for name, host in self._host_results.items()}
        return results, self._times(kind, host_ms)

    def _prepare(self, geometry: Geometry) -> None:
        """Tensors, stages and staging buffers for frames of another size; no graph survives."""
        self._cuda.synchronize()
        self._geometry = geometry
        self._stages = stages = Stages(
            self._model,
            geometry,
            warped=self._warped,
            flow=self._device_flow,
            incremental=self._incremental,
            update_scale=self._update_scale,
            margins=self._margins,
            overlay=self._overlay,
            device=self._device,
            dtype=self._dtype,
        )
        self._on_streams = {
            "key": _Stage(self._main, stages.key),
            "observe": _Stage(self._side, stages.observe),
            "key output": _Stage(self._main, stages.key_output),
            "fresh": _Stage(self._main, stages.fresh),
            "advance": _Stage(self._side, stages.advance),
            "merge": _Stage(self._main, stages.merge),
            "output": _Stage(self._main, stages.output),
        }
        self._host_frame = self._cuda.pinned(tuple(stages.frame.shape), torch.uint8)
        self._host_results = {
            name: self._cuda.pinned(tuple(result.shape), result.dtype)
            for name, result in stages.results.items()
        }
        self._host_newer = self._cuda.pinned(tuple(stages.newer.shape), torch.float32)
        self._cuda.synchronize()  # what was set up on the default stream is there

    def _keyframe(self, frame_bgr: np.ndarray) -> float:
        """Launch a keyframe; returns the milliseconds that the host spent on flow."""
        self._launch("key")
        self._mark("branched", self._main)
        host_ms = 0.0
        self._mark("flow from", self._side)
        if self._warped:
            self._launch("observe")
        self._join()
        self._mark("merged", self._main)
        self._launch("key output")
        if self._host_flow is not None:
            started = perf_counter()
            self._host_flow.observe(self._processed(frame_bgr))
            host_ms = 1000 * (perf_counter() - started)
        return host_ms

    def _intermediate(self, frame_bgr: np.ndarray) -> float:
        """Launch an update frame; returns the milliseconds that the host spent on flow."""
        if self._model.update is not None:
            self._launch("fresh")
        self._mark("branched", self._main)
        host_ms = 0.0
        if self._host_flow is not None:
            started = perf_counter()
            newer = self._host_flow.step(self._processed(frame_bgr), self._stages.grid)
            self._host_newer.copy_(newer)
            host_ms = 1000 * (perf_counter() - started)
        self._mark("flow from", self._side)
        if self._host_flow is not None:
            self._copy(self._side, self._stages.newer, self._host_newer)
        if self._warped:
            self._launch("advance")
        self._join()
        self._launch("merge")
        self._mark("merged", self._main)
        self._launch("output")
        return host_ms

    def _processed(self, frame_bgr: np.ndarray) -> np.ndarray:
        assert self._geometry is not None
        return resize_frame(frame_bgr, self._geometry.processed)

    def _join(self) -> None:
        self._mark("flow to", self._side)
        self._main.wait_event(self._events["flow to"])
        self._mark("joined", self._main)

    def _mark(self, event: str, stream: Any) -> None:
        self._events[event].record(stream)

    def _copy(self, stream: Any, target: Tensor, source: Tensor) -> None:
        def copy() -> None:
            target.copy_(source, non_blocking=True)

        self._cuda.run(stream, copy)

    def _launch(self, name: str) -> None:
        stage = self._on_streams[name]
        if stage.replay is None and not self._no_graphs and stage.runs >= PLAIN_RUNS:
            try:
                stage.replay = self._cuda.capture(stage.stream, stage.work)
            except RuntimeError as error:
                self._no_graphs = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"no CUDA graph of the stage '{name}', launches stay plain: {self._no_graphs}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if stage.replay is not None:
            self._cuda.run(stage.stream, stage.replay)
        else:
            tune = not self._no_graphs and stage.runs == PLAIN_RUNS - 1
            self._cuda.run(stage.stream, stage.work, tune=tune)
            stage.runs += 1

    def _times(self, kind: FrameKind, host_ms: float) -> dict[str, float]:
        def between(first: str, last: str) -> float:
            return self._events[first].elapsed_time(self._events[last])

        times = {
            "flow": host_ms + between("flow from", "flow to"),
            "network": between("start", "branched") + between("joined", "merged"),
            "output": between("merged", "done"),
        }
        if kind == "update" and self._model.update is not None:
            times["branch"] = between("uploaded", "branched")
        return times

"""The frame program on a GPU: streams, graphs, and one wait of the host per frame.

Per frame, with every line in order and ``->`` for what waits:

    keyframe   up:        upload
               main:         -> key                    -> output
               side:            -> observe  (with flow)
               down:                                      -> download    host waits

    update     up:        upload
               main:         -> refresh                -> merge, output
               side:            -> advance  (with flow)
               keyframes:          -> a requested keyframe, over many frames
               down:                                             -> download    host waits

``advance`` computes flow on the device, or takes that which the host computed while the update
network was running. A frame crosses the bus once in each direction, as bytes, through pinned
memory. Two frames may be in flight (:class:`_Slot`): where the host begins the next before it waits
for this one, its upload, this one's networks and the download before it run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource
from accel_rt.flow.steps import FlowSteps
from accel_rt.runtime.cuda_device import CudaDevice, Device, copy_on, pinned_like
from accel_rt.runtime.executor import FrameData, StageClock, describe
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.graphs import PLAIN_RUNS, GraphNode, Graphs
from accel_rt.runtime.nodes import FrameNodes
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import Schedule

_EVENTS = (
    "arrived",
    "start",
    "uploaded",
    "branched",
    "flow from",
    "flow to",
    "joined",
    "merged",
    "drawn",
    "done",
)


@dataclass
class _Slot:
    """What a frame in flight has of its own.

    ``frame`` and ``newer`` are pinned, as :class:`FrameNodes` has them on the device; ``staged`` is
    the frame on the device, beside the one that is worked on. ``busy`` until the host has waited.
    """

    frame: Tensor
    staged: Tensor
    newer: Tensor
    events: dict[str, Any]
    busy: bool = False

    def wait(self) -> None:
        self.events["done"].synchronize()
        self.busy = False


class CudaExecutor:
    """Runs a program on a GPU; see :class:`~accel_rt.runtime.executor.Executor`.

    ``flow`` runs on the device if it says so, else on the host, and None copies the state. A node
    is captured for frames of one size before the first of them; if one cannot be, launches stay
    plain and :meth:`describe` says why. ``graphs=False`` never tries. cuDNN chooses its algorithms
    by its heuristics: to time them takes seconds. ``background`` says that keyframes are requested.
    """

    def __init__(
        self,
        program: FrameProgram,
        flow: FlowSource | None,
        schedule: Schedule,
        *,
        margins: bool = False,
        graphs: bool = True,
        background: bool = False,
        cuda: Device | None = None,
    ) -> None:
        self.program = program
        self._flow, self._schedule, self._margins = flow, schedule, margins
        self._host_flow = flow if flow is not None and not flow.normalisation else None
        self._host_steps = FlowSteps(self._host_flow)
        self._cuda: Device = cuda or CudaDevice(program.device)
        self._main, self._side, self._keyframes = (self._cuda.stream() for _ in range(3))
        self._up, self._down = self._cuda.stream(), self._cuda.stream()
        self._requested: Any = self._cuda.event()
        self._pending_done: Any = self._cuda.event()
        self._background = background
        self._graphs = Graphs(self._cuda, "" if graphs else "switched off")
        self._overlay: Overlay | None = None
        self._geometry: Geometry | None = None
        self.has_pending = False

    def draw(self, overlay: Overlay | None) -> bool:
        if overlay is not self._overlay:
            self._overlay = overlay
            if self._geometry is not None:
                self._cuda.synchronize()  # what is drawn is being fetched
                self._nodes.draw(overlay)
                self._launched.update(self._outputs(self._nodes))
                self._cuda.synchronize()  # what was set up on the default stream is there
        return True

    def describe(self) -> dict[str, Any]:
        return {**describe(self.program, self._flow), "cuda_graphs": self._graphs.describe()}

    def close(self) -> None:
        self._cuda.synchronize()

    def start(self, geometry: Geometry) -> None:
        if geometry != self._geometry:
            self._cuda.synchronize()
            self.has_pending, self._geometry = False, geometry
            self._nodes = FrameNodes(
                self.program, geometry, self._flow, self._schedule, self._overlay, self._margins
            )
            self._allocate(self._nodes)
            self._cuda.synchronize()  # what was set up on the default stream is there
            if not self._graphs.refused:
                self._warm_up()
        self._host_steps.restart()
        self.drop_state()

    def _warm_up(self) -> None:
        """Run black frames of every kind that is to come until each of their nodes is a graph."""
        assert self._geometry is not None
        black = np.zeros((*self._geometry.source, 3), np.uint8)
        for _ in range(PLAIN_RUNS + 1):
            self.drop_state()
            for step in self._every_step():
                self.load(black)
                step()
                self.finish()()

    def _every_step(self) -> Iterator[Callable[[], None]]:
        if self._background and self.program.update_stands_alone:
            yield self.update
        yield self.key
        if self._schedule.interval > 1:
            yield self.update
        if self._schedule.carries:
            yield self.carry
        if self._background:
            yield partial(self.update, request=True)
            yield self.update
            self._cuda.synchronize()
            self.take_pending()

    def _allocate(self, nodes: FrameNodes) -> None:
        """Staging buffers and fresh nodes; no graph of other sizes survives."""
        main, side = self._main, self._side
        self._launched = {
            "key": GraphNode(main, nodes.key),
            "observe": GraphNode(side, nodes.observe),
            "refresh": GraphNode(main, nodes.refresh),
            "look": GraphNode(side, nodes.look),
            "advance": GraphNode(side, nodes.advance),
            "advance carried": GraphNode(side, nodes.advance_carried),
            "carry": GraphNode(main, nodes.carry),
            "advance pending": GraphNode(side, nodes.advance_pending),
            "merge": GraphNode(main, nodes.merge),
            "request": GraphNode(side, nodes.request),
            "pending key": GraphNode(self._keyframes, nodes.pending_key),
            "take": GraphNode(main, nodes.take_pending),
            **self._outputs(nodes),
        }
        self._slot, self._before = (
            _Slot(
                pinned_like(self._cuda, nodes.frame),
                torch.empty_like(nodes.frame),
                pinned_like(self._cuda, nodes.newer),
                {name: self._cuda.event() for name in _EVENTS},
            )
            for _ in range(2)
        )

    def _outputs(self, nodes: FrameNodes) -> dict[str, GraphNode]:
        works = {
            "key output": nodes.key_output,
            "output": nodes.output,
            "refreshed output": nodes.refreshed_output,
        }
        return {name: GraphNode(self._main, work) for name, work in works.items()}

    def drop_state(self) -> None:
        self.has_state = False
        self._stale = self.has_pending

    def load(self, frame_bgr: np.ndarray, motion: Motion | None = None) -> None:
        self._motion, self._flow_ran = motion, "none"
        self._frame_bgr, self._clock, self._branch = frame_bgr, StageClock(), False
        self._slot, self._before = self._before, self._slot
        slot = self._slot
        if slot.busy:  # nobody asked for its results
            slot.wait()
        np.copyto(slot.frame.numpy(), frame_bgr)
        copy_on(self._cuda, self._up, slot.staged, slot.frame)
        self._mark("arrived", self._up)
        self._mark("start", self._main)
        self._main.wait_event(slot.events["arrived"])
        copy_on(self._cuda, self._main, self._nodes.frame, slot.staged)
        self._reach("uploaded")

    def key(self) -> None:
        self._launch("key")
        self._mark("branched", self._main)
        self._mark("flow from", self._side)
        if self._flow is not None:
            self._launch("observe")
        self._join()
        self._mark("merged", self._main)
        self._output("key output")
        if self._host_flow is not None:
            with self._clock("flow"):
                self._host_steps.look(self._processed(), self._motion)
        self.has_state = True

    def update(self, request: bool = False) -> None:
        self._branch = self.program.model.update is not None
        if self._branch:
            self._launch("refresh")
        self._mark("branched", self._main)
        self._advance()
        if request:
            self._request()
        self._join()
        if self.has_state:
            self._launch("merge")
        self._mark("merged", self._main)
        self._output("output" if self.has_state else "refreshed output")

    def carry(self, request: bool = False) -> None:
        self._mark("branched", self._main)
        self._advance()
        if self._flow is not None:
            self._launch("advance carried")
        if request:
            self._request()
        self._join()
        self._launch("carry")
        self._mark("merged", self._main)
        self._output("output")

    def _output(self, name: str) -> None:
        """Results, once those of the frame before have been fetched."""
        self._main.wait_event(self._before.events["done"])
        self._launch(name)

    def _advance(self) -> None:
        """Move the state there is, and the one that is pending, on the side stream."""
        pending = self.has_pending and not self._stale
        moves = self._flow is not None and (self.has_state or pending)
        if self._host_flow is not None:
            with self._clock("flow"):
                self._compute_on_host(moves)
        self._mark("flow from", self._side)
        if not moves:
            if self._flow is not None:
                self._launch("observe")
            return
        if self._host_flow is not None:
            copy_on(self._cuda, self._side, self._nodes.newer, self._slot.newer)
        else:
            self._launch("look")
            assert self._flow is not None
            self._flow_ran = self._flow.latest
        if self.has_state:
            self._launch("advance")
        if pending:
            self._launch("advance pending")

    def _compute_on_host(self, moves: bool) -> None:
        if not moves:
            self._host_steps.look(self._processed(), self._motion)
            return
        flow = self._host_steps.step(self._processed(), self._motion, self._nodes.grid)
        assert flow is not None
        self._slot.newer.copy_(flow)
        self._flow_ran = self._host_steps.ran

    def _request(self) -> None:
        """Begin a keyframe of this frame on the stream of keyframes."""
        self._launch("request")
        self._requested.record(self._side)
        self._keyframes.wait_event(self._requested)
        self._launch("pending key")
        self._pending_done.record(self._keyframes)
        self.has_pending, self._stale = True, False

    def take_pending(self) -> bool:
        if not self.has_pending or not self._pending_done.query():
            return False
        self.has_pending = False
        if self._stale:
            return False
        self._launch("take")
        self._reach("uploaded")
        self.has_state = True
        return True

    def finish(self) -> Callable[[], FrameData]:
        self._mark("drawn", self._main)
        self._down.wait_event(self._slot.events["drawn"])
        # Torch keeps pinned memory for reuse: to ask for it anew costs less than a copy.
        fetched = {name: pinned_like(self._cuda, one) for name, one in self._nodes.results.items()}
        for name, result in self._nodes.results.items():
            copy_on(self._cuda, self._down, fetched[name], result)
        self._mark("done", self._down)
        slot, flow_ran, times = self._slot, self._flow_ran, self._timer()
        slot.busy = True

        def wait() -> FrameData:
            slot.wait()
            found = {name: host.numpy() for name, host in fetched.items()}
            optional = found.get("margin"), found.get("picture")
            return FrameData(found["labels"], *optional, times(), flow=flow_ran)

        return wait

    def _processed(self) -> np.ndarray:
        assert self._geometry is not None
        return resize_frame(self._frame_bgr, self._geometry.processed)

    def _reach(self, event: str) -> None:
        """The side stream goes on only after what the main one has been given so far."""
        self._mark(event, self._main)
        self._side.wait_event(self._slot.events[event])

    def _join(self) -> None:
        self._mark("flow to", self._side)
        self._main.wait_event(self._slot.events["flow to"])
        self._mark("joined", self._main)

    def _mark(self, event: str, stream: Any) -> None:
        self._slot.events[event].record(stream)

    def _launch(self, name: str) -> None:
        self._graphs.launch(name, self._launched[name])

    def _timer(self) -> Callable[[], dict[str, float]]:
        """What reads this frame's milliseconds by stage once it is done.

        Stages overlap, so that they add up to more than the frame took. ``branch`` is the update
        network's part of ``network``.
        """
        events, host_flow, branch = self._slot.events, self._clock.ms.get("flow", 0.0), self._branch

        def between(first: str, last: str) -> float:
            return events[first].elapsed_time(events[last])

        def times() -> dict[str, float]:
            found = {
                "flow": host_flow + between("flow from", "flow to"),
                "network": between("start", "branched") + between("joined", "merged"),
                "output": between("merged", "done"),
            }
            return {**found, "branch": between("uploaded", "branched")} if branch else found

        return times

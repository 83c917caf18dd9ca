"""The nodes of a span on a GPU: graphs on one stream, copies up and down beside it.

With every line in order and ``->`` for what waits:

    frame            up:    upload
                     main:     -> copy, look [, refresh], hold
    keyframe         main:     -> copy, look, key; updated, carried, output, turn of those before it
                     down:                                           -> download    host waits

The host waits once for all frames between two keyframes, and for files only after it has begun the
next frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel_rt.runtime.cuda_device import CudaDevice, Device, Event, copy_on, pinned_like
from accel_rt.runtime.graphs import PLAIN_RUNS, GraphNode, Graphs
from accel_rt.runtime.launch import Found
from accel_rt.runtime.span import SpanNodes

_SMALL = ("hold", "turn")  # nodes of a few copies, of many kinds: a graph each would not pay


@dataclass
class _Staged:
    """A place for frames on the device beside that which is worked on, and its events."""

    frame: Tensor
    arrived: Any
    taken: Any


class _EventClock:
    """A :class:`~accel_rt.runtime.launch.Clock` of a stream's time."""

    def __init__(self, cuda: Device, stream: Any) -> None:
        self._cuda, self._stream = cuda, stream
        self._stages: list[tuple[str, Event, Event]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        first, last = self._cuda.event(), self._cuda.event()
        first.record(self._stream)
        yield
        last.record(self._stream)
        self._stages.append((stage, first, last))

    @property
    def ms(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for stage, first, last in self._stages:
            found[stage] = found.get(stage, 0.0) + first.elapsed_time(last)
        return found


class CudaLauncher:
    """A :class:`~accel_rt.runtime.launch.Launcher` of a GPU.

    A node is captured after its first run; if one cannot be, launches stay plain and
    :meth:`describe` says why. ``graphs=False`` never tries.
    """

    stay = True

    def __init__(
        self, device: torch.device, graphs: bool = True, cuda: Device | None = None
    ) -> None:
        self._cuda: Device = cuda or CudaDevice(device)
        self._main, self._up, self._down = (self._cuda.stream() for _ in range(3))
        self._fetched: Any = self._cuda.event()
        self._graphs = Graphs(self._cuda, "" if graphs else "switched off")

    @property
    def runs_ahead(self) -> int:
        return 0 if self._graphs.refused else PLAIN_RUNS + 1

    def start(self, nodes: SpanNodes) -> None:
        self._cuda.synchronize()
        self._nodes = nodes
        self._launched: dict[tuple[Any, ...], GraphNode] = {}
        self._next, self._other = (
            _Staged(torch.empty_like(nodes.frame), self._cuda.event(), self._cuda.event())
            for _ in range(2)
        )
        self._cuda.synchronize()  # what was set up on the default stream is there

    def renew(self) -> None:
        self._launched = {key: one for key, one in self._launched.items() if key[0] != "output"}
        self._cuda.synchronize()  # what was set up on the default stream is there

    def load(self, frame_bgr: np.ndarray) -> None:
        staged, self._next, self._other = self._next, self._other, self._next
        self._up.wait_event(staged.taken)
        host = pinned_like(self._cuda, staged.frame)
        np.copyto(host.numpy(), frame_bgr)
        copy_on(self._cuda, self._up, staged.frame, host)
        staged.arrived.record(self._up)
        self._main.wait_event(staged.arrived)
        copy_on(self._cuda, self._main, self._nodes.frame, staged.frame)
        staged.taken.record(self._main)

    def put_flow(self, flow: Tensor) -> None:
        host = pinned_like(self._cuda, flow).copy_(flow)
        copy_on(self._cuda, self._main, self._nodes.kept["newer"], host)

    def launch(self, node: Callable[..., None], *arguments: Any) -> None:
        name = node.__name__
        if name == "output":  # results of the frames before are being fetched
            self._main.wait_event(self._fetched)
        if name in _SMALL:
            self._cuda.run(self._main, partial(node, *arguments))
            return
        key = name, *arguments
        if key not in self._launched:
            self._launched[key] = GraphNode(self._main, partial(node, *arguments))
        self._graphs.launch(name, self._launched[key])

    def clock(self) -> _EventClock:
        return _EventClock(self._cuda, self._main)

    def fetch(self, results: Sequence[Mapping[str, str]]) -> Callable[[], Found]:
        places = [{what: self._nodes.kept[name] for what, name in one.items()} for one in results]
        # Torch keeps pinned memory for reuse: to ask for it anew costs less than a copy.
        fetched = [
            {what: pinned_like(self._cuda, one) for what, one in each.items()} for each in places
        ]
        drawn: Any = self._cuda.event()
        done: Any = self._cuda.event()
        drawn.record(self._main)
        self._down.wait_event(drawn)
        for each, host in zip(places, fetched, strict=True):
            for what, tensor in each.items():
                copy_on(self._cuda, self._down, host[what], tensor)
        done.record(self._down)
        self._fetched = done

        def wait() -> Found:
            done.synchronize()
            found = [{what: one.numpy() for what, one in host.items()} for host in fetched]
            return found, drawn.elapsed_time(done)

        return wait

    def describe(self) -> dict[str, Any]:
        return {"cuda_graphs": self._graphs.describe()}

    def wait(self) -> None:
        self._cuda.synchronize()

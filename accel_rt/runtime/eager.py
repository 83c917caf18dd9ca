"""The frame program on the CPU, step after step; keyframes beside the frames in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from accel_rt.errors import UsageError
from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource
from accel_rt.flow.steps import FlowSteps
from accel_rt.runtime.executor import FrameData, StageClock, describe
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import Branch, FrameProgram, State
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import Schedule


@dataclass
class _Pending:
    """A keyframe that is being computed, and the flow since its frame; ``stale`` if of no use."""

    state: Future[State]
    moved: State
    picture: Tensor | None
    stale: bool = False


class EagerExecutor:
    """Runs a program on the CPU; see :class:`~accel_rt.runtime.executor.Executor`.

    ``flow`` None copies the state. With ``background``, keyframes can be requested: their thread
    gets half of torch's threads, or of those given, and frames the rest.
    """

    def __init__(
        self,
        program: FrameProgram,
        flow: FlowSource | None,
        schedule: Schedule,
        *,
        margins: bool = False,
        background: bool = False,
        threads: int | None = None,
    ) -> None:
        self.program = program
        self._steps, self._schedule, self._margins = FlowSteps(flow), schedule, margins
        self._worker = KeyframeThread(threads) if background else None
        self._gates = schedule.gate and flow is not None and program.update_stands_alone
        self._clock = StageClock()
        self._pending: _Pending | None = None

    def start(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._steps.restart()
        self.drop_state()

    def drop_state(self) -> None:
        self._state: State | None = None
        if self._pending is not None:
            self._pending.stale = True

    @property
    def has_state(self) -> bool:
        return self._state is not None

    @property
    def has_pending(self) -> bool:
        return self._pending is not None

    def load(self, frame_bgr: np.ndarray, motion: Motion | None = None) -> None:
        self._motion = motion
        if self._worker is not None:
            self._worker.share_threads()
        self._clock = StageClock()
        with self._clock("network"):
            self._frame = resize_frame(frame_bgr, self._geometry.processed)

    def key(self) -> None:
        with self._clock("network"):
            fuse = self._schedule.fuse_keyframes
            self._state, self._scores = self.program.key_fused(self._input, fuse)
            self._carried = self.program.carried(self._scores, self._geometry)
            self._state = replace(self._state, picture=self._picture())
        with self._clock("flow"):
            self._steps.look(self._frame, self._motion)

    def update(self, request: bool = False) -> None:
        with self._clock("flow"):
            self._advance()
        with self._clock("network"):
            if request:
                self._request()
            fresh = None
            if self.program.model.update is not None:
                fresh = self.program.refresh(self._input("update"))
            if self._state is not None:
                self._scores = self.program.merge_gated(self._state, fresh, self._picture())
            else:
                assert fresh is not None
                self._scores = fresh
            self._carried = self.program.carried(self._scores, self._geometry)

    def _picture(self) -> Tensor | None:
        """The frame for the gate, if there is one."""
        if not self._gates:
            return None
        return self.program.picture(self._frame, self._geometry)

    def carry(self, request: bool = False) -> None:
        with self._clock("flow"):
            flow = self._advance()
            self._carried = self.program.advance(self._carried, flow)
            self._scores = self.program.moved(self._carried)
        if request:
            with self._clock("network"):
                self._request()

    def _advance(self) -> Tensor | None:
        """Move the state there is, and the one that is pending, to this frame; by which flow."""
        pending = None if self._pending is None or self._pending.stale else self._pending
        if self._state is None and pending is None:
            self._steps.look(self._frame, self._motion)
            return None
        grid = self._geometry.grid(self.program.stride)
        flow = self._steps.step(self._frame, self._motion, grid)
        if flow is None:
            return None
        flow = flow.to(self.program.device)
        if self._state is not None:
            self._state = self.program.advance(self._state, flow)
        if pending is not None:
            pending.moved = self.program.advance(pending.moved, flow)
        return flow

    def _request(self) -> None:
        assert self._worker is not None
        frame = self._input("reference")
        self._pending = _Pending(
            self._worker.submit(self._compute, frame), State(None), self._picture()
        )

    @torch.inference_mode()
    def _compute(self, frame: Tensor) -> State:
        return self.program.key(frame)[0]

    def take_pending(self) -> bool:
        pending = self._pending
        if pending is None or not pending.state.done():
            return False
        self._pending = None
        state = pending.state.result()
        if pending.stale:
            return False
        self._state = self.program.advance(
            replace(state, picture=pending.picture), pending.moved.flow
        )
        return True

    def finish(self) -> Callable[[], FrameData]:
        with self._clock("output"):
            out = self.program.output(self._scores, self._geometry, margins=self._margins)
            labels = out.labels.cpu().numpy()
            margin = None if out.margin is None else out.margin.cpu().numpy()
        data = FrameData(labels, margin, None, self._clock.ms, self._scores, self._steps.ran)
        return lambda: data

    def draw(self, overlay: Overlay | None) -> bool:
        return False

    def describe(self) -> dict[str, Any]:
        told = describe(self.program, self._steps.source)
        if self._worker is None:
            return told
        return {**told, **self._worker.describe(), "keyframes": "asynchronous"}

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def _input(self, branch: Branch) -> Tensor:
        return self.program.prepare(self._frame, self._geometry, branch)


class _OwnThreads(threading.local):
    """Of a calling thread: its own number of torch threads, and which keyframe threads share it."""

    def __init__(self) -> None:
        self.number = torch.get_num_threads()
        self.sharing: WeakSet[KeyframeThread] = WeakSet()  # some are never closed

    def now(self) -> int:
        """Its own number, however many it has left."""
        if not self.sharing:
            self.number = torch.get_num_threads()
        return self.number


_OWN_THREADS = _OwnThreads()


class KeyframeThread:
    """A thread for keyframes that shares the caller's CPU threads, or ``threads``, with it."""

    def __init__(self, threads: int | None) -> None:
        threads = threads or _OWN_THREADS.now()
        self._beside = max(1, threads // 2)
        self._own = max(1, threads - self._beside)
        self._caller: int | None = None
        self._closed = False
        self._pool = ThreadPoolExecutor(1, "keyframes", torch.set_num_threads, (self._beside,))

    def submit(self, work: Callable[[Tensor], State], frame: Tensor) -> Future[State]:
        """Run ``work`` on ``frame`` in the thread; :class:`UsageError` once it is closed."""
        if self._closed:
            raise UsageError("this segmenter is closed: load another one")
        return self._pool.submit(work, frame)

    def share_threads(self) -> None:
        """Take the caller's share; torch counts threads for each calling thread by itself."""
        if self._caller != threading.get_ident():
            self._caller = threading.get_ident()
            _OWN_THREADS.now()
            _OWN_THREADS.sharing.add(self)
            torch.set_num_threads(self._own)

    def describe(self) -> dict[str, int]:
        """How the threads are shared out."""
        return {"threads": self._own, "keyframe_threads": self._beside}

    def close(self) -> None:
        """End the thread; the caller gets its threads back once it shares them with no other."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)
        if self._caller == threading.get_ident():
            self._caller = None
            _OWN_THREADS.sharing.discard(self)
            if not _OWN_THREADS.sharing:
                torch.set_num_threads(_OWN_THREADS.number)

"""Keyframes without the wait: the reference network runs beside the frames, not between them.

A keyframe is handed to a worker; the frames that follow go on with the features there are. Their
flow is composed from the keyframe on, so when the new features arrive they are warped to the
frame of that moment and take over (:func:`~accel_rt.ops.compose_flow`).

While there are no features at all, at the start and after a scene cut, the update network's
scores are used alone: what is shown fits the picture and does not stall. A model without update
network has to wait for the keyframe then.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.models.accel import ScoreFusion
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.policy import SceneCuts
from accel_rt.runtime.result import FrameKind
from accel_rt.runtime.segmenter import Segmenter, StageClock, composed


@dataclass
class _Coming:
    """Features that are being computed, and the flow since their frame; ``stale`` if of no use."""

    state: Future[Tensor]
    flow: Tensor | None = None
    stale: bool = False


class AsyncSegmenter(Segmenter):
    """A :class:`Segmenter` whose keyframes are computed in a worker while frames go on.

    Takes the same arguments. A result's kind is ``key`` for the frame at which new reference
    features come into use. One keyframe is computed at a time: if that takes longer than the
    policy's interval, the next one begins as soon as it is done. On the CPU the worker gets
    half of ``threads`` (torch's own number for None) and :meth:`step` the rest, so they do not
    fight for cores; on CUDA it has a stream of its own. Call ``close()`` when done.
    """

    def __init__(self, *args: Any, threads: int | None = None, **options: Any) -> None:
        self._coming: _Coming | None = None
        super().__init__(*args, **options)
        self._all_threads = threads or torch.get_num_threads()
        self._worker_threads = max(1, self._all_threads // 2)
        self._own_threads = max(1, self._all_threads - self._worker_threads)
        self._caller: int | None = None
        self._worker = ThreadPoolExecutor(1, "keyframes", self._set_up_worker)
        on_cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if on_cuda else None

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)
        if self._caller == threading.get_ident():
            torch.set_num_threads(self._all_threads)
            self._caller = None

    def _cuda_loop(self, graphs: bool) -> None:
        """None: there, too, frames and keyframes are launched side by side as on the CPU."""

    def describe(self) -> dict[str, Any]:
        threads = {"threads": self._own_threads, "keyframe_threads": self._worker_threads}
        return {**super().describe(), **threads, "keyframes": "asynchronous"}

    def _drop_cache(self) -> None:
        super()._drop_cache()
        self._forget_coming()

    def _forget_coming(self) -> None:
        if self._coming is not None:
            self._coming.stale = True

    def _scores(
        self, processed: np.ndarray, geometry: Geometry, clock: StageClock, due: bool
    ) -> tuple[FrameKind, Tensor]:
        self._share_threads()
        if isinstance(self._policy, SceneCuts) and self._policy.cut:
            self._state = None
            self._forget_coming()
        arrived = self._take_arrived()
        if self._state is None and not self._update_stands_alone:
            return "key", self._keyframe(processed, geometry, clock)
        with clock("flow"):
            flow = self._carry(processed, geometry)
        with clock("network"):
            if self._coming is None and (due or self._state is None):
                self._request(processed, geometry)
            if self._state is None:
                return "update", self._update_alone(processed, geometry)
            kind: FrameKind = "key" if arrived else "update"
            return kind, self._intermediate(processed, geometry, flow)

    def _carry(self, processed: np.ndarray, geometry: Geometry) -> Tensor | None:
        """Move the features there are, and those that are coming, on to this frame."""
        if self._flow is None:
            return None
        if self._state is None and (self._coming is None or self._coming.stale):
            self._flow.observe(processed)
            return None
        newer = self._newer_flow(processed, geometry)
        if self._coming is not None and not self._coming.stale:
            self._coming.flow = composed(self._coming.flow, newer)
        return None if self._state is None else self._move(newer)

    def _take_arrived(self) -> bool:
        """Bring features that are ready into use; whether there were any."""
        coming = self._coming
        if coming is None or not coming.state.done():
            return False
        self._coming = None
        state = coming.state.result()
        if coming.stale:
            return False
        if self._stream is not None:
            state.record_stream(torch.cuda.current_stream(self._device))
        self._state, self._composed = state, coming.flow
        if self._incremental and coming.flow is not None:
            self._state, self._composed = ops.flow_warp(state, coming.flow), None
        return True

    def _request(self, processed: np.ndarray, geometry: Geometry) -> None:
        frame = self._input(processed, geometry)
        ready = None
        if self._stream is not None:
            ready = torch.cuda.current_stream(self._device).record_event()
        self._coming = _Coming(self._worker.submit(self._compute, frame, ready))
        self._since_keyframe = 0

    @property
    def _update_stands_alone(self) -> bool:
        return self._model.update is not None and isinstance(self._model.fusion, ScoreFusion)

    def _update_alone(self, processed: np.ndarray, geometry: Geometry) -> Tensor:
        assert self._model.update is not None
        return self._model.update(self._input(processed, geometry, self._update_scale))

    def _share_threads(self) -> None:
        """Take this thread's share; torch counts threads for each calling thread by itself."""
        if self._caller != threading.get_ident():
            self._caller = threading.get_ident()
            torch.set_num_threads(self._own_threads)

    def _set_up_worker(self) -> None:
        torch.set_num_threads(self._worker_threads)

    @torch.inference_mode()
    def _compute(self, frame: Tensor, ready: torch.cuda.Event | None) -> Tensor:
        if self._stream is None:
            return self._model.keyframe(frame)[0]
        assert ready is not None
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            frame.record_stream(self._stream)
            state = self._model.keyframe(frame)[0]
            self._stream.synchronize()
        return state

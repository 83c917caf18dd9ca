"""The keyframe loop: one frame in, labels out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.flow.grid import Grid
from accel_rt.models.accel import Accel
from accel_rt.models.inference import for_inference
from accel_rt.runtime.cuda_loop import CudaLoop
from accel_rt.runtime.geometry import Geometry, plan
from accel_rt.runtime.policy import FixedInterval, KeyframePolicy
from accel_rt.runtime.preprocess import network_input, resize_frame
from accel_rt.runtime.result import FrameKind, FrameResult, Overlay


class FlowSource(Protocol):
    """Flow between consecutive processed frames; see :mod:`accel_rt.flow`."""

    name: str

    def reset(self) -> None: ...

    def observe(self, frame_bgr: np.ndarray) -> None: ...

    def step(self, frame_bgr: np.ndarray, grid: Grid) -> Tensor: ...


class Segmenter:
    """Segments a video frame by frame with a cache of keyframe features.

    The modes differ in what is given: without ``flow`` the keyframe's features are copied
    (Clockwork), with flow and no update branch they are warped (Deep Feature Flow), with both
    this is Accel; with ``FixedInterval(1)`` every frame is a keyframe (DeepLab).

    ``model`` is taken over: batch norms are folded and weights cast to ``dtype``. ``trained`` and
    ``size`` are ``(height, width)`` in pixels: the weights' processing size, and the user's.
    With ``margins`` results say by how much each pixel's class won.
    On a CUDA device frames go through :class:`~accel_rt.runtime.cuda_loop.CudaLoop`.
    """

    def __init__(
        self,
        model: Accel,
        classes: ClassSet,
        *,
        flow: FlowSource | None = None,
        policy: KeyframePolicy | None = None,
        incremental: bool = False,
        update_scale: float = 1.0,
        trained: tuple[int, int] = (360, 480),
        size: tuple[int, int] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        margins: bool = False,
        description: dict[str, Any] | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        self.classes = classes
        self._device, self._dtype = device or torch.device("cpu"), dtype
        self._model = for_inference(model, self._device, dtype)
        self._flow = flow
        self._policy = policy or FixedInterval(5)
        self._incremental = incremental
        self._update_scale = update_scale if model.update is not None else 1.0
        self._trained, self._size = trained, size
        self._margins = margins
        self._description = description or {}
        self._loop = self._cuda_loop(cuda_graphs) if self._device.type == "cuda" else None
        self.reset()

    def _cuda_loop(self, graphs: bool) -> CudaLoop | None:
        """What runs frames on CUDA; None launches them as on the CPU."""
        return CudaLoop(
            self._model,
            self._device,
            self._dtype,
            flow=self._flow,
            incremental=self._incremental,
            update_scale=self._update_scale,
            margins=self._margins,
            graphs=graphs,
        )

    def reset(self) -> None:
        """Forget the cache: the next frame is a keyframe and has index 0."""
        self._index = 0
        self._drop_cache()

    def draw(self, overlay: Overlay | None) -> bool:
        """Ask for pictures with their classes drawn over them, or for none.

        Returns whether results will carry them: where frames are on a GPU, it draws. The next
        frame is a keyframe then.
        """
        if self._loop is None:
            return False
        self._loop.draw(overlay)
        self._drop_cache()
        return overlay is not None

    def set_policy(self, policy: KeyframePolicy) -> None:
        """Place keyframes by another policy from the next frame on."""
        self._policy = policy

    def close(self) -> None:
        """Release what runs beside the frames; a second call does nothing."""

    def _drop_cache(self) -> None:
        self._geometry: Geometry | None = None
        self._state: Tensor | None = None
        self._composed: Tensor | None = None
        self._since_keyframe = 0
        self._policy.reset()
        if self._flow is not None:
            self._flow.reset()

    def describe(self) -> dict[str, Any]:
        """What runs: networks, device, precision, threads and flow, ready for a report."""
        return {
            **self._description,
            "device": str(self._device),
            "precision": str(self._dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "flow": self._flow.name if self._flow is not None else None,
            **({"cuda_graphs": self._loop.describe()} if self._loop else {}),
        }

    @torch.inference_mode()
    def step(self, frame_bgr: np.ndarray, pts: Fraction | None = None) -> FrameResult:
        """Segment the next frame, uint8 BGR ``[H, W, 3]``.

        A frame of another size than the one before starts over with a keyframe. Raises
        :class:`~accel_rt.errors.UsageError` if the array is not such a frame.
        """
        _check_frame(frame_bgr)
        source = frame_bgr.shape[0], frame_bgr.shape[1]
        if self._geometry is None or self._geometry.source != source:
            self._drop_cache()
            self._geometry = plan(source, self._trained, self._size, self._update_scale)
        if self._loop is not None:
            return self._step_on_cuda(self._loop, frame_bgr, pts, self._geometry)
        geometry, clock = self._geometry, StageClock(self._device)

        with clock("network"):
            processed = resize_frame(frame_bgr, geometry.processed)
        due = self._policy.is_keyframe(processed, self._since_keyframe)
        kind, scores = self._scores(processed, geometry, clock, due)
        with clock("output"):
            labels, margin = self._labels(scores, geometry)
        self._since_keyframe += 1
        self._index += 1
        return FrameResult(self._index - 1, pts, kind, labels, clock.ms, margin)

    def _scores(
        self, processed: np.ndarray, geometry: Geometry, clock: StageClock, due: bool
    ) -> tuple[FrameKind, Tensor]:
        """Scores of the next frame; ``due`` says that the policy wants a keyframe."""
        if self._state is None or due:
            return "key", self._keyframe(processed, geometry, clock)
        with clock("flow"):
            flow = self._move(self._newer_flow(processed, geometry))
        with clock("network"):
            return "update", self._intermediate(processed, geometry, flow)

    def _step_on_cuda(
        self, loop: CudaLoop, frame_bgr: np.ndarray, pts: Fraction | None, geometry: Geometry
    ) -> FrameResult:
        # The policy gets by with every n-th pixel: the frame is resized on the device.
        every = max(1, min(geometry.source) // min(geometry.processed))
        due = self._policy.is_keyframe(frame_bgr[::every, ::every], self._since_keyframe)
        kind: FrameKind = "key" if due or self._since_keyframe == 0 else "update"
        found, times = loop.step(kind, frame_bgr, geometry)
        self._since_keyframe = 1 if kind == "key" else self._since_keyframe + 1
        self._index += 1
        return FrameResult(self._index - 1, pts, kind, timings=times, **found)

    def _keyframe(self, processed: np.ndarray, geometry: Geometry, clock: StageClock) -> Tensor:
        with clock("network"):
            self._state, scores = self._model.keyframe(self._input(processed, geometry))
        with clock("flow"):
            if self._flow is not None:
                self._flow.observe(processed)
        self._composed = None
        self._since_keyframe = 0
        return scores

    def _intermediate(
        self, processed: np.ndarray, geometry: Geometry, flow: Tensor | None
    ) -> Tensor:
        assert self._state is not None
        if self._model.update is None:
            return self._model.intermediate(self._state, flow)
        frame = self._input(processed, geometry, self._update_scale)
        return self._model.intermediate(self._state, flow, frame)

    def _newer_flow(self, processed: np.ndarray, geometry: Geometry) -> Tensor | None:
        """Flow from the frame before to this one; None where features are copied."""
        if self._flow is None:
            return None
        newer = self._flow.step(processed, geometry.grid(self._model.reference.stride))
        return newer.to(self._device)

    def _move(self, newer: Tensor | None) -> Tensor | None:
        """Flow from the cached state's frame to this one; moves the state if incremental."""
        if newer is not None and self._incremental:
            assert self._state is not None
            self._state, newer = ops.flow_warp(self._state, newer), None
        self._composed = composed(self._composed, newer)
        return self._composed

    def _labels(self, scores: Tensor, geometry: Geometry) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels of the source frame's pixels, and their margins if they are wanted."""
        where = geometry.source, geometry.extent
        if not self._margins:
            return ops.upsample_argmax(scores, *where)[0].cpu().numpy(), None
        labels, margin = ops.upsample_argmax_margin(scores, *where)
        return labels[0].cpu().numpy(), margin[0].cpu().numpy()

    def _input(self, processed: np.ndarray, geometry: Geometry, scale: float = 1.0) -> Tensor:
        return network_input(processed, geometry.padded, scale, self._device, self._dtype)


def composed(older: Tensor | None, newer: Tensor | None) -> Tensor | None:
    """Both flows in one, None standing for no motion; see :func:`accel_rt.ops.compose_flow`."""
    if older is None or newer is None:
        return older if newer is None else newer
    return ops.compose_flow(older, newer)


class StageClock:
    """Adds up milliseconds per stage: ``with clock("network"): ...``.

    On CUDA it marks the stages in the current stream; ``ms`` is there once that has finished.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._on_cuda = device, device.type == "cuda"
        self._marks: list[tuple[str, Any, Any]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = self._mark()
        yield
        self._marks.append((stage, started, self._mark()))

    @property
    def ms(self) -> dict[str, float]:
        """Milliseconds by stage."""
        ms: dict[str, float] = {}
        for stage, first, last in self._marks:
            spent = first.elapsed_time(last) if self._on_cuda else 1000 * (last - first)
            ms[stage] = ms.get(stage, 0.0) + spent
        return ms

    def _mark(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _check_frame(frame_bgr: np.ndarray) -> None:
    if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3:
        raise UsageError(
            f"a frame is a uint8 array [height, width, 3] in BGR order, got {frame_bgr.dtype} "
            f"{list(frame_bgr.shape)}"
        )
    if 0 in frame_bgr.shape:
        raise UsageError(f"a frame needs at least one pixel, got {list(frame_bgr.shape)}")

"""Predictions of many models on one stream, sharing what depends on a frame alone.

What a network makes of a frame does not depend on how far back the keyframe is, nor on how its
scores are combined later. So each network runs once per frame and geometry, and all models,
distances and intervals are put together from that. The numbers are those of
:class:`~accel_rt.runtime.segmenter.Segmenter`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accel_rt.device import resolve_device, resolve_precision
from accel_rt.flow.source import FlowSource
from accel_rt.models.accel import FeatureFusion, ProbabilityFusion
from accel_rt.models.foreign.open import load_placed
from accel_rt.models.fuse import for_inference
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.load import LoadedModel, load_flow, load_model
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import Branch, FrameProgram, State
from accel_rt.runtime.settings import FLOWS, SegmenterSettings


class Predictor(Protocol):
    """Labels of several models on a stream, for keyframes at any distance."""

    def reset(self) -> None:
        """Forget the stream."""

    def observe(self, frame_bgr: np.ndarray) -> None:
        """Take the next frame, uint8 BGR ``[H, W, 3]``."""

    def labels(self, model: str, offset: int) -> np.ndarray:
        """Labels uint8 ``[H, W]`` of the latest frame by a model whose last keyframe was
        ``offset`` frames before it."""


@dataclass
class _Seen:
    """A frame and what was computed of it.

    ``kept`` (keyframes, flow) serves later frames, ``chained`` (moved states, the flow's view) the
    next one, ``own`` (inputs, scores) this one alone.
    """

    image_bgr: np.ndarray
    kept: dict[Any, Any] = field(default_factory=dict)
    chained: dict[Any, Any] = field(default_factory=dict)
    own: dict[Any, Any] = field(default_factory=dict)


class SharedPredictor:
    """The :class:`Predictor` of real models.

    ``depth`` is one more than the largest distance that will be asked for.
    """

    def __init__(self, models: Mapping[str, SegmenterSettings], depth: int) -> None:
        load = cache(load_placed)
        self._models = {name: _Model(settings, load) for name, settings in models.items()}
        self._frames: deque[_Seen] = deque(maxlen=depth)

    def reset(self) -> None:
        """Forget the stream."""
        self._frames.clear()

    @torch.inference_mode()
    def observe(self, frame_bgr: np.ndarray) -> None:
        """Take the next frame, uint8 BGR ``[H, W, 3]``."""
        if self._frames and self._frames[-1].image_bgr.shape != frame_bgr.shape:
            self.reset()
        if self._frames:
            self._frames[-1].own.clear()
        if len(self._frames) > 1:
            self._frames[-2].chained.clear()
        before = self._frames[-1] if self._frames else None
        self._frames.append(_Seen(frame_bgr))
        for model in self._models.values():
            model.observe(before, self._frames[-1])

    @torch.inference_mode()
    def labels(self, model: str, offset: int) -> np.ndarray:
        """Labels uint8 ``[H, W]`` of the latest frame, the keyframe being ``offset`` back.

        A frame of another size than the one before is a keyframe itself, as it is in a run.
        """
        return self._models[model].labels(self._frames, min(offset, len(self._frames) - 1))


class _Model:
    """One model's frame program, whose steps are computed once for all models that share them."""

    def __init__(self, settings: SegmenterSettings, load: Callable) -> None:
        self._device = resolve_device(settings.device)
        dtype = resolve_precision(settings.precision, self._device)
        loaded: LoadedModel = load_model(settings, load)
        model = for_inference(loaded.model, self._device, dtype)
        self._program = FrameProgram(
            model,
            self._device,
            dtype,
            incremental=loaded.incremental,
            update_scale=settings.update_scale,
        )
        self._flow = load_flow(settings, self._device, dtype, loaded.flow)
        chosen = None if settings.flow in FLOWS else settings.flow
        name = None if self._flow is None else self._flow.name
        self._flow_name = name, chosen, loaded.flow
        self._trained, self._size = loaded.info.size, loaded.size(settings)
        self._settings = settings
        whole = isinstance(model.fusion, FeatureFusion)
        blends = isinstance(model.fusion, ProbabilityFusion)  # of probabilities, not scores
        self._state_of = id(model) if whole else id(model.reference), blends
        self._fresh_of = id(model) if whole else id(model.update), blends

    def observe(self, before: _Seen | None, frame: _Seen) -> None:
        """Compute the flow from the frame before to this one, unless another model has."""
        if self._flow is not None:
            self._view(self._flow, frame)
            if before is not None:
                self._flow_to(before, frame)

    def labels(self, frames: deque[_Seen], offset: int) -> np.ndarray:
        """Labels of the last of ``frames`` from a keyframe ``offset`` before it."""
        frame, program = frames[-1], self._program
        if offset == 0:
            scores = self._key(frame)[1]
        else:
            fresh = None if program.model.update is None else self._refresh(frame)
            scores = program.merge(self._state(frames, len(frames) - 1, offset), fresh)
        return program.output(scores, self._geometry(frame)).labels.cpu().numpy()

    def _state(self, frames: deque[_Seen], last: int, offset: int) -> State:
        """The state of the frame ``offset`` before ``frames[last]``, moved to it."""
        frame = frames[last]
        if offset == 0:
            return self._key(frame)[0]

        def moved() -> State:
            before = self._state(frames, last - 1, offset - 1)
            return self._program.advance(before, self._flow_to(frames[last - 1], frame))

        key = "moved", self._key_of(frame), self._flow_key(frame), self._program.incremental, offset
        return _memo(frame.chained, key, moved)

    def _flow_to(self, before: _Seen, frame: _Seen) -> Tensor | None:
        """Flow between neighbours; None where the state is copied."""
        flow = self._flow
        if flow is None:
            return None

        def between() -> Tensor:
            grid = self._geometry(frame).grid(self._program.stride)
            views = self._view(flow, before), self._view(flow, frame)
            return flow.between(*views, grid).to(self._device)

        return _memo(frame.kept, self._flow_key(frame), between)

    def _view(self, flow: FlowSource, frame: _Seen) -> Any:
        key = "view", self._flow_name, self._geometry(frame).processed
        return _memo(frame.chained, key, lambda: flow.view(self._processed(frame)))

    def _key(self, frame: _Seen) -> tuple[State, Tensor]:
        def key() -> tuple[State, Tensor]:
            return self._program.key(self._input(frame, "reference"))

        return _memo(frame.kept, self._key_of(frame), key)

    def _refresh(self, frame: _Seen) -> Tensor:
        def refresh() -> Tensor:
            return self._program.refresh(self._input(frame, "update"))

        key = "fresh", self._fresh_of, self._geometry(frame).padded, self._program.update_scale
        return _memo(frame.own, key, refresh)

    def _input(self, frame: _Seen, branch: Branch) -> Tensor:
        return self._program.prepare(self._processed(frame), self._geometry(frame), branch)

    def _processed(self, frame: _Seen) -> np.ndarray:
        size = self._geometry(frame).processed
        return _memo(frame.own, ("frame", size), lambda: resize_frame(frame.image_bgr, size))

    def _geometry(self, frame: _Seen) -> Geometry:
        source = frame.image_bgr.shape[0], frame.image_bgr.shape[1]
        return self._program.plan(source, self._trained, self._size)

    def _key_of(self, frame: _Seen) -> tuple[Any, ...]:
        return "key", self._state_of, self._geometry(frame).padded

    def _flow_key(self, frame: _Seen) -> tuple[Any, ...] | None:
        """Flow of one source on one grid; None without flow."""
        if self._flow is None:
            return None
        return "flow", self._flow_name, self._geometry(frame).grid(self._program.stride)


def _memo(store: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    if key not in store:
        store[key] = make()
    return store[key]

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

from accel_rt import ops
from accel_rt.device import resolve_device, resolve_precision
from accel_rt.flow.grid import Grid
from accel_rt.models.accel import FeatureFusion
from accel_rt.models.inference import for_inference
from accel_rt.models.weights import load_network
from accel_rt.runtime.geometry import Geometry, plan
from accel_rt.runtime.load import LoadedModel, load_flow, load_model
from accel_rt.runtime.preprocess import network_input, resize_frame
from accel_rt.runtime.segmenter import FlowSource
from accel_rt.runtime.settings import SegmenterSettings


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
class _Frame:
    """A frame and what was computed of it.

    ``kept`` (states, flow) serves later frames, ``chained`` (warped states, composed flow) the
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
        load = cache(load_network)
        self._models = {name: _Model(settings, load) for name, settings in models.items()}
        self._frames: deque[_Frame] = deque(maxlen=depth)
        self._flows: dict[Any, FlowSource] = {}

    def reset(self) -> None:
        """Forget the stream."""
        self._frames.clear()
        for flow in self._flows.values():
            flow.reset()

    @torch.inference_mode()
    def observe(self, frame_bgr: np.ndarray) -> None:
        """Take the next frame, uint8 BGR ``[H, W, 3]``."""
        if self._frames and self._frames[-1].image_bgr.shape != frame_bgr.shape:
            self.reset()
        if self._frames:
            self._frames[-1].own.clear()
        if len(self._frames) > 1:
            self._frames[-2].chained.clear()
        frame = _Frame(frame_bgr)
        for model in self._models.values():
            if (key := model.flow_key(frame)) is None:
                continue
            if key not in self._flows:
                self._flows[key] = model.new_flow()
            if key not in frame.kept:
                geometry = model.geometry(frame)
                processed, flow = model.processed(frame), self._flows[key]
                if self._frames:
                    newer = flow.step(processed, geometry.grid(model.stride))
                    frame.kept[key] = newer.to(model.device)
                else:
                    flow.observe(processed)
                    frame.kept[key] = None
        self._frames.append(frame)

    @torch.inference_mode()
    def labels(self, model: str, offset: int) -> np.ndarray:
        """Labels uint8 ``[H, W]`` of the latest frame, the keyframe being ``offset`` back."""
        chosen, frame = self._models[model], self._frames[-1]
        scores = chosen.scores(self._frames, offset)
        geometry = chosen.geometry(frame)
        return ops.upsample_argmax(scores, geometry.source, geometry.extent)[0].cpu().numpy()


class _Model:
    """One model, and the keys under which frames keep what it shares with others."""

    def __init__(self, settings: SegmenterSettings, load: Callable) -> None:
        self.device = resolve_device(settings.device)
        self._dtype = resolve_precision(settings.precision, self.device)
        loaded: LoadedModel = load_model(settings, load)
        self._model = for_inference(loaded.model, self.device, self._dtype)
        self._trained, self._settings = loaded.info.size[::-1], settings
        self._scale = settings.update_scale if self._model.update is not None else 1.0
        whole = isinstance(self._model.fusion, FeatureFusion)
        self._state_of = id(self._model) if whole else id(self._model.reference)
        self._fresh_of = id(self._model) if whole else id(self._model.update)
        self.new_flow = self._flow_maker()

    @property
    def stride(self) -> int:
        """Pixels of a cell of the reference's grid."""
        return self._model.reference.stride

    def geometry(self, frame: _Frame) -> Geometry:
        """Sizes for a frame."""
        size = self._settings.size[::-1] if self._settings.size else None
        source = frame.image_bgr.shape[0], frame.image_bgr.shape[1]
        return plan(source, self._trained, size, self._scale)

    def processed(self, frame: _Frame) -> np.ndarray:
        """The frame at the processing size."""
        size = self.geometry(frame).processed
        return _memo(frame.own, ("frame", size), lambda: resize_frame(frame.image_bgr, size))

    def flow_key(self, frame: _Frame) -> Any:
        """Flow of one source on one grid; None without flow."""
        if self._flow_name is None:
            return None
        grid: Grid = self.geometry(frame).grid(self.stride)
        return "flow", self._flow_name, grid

    def _flow_maker(self) -> Callable[[], FlowSource]:
        def make() -> FlowSource:
            flow = load_flow(self._settings, self.device, self._dtype)
            assert flow is not None
            return flow

        flow = load_flow(self._settings, self.device, self._dtype)
        self._flow_name = flow.name if flow is not None else None
        return make

    def scores(self, frames: deque[_Frame], offset: int) -> Tensor:
        """Scores of the last of ``frames`` from a keyframe ``offset`` before it."""
        frame = frames[-1]
        if offset == 0:
            return self._key(frame)[1]
        state: Tensor
        flow: Tensor | None = None
        if self._flow_name is not None and self._settings.warp == "incremental":
            state = self._moved(frames, len(frames) - 1, offset)
        else:
            state = self._key(frames[-1 - offset])[0]
            if self._flow_name is not None:
                flow = self._composed(frames, len(frames) - 1, offset)
        if self._model.update is None:
            return self._model.intermediate(state, flow)
        padded = self.geometry(frame).padded
        fresh = _memo(
            frame.own,
            ("fresh", self._fresh_of, padded, self._scale),
            lambda: self._model.refresh(self._input(frame, self._scale)),
        )
        return self._model.fuse(state, flow, fresh)

    def _input(self, frame: _Frame, scale: float = 1.0) -> Tensor:
        geometry = self.geometry(frame)
        return _memo(
            frame.own,
            ("input", geometry, scale),
            lambda: network_input(
                self.processed(frame), geometry.padded, scale, self.device, self._dtype
            ),
        )

    def _state_key(self, frame: _Frame) -> Any:
        return "state", self._state_of, self.geometry(frame).padded

    def _key(self, frame: _Frame) -> tuple[Tensor, Tensor]:
        return _memo(
            frame.kept, self._state_key(frame), lambda: self._model.keyframe(self._input(frame))
        )

    def _composed(self, frames: deque[_Frame], last: int, offset: int) -> Tensor:
        """Flow from the frame ``offset`` before ``frames[last]`` to it."""
        frame = frames[last]
        key = self.flow_key(frame)
        if offset == 1:
            return frame.kept[key]
        return _memo(
            frame.chained,
            (key, offset),
            lambda: ops.compose_flow(self._composed(frames, last - 1, offset - 1), frame.kept[key]),
        )

    def _moved(self, frames: deque[_Frame], last: int, offset: int) -> Tensor:
        """The state of the frame ``offset`` before ``frames[last]``, warped frame by frame."""
        frame = frames[last]
        if offset == 0:
            return self._key(frame)[0]
        flow = self.flow_key(frame)
        return _memo(
            frame.chained,
            ("moved", self._state_key(frame), flow, offset),
            lambda: ops.flow_warp(self._moved(frames, last - 1, offset - 1), frame.kept[flow]),
        )


def _memo(store: dict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    if key not in store:
        store[key] = make()
    return store[key]

"""Any network made fast on video, without training: it sees keyframes, flow carries its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_rt.class_sets import Classes, class_set
from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.models.accel import Accel
from accel_rt.models.foreign.function import Function, FunctionNetwork
from accel_rt.models.foreign.network import ForeignNetwork
from accel_rt.models.foreign.open import load_placed
from accel_rt.models.foreign.wrap import is_transformers, wrap
from accel_rt.models.weights import ModelInfo
from accel_rt.runtime.geometry import Geometry, plan
from accel_rt.runtime.load import LoadedModel, load_model, segmenter_of
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import FrameResult, FrameSegmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.video.reader import open_source
from accel_rt.video.source import Frame, check_frame


class Accelerated:
    """A network with keyframes and flow around it; see :func:`accelerate`."""

    def __init__(
        self,
        network: Any,
        classes: Classes | None,
        settings: SegmenterSettings,
        look_ahead: bool,
        processor: Any = None,
    ) -> None:
        self._told = None if classes is None else class_set(classes)
        self._network: LoadedModel | Function
        if _is_function(network):
            self._network = network
        elif isinstance(network, str):
            load = partial(load_placed, classes=self._told)
            loaded = load_model(replace(settings, reference=network), load)
            self._network = replace(loaded, description={})
        else:
            self._network = _loaded(*wrap(network, self._told, processor))
        self._settings, self._look_ahead = settings, look_ahead
        self._video: _Video | None = None

    def step(self, frame_bgr: np.ndarray, pts: Fraction | None = None) -> Any:
        """The answer for the next frame, uint8 BGR ``[H, W, 3]``, at once.

        It comes from the keyframe before alone, since none after it is known.
        """
        if self._video is None:
            self._video = self._start(frame_bgr, ahead=False)
        return self._video.answer(self._video.segmenter.step(frame_bgr, pts))

    def reset(self) -> None:
        """Forget what :meth:`step` saw: the next frame is the first of a video."""
        self._video = None

    def stream(
        self, source: Iterable[np.ndarray | Frame] | str | Path
    ) -> Iterator[tuple[np.ndarray | Frame, Any]]:
        """Every frame of ``source`` with its answer: of frames, of pictures uint8 BGR
        ``[H, W, 3]``, or of a video by its path or URL.

        With look-ahead answers come up to an interval late; masks never look ahead, since those of
        two keyframes need not be of the same instances. An error of the source or the network is
        raised after the answers for all frames before it. Several streams may be open at once,
        each of a video of its own.
        """
        if isinstance(source, (str, Path)):
            with open_source(source) as opened:
                yield from self.stream(opened)
            return
        self.reset()
        video: _Video | None = None
        waiting: list[np.ndarray | Frame] = []

        def late() -> Iterator[tuple[np.ndarray | Frame, Any]]:
            if video is not None:
                for result in video.segmenter.flush():
                    yield waiting.pop(0), video.answer(result)

        try:
            for frame in source:
                image = frame.image_bgr if isinstance(frame, Frame) else frame
                video = video or self._start(image, self._look_ahead)
                waiting.append(frame)
                extra = (frame.pts, frame.motion) if isinstance(frame, Frame) else ()
                for result in video.segmenter.push(image, *extra):
                    yield waiting.pop(0), video.answer(result)
        except Exception:
            yield from late()
            raise
        yield from late()

    def describe(self) -> dict[str, Any]:
        """What runs, ready for a report; empty before the first :meth:`step`."""
        return {} if self._video is None else self._video.segmenter.describe()

    def _start(self, image_bgr: np.ndarray, ahead: bool) -> _Video:
        check_frame(image_bgr)
        settings = replace(self._settings, look_ahead=ahead, gate=ahead)
        if isinstance(self._network, LoadedModel):
            return _Video(segmenter_of(self._network, settings))
        network = FunctionNetwork(
            self._network, None if self._told is None else len(self._told), keep=True
        )
        source, size = (image_bgr.shape[0], image_bgr.shape[1]), settings.size
        processed = plan(source, None, size or source, 1.0, network.cell, pad=False).processed
        # A copy, since a function may write into its frame.
        answer = network.prime(np.array(resize_frame(image_bgr, processed), order="C"))
        if answer.kind == "masks":
            settings = replace(settings, look_ahead=False, gate=False)
        loaded = _loaded(network, _numbered(network.classes))
        return _Video(segmenter_of(loaded, settings, program=_WholeFrames), network)


def _loaded(network: ForeignNetwork, classes: ClassSet) -> LoadedModel:
    info = ModelInfo("accelerated", classes, network.size, "elsewhere")
    return LoadedModel(Accel(network), info, {})


class _WholeFrames(FrameProgram):
    """The frame program of a function, which sees frames of every size in their own."""

    def plan(
        self,
        source: tuple[int, int],
        trained: tuple[int, int] | None,
        size: tuple[int, int] | None,
    ) -> Geometry:
        return super().plan(source, trained, size or source)


class _Video:
    """A video on its way through a network, a ``function`` or another one."""

    def __init__(self, segmenter: FrameSegmenter, function: FunctionNetwork | None = None) -> None:
        self.segmenter, self._function = segmenter, function
        self._last: Any = None

    def answer(self, result: FrameResult) -> Any:
        """A result as the function would have given it; as it is for other networks."""
        if self._function is None:
            return result
        if result.kind == "key":
            self._last = self._function.answers.popleft()
            return self._last.raw
        with torch.inference_mode():
            return self._last.moved(result.scores)


def accelerate(
    network: Any,
    interval: int = 5,
    look_ahead: bool = True,
    flow: str = "auto",
    *,
    classes: Classes | None = None,
    size: tuple[int, int] | None = None,
    device: str = "auto",
    scene_cuts: bool = True,
    processor: Any = None,
) -> Accelerated:
    """``network`` on every ``interval``-th frame, its answers carried to the others by ``flow``.

    ``network`` is a function from a frame (uint8 BGR ``[H, W, 3]``) to scores ``[C, h, w]``, labels
    ``[h, w]`` or boolean masks ``[n, h, w]`` of instances (or a mapping of these by name), whose
    answers come back in its own types, those for keyframes as it gave them (labels may be any whole
    numbers, such as 0 and 255); or a torch module, a model of transformers (both are copied), a
    session of onnxruntime, or a name as ``--reference`` takes it, whose answers are
    :class:`~accel_rt.runtime.result.FrameResult` s.

    ``look_ahead`` carries answers from keyframes on both sides where frames come from a source;
    ``classes`` are the network's, before those that it says (names, a number, or a known set's
    name); ``size`` is ``(height, width)`` to work in instead of the frames' own, whose sides are
    made multiples of 4, and for networks that are no functions at most 2048 pixels long; ``device``
    is for these. ``processor`` is the image processor of a model of transformers, which is fed
    ImageNet's normalisation without.

    Raises :class:`~accel_rt.errors.UsageError` for what is no such network, and later for answers
    that are of none of these kinds.
    """
    if processor is not None and not is_transformers(network):
        raise UsageError("a processor goes with a model of transformers alone: omit it")
    settings = SegmenterSettings(
        mode="dff", interval=interval, flow=flow, size=size, device=device, scene_cuts=scene_cuts
    )
    if _is_function(network):
        settings = replace(settings, device="cpu", precision="fp32")
    return Accelerated(network, classes, settings, look_ahead, processor)


def _is_function(network: Any) -> bool:
    return callable(network) and not isinstance(network, nn.Module)


def _numbered(count: int) -> ClassSet:
    """Classes without names, which nobody sees."""
    return ClassSet(tuple(map(str, range(count))), ((0, 0, 0),) * count)

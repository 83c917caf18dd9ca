"""Frames between keyframes carried from both sides: better, and some frames late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource
from accel_rt.flow.steps import FlowSteps
from accel_rt.runtime.executor import StageClock, describe
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.policy import KeyframePolicy
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram, State, blend, inverse_flow
from accel_rt.runtime.result import FrameKind, FrameResult, Overlay
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.video import WatchedVideo


@dataclass
class _Waiting:
    """A frame whose results wait for the next keyframe.

    ``flow`` leads from the frame before to it, ``back`` from the frame after; both None where
    states are copied. ``image`` is the processed frame if the update network is to see it,
    ``picture`` what the gate needs of it.
    """

    index: int
    pts: Fraction | None
    kind: FrameKind
    image: np.ndarray | None
    flow: Tensor | None
    clock: StageClock
    flow_ran: str
    picture: Tensor | None = None
    back: Tensor | None = None
    scores: Tensor | None = None


@dataclass
class _Side:
    """A keyframe: its state, and the scores that are carried away from it."""

    state: State
    carried: State


class LookAheadSegmenter:
    """Segments a video with results up to a keyframe interval late; a
    :class:`~accel_rt.runtime.result.FrameSegmenter`.

    The state of the keyframe before a frame and that of the one after it are both moved to the
    frame and blended by distance; an update is fused with that. Frames without update are carried
    from the keyframes or updates on their two sides in the same way. The flow back is the inverse
    of the flow there. After a scene cut, and at the end, the frames before have one side alone.
    Arguments, and ``kind``, are as for :class:`~accel_rt.runtime.segmenter.Segmenter`.
    """

    def __init__(
        self,
        classes: ClassSet,
        policy: KeyframePolicy,
        program: FrameProgram,
        flow: FlowSource | None,
        schedule: Schedule,
        *,
        trained: tuple[int, int] | None = (360, 480),
        size: tuple[int, int] | None = None,
        margins: bool = False,
        description: dict[str, Any] | None = None,
    ) -> None:
        self.classes = classes
        self._program, self._steps = program, FlowSteps(flow)
        self._video = WatchedVideo(policy, program, trained, size)
        self._schedule, self._margins = schedule, margins
        self._gates = schedule.gate and flow is not None
        self._description = description or {}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, frames that are waited for among it."""
        self._index = 0
        self.kind: FrameKind = "key"
        self._restart()

    def _restart(self) -> None:
        self._before: _Side | None = None
        self._waiting: list[_Waiting] = []
        self._steps.restart()
        self._video.reset()

    @property
    def _geometry(self) -> Geometry:
        assert self._video.geometry is not None
        return self._video.geometry

    def draw(self, overlay: Overlay | None) -> bool:
        """False: pictures are not drawn here."""
        return False

    def set_policy(self, policy: KeyframePolicy) -> None:
        """Place keyframes by another policy from the next frame on."""
        self._video.policy = policy

    def close(self) -> None:
        """Nothing runs beside the frames."""

    def describe(self) -> dict[str, Any]:
        """What runs, ready for a report."""
        delay = {"delay_frames": self._schedule.delay}
        size = self._video.describe()
        return {**self._description, **describe(self._program, self._steps.source), **delay, **size}

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> FrameResult:
        """Raises :class:`~accel_rt.errors.UsageError`: a result needs frames that are to come."""
        raise UsageError("with look-ahead results come later: use push and flush instead of step")

    @torch.inference_mode()
    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: Motion | None = None
    ) -> list[FrameResult]:
        """Take the next frame, uint8 BGR ``[H, W, 3]``; returns what is ready, in order.

        Raises :class:`~accel_rt.errors.UsageError` if the array is not such a frame.
        """
        results = []
        if self._video.is_new_size(frame_bgr):
            results = self.flush()
            self._restart()
            self._video.begin(frame_bgr)
        geometry, clock = self._geometry, StageClock()
        with clock("network"):
            image = resize_frame(frame_bgr, geometry.processed)
        decision = self._video.decide(frame_bgr, len(self._waiting) + 1)
        with clock("flow"):
            flow = self._steps.step(image, motion, geometry.grid(self._program.stride))
            flow = None if flow is None else flow.to(self._program.device)
            picture = self._program.picture(image, geometry) if self._gates else None
        self.kind = kind = "key" if self._before is None else decision.kind
        frame = _Waiting(self._index, pts, kind, image, flow, clock, self._steps.ran, picture)
        self._index += 1
        if kind != "key":
            if kind == "carry" or self._program.model.update is None:
                frame.image = None
            self._waiting.append(frame)
            return results
        side, scores = self._keyframe(frame, geometry)
        results += self._fill(None if decision.cut else (side, frame.flow))
        self._before = side
        return [*results, self._result(frame, scores)]

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """The results of the frames since the last keyframe; the next frame is one."""
        results = self._fill(None)
        self._before = None
        return results

    def _keyframe(self, frame: _Waiting, geometry: Geometry) -> tuple[_Side, Tensor]:
        program = self._program
        assert frame.image is not None
        with frame.clock("network"):
            fuses = self._schedule.fuse_keyframes and program.model.update is not None
            beside = program.prepare(frame.image, geometry, "update") if fuses else None
            state, scores = program.key_fused(program.prepare(frame.image, geometry), beside)
        carried = program.carried(scores, geometry, frame.picture)
        return _Side(replace(state, picture=frame.picture), carried), scores

    def _fill(self, after: tuple[_Side, Tensor | None] | None) -> list[FrameResult]:
        """Results of the frames between the last keyframe and the one ``after`` them.

        With that comes the flow to it from the frame before it.
        """
        frames, self._waiting = self._waiting, []
        if not frames:
            return []
        assert self._before is not None
        side, flow = after if after is not None else (None, None)
        if side is not None:
            following = [*[frame.flow for frame in frames[1:]], flow]
            for frame, next_flow in zip(frames, following, strict=True):
                with frame.clock("flow"):
                    frame.back = None if next_flow is None else inverse_flow(next_flow)
        self._fill_updates(frames, self._before.state, side)
        self._fill_carried(frames, self._before.carried, side)
        results = []
        for frame in frames:
            assert frame.scores is not None
            results.append(self._result(frame, frame.scores))
        return results

    def _fill_updates(self, frames: list[_Waiting], before: State, side: _Side | None) -> None:
        """Scores of the updates, from the keyframes' states on both sides."""
        if all(frame.kind == "carry" for frame in frames):
            return
        there = self._moved(before, frames)
        back = self._moved_back(side.state, frames) if side is not None else None
        for number, frame in enumerate(frames):
            if frame.kind == "carry":
                continue
            with frame.clock("network"):
                distance = (number + 1) / (len(frames) + 1)
                after = None if back is None else back[number]
                frame.scores = self._merge(frame, there[number], after, distance)

    def _fill_carried(self, frames: list[_Waiting], before: State, side: _Side | None) -> None:
        """Scores of the frames between those that have some, from both of these."""
        between: list[_Waiting] = []
        for frame in frames:
            if frame.scores is None:
                between.append(frame)
                continue
            update = self._program.carried(frame.scores, self._geometry, frame.picture)
            self._carry(between, before, update)
            between, before = [], update
        self._carry(between, before, side.carried if side is not None else None)

    def _carry(self, frames: list[_Waiting], before: State, after: State | None) -> None:
        """Scores of frames that have none, from those before and after them."""
        there = self._moved(before, frames)
        back = self._moved_back(after, frames) if after is not None else None
        for number, frame in enumerate(frames):
            with frame.clock("flow"):
                scores = self._program.moved(there[number])
                if back is not None:
                    sides = there[number], back[number]
                    share: float | Tensor = (number + 1) / (len(frames) + 1)
                    if frame.picture is not None:
                        share, _ = self._program.both_sides(*sides, frame.picture, share)
                    scores = blend(scores, self._program.moved(back[number]), share)
                frame.scores = scores

    def _merge(
        self, frame: _Waiting, before: State, after: State | None, distance: float
    ) -> Tensor:
        """Scores of an update from its sides, the one after it ``distance`` of the way there."""
        program, fresh = self._program, self._refresh(frame)
        share: float | Tensor = distance
        residual = inconsistency = None
        if frame.picture is not None:
            share, residual, inconsistency = program.errors(before, after, frame.picture, share)
        scores = program.merge_sides(before, after, share, fresh)
        if fresh is None or residual is None or not program.update_stands_alone:
            return scores
        return program.gated(scores, fresh, residual, inconsistency)

    def _moved(self, state: State, frames: list[_Waiting]) -> list[State]:
        """The state of the frame before ``frames`` moved to each of them."""
        states = []
        for frame in frames:
            with frame.clock("flow"):
                state = self._program.advance(state, frame.flow)
            states.append(state)
        return states

    def _moved_back(self, state: State, frames: list[_Waiting]) -> list[State]:
        """The state of the frame after ``frames`` moved to each of them."""
        states = []
        for frame in reversed(frames):
            with frame.clock("flow"):
                state = self._program.advance(state, frame.back)
            states.append(state)
        return states[::-1]

    def _refresh(self, frame: _Waiting) -> Tensor | None:
        if frame.image is None:
            return None
        program = self._program
        return program.refresh(program.prepare(frame.image, self._geometry, "update"))

    def _result(self, frame: _Waiting, scores: Tensor) -> FrameResult:
        with frame.clock("output"):
            out = self._program.output(scores, self._geometry, margins=self._margins)
            labels = out.labels.cpu().numpy()
            margin = None if out.margin is None else out.margin.cpu().numpy()
        return FrameResult(
            frame.index,
            frame.pts,
            frame.kind,
            labels,
            frame.clock.ms,
            margin,
            classes=self.classes,
            scores=scores,
            flow=frame.flow_ran,
        )

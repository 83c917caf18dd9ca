"""Frames between keyframes carried from both sides: better, and some frames late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.flow.motion import Motion
from accel_rt.flow.source import FlowSource
from accel_rt.flow.steps import FlowSteps
from accel_rt.runtime.executor import StageClock, describe
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.launch import Clock, Direct, Launcher
from accel_rt.runtime.policy import Decision, FixedInterval, KeyframePolicy
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import FrameKind, FrameResult, Overlay
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.span import AFTER, SpanNodes
from accel_rt.runtime.video import WatchedVideo

Results = Callable[[], list[FrameResult]]


@dataclass
class _Taken:
    """A frame whose results wait for the next keyframe, or that is one.

    ``clock`` counts what runs where the networks do, ``host`` the flow that the host computes.
    """

    name: str
    index: int
    pts: Fraction | None
    kind: FrameKind
    cut: bool
    flow_ran: str
    clock: Clock
    host: StageClock


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
        launcher: Launcher | None = None,
        overlap: bool = False,
        description: dict[str, Any] | None = None,
    ) -> None:
        self.classes = classes
        self._launcher: Launcher = launcher or Direct(program.device)
        on_device = self._launcher.stay and flow is not None and flow.normalisation is not None
        self._program, self._flow = program, flow
        self._device_flow = flow if on_device else None
        self._host_steps = FlowSteps(None if on_device else flow)
        self._video = WatchedVideo(policy, program, trained, size)
        self._schedule, self._margins = schedule, margins
        self._overlap = overlap
        self._overlay: Overlay | None = None
        self._nodes: SpanNodes | None = None
        self._description = description or {}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, frames that are waited for among it."""
        self._index = 0
        self._begun: Results = list
        self.kind: FrameKind = "key"
        self._restart()

    def _restart(self) -> None:
        self._forget()
        self._video.reset()

    def _forget(self) -> None:
        """What was computed of the frames so far."""
        self._has_keyframe = self._has_view = False
        self._waiting: list[_Taken] = []
        self._host_steps.restart()

    def draw(self, overlay: Overlay | None) -> bool:
        """See :meth:`.segmenter.Segmenter.draw`: the frames that wait count as seen."""
        if self._launcher.stay and overlay is not self._overlay:
            self._overlay = overlay
            if self._nodes is not None:
                self._launcher.wait()  # what is drawn is being fetched
                self._nodes.draw(overlay)
                self._launcher.renew()
        return self._launcher.stay and overlay is not None

    def set_policy(self, policy: KeyframePolicy) -> None:
        """Place keyframes by another policy from the next frame on."""
        self._video.policy = policy

    def close(self) -> None:
        """Wait for what runs beside the host; a second call does nothing."""
        self._launcher.wait()

    def describe(self) -> dict[str, Any]:
        """What runs, ready for a report."""
        how = {**describe(self._program, self._flow), **self._launcher.describe()}
        delay = {"delay_frames": self._schedule.delay + self._overlap}
        return {**self._description, **how, **delay, **self._video.describe()}

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
            self._start(self._video.begin(frame_bgr))
        decision = self._video.decide(frame_bgr, len(self._waiting) + 1)
        begun, self._begun = self._begun, list
        self._take(frame_bgr, decision, pts, motion)
        results += begun()
        if not self._overlap:
            results += self._begun()
            self._begun = list
        return results

    @torch.inference_mode()
    def flush(self) -> list[FrameResult]:
        """The results of the frames since the last keyframe; the next frame is one."""
        begun, last = self._begun, self._span(both=False)
        self._begun, self._has_keyframe = list, False
        return [*begun(), *last()]

    def _start(self, geometry: Geometry) -> None:
        if self._nodes is not None and self._nodes.geometry == geometry:
            return
        self._nodes = SpanNodes(
            self._program,
            geometry,
            self._device_flow,
            self._schedule,
            moves=self._flow is not None,
            margins=self._margins,
            stay=self._launcher.stay,
        )
        self._nodes.draw(self._overlay)
        self._launcher.start(self._nodes)
        for _ in range(self._launcher.runs_ahead):
            self._run_black(geometry.source)

    def _run_black(self, size: tuple[int, int]) -> None:
        """From a keyframe to the next as the schedule has them, on frames that nobody sees."""
        black = np.zeros((*size, 3), np.uint8)
        policy = FixedInterval(self._schedule.interval, self._schedule.update_every)
        seen = self._index
        for number in range(self._schedule.interval + 1):
            self._take(black, policy.decide(black, number))
            self._begun()
        self._index, self._begun = seen, list
        self._forget()

    def _take(
        self,
        frame_bgr: np.ndarray,
        decision: Decision,
        pts: Fraction | None = None,
        motion: Motion | None = None,
    ) -> None:
        """Compute what a frame needs; if it is a keyframe, begin to fetch results."""
        kind: FrameKind = decision.kind if self._has_keyframe else "key"
        frame = self._compute(frame_bgr, kind, decision.cut, pts, motion)
        if kind == "key":
            self._begun = self._key(frame)
        else:
            self._waiting.append(frame)

    def _compute(
        self,
        frame_bgr: np.ndarray,
        kind: FrameKind,
        cut: bool,
        pts: Fraction | None,
        motion: Motion | None,
    ) -> _Taken:
        """All of a frame that needs no other keyframe."""
        launcher, nodes, waiting = self._launcher, self._nodes, len(self._waiting)
        assert nodes is not None
        self.kind = kind
        name = AFTER if kind == "key" else str(waiting)
        if nodes.reserve(name):
            launcher.wait()  # memory is handed out by another stream
        clock, host = launcher.clock(), StageClock()
        with clock("network"):
            launcher.load(frame_bgr)
            if kind == "update" and self._program.model.update is not None:
                launcher.launch(nodes.refresh)
        leads, ran = self._find_flow(frame_bgr, motion, nodes, host)
        with clock("flow"):
            if self._flow is not None:
                launcher.launch(nodes.look, leads)
            launcher.launch(nodes.hold, name, kind)
        self._index += 1
        return _Taken(name, self._index - 1, pts, kind, cut, ran, clock, host)

    def _find_flow(
        self, frame_bgr: np.ndarray, motion: Motion | None, nodes: SpanNodes, clock: StageClock
    ) -> tuple[bool, str]:
        """Whether flow leads to a frame from the one before it, and by what; the host's is put
        where nodes find it."""
        if self._device_flow is not None:
            leads, self._has_view = self._has_view, True
            return leads, self._device_flow.latest if leads else "none"
        if self._flow is None:
            return False, "none"
        with clock("flow"):
            image = frame_bgr if self._launcher.stay else nodes.frame
            image = resize_frame(image, nodes.geometry.processed)
            flow = self._host_steps.step(image, motion, nodes.geometry.grid(self._program.stride))
        if flow is not None:
            self._launcher.put_flow(flow)
        return flow is not None, self._host_steps.ran

    def _key(self, frame: _Taken) -> Results:
        """Compute a keyframe, and begin to fetch the results of those before it and its own."""
        assert self._nodes is not None
        with frame.clock("network"):
            self._launcher.launch(self._nodes.key)
        results = self._span(not frame.cut, frame)
        self._launcher.launch(self._nodes.turn)
        self._has_keyframe = True
        return results

    def _span(self, both: bool, key: _Taken | None = None) -> Results:
        """Begin to fetch the results of the frames that wait, carried from ``both`` sides or one,
        and of the keyframe after them."""
        launcher, nodes = self._launcher, self._nodes
        between, self._waiting = self._waiting, []
        frames = [*between, *([] if key is None else [key])]
        if not frames:
            return list
        assert nodes is not None
        kinds, names = tuple(f.kind for f in between), tuple(f.name for f in frames)
        clock, shown = launcher.clock(), launcher.clock()
        if "update" in kinds:
            with clock("network"):
                launcher.launch(nodes.updated, kinds, both)
        if "carry" in kinds:
            with clock("flow"):
                launcher.launch(nodes.carried, kinds, both)
        with shown("output"):
            launcher.launch(nodes.output, names)
        fetched = launcher.fetch(nodes.results(names))
        scores = [None if launcher.stay else nodes.kept[f"scores {name}"] for name in names]

        def wait() -> list[FrameResult]:
            found, fetch_ms = fetched()
            shares = {stage: ms / len(between) for stage, ms in clock.ms.items()}
            output = {"output": (shown.ms["output"] + fetch_ms) / len(frames)}
            return [
                FrameResult(
                    frame.index,
                    frame.pts,
                    frame.kind,
                    one["labels"],
                    _sum(frame.host.ms, frame.clock.ms, output, {} if frame is key else shares),
                    one.get("margin"),
                    one.get("drawn"),
                    self.classes,
                    of,
                    frame.flow_ran,
                )
                for frame, one, of in zip(frames, found, scores, strict=True)
            ]

        return wait


def _sum(*times: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by stage, added up."""
    found: dict[str, float] = {}
    for one in times:
        for stage, ms in one.items():
            found[stage] = found.get(stage, 0.0) + ms
    return found

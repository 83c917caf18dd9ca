"""Scores of the frames between two keyframes, from the states on both sides.

The state of the keyframe before a frame and that of the one after it are both moved to the frame
and blended by distance; an update is fused with that. Frames without update are carried from the
keyframes or updates on their two sides in the same way. A side after them may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.program import FrameProgram, State, blend


@dataclass(frozen=True)
class Between:
    """A frame between keyframes.

    ``flow`` leads from the frame before to it, ``back`` from the frame after; both None where
    states are copied. ``picture`` is what the gate needs of it, ``fresh`` what the update network
    makes of it, ``updates`` whether it is an update, with or without such a network.
    """

    updates: bool
    flow: Tensor | None = None
    back: Tensor | None = None
    picture: Tensor | None = None
    fresh: Tensor | None = None


def updated(
    program: FrameProgram, frames: Sequence[Between], before: State, after: State | None
) -> list[Tensor | None]:
    """Scores of the updates among ``frames``, from the states of the keyframes beside them."""
    there, back = _moved(program, frames, before), _moved_back(program, frames, after)
    scores: list[Tensor | None] = [None] * len(frames)
    for number, frame in enumerate(frames):
        if frame.updates:
            distance = (number + 1) / (len(frames) + 1)
            scores[number] = _merged(program, frame, there[number], back[number], distance)
    return scores


def carried(
    program: FrameProgram,
    geometry: Geometry,
    frames: Sequence[Between],
    scores: Sequence[Tensor | None],
    before: State,
    after: State | None,
) -> list[Tensor]:
    """Scores of all frames, where those of the updates are known.

    ``before`` and ``after`` are what is carried from the keyframes.
    """
    found: list[Tensor] = []
    between: list[Between] = []
    for frame, known in zip(frames, scores, strict=True):
        if known is None:
            between.append(frame)
            continue
        update = program.carried(known, geometry, frame.picture)
        found += [*_carried(program, between, before, update), known]
        between, before = [], update
    return found + _carried(program, between, before, after)


def _carried(
    program: FrameProgram, frames: Sequence[Between], before: State, after: State | None
) -> list[Tensor]:
    """Scores of frames that have none, from those before and after them."""
    there, back = _moved(program, frames, before), _moved_back(program, frames, after)
    found = []
    for number, (frame, one, other) in enumerate(zip(frames, there, back, strict=True)):
        scores = program.moved(one)
        if other is not None:
            share: float | Tensor = (number + 1) / (len(frames) + 1)
            if frame.picture is not None:
                share, _ = program.both_sides(one, other, frame.picture, share)
            scores = blend(scores, program.moved(other), share)
        found.append(scores)
    return found


def _merged(
    program: FrameProgram, frame: Between, before: State, after: State | None, distance: float
) -> Tensor:
    """Scores of an update from its sides, the one after it ``distance`` of the way there."""
    share: float | Tensor = distance
    residual = inconsistency = None
    if frame.picture is not None:
        share, residual, inconsistency = program.errors(before, after, frame.picture, share)
    scores = program.merge_sides(before, after, share, frame.fresh)
    if frame.fresh is None or residual is None or not program.update_stands_alone:
        return scores
    return program.gated(scores, frame.fresh, residual, inconsistency)


def _moved(program: FrameProgram, frames: Sequence[Between], state: State) -> list[State]:
    """The state of the frame before ``frames`` moved to each of them."""
    states = []
    for frame in frames:
        state = program.advance(state, frame.flow)
        states.append(state)
    return states


def _moved_back(
    program: FrameProgram, frames: Sequence[Between], state: State | None
) -> list[State | None]:
    """The state of the frame after ``frames``, if there is one, moved to each of them."""
    states: list[State | None] = []
    for frame in reversed(frames):
        state = None if state is None else program.advance(state, frame.back)
        states.append(state)
    return states[::-1]

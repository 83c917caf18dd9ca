"""Going on in the middle: the keyframes are those of a run that saw every frame."""

from __future__ import annotations

import json

import numpy as np
import pytest

from accel_rt.runtime.adaptive import Adaptive
from accel_rt.runtime.budget import Budget
from accel_rt.runtime.policy import FixedInterval, SceneCuts
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.resumable import ResumableSegmenter, restore_state, state_of


class ByPolicy:
    """Steps without networks: keyframes where the policy, reset at the first frame, says so."""

    def __init__(self):
        self._since = self._index = 0

    def set_policy(self, policy):
        self._policy = policy
        self._policy.reset()

    def push(self, frame_bgr, pts=None, motion=None):
        if self._since == 0:
            self._policy.reset()
        decided = self._policy.decide(frame_bgr, self._since).kind
        kind = decided if self._since else "key"
        self._since = 1 if kind == "key" else self._since + 1
        self._index += 1
        self.kind = kind
        return [FrameResult(self._index - 1, pts, kind, frame_bgr[..., 0])]


def restless(count=200):
    """Frames that differ more and less, so that a cut stands out only from what was before."""
    rng = np.random.default_rng(0)
    level = 0.0
    for number in range(count):
        level += rng.normal(0, 25 if number % 40 < 20 else 5)
        yield np.clip(128 + level % 100 + rng.normal(0, 3, (48, 64, 3)), 0, 255).astype(np.uint8)


def kinds(frames, first=0, state=None, inner=FixedInterval):
    policy = SceneCuts(inner(7))
    segmenter = ResumableSegmenter(ByPolicy(), policy, first, state)
    return [segmenter.push(frame)[0].kind for frame in frames], segmenter.states


@pytest.mark.parametrize(("inner", "count"), [(FixedInterval, 200), (Adaptive, 200), (Budget, 60)])
def test_every_keyframe_can_be_gone_on_from(inner, count):
    frames = list(restless(count))
    expected, states = kinds(frames, inner=inner)
    assert expected.count("key") > count / 7 + count / 70  # some are cuts
    assert sorted(states) == [n for n, kind in enumerate(expected) if kind == "key"]
    for first, state in states.items():
        found, _ = kinds(frames[first:], first, json.loads(json.dumps(state)), inner)
        assert found == expected[first:], first


def test_without_what_was_remembered_the_keyframes_differ():
    """So the test above can fail."""
    frames = list(restless())
    expected, states = kinds(frames)
    assert any(kinds(frames[first:])[0] != expected[first:] for first in states)


def test_a_state_is_restored_exactly():
    policy, other = SceneCuts(FixedInterval(3)), SceneCuts(FixedInterval(3))
    for frame in restless(10):
        policy.decide(frame, 1)
    restore_state(other, json.loads(json.dumps(state_of(policy))))
    assert json.dumps(state_of(other)) == json.dumps(state_of(policy))

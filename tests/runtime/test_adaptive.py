"""Keyframes where the picture changes, or where they help most, as many as asked for."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from accel_rt.errors import UsageError
from accel_rt.models import store
from accel_rt.models.accel import Accel
from accel_rt.runtime.adaptive import Adaptive
from accel_rt.runtime.budget import Budget
from accel_rt.runtime.load import build_segmenter, keyframe_policy
from accel_rt.runtime.policy import FixedInterval, KeyframePolicy
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.settings import SegmenterSettings
from tests.runtime.test_segmenter import CLASSES, KnownFlow, colour_network

CALM, WILD = 60, 60


def changing(rounds: int) -> Iterator[np.ndarray]:
    """A picture with noise, and with other things in it again and again for a while."""
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (96, 72))
    for number in range(rounds * (CALM + WILD)):
        picture = base.astype(int)
        if number % (CALM + WILD) >= CALM:
            top, left = rng.integers(0, 48), rng.integers(0, 64)
            picture[top : top + 24, left : left + 32] = rng.integers(0, 256, 3)
        yield np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def keyframes(policy: KeyframePolicy, frames: Iterator[np.ndarray]) -> list[bool]:
    since, keys = 0, []
    for frame in frames:
        keys.append(policy.decide(frame, since).kind == "key" or not since)
        since = 1 if keys[-1] else since + 1
    return keys


def test_keyframes_are_spent_where_the_picture_changes_and_their_average_holds() -> None:
    keys = np.array(keyframes(Adaptive(6), changing(6))).reshape(6, -1)
    assert keys.mean() == pytest.approx(1 / 6, rel=0.1)
    calm, wild = keys[1:, :CALM].mean(), keys[1:, CALM:].mean()
    assert wild > 1.4 * calm


@pytest.mark.parametrize("interval", [4, 6, 10])
def test_a_budget_is_spent_where_the_picture_changes_and_not_exceeded(interval: int) -> None:
    keys = np.array(keyframes(Budget(interval), changing(4))).reshape(4, -1)
    assert keys.mean() == pytest.approx(1 / interval, rel=0.1)
    calm, wild = keys[1:, :CALM].mean(), keys[1:, CALM:].mean()
    assert wild > 1.1 * calm


@pytest.mark.parametrize("policy", [Adaptive(5), Budget(5)], ids=["adaptive", "budget"])
def test_no_interval_is_longer_than_four_times_the_average(policy: KeyframePolicy) -> None:
    still = itertools.repeat(np.full((72, 96, 3), 90, np.uint8), 200)
    places = np.flatnonzero(keyframes(policy, itertools.chain(changing(1), still)))
    assert np.diff(places).max() <= 20
    assert isinstance(policy, Budget) or np.diff(places).max() == 20


def test_a_budget_without_what_was_learnt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store._policy.cache_clear()
    monkeypatch.setattr(store, "_all", lambda: iter(()))
    with pytest.raises(UsageError, match="no installed policy weights"):
        keyframe_policy(SegmenterSettings(policy="budget"))


def test_a_keyframe_that_could_not_be_begun_is_asked_for_again() -> None:
    policy = Adaptive(3)
    frames = changing(1)
    kinds = [policy.decide(next(frames), since).kind for since in range(8)]
    assert kinds == ["update"] * 3 + ["key"] * 5
    assert policy.decide(next(frames), 1).kind == "update"


def test_updates_and_carried_frames_are_those_of_the_schedule() -> None:
    policy = Adaptive(6, 3)
    kinds = [policy.decide(frame, n).kind for n, frame in zip(range(6), changing(1), strict=False)]
    assert kinds[1:] == ["carry", "carry", "update", "carry", "carry"]


@pytest.mark.parametrize("kind", [Adaptive, Budget])
def test_settings_choose_it_and_say_so(kind: type) -> None:
    name = kind.__name__.lower()
    settings = SegmenterSettings(policy=name, scene_cuts=False)
    assert isinstance(keyframe_policy(settings), kind)
    assert settings.schedule.describe() == f"keyframe every 5 on average ({name})"
    assert isinstance(
        keyframe_policy(SegmenterSettings(policy="adaptive", mode="deeplab")), FixedInterval
    )


def test_it_cannot_look_ahead() -> None:
    with pytest.raises(UsageError, match="choose --policy fixed or --no-look-ahead"):
        Schedule(policy="adaptive", look_ahead=True)


def test_keyframes_beside_the_frames_go_by_it_too() -> None:
    segmenter = build_segmenter(
        Accel(colour_network()),
        CLASSES,
        policy=Adaptive(3),
        flow=KnownFlow(0),
        size=(72, 96),
        background=True,
    )
    try:
        kinds = []
        for frame in itertools.islice(changing(1), 12):
            kinds.append(segmenter.step(frame).kind)
            if segmenter._executor._pending is not None:
                segmenter._executor._pending.state.exception(timeout=10)
        assert kinds.count("key") >= 3
    finally:
        segmenter.close()

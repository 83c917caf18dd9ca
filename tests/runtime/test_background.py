"""Keyframes computed beside the frames: what is shown meanwhile, and what arrives."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel_rt.errors import UsageError
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.layers import Features
from accel_rt.models.network import Network
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval, SceneCuts
from accel_rt.runtime.segmenter import Segmenter
from tests.runtime.test_segmenter import (
    CLASSES,
    Colours,
    KnownFlow,
    colour_network,
    columns,
    picture,
)

SIZE = (96, 160)


class Gate(nn.Module):
    """The colour features, computed only while the gate is open; counts what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.threads: list[int] = []
        self._colours = Colours()

    def forward(self, frame: Tensor) -> Features:
        assert self.open.wait(10)
        self.threads.append(threading.get_ident())
        if self.failure:
            raise self.failure
        return self._colours(frame)


def gated(gate: Gate) -> Network:
    network = colour_network()
    network.feature = gate
    return network


@pytest.fixture
def made() -> Iterator[list[Segmenter]]:
    """Segmenters to close when the test ends."""
    made: list[Segmenter] = []
    yield made
    for runner in made:
        runner.close()


def runner(made: list[Segmenter], gate: Gate, update: bool = False, **options: object):
    model = Accel(gated(gate))
    if update:
        fusion = ScoreFusion(len(CLASSES))
        with torch.no_grad():  # only the reference counts where there is one
            fusion.conv.weight[:, len(CLASSES) :] = 0
        model = Accel(gated(gate), colour_network(), fusion)
    defaults = {"size": SIZE, "policy": FixedInterval(3), "flow": KnownFlow(0)}
    made.append(build_segmenter(model, CLASSES, background=True, **{**defaults, **options}))
    return made[-1]


def settle(runner: Segmenter) -> None:
    """Wait until what is coming has come."""
    pending = runner._executor._pending
    assert pending is not None
    pending.state.exception(timeout=10)


def left(labels: np.ndarray) -> int:
    return int(columns(labels)[0])


def test_frames_go_on_with_the_old_features_until_the_new_ones_come(made) -> None:
    gate = Gate()
    frames = runner(made, gate)
    assert frames.step(picture(32)).kind == "key"
    gate.open.clear()
    meanwhile = [frames.step(picture(96)) for _ in range(6)]
    assert [r.kind for r in meanwhile] == ["update"] * 6
    assert {left(r.labels) for r in meanwhile} == {left(meanwhile[0].labels)}
    assert abs(left(meanwhile[0].labels) - 32) <= 4
    gate.open.set()
    settle(frames)
    assert len(gate.threads) == 2, "one keyframe at a time"
    assert gate.threads[1] != threading.get_ident()
    arrived = frames.step(picture(0))
    assert arrived.kind == "key"
    assert abs(left(arrived.labels) - 96) <= 4


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("late", [1, 2, 4])
def test_late_features_equal_those_of_a_keyframe_that_was_waited_for(
    made, incremental: bool, late: int
) -> None:
    """Same keyframe, same flow since: the same labels as of the synchronous segmenter."""
    rng = np.random.default_rng(late)
    frames = [picture(int(x)) for x in rng.integers(0, 100, 1 + late)]
    options = {"size": SIZE, "incremental": incremental}
    waiting = build_segmenter(
        Accel(colour_network()),
        CLASSES,
        flow=KnownFlow(-1, 0.5),
        policy=FixedInterval(100),
        **options,
    )
    expected = [waiting.step(frame) for frame in frames][-1]
    gate = Gate()
    beside = runner(made, gate, flow=KnownFlow(-1, 0.5), policy=FixedInterval(1), **options)
    beside.step(picture(0))
    gate.open.clear()
    for frame in frames[:-1]:
        beside.step(frame)
    gate.open.set()
    settle(beside)
    result = beside.step(frames[-1])
    assert result.kind == "key"
    np.testing.assert_array_equal(result.labels, expected.labels)


def test_the_first_frames_show_the_update_network(made) -> None:
    gate = Gate()
    gate.open.clear()
    frames = runner(made, gate, update=True)
    for x in (32, 64):
        result = frames.step(picture(x))
        assert result.kind == "update"
        assert abs(left(result.labels) - x) <= 4
    gate.open.set()
    settle(frames)
    arrived = frames.step(picture(96))
    assert arrived.kind == "key"
    assert abs(left(arrived.labels) - 32) <= 4, "the first frame's features, and no motion"


def test_after_a_cut_nothing_of_the_old_scene_is_left(made) -> None:
    gate = Gate()
    frames = runner(made, gate, update=True, policy=SceneCuts(FixedInterval(3)))
    frames.step(picture(32))
    settle(frames)
    frames.step(picture(32))
    frames.step(picture(32))
    gate.open.clear()
    frames.step(picture(32))  # asks for a keyframe, which the cut makes useless
    bright = np.full((*SIZE, 3), (0, 0, 255), np.uint8)
    cut = frames.step(bright)
    assert cut.kind == "update"
    assert np.all(cut.labels == 2)
    gate.open.set()
    settle(frames)
    stale = frames.step(bright)
    assert stale.kind == "update"
    assert np.all(stale.labels == 2)
    settle(frames)
    assert frames.step(bright).kind == "key"


def test_without_an_update_network_a_cut_waits_for_its_keyframe(made) -> None:
    frames = runner(made, Gate(), policy=SceneCuts(FixedInterval(100)))
    frames.step(picture(32))
    frames.step(picture(32))
    bright = np.full((*SIZE, 3), (0, 0, 255), np.uint8)
    cut = frames.step(bright)
    assert cut.kind == "key"
    assert np.all(cut.labels == 2)


def test_another_size_starts_over(made) -> None:
    gate = Gate()
    frames = runner(made, gate, size=None, trained=SIZE, policy=FixedInterval(1))
    frames.step(picture(32))
    gate.open.clear()
    frames.step(picture(32))
    gate.open.set()
    result = frames.step(picture(32, (64, 128)))
    assert (result.kind, result.labels.shape) == ("key", (64, 128))


def test_copied_features_arrive_too(made) -> None:
    frames = runner(made, Gate(), flow=None, policy=FixedInterval(1))
    frames.step(picture(32))
    frames.step(picture(96))
    settle(frames)
    assert abs(left(frames.step(picture(0)).labels) - 96) <= 4


def test_the_workers_error_is_raised(made) -> None:
    gate = Gate()
    frames = runner(made, gate, policy=FixedInterval(1))
    frames.step(picture(32))
    gate.failure = RuntimeError("out of memory")
    frames.step(picture(32))
    settle(frames)
    with pytest.raises(RuntimeError, match="out of memory"):
        frames.step(picture(32))


def test_threads_are_shared_out_and_given_back(made) -> None:
    before = torch.get_num_threads()
    frames = runner(made, Gate(), threads=5)
    try:
        frames.step(picture(32))
        assert torch.get_num_threads() == 3
        assert frames.describe()["keyframe_threads"] == 2
        frames.close()
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_segmenters_of_one_thread_share_its_threads_once(made) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        first, second = runner(made, Gate()), runner(made, Gate())
        for frames in (first, second, first):
            frames.step(picture(32))
            assert torch.get_num_threads() == 2
        first.close()
        second.close()
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_a_closed_segmenter_says_so(made) -> None:
    frames = runner(made, Gate(), policy=FixedInterval(1))
    frames.step(picture(32))
    frames.close()
    with pytest.raises(UsageError, match="is closed: load another one"):
        frames.step(picture(32))

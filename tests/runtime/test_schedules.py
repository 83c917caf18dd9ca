"""Schedules: carried frames, fused keyframes, and frames between keyframes from both sides."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel_rt.errors import UsageError
from accel_rt.flow.dis import DISFlow
from accel_rt.models.accel import Accel, FeatureFusion, Gate, ScoreFusion
from accel_rt.models.layers import Features
from accel_rt.models.network import Network
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.look_ahead import LookAheadSegmenter
from accel_rt.runtime.policy import FixedInterval, KeyframePolicy, SceneCuts
from accel_rt.runtime.program import FrameProgram, State, inverse_flow
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.segmenter import Segmenter
from tests.runtime import small
from tests.runtime.fake_device import FakeDevice
from tests.runtime.test_segmenter import (
    CLASSES,
    Colours,
    KnownFlow,
    colour_network,
    columns,
    picture,
)

CPU = torch.device("cpu")
SIZE = (96, 160)


class Counted(nn.Module):
    """The colour features, and how often they were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self._colours = Colours()

    def forward(self, frame: Tensor) -> Features:
        self.runs += 1
        return self._colours(frame)


def counted() -> tuple[Network, Counted]:
    network, feature = colour_network(), Counted()
    network.feature = feature  # type: ignore[assignment]
    return network, feature


def pair() -> tuple[Accel, Counted, Counted]:
    """Both branches see colours, and count alike in their fusion."""
    (reference, deep), (update, light) = counted(), counted()
    return Accel(reference, update, ScoreFusion(len(CLASSES))), deep, light


def online(model: Accel, schedule: Schedule, flow: object) -> Segmenter:
    return build_segmenter(model, CLASSES, schedule=schedule, flow=flow, size=SIZE)  # type: ignore[arg-type]


def late(
    model: Accel, schedule: Schedule, flow: object, policy: KeyframePolicy | None = None
) -> LookAheadSegmenter:
    schedule = replace(schedule, look_ahead=True)
    return build_segmenter(model, CLASSES, schedule=schedule, flow=flow, policy=policy, size=SIZE)  # type: ignore[arg-type]


def run(segmenter: Segmenter | LookAheadSegmenter, frames: list[np.ndarray]) -> list[FrameResult]:
    results = []
    for number, frame in enumerate(frames):
        results += segmenter.push(frame, Fraction(number, 25))
    return results + segmenter.flush()


def kinds(results: list[FrameResult]) -> str:
    return "".join(result.kind[0] for result in results)


def left(result: FrameResult) -> int:
    return int(columns(result.labels)[0])


class TestCarried:
    def test_networks_run_where_the_schedule_says_and_nowhere_else(self) -> None:
        model, deep, light = pair()
        results = run(online(model, Schedule(6, 2), KnownFlow(0)), [picture(32)] * 13)
        assert kinds(results) == "kcucuckcucuck"
        assert (deep.runs, light.runs) == (3, 4)

    def test_what_is_carried_moves_with_the_flow(self) -> None:
        """Scores of the update, not of the keyframe, go on from it: by one cell a frame."""
        model, _, _ = pair()
        with torch.no_grad():  # the update network alone counts where it runs
            model.fusion.conv.weight[:, : len(CLASSES)] = 0
        segmenter = online(model, Schedule(6, 3), KnownFlow(-1))
        frames = [picture(0), picture(0), picture(0), picture(64), picture(0), picture(0)]
        places = [left(result) for result in run(segmenter, frames)]
        assert abs(places[3] - 64) <= 4
        assert abs(places[4] - 80) <= 4
        assert abs(places[5] - 96) <= 4

    def test_without_flow_it_stays(self) -> None:
        model, _, _ = pair()
        results = run(online(model, Schedule(3, 5), None), [picture(32), picture(96)])
        np.testing.assert_array_equal(results[1].labels, results[0].labels)

    def test_fused_keyframes_run_both_networks(self) -> None:
        model, deep, light = pair()
        with torch.no_grad():
            model.fusion.conv.weight[:, : len(CLASSES)] = 0  # the update's scores alone are left
            model.update.task.scoring.bias[0] = 50  # which say: nothing
        for fused, last in ((False, 1), (True, 0)):
            schedule = Schedule(3, 3, fuse_keyframes=fused)
            results = run(online(model, schedule, KnownFlow(0)), [picture(32)] * 4)
            assert kinds(results) == "kcck"
            assert results[-1].labels.max() == last
        assert (deep.runs, light.runs) == (4, 2)

    @pytest.mark.parametrize("flow", small.FLOWS)
    @pytest.mark.parametrize("fuse", [False, True])
    @pytest.mark.parametrize("branches", [{}, {"update": None}, {"update": small.SkipTaskNetwork}])
    def test_the_graphs_of_a_gpu_give_the_same_labels(
        self, flow: str, fuse: bool, branches: dict
    ) -> None:
        torch.manual_seed(3)
        model, stream = small.accel(**branches), small.frames(16)
        schedule, source = Schedule(5, 2, fuse), small.FLOWS[flow]()
        options = {"schedule": schedule, "flow": source, "trained": small.SIZE}
        expected = run(build_segmenter(model, small.CLASSES, **options), stream)
        segmenter = build_segmenter(model, small.CLASSES, **options)
        program = segmenter._executor.program
        segmenter._executor = CudaExecutor(program, source, schedule, cuda=FakeDevice(4))
        for result, one in zip(run(segmenter, stream), expected, strict=True):
            assert (result.kind, result.flow) == (one.kind, one.flow)
            np.testing.assert_array_equal(result.labels, one.labels)


class TestLookAhead:
    def test_results_come_in_order_at_the_next_keyframe(self) -> None:
        model, _, _ = pair()
        segmenter = late(model, Schedule(4, 2), KnownFlow(0))
        ready = [len(segmenter.push(picture(32), Fraction(i, 25))) for i in range(10)]
        assert ready == [1, 0, 0, 0, 4, 0, 0, 0, 4, 0]
        last = segmenter.flush()
        assert [(r.index, r.pts) for r in last] == [(9, Fraction(9, 25))]
        assert segmenter.flush() == []
        assert kinds(segmenter.push(picture(32))) == "k"

    def test_networks_run_where_the_schedule_says(self) -> None:
        model, deep, light = pair()
        results = run(
            late(model, Schedule(4, 2, fuse_keyframes=True), KnownFlow(0)), [picture(32)] * 9
        )
        assert kinds(results) == "kcuckcuck"
        assert [r.index for r in results] == list(range(9))
        assert [r.flow for r in results] == ["none", *["known"] * 8]
        assert (deep.runs, light.runs) == (3, 5)

    @pytest.mark.parametrize("schedule", [Schedule(4, 4), Schedule(4, 2), Schedule(4, 1)], ids=str)
    def test_with_exact_flow_both_sides_agree(self, schedule: Schedule) -> None:
        """A column that moves by a cell a frame is where it is, whichever side it comes from."""
        model, _, _ = pair()
        frames = [picture(16 * (1 + i)) for i in range(5)]
        for i, result in enumerate(run(late(model, schedule, KnownFlow(-1)), frames)):
            assert abs(left(result) - 16 * (1 + i)) <= 4, i

    @pytest.mark.parametrize("update_every", [1, 6])
    def test_the_nearer_keyframe_counts_more(self, update_every: int) -> None:
        """Copied from a keyframe with the column and one without: it goes half of the way."""
        model = Accel(colour_network())
        schedule = Schedule(6, update_every)
        results = run(late(model, schedule, None), [*[picture(32)] * 6, picture(-200)])
        seen = [bool((result.labels == 1).any()) for result in results]
        assert seen[0]
        assert not seen[6]
        assert seen == sorted(seen, reverse=True)
        assert 2 <= sum(seen) <= 5

    def test_nothing_comes_back_over_a_cut(self) -> None:
        model = Accel(colour_network())
        policy = SceneCuts(FixedInterval(6, 6))
        red = np.full((*SIZE, 3), (0, 0, 255), np.uint8)
        frames = [picture(32)] * 4 + [red] * 3
        results = run(late(model, Schedule(6, 6), KnownFlow(0), policy), frames)
        assert kinds(results) == "kuuukuu".replace("u", "c")
        for result in results[:4]:
            np.testing.assert_array_equal(result.labels, results[0].labels)
        for result in results[4:]:
            assert np.all(result.labels == 2)

    @pytest.mark.parametrize("every", [1, 10])
    def test_the_end_of_a_video_has_one_side(self, every: int) -> None:
        rng = np.random.default_rng(0)
        frames = [picture(int(x)) for x in rng.integers(0, 100, 4)]
        schedule = Schedule(10, every)
        ahead = run(late(pair()[0], schedule, KnownFlow(-0.5)), frames)
        plain = run(online(pair()[0], schedule, KnownFlow(-0.5)), frames)
        for result, expected in zip(ahead, plain, strict=True):
            assert result.kind == expected.kind
            np.testing.assert_array_equal(result.labels, expected.labels)

    def test_before_the_last_update_both_sides_are_moved(self) -> None:
        """The end of the video is behind that update, not behind the frames before it."""
        frames = [picture(16 * (1 + i)) for i in range(5)]
        results = run(late(pair()[0], Schedule(10, 3), KnownFlow(-1)), frames)
        assert kinds(results) == "kccuc"
        for i, result in enumerate(results):
            assert abs(left(result) - 16 * (1 + i)) <= 4, i

    def test_another_size_ends_what_was_before(self) -> None:
        segmenter = late(pair()[0], Schedule(5, 2), DISFlow())
        for _ in range(3):
            segmenter.push(picture(32))
        results = segmenter.push(picture(32, (64, 128)))
        assert kinds(results) == "cuk"
        assert [r.labels.shape for r in results] == [SIZE, SIZE, (64, 128)]

    def test_no_more_frames_are_held_than_the_interval(self) -> None:
        segmenter = late(pair()[0], Schedule(4, 2), KnownFlow(0))
        for _ in range(50):
            segmenter.push(picture(32))
            assert len(segmenter._waiting) < 4

    def test_one_at_a_time_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(UsageError, match="use push and flush instead of step"):
            late(pair()[0], Schedule(), KnownFlow(0)).step(picture(32))

    @pytest.mark.parametrize("fusion", [ScoreFusion, FeatureFusion])
    def test_one_side_without_share_is_the_merge_of_that_side(self, fusion: type) -> None:
        torch.manual_seed(5)
        model = small.accel(fusion=fusion)
        program = FrameProgram(model, CPU, torch.float32)
        frames = torch.randn(2, 1, 3, *small.SIZE)
        flow = torch.randn(1, 2, small.SIZE[0] // 16, small.SIZE[1] // 16)
        with torch.no_grad():
            first, second = (
                program.advance(program.key(frame)[0], flow) for frame in (frames[0], frames[1])
            )
            fresh = program.refresh(frames[0])
            both = [program.merge_sides(first, second, share, fresh) for share in (0.0, 0.5, 1.0)]
            torch.testing.assert_close(both[0], program.merge(first, fresh))
            torch.testing.assert_close(both[2], program.merge(second, fresh))
        assert (both[1] - both[0]).abs().max() > 1e-3


class TestGate:
    """Something comes into view that no flow leads to."""

    def blind(self) -> Accel:
        """A pair whose fusion follows the reference alone."""
        model, _, _ = pair()
        with torch.no_grad():
            model.fusion.conv.weight[:, len(CLASSES) :] = 0
        return model

    @pytest.mark.parametrize("make", [online, late])
    def test_what_enters_is_seen_by_the_update_network(self, make: Callable) -> None:
        frames = [picture(-200), picture(48), picture(48)]
        for gate in (False, True):
            results = run(make(self.blind(), Schedule(9, gate=gate), KnownFlow(0)), frames)
            assert kinds(results) == "kuu"
            for result in results[1:]:
                assert bool((result.labels == 1).any()) == gate
        assert abs(left(results[1]) - 48) <= 4

    def test_where_flow_leads_to_what_is_there_nothing_changes(self) -> None:
        frames = [picture(16 * (1 + i)) for i in range(4)]
        plain, gated = (
            run(online(pair()[0], Schedule(9, gate=gate), KnownFlow(-1)), frames)
            for gate in (False, True)
        )
        for one, other in zip(plain, gated, strict=True):
            assert np.mean(one.labels == other.labels) > 0.999

    def test_the_side_that_looks_like_the_frame_counts(self) -> None:
        """The column has gone before the second frame: the keyframe long after it knows better."""
        frames = [picture(32), *[picture(-200)] * 5]
        for gate in (False, True):
            results = run(
                late(Accel(colour_network()), Schedule(5, 5, gate=gate), KnownFlow(0)), frames
            )
            assert bool((results[1].labels == 1).any()) != gate

    def test_a_keyframe_beside_the_frames_is_gated_by_its_own_picture(self) -> None:
        model = self.blind()
        schedule = Schedule(2, gate=True)
        segmenter = build_segmenter(
            model, CLASSES, schedule=schedule, flow=KnownFlow(0), size=SIZE, background=True
        )
        try:
            segmenter.step(picture(-200))
            segmenter._executor._pending.state.exception(timeout=10)
            result = segmenter.step(picture(48))
            assert result.kind == "key"
            assert abs(left(result) - 48) <= 4
        finally:
            segmenter.close()

    @pytest.mark.parametrize("flow", ["dis", "flownets"])
    def test_the_graphs_of_a_gpu_agree(self, flow: str) -> None:
        """Thumbnails are rounded to bytes on the CPU alone."""
        torch.manual_seed(3)
        model, stream = small.accel(), small.frames(16)
        stream = [frame if i % 3 else 255 - frame for i, frame in enumerate(stream)]
        schedule, source = Schedule(5, 2, True, gate=True), small.FLOWS[flow]()
        options = {"schedule": schedule, "flow": source, "trained": small.SIZE}
        expected = run(build_segmenter(model, small.CLASSES, **options), stream)
        ungated = {**options, "schedule": replace(schedule, gate=False)}
        others = run(build_segmenter(model, small.CLASSES, **ungated), stream)
        segmenter = build_segmenter(model, small.CLASSES, **options)
        program = segmenter._executor.program
        segmenter._executor = CudaExecutor(program, source, schedule, cuda=FakeDevice(4))
        same, different = [], []
        for result, one, other in zip(run(segmenter, stream), expected, others, strict=True):
            same.append(np.mean(result.labels == one.labels))
            different.append(np.mean(other.labels != one.labels))
        assert min(same) > 0.99
        assert max(different) > 0.05

    def test_flow_that_cannot_be_inverted_opens_a_gate_that_asks_for_it(self) -> None:
        """One half comes over the other; where the flow is even, nothing misses its inverse."""
        program = FrameProgram(small.accel(), CPU, torch.float32)
        flow = torch.zeros(1, 2, 20, 40)
        flow[:, 0, :, 20:] = -6.0
        cells = tuple(program.stride // program.finest_stride * side for side in (20, 40))
        state = State(torch.zeros(1, 4, 20, 40), flow, torch.zeros(1, 3, *cells))
        assert program.inconsistency(state) is None  # costs nothing where it does not count
        program.model.fusion.gate = Gate(0.0, 1.0, -8.0)
        error = program.inconsistency(state)
        height, width = error.shape[-2:]
        assert error[..., : width // 4].max() == 0
        assert error[..., 3 * width // 4 :].max() == 0
        assert error[..., width // 2 : 5 * width // 8].max() > 8
        scores, fresh = torch.zeros(1, 2, height, width), torch.ones(1, 2, height, width)
        gated = program.gated(scores, fresh, torch.zeros_like(error), error)
        assert gated[..., : width // 4].max() < 0.01
        assert gated.max() > 0.9

    @pytest.mark.parametrize("make", [online, late])
    def test_a_gate_that_never_opens_is_the_plain_fusion(self, make: Callable) -> None:
        frames = [picture(-200), picture(48), picture(64), picture(32)]
        plain, shut = pair()[0], pair()[0]
        shut.fusion.gate = Gate(0.0, 0.0, -1e4)
        results = (
            run(make(model, Schedule(3, gate=gate), KnownFlow(-1)), frames)
            for model, gate in ((plain, False), (shut, True))
        )
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one.labels, other.labels)

    @pytest.mark.parametrize("incremental", [False, True])
    def test_the_residual_is_that_of_the_moved_picture(self, incremental: bool) -> None:
        """By two cells: the picture's content is found where the flow says it was."""
        program = FrameProgram(small.accel(), CPU, torch.float32, incremental=incremental)
        wide = 255 * torch.rand(1, 3, 20, 44)
        flow = torch.zeros(1, 2, 20, 40)
        flow[:, 0] = 2.0
        state = State(torch.zeros(1, 4, 20, 40), None, wide[..., :40])
        moved = program.advance(state, flow)
        assert program.residual(moved, wide[..., 2:42])[..., :37].max() < 1e-3
        assert program.residual(state, wide[..., 2:42]).mean() > 50


def test_the_inverse_of_a_flow_leads_back() -> None:
    flow = torch.full((1, 2, 6, 8), -0.75)
    torch.testing.assert_close(inverse_flow(flow), -flow)
    ramp = torch.zeros(1, 2, 1, 8)
    ramp[0, 0, 0] = torch.arange(8.0) / 16
    there = torch.arange(8.0) + ramp[0, 0, 0]  # where each cell was
    back = inverse_flow(ramp)[0, 0, 0]
    returned = there + torch.from_numpy(np.interp(there.numpy(), np.arange(8), back.numpy()))
    torch.testing.assert_close(returned[:7].float(), torch.arange(7.0), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule(), "keyframe every 5"),
        (Schedule(10, 2), "keyframe every 10, update every 2, others carried"),
        (
            Schedule(5, 5, True, True),
            "keyframe every 5 (fused), others carried, from both sides, up to 4 frames late",
        ),
    ],
)
def test_schedules_are_described(schedule: Schedule, words: str) -> None:
    assert schedule.describe() == words


@pytest.mark.parametrize(("name", "said"), [("interval", "interval"), ("update_every", "--update")])
def test_numbers_below_one_are_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}.* must be at least 1, got 0"):
        Schedule(**{name: 0})

"""Look-ahead on a device that reorders: the CPU's labels, graphs, and few waits."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from accel_rt.flow.dis import DISFlow
from accel_rt.models.accel import Accel
from accel_rt.runtime import load
from accel_rt.runtime.cuda_launch import CudaLauncher
from accel_rt.runtime.launch import Direct
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.look_ahead import LookAheadSegmenter
from accel_rt.runtime.policy import FixedInterval, SceneCuts
from accel_rt.runtime.preprocess import thumbnail
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import FrameResult, Overlay
from accel_rt.runtime.schedule import PRESETS, Schedule
from accel_rt.video.overlay import render_overlay
from tests.runtime import small
from tests.runtime.fake_device import FakeDevice

CPU = torch.device("cpu")
SHORT = Schedule(4, 2, fuse_keyframes=True, look_ahead=True, gate=True)


class TensorPictures(FrameProgram):
    """What the gate sees is made on the device's way, which does not round to bytes."""

    def picture(self, frame, geometry):
        frame = torch.from_numpy(frame) if isinstance(frame, np.ndarray) else frame
        return thumbnail(frame, geometry, self.finest_stride)


def device(seed: int = 0, can_capture: bool = True) -> FakeDevice:
    made = FakeDevice(seed, can_capture, ("main", "up", "down"))
    made.slow = {"up", "down"}
    return made


def ahead(
    model: Accel,
    schedule: Schedule = SHORT,
    on: FakeDevice | None = None,
    *,
    incremental: bool = False,
    graphs: bool = True,
    **options,
) -> LookAheadSegmenter:
    """On the CPU, or on a device."""
    return LookAheadSegmenter(
        small.CLASSES,
        SceneCuts(FixedInterval(schedule.interval, schedule.update_every)),
        TensorPictures(model, CPU, torch.float32, incremental=incremental),
        options.pop("flow", None),
        schedule,
        trained=None,
        launcher=Direct(CPU) if on is None else CudaLauncher(CPU, graphs, on),
        **options,
    )


def stream(number: int = 16) -> list[np.ndarray]:
    """With a cut, and another size at the end."""
    first = small.frames(number)
    cut = [255 - frame for frame in small.frames(5)]
    return [*first, *cut, *small.frames(3, (80, 112))]


def same(found: list[FrameResult], expected: list[FrameResult]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.index, one.kind, one.flow) == (other.index, other.kind, other.flow)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("flow", small.FLOWS)
@pytest.mark.parametrize("gate", [False, True], ids=["ungated", "gated"])
@pytest.mark.parametrize("preset", PRESETS)
def test_labels_of_every_preset_are_the_cpus(preset: str, gate: bool, flow: str) -> None:
    """Whatever order the streams run in, plainly and from graphs, with a frame begun before the
    ones before it are waited for."""
    torch.manual_seed(5)
    schedule, model, frames = replace(PRESETS[preset], gate=gate), small.accel(), stream(23)
    source = small.FLOWS[flow]()
    expected = small.pushed(ahead(model, schedule, flow=source), frames)
    assert len({frame.labels.tobytes() for frame in expected}) > 1
    for overlap in (False, True):
        runner = ahead(model, schedule, device(overlap), flow=source, overlap=overlap)
        same(small.pushed(runner, frames), expected)


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("flow", small.FLOWS)
@small.BRANCHES
def test_labels_of_every_model_are_the_cpus(branches: dict, flow: str, incremental: bool) -> None:
    torch.manual_seed(6)
    model, frames, source = small.accel(**branches), stream(10), small.FLOWS[flow]()
    options = {"flow": source, "incremental": incremental}
    expected = small.pushed(ahead(model, **options), frames)
    same(small.pushed(ahead(model, on=device(1), **options), frames), expected)


def test_margins() -> None:
    torch.manual_seed(7)
    model, source, frames = small.accel(), DISFlow(), small.frames(10)
    expected, found = (
        small.pushed(ahead(model, on=on, flow=source, margins=True), frames)
        for on in (None, device())
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.margin, other.margin)


class Hasty(FakeDevice):
    """Overlooks what the stream ``hasty`` waits for, but for the events in ``heeded``."""

    hasty: str
    heeded: tuple = ()

    def blocked(self, stream) -> bool:
        what, subject, _ = stream.queue[0]
        overlooks = stream.name == self.hasty and what == "wait" and subject not in self.heeded
        return not overlooks and super().blocked(stream)


@pytest.mark.parametrize("what", ["up", "down", "main", "main for results"])
def test_every_wait_is_needed(what: str) -> None:
    """The device notices: without the wait some order gives other labels."""
    torch.manual_seed(8)
    model, frames, source = small.accel(), small.frames(12), small.flownets()
    policy = FixedInterval(1 if "results" in what else 4, 2)  # keyframes follow upon each other
    runner = ahead(model, flow=source)
    runner.set_policy(policy)
    expected = small.pushed(runner, frames)

    def agrees(seed: int, hasty: str) -> bool:
        on = Hasty(seed, names=("main", "up", "down"))
        on.hasty, on.slow = hasty.partition(" ")[0], {"main"} if hasty == "up" else {"up", "down"}
        runner = ahead(model, on=on, flow=source, overlap=True)
        runner.set_policy(policy)
        if "results" in hasty:
            runner.push(frames[0])
            runner.flush()
            runner.reset()
            staged = runner._launcher._next, runner._launcher._other
            on.heeded = tuple(one.arrived for one in staged)
        try:
            found = small.pushed(runner, frames)
        except RuntimeError:  # times of what was not over yet
            return False
        pairs = zip(found, expected, strict=True)
        return all(np.array_equal(one.labels, other.labels) for one, other in pairs)

    assert all(agrees(seed, "") for seed in range(2))
    assert not all(agrees(seed, what) for seed in range(20))


def captured(on: FakeDevice) -> list[str]:
    return [entry.partition(" ")[2] for entry in on.log if entry.startswith("capture")]


def test_nodes_become_graphs_once_per_size() -> None:
    """Before its first frame, however long the video is, and for the next one of the same size."""
    torch.manual_seed(9)
    on = device()
    runner = ahead(small.accel(), on=on, flow=small.flownets())
    runner._start(runner._video.begin(small.frames(1)[0]))
    found = captured(on)
    assert sorted(set(found)) == ["carried", "key", "look", "output", "refresh", "updated"]
    assert len(found) == 8  # the first frame looks and is output in a way of its own
    on.log.clear()
    assert [result.index for result in small.pushed(runner, small.frames(29))] == [*range(29)]
    assert captured(on) == []
    plain = {entry for entry in on.log if ": " in entry and "replay" not in entry}
    assert plain <= {f"main: {node}" for node in ("copy", "hold", "turn")} | {
        "up: copy", "down: copy"
    }  # fmt: skip
    on.log.clear()
    runner.reset()
    small.pushed(runner, small.frames(29))
    assert captured(on) == []
    small.pushed(runner, small.frames(29, (80, 112)))
    assert sorted(captured(on)) == sorted(found)


def test_without_graphs_launches_stay_plain() -> None:
    torch.manual_seed(10)
    model, frames, source = small.accel(), small.frames(12), small.flownets()
    on = device(can_capture=False)
    runner = ahead(model, on=on, flow=source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = small.pushed(runner, frames)
    reason = "operation not permitted when stream is capturing"
    assert len(caught) == 1
    assert str(caught[0].message).endswith(f"launches stay plain: {reason}")
    assert runner.describe()["cuda_graphs"] == f"no: {reason}"
    assert len(captured(on)) == 1
    expected = small.pushed(ahead(model, flow=source), frames)
    same(found, expected)
    other = device()
    runner = ahead(model, on=other, flow=source, graphs=False)
    same(small.pushed(runner, frames), expected)
    assert captured(other) == []
    assert runner.describe()["cuda_graphs"] == "no: switched off"


def test_the_host_waits_once_for_the_frames_between_two_keyframes() -> None:
    torch.manual_seed(11)
    on = device()
    runner = ahead(small.accel(), on=on, flow=small.flownets())
    runner._start(runner._video.begin(small.frames(1)[0]))
    waits = []
    for frame in small.frames(13):
        on.log.clear()
        runner.push(frame)
        waits.append(on.log.count("host waits"))
    assert waits == [1, 0, 0, 0] * 3 + [1]


def test_a_file_s_frame_is_begun_before_those_before_it_are_waited_for() -> None:
    torch.manual_seed(12)
    on = device()
    runner = ahead(small.accel(), on=on, flow=small.flownets(), overlap=True)
    frames = small.frames(6)
    assert [len(runner.push(frame)) for frame in frames[:5]] == [0, 1, 0, 0, 0]
    on.log.clear()
    assert [result.index for result in runner.push(frames[5])] == [1, 2, 3, 4]
    assert on.log.index("up: copy") < on.log.index("host waits")
    assert runner.describe()["delay_frames"] == 4
    assert [result.index for result in runner.flush()] == [5]
    assert runner.flush() == []


def test_results_stay_what_they_were() -> None:
    torch.manual_seed(13)
    runner = ahead(small.accel(), on=device(), flow=small.flownets(), margins=True)
    frames = small.frames(21)
    first = [result for frame in frames[:5] for result in runner.push(frame)]
    before = [(result.labels.copy(), result.margin.copy()) for result in first]
    for frame in frames[5:]:
        runner.push(frame)
    for result, (labels, margin) in zip(first, before, strict=True):
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_array_equal(result.margin, margin)


def test_frames_that_nobody_waited_for_do_not_disturb_the_next_video() -> None:
    torch.manual_seed(14)
    model, frames, source = small.accel(), small.frames(10), small.flownets()
    expected = small.pushed(ahead(model, flow=source), frames)
    for left in (1, 5, 7):
        runner = ahead(model, on=device(left), flow=source, overlap=True)
        for frame in frames[-left:]:
            runner.push(frame)
        runner.reset()
        same(small.pushed(runner, frames), expected)


def test_places_for_what_waits_do_not_become_more() -> None:
    torch.manual_seed(15)
    runner = ahead(small.accel(), on=device(), flow=small.flownets())
    places = []
    for frame in small.frames(21):
        runner.push(frame)
        places.append({name: one.data_ptr() for name, one in runner._nodes.kept.items()})
    assert places[8] == places[12] == places[20]
    assert "labels 2" in places[8]
    assert "labels 3" not in places[8]


def test_times_come_from_events() -> None:
    torch.manual_seed(16)
    runner = ahead(small.accel(), on=device(), flow=small.flownets())
    for result in small.pushed(runner, small.frames(9)):
        assert set(result.timings) == {"flow", "network", "output"}
        for value in result.timings.values():
            # The fake's clock counts pieces of work, which three or four frames share.
            assert 12 * value == pytest.approx(round(12 * value), abs=1e-6)
            assert 0.25 <= value < 60


def test_pictures_are_drawn_on_the_device() -> None:
    torch.manual_seed(17)
    model, source, frames = small.accel(), small.flownets(), small.frames(36)
    runner, palette = ahead(model, on=device(), flow=source), small.CLASSES.palette_bgr()
    expected = small.pushed(ahead(model, flow=source), frames)
    overlays = [None, Overlay(palette, 0.4, (1,)), Overlay(palette, 1.0), None]
    found = []
    for number, frame in enumerate(frames):
        overlay = overlays[number // 10]
        assert runner.draw(overlay) == (overlay is not None)
        found += runner.push(frame)
    found += runner.flush()
    same(found, expected)
    drawn = 0
    for number, (frame, result) in enumerate(zip(frames, found, strict=True)):
        overlay = overlays[number // 10]
        if result.picture is None:  # it waited when the colours changed
            assert overlay is None or number % 10 > 5
            continue
        assert overlay is not None
        drawn += 1
        how = palette, overlay.alpha, overlay.keep
        np.testing.assert_array_equal(result.picture, render_overlay(frame, result.labels, *how))
    assert drawn >= 12
    assert not ahead(model, flow=source).draw(Overlay(palette))


@pytest.mark.parametrize("foreign", [False, True])
def test_a_gpu_s_look_ahead_runs_on_graphs(foreign: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of others, whose steps may be of any kind, run as they come."""
    made = []
    monkeypatch.setattr(load, "CudaLauncher", lambda *how: made.append(how) or device_launcher())
    monkeypatch.setattr(load, "for_inference", lambda model, *_: model)
    monkeypatch.setattr(Accel, "foreign", foreign)

    def device_launcher() -> CudaLauncher:
        return CudaLauncher(CPU, cuda=device())

    segmenter = build_segmenter(
        small.accel(), small.CLASSES, schedule=SHORT, device=torch.device("cuda"),
        overlap=True, cuda_graphs=False,
    )  # fmt: skip
    assert made == ([] if foreign else [(torch.device("cuda"), False)])
    assert ("cuda_graphs" in segmenter.describe()) != foreign

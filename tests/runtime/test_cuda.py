"""The CUDA frame loop on a device that reorders: same labels, one wait, graphs per size."""

import warnings
from itertools import islice

import numpy as np
import pytest
import torch

from accel_rt.flow.dis import DISFlow
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.executor import in_background
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.result import Overlay
from accel_rt.video.overlay import render_overlay
from tests.runtime.fake_device import FakeDevice
from tests.runtime.small import (
    BRANCHES,
    CLASSES,
    FLOWS,
    SIZE,
    accel,
    flownets,
    frames,
    looped,
    plain,
    pushed,
)


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("flow", FLOWS)
@BRANCHES
def test_labels_are_the_segmenters(branches: dict, flow: str, incremental: bool) -> None:
    """Whatever order the streams run in, plainly and from graphs."""
    torch.manual_seed(5)
    model, stream = accel(**branches), frames(8)
    options = {"flow": FLOWS[flow](), "incremental": incremental}
    runner = plain(model, **options)
    expected = [runner.step(frame) for frame in stream]
    assert len({frame.labels.tobytes() for frame in expected}) > 1
    for seed in range(2):
        runner = looped(model, FakeDevice(seed), **options)
        for frame, one in zip(stream, expected, strict=True):
            result = runner.step(frame)
            assert (result.kind, result.index) == (one.kind, one.index)
            np.testing.assert_array_equal(result.labels, one.labels)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("branches", [{"update": None}, {}], ids=["dff", "accel"])
def test_keyframes_beside_the_frames(branches: dict, flow: str) -> None:
    """Late by as much as a stream is, and moved by all that was between: the state of a keyframe
    that was waited for, and the same labels."""
    torch.manual_seed(16)
    model, stream = accel(**branches), frames(12)
    options = {"flow": FLOWS[flow]()}
    arrivals = set()
    for seed in range(3):
        runner = looped(model, FakeDevice(seed), **options)
        runner._order = in_background
        asked: list[int] = []
        request = CudaExecutor._request

        def note(executor, asked=asked, request=request, runner=runner) -> None:
            asked.append(runner._index)
            request(executor)

        runner._executor._request = note.__get__(runner._executor)
        for index, frame in enumerate(stream):
            before = list(asked)
            result = runner.step(frame)
            if result.kind != "key" or not before:
                continue
            waited = plain(model, **options)
            waited.set_policy(FixedInterval(100))
            for other in stream[before[-1] : index + 1]:
                expected = waited.step(other)
            arrivals.add(index - before[-1])
            np.testing.assert_array_equal(result.labels, expected.labels)
    assert len(arrivals) > 1, "late by different numbers of frames"


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_reduced_update_branch(scale: float) -> None:
    torch.manual_seed(6)
    model = accel()
    expected = plain(model, flow=DISFlow(), update_scale=scale)
    runner = looped(model, FakeDevice(), flow=DISFlow(), update_scale=scale)
    for frame in frames(3):
        np.testing.assert_array_equal(runner.step(frame).labels, expected.step(frame).labels)


@pytest.mark.parametrize("event", ["arrived", "uploaded", "flow to", "drawn", "done"])
def test_every_wait_is_needed(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device notices: without the wait some order gives other labels."""
    torch.manual_seed(7)
    model, stream = accel(), frames(6)
    flow = flownets()
    runner = plain(model, flow=flow)
    expected = [runner.step(frame).labels for frame in stream]
    monkeypatch.setattr(CudaExecutor, "_timer", lambda *_: dict)  # for want of a wait not there yet

    def agrees(seed: int) -> bool:
        device = FakeDevice(seed)
        device.slow = {"up", "down"}
        runner = looped(model, device, flow=flow, overlap=True)
        runner._executor.start(runner._video.begin(stream[0]))
        for slot in (runner._executor._slot, runner._executor._before):
            device.blind.add(slot.events[event])
        try:
            found = [result.labels for result in pushed(runner, stream)]
        except KeyError:  # read before it was there
            return False
        return all(np.array_equal(*both) for both in zip(found, expected, strict=True))

    assert not all(agrees(seed) for seed in range(20))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_file_s_frames_overlap_and_give_the_same(flow: str) -> None:
    torch.manual_seed(17)
    model, stream = accel(), frames(8)
    source = FLOWS[flow]()
    runner = plain(model, flow=source)
    expected = [runner.step(frame) for frame in stream]
    for seed in range(3):
        runner = looped(model, FakeDevice(seed), flow=source, overlap=True)
        found = pushed(runner, stream)
        for one, other in zip(found, expected, strict=True):
            assert (one.index, one.kind) == (other.index, other.kind)
            np.testing.assert_array_equal(one.labels, other.labels)


def test_the_host_begins_a_frame_before_it_waits_for_the_one_before() -> None:
    torch.manual_seed(8)
    device = FakeDevice()
    runner = looped(accel(), device, flow=flownets(), graphs=False, overlap=True)
    key, update = frames(2)
    assert runner.push(key) == []
    assert "host waits" not in device.log
    device.log.clear()
    (result,) = runner.push(update)
    assert (result.index, result.kind, runner.kind) == (0, "key", "update")
    assert device.log[:2] == ["up: copy", "main: copy"]
    assert device.log[-2:] == ["down: copy", "host waits"]
    (result,) = runner.flush()
    assert (result.index, result.kind) == (1, "update")
    assert runner.flush() == []


def test_a_frame_of_another_size_comes_after_the_one_before() -> None:
    torch.manual_seed(18)
    model, other = accel(), frames(2, (48, 80))
    stream = [*frames(3), *other, *frames(2)]
    runner = looped(model, FakeDevice(), flow=DISFlow())
    expected = [runner.step(frame) for frame in stream]
    found = pushed(looped(model, FakeDevice(), flow=DISFlow(), overlap=True), stream)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.labels, two.labels)


def test_a_result_that_nobody_took_does_not_disturb_the_next_video() -> None:
    torch.manual_seed(19)
    model, stream, source = accel(), frames(4), flownets()
    runner = plain(model, flow=source)
    expected = [runner.step(frame).labels for frame in stream]
    for seed in range(3):
        runner = looped(model, FakeDevice(seed), flow=source, overlap=True)
        runner.push(stream[3])
        runner.reset()
        found = pushed(runner, stream)
        assert [result.index for result in found] == [0, 1, 2, 3]
        for result, labels in zip(found, expected, strict=True):
            np.testing.assert_array_equal(result.labels, labels)


def test_flow_runs_beside_the_update_network() -> None:
    torch.manual_seed(8)
    device = FakeDevice()
    runner = looped(accel(), device, flow=flownets(), graphs=False)
    key, update = frames(2)
    runner.step(key)
    assert device.log == [
        "device waits",
        "device waits",
        "up: copy",
        "main: copy",
        "main: key",
        "side: observe",
        "main: key_output",
        "down: copy",
        "host waits",
    ]
    device.log.clear()
    runner.step(update)
    assert device.log == [
        "up: copy",
        "main: copy",
        "main: refresh",
        "side: look",
        "side: advance",
        "main: merge",
        "main: output",
        "down: copy",
        "host waits",
    ]


def test_flow_of_the_host_is_computed_while_the_update_network_runs() -> None:
    torch.manual_seed(8)
    device = FakeDevice()

    class Watched(DISFlow):
        def between(self, previous, current, grid):
            device.log.append("host flow")
            return super().between(previous, current, grid)

    runner = looped(accel(), device, flow=Watched(), graphs=False)
    key, update = frames(2)
    runner.step(key)
    device.log.clear()
    runner.step(update)
    assert device.log[1:5] == ["main: copy", "main: refresh", "host flow", "side: copy"]


def launches(device: FakeDevice, stage: str) -> list[str]:
    """How ``stage`` was launched, in order."""
    found = [entry.split(": ")[-1] for entry in device.log if entry.split(" ")[-1] == stage]
    return [entry.removesuffix(stage).strip() or "plain" for entry in found]


def test_stages_become_graphs_once_per_size() -> None:
    torch.manual_seed(9)
    device = FakeDevice()
    runner = looped(accel(), device, flow=flownets())
    for frame in frames(10):
        runner.step(frame)
    once = ["plain", "capture", "replay"]
    assert launches(device, "key") == once + ["replay"] * 4
    for stage in ("refresh", "look", "advance", "merge", "output"):
        assert launches(device, stage) == once + ["replay"] * 6
    device.log.clear()
    runner.reset()  # the next video, of the same size
    for frame in frames(2):
        runner.step(frame)
    assert launches(device, "key") == launches(device, "refresh") == ["replay"]
    for size in ((48, 80), SIZE):
        device.log.clear()
        for frame in frames(10, size):
            runner.step(frame)
        assert launches(device, "key") == once + ["replay"] * 4
        assert device.log.count("capture refresh") == 1


def test_tensors_of_graphs_keep_their_place() -> None:
    torch.manual_seed(10)
    runner = looped(accel(), FakeDevice(), flow=flownets())
    places = []
    for frame in frames(8):
        runner.step(frame)
        nodes = runner._executor._nodes
        kept = {**nodes._kept, **nodes.results, "frame": nodes.frame, "newer": nodes.newer}
        places.append({name: tensor.data_ptr() for name, tensor in kept.items()})
    assert set(places[1]) >= {"state features", "state flow", "view", "fresh", "scores", "labels"}
    assert all(place == places[1] for place in places[1:])


def test_without_graphs_launches_stay_plain() -> None:
    torch.manual_seed(11)
    model, stream = accel(), frames(8)
    device = FakeDevice(can_capture=False)
    runner = looped(model, device, flow=DISFlow())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [runner.step(frame).labels for frame in stream]
    assert [str(w.message) for w in caught] == [
        "no CUDA graph of 'key', launches stay plain: operation not permitted when "
        "stream is capturing"
    ]
    reason = "no: operation not permitted when stream is capturing"
    assert runner.describe()["cuda_graphs"] == reason
    assert sum(entry.startswith("capture") for entry in device.log) == 1
    assert not any("replay" in entry for entry in device.log)
    expected = plain(model, flow=DISFlow())
    for frame, labels in zip(stream, results, strict=True):
        np.testing.assert_array_equal(labels, expected.step(frame).labels)


def test_one_wait_per_frame_and_labels_of_ones_own() -> None:
    torch.manual_seed(12)
    device = FakeDevice()
    runner = looped(accel(), device, flow=flownets())
    first = runner.step(frames(1)[0]).labels
    before = first.copy()
    device.log.clear()
    for frame in frames(8)[1:]:
        runner.step(frame)
    assert sum("waits" in entry for entry in device.log) == 7
    np.testing.assert_array_equal(first, before)


def test_times_come_from_events() -> None:
    torch.manual_seed(13)
    runner = looped(accel(), FakeDevice(), flow=flownets())
    key, update = (runner.step(frame).timings for frame in frames(2))
    assert set(key) == {"flow", "network", "output"}
    assert set(update) == {"flow", "network", "output", "branch"}
    # The fake's clock counts pieces of work: one stage, copies and marks between the events.
    assert all(1 <= value <= 20 for value in (*key.values(), *update.values()))
    assert update["branch"] < update["network"]


def test_margins() -> None:
    torch.manual_seed(14)
    model = accel()
    runner, expected = (
        looped(model, FakeDevice(), flow=DISFlow(), margins=True),
        plain(model, flow=DISFlow(), margins=True),
    )
    for frame in frames(4):
        np.testing.assert_array_equal(runner.step(frame).margin, expected.step(frame).margin)


def test_pictures_are_drawn_on_the_device() -> None:
    torch.manual_seed(15)
    model = accel()
    runner, expected = looped(model, FakeDevice(), flow=DISFlow()), plain(model, flow=DISFlow())
    stream = iter(frames(16))
    palette = CLASSES.palette_bgr()
    for overlay in (None, Overlay(palette, 0.4, (1,)), Overlay(palette, 1.0), None):
        assert runner.draw(overlay) == (overlay is not None)
        for frame in islice(stream, 4):
            result, other = runner.step(frame), expected.step(frame)
            assert result.kind == other.kind, "how frames are drawn is no reason to begin anew"
            np.testing.assert_array_equal(result.labels, other.labels)
            if overlay is None:
                assert result.picture is None
            else:
                how = palette, overlay.alpha, overlay.keep
                drawn = render_overlay(frame, result.labels, *how)
                np.testing.assert_array_equal(result.picture, drawn)
    assert not expected.draw(Overlay(palette))


def test_only_graphs_that_draw_are_renewed_for_other_colours() -> None:
    torch.manual_seed(20)
    device = FakeDevice()
    runner, palette = looped(accel(), device, flow=flownets()), CLASSES.palette_bgr()
    for alpha in (0.3, 0.6):
        device.log.clear()
        runner.draw(overlay := Overlay(palette, alpha))
        for frame in frames(12):
            runner.step(frame)
            runner.draw(overlay)  # the same again changes nothing
        assert launches(device, "output").count("capture") == 1
        assert launches(device, "key_output").count("capture") == 1
        assert launches(device, "merge").count("capture") == (alpha == 0.3)

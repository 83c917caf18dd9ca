"""What a GPU does before the first frame of a video."""

from typing import NoReturn

import pytest
import torch

from accel_rt.errors import UsageError
from accel_rt.models.accel import FeatureFusion
from accel_rt.runtime import load
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.executor import in_background, in_turn
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.settings import SegmenterSettings
from tests.runtime import small
from tests.runtime.fake_device import FakeDevice


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("flow", small.FLOWS)
@pytest.mark.parametrize(
    "branches", [{"update": None}, {}, {"fusion": FeatureFusion}], ids=["dff", "score", "feature"]
)
@pytest.mark.parametrize("schedule", [Schedule(3), Schedule(5, 2), Schedule(1)], ids=str)
def test_no_frame_waits_for_a_graph(
    schedule: Schedule, branches: dict, flow: str, background: bool
) -> None:
    """All are there before the first frame, which begins as if nothing had been."""
    torch.manual_seed(21)
    device, source, model = FakeDevice(), small.FLOWS[flow](), small.accel(**branches)
    first, *rest = small.frames(12)
    runner = small.plain(model, flow=source, schedule=schedule)
    runner.set_policy(FixedInterval(schedule.interval, schedule.update_every))
    program = runner._executor.program
    runner._executor = CudaExecutor(program, source, schedule, background=background, cuda=device)
    runner._order = in_background if background else in_turn
    runner._executor.start(runner._video.begin(first))
    assert not runner._executor.has_state
    assert not runner._executor.has_pending
    device.log.clear()
    for frame in (first, *rest):
        runner.step(frame)
    works = [entry.partition(": ")[2] for entry in device.log if ": " in entry]
    assert len(works) >= 60
    assert {work.partition(" ")[0] for work in works} == {"copy", "replay"}


def test_libraries_begin_to_load_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    def read(*_: object) -> NoReturn:
        order.append("weights")
        raise UsageError("far enough")

    monkeypatch.setattr(load, "resolve_device", torch.device)
    monkeypatch.setattr(load, "load_model", read)
    monkeypatch.setattr(load, "wake", lambda device: order.append(f"wake {device}"))
    with pytest.raises(UsageError, match="far enough"):
        load.load_segmenter(SegmenterSettings(device="cuda"))
    assert order == ["wake cuda", "weights"]

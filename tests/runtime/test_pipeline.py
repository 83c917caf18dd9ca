"""The threaded pipeline, with sources, segmenters and outputs that misbehave on purpose."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from accel_rt.errors import AccelError, InputError, OutputError
from accel_rt.runtime.pipeline import run_pipeline, segment_frames, timing_row
from accel_rt.runtime.result import FrameResult
from accel_rt.video.source import Frame
from tests.stepper import Stepper

RATE = 25


def make_frame(index: int) -> Frame:
    image = np.full((4, 6, 3), index % 251, np.uint8)
    return Frame(index, Fraction(index, RATE), image, Fraction(1, RATE))


def make_frames(count: int) -> Iterator[Frame]:
    return map(make_frame, range(count))


class EchoSegmenter(Stepper):
    """Labels are the frame's first channel, so that an output can tell which frame it got."""

    def __init__(self, delay_s: float = 0.0, fail_at: int | None = None) -> None:
        self.threads: set[str] = set()
        self._delay_s = delay_s
        self._fail_at = fail_at
        self.steps = 0

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
    ) -> FrameResult:
        self.threads.add(threading.current_thread().name)
        if self.steps == self._fail_at:
            raise RuntimeError("the segmenter broke")
        time.sleep(self._delay_s)
        result = FrameResult(
            self.steps,
            pts,
            "update" if self.steps % 5 else "key",
            frame_bgr[..., 0].copy(),
            {"flow": 1.0, "network": 2.0, "output": 3.0},
        )
        self.steps += 1
        return result


class Collector:
    """An output that remembers which frames it got, in order."""

    def __init__(self, delay_s: float = 0.0, fail_at: int | None = None) -> None:
        self.indices: list[int] = []
        self.threads: set[str] = set()
        self._delay_s = delay_s
        self._fail_at = fail_at

    def __call__(self, frame: Frame, result: FrameResult) -> dict[str, float]:
        self.threads.add(threading.current_thread().name)
        if frame.index == self._fail_at:
            raise OutputError("the disk is full")
        time.sleep(self._delay_s)
        assert result.labels[0, 0] == frame.image_bgr[0, 0, 0]
        self.indices.append(frame.index)
        return {"render": 4.0, "encode": 5.0}


def pipeline_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name in ("decode", "output")]


def test_every_frame_reaches_the_output_in_order() -> None:
    collector, segmenter, rows = Collector(), EchoSegmenter(), []
    run_pipeline(make_frames(300), segmenter, collector, rows.append)
    assert collector.indices == list(range(300))
    assert [row["frame"] for row in rows] == list(range(300))
    assert pipeline_threads() == []


def test_inference_runs_in_the_callers_thread_and_output_in_another() -> None:
    collector, segmenter = Collector(), EchoSegmenter()
    run_pipeline(make_frames(5), segmenter, collector)
    assert segmenter.threads == {threading.current_thread().name}
    assert collector.threads == {"output"}


def test_row_holds_every_stage_and_their_sum() -> None:
    rows: list[dict] = []
    run_pipeline(make_frames(2), EchoSegmenter(), Collector(), rows.append)
    row = rows[1]
    assert list(row) == [
        "frame",
        "pts_s",
        "kind",
        "decode_ms",
        "flow_ms",
        "network_ms",
        "output_ms",
        "render_ms",
        "encode_ms",
        "total_ms",
        "flow",
    ]
    assert row["pts_s"] == 1 / RATE
    assert row["kind"] == "update"
    assert (row["flow_ms"], row["network_ms"], row["output_ms"]) == (1, 2, 3)
    assert (row["render_ms"], row["encode_ms"]) == (4, 5)
    assert row["total_ms"] == pytest.approx(15 + row["decode_ms"])


def test_a_stage_that_did_not_run_counts_zero() -> None:
    result = FrameResult(0, None, "key", np.zeros((1, 1), np.uint8), {"network": 2.0})
    row = timing_row(make_frame(0), result)
    assert row["flow_ms"] == 0
    assert row["total_ms"] == 2


@pytest.mark.parametrize(
    ("segment_delay_s", "output_delay_s"), [(0.0, 0.003), (0.003, 0.0), (0.002, 0.002)]
)
@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_frames_in_flight_are_bounded(
    segment_delay_s: float, output_delay_s: float, ahead: int
) -> None:
    made = freed = most = 0

    def count_freed() -> None:
        nonlocal freed
        freed += 1

    def tracked() -> Iterator[Frame]:
        nonlocal made, most
        for index in range(60):
            frame = make_frame(index)
            weakref.finalize(frame, count_freed)
            made += 1
            most = max(most, made - freed)
            yield frame

    run_pipeline(tracked(), EchoSegmenter(segment_delay_s), Collector(output_delay_s), ahead=ahead)
    assert 1 < most <= 2 * ahead + 3
    assert freed == made == 60


def test_source_error_is_raised_after_the_frames_before_it() -> None:
    def broken() -> Iterator[Frame]:
        yield from make_frames(7)
        raise InputError("the connection was lost")

    segmenter = EchoSegmenter()
    with pytest.raises(InputError, match="connection was lost"):
        list(segment_frames(broken(), segmenter))
    assert segmenter.steps == 7
    assert pipeline_threads() == []


@pytest.mark.parametrize("fail_at", [0, 4, 29])
def test_output_error_is_raised_and_ends_the_run(fail_at: int) -> None:
    collector = Collector(fail_at=fail_at)
    with pytest.raises(OutputError, match="disk is full"):
        run_pipeline(make_frames(30), EchoSegmenter(), collector)
    assert collector.indices == list(range(fail_at))
    assert pipeline_threads() == []


def test_segmenter_error_is_raised_and_no_thread_stays_behind() -> None:
    with pytest.raises(RuntimeError, match="segmenter broke"):
        run_pipeline(make_frames(30), EchoSegmenter(fail_at=3), Collector(0.01))
    assert pipeline_threads() == []


def test_error_of_the_timing_sink_is_raised() -> None:
    def full(row: dict) -> None:
        raise OutputError("no space left for timings")

    with pytest.raises(OutputError, match="timings"):
        run_pipeline(make_frames(30), EchoSegmenter(), Collector(), full)


def test_stop_keeps_every_frame_that_was_segmented() -> None:
    stop, collector, segmented = threading.Event(), Collector(0.005), []

    class StoppingSegmenter(EchoSegmenter):
        def step(
            self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
        ) -> FrameResult:
            result = super().step(frame_bgr, pts)
            segmented.append(result.index)
            if result.index == 9:
                stop.set()
            return result

    run_pipeline(make_frames(1000), StoppingSegmenter(), collector, stop=stop)
    assert segmented == list(range(10))
    assert collector.indices == segmented
    assert pipeline_threads() == []


def test_stop_ends_a_wait_for_a_source_that_sends_nothing() -> None:
    stop, release = threading.Event(), threading.Event()

    def stalled() -> Iterator[Frame]:
        yield make_frame(0)
        assert release.wait(20)
        yield make_frame(1)

    class StoppingCollector(Collector):
        def __call__(self, frame: Frame, result: FrameResult) -> dict[str, float]:
            stop.set()
            threading.Timer(0.5, release.set).start()
            return super().__call__(frame, result)

    collector = StoppingCollector()
    run_pipeline(stalled(), EchoSegmenter(), collector, stop=stop)
    assert collector.indices == [0]


def test_generator_can_be_left_early() -> None:
    frames = segment_frames(make_frames(100), EchoSegmenter())
    frame, result = next(frames)
    assert (frame.index, result.index) == (0, 0)
    assert result.timings["decode"] >= 0
    frames.close()
    assert pipeline_threads() == []


def test_empty_source_gives_no_frames() -> None:
    collector = Collector()
    run_pipeline([], EchoSegmenter(), collector)
    assert collector.indices == []


class LateSegmenter(EchoSegmenter):
    """Gives results three at a time, and what is left in the end."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[FrameResult] = []

    def push(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
    ) -> list[FrameResult]:
        self._waiting.append(self.step(frame_bgr, pts))
        return self.flush() if len(self._waiting) == 3 else []

    def flush(self) -> list[FrameResult]:
        ready, self._waiting = self._waiting, []
        return ready


@pytest.mark.parametrize("kind", [AccelError, ValueError])
def test_an_error_of_the_source_comes_after_results_that_are_late(kind: type[Exception]) -> None:
    def broken() -> Iterator[Frame]:
        yield from make_frames(5)
        raise kind("the file ends here")

    met = segment_frames(broken(), LateSegmenter())
    assert [next(met)[0].index for _ in range(5)] == list(range(5))
    with pytest.raises(kind, match="ends here"):
        next(met)


def test_results_that_come_late_meet_their_frames() -> None:
    met = list(segment_frames(make_frames(11), LateSegmenter()))
    assert [frame.index for frame, _ in met] == list(range(11))
    for frame, result in met:
        assert result.pts == frame.pts
        np.testing.assert_array_equal(result.labels, frame.image_bgr[..., 0])
        assert result.timings["decode"] >= 0

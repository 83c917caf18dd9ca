"""Comparing schedules: what is counted, on a clock of its own, and with networks run once."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from accel_rt.classes import IGNORE_LABEL
from accel_rt.errors import UsageError
from accel_rt.evaluate.low_delay import low_delay_copy
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.evaluate.paper import NetworkFamily
from accel_rt.evaluate.remembered import RememberedProgram
from accel_rt.evaluate.report.figures import _schedules, schedules_chart
from accel_rt.evaluate.results import to_json
from accel_rt.evaluate.schedules import (
    LabelledVideo,
    ScheduleScore,
    _count_uncovered,
    _Run,
    compared,
    consistent_pixels,
)
from accel_rt.evaluate.streaming import streaming_miou
from accel_rt.flow.codec import CodecFlow
from accel_rt.models.accel import Accel, ProbabilityFusion
from accel_rt.models.foreign.open import place
from accel_rt.models.fuse import for_inference
from accel_rt.runtime.load import build_segmenter, update_place
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.settings import DEFAULT_UPDATE, SegmenterSettings
from tests.evaluate.made_up import results
from tests.models.test_model_file import write_model
from tests.runtime.test_schedules import CPU, pair
from tests.runtime.test_segmenter import CLASSES


class Named:
    """Labels every pixel with the frame's own number, which is also its label."""

    classes = range(12)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def reset(self) -> None:
        self.seen = []

    def push(self, frame_bgr: np.ndarray) -> list[FrameResult]:
        self.seen.append(int(frame_bgr[0, 0, 0]))
        kind = "key" if len(self.seen) % 2 else "update"
        return [FrameResult(0, None, kind, frame_bgr[..., 0])]


@dataclass(frozen=True)
class Shown:
    """A frame with labels that do not matter."""

    image_bgr: np.ndarray
    name, labelled = "shown", True

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        return self.image_bgr, np.zeros(self.image_bgr.shape[:2], np.uint8)


IMAGES = [np.full((2, 2, 3), number, np.uint8) for number in range(12)]


class TestStreaming:
    def labels(self, shown: list[int | None]) -> list[np.ndarray]:
        """Those that give 100 for exactly these answers: one frame's number or nothing."""
        return [np.full((2, 2), IGNORE_LABEL if n is None else n, np.uint8) for n in shown]

    def test_the_fast_are_a_frame_late(self) -> None:
        segmenter, costs = Named(), {("key",): 0.05, ("update",): 0.01}
        truth = self.labels([None, *range(11)])
        assert streaming_miou(segmenter, IMAGES, truth, 10.0, costs) == 100
        assert segmenter.seen == list(range(12))

    def test_the_slow_skip_frames_and_answer_for_old_ones(self) -> None:
        """0.25 s of work at 10 Hz: frames 0, 2, 5, 7, 10, done at 2.5, 5, 7.5 and 10 ticks."""
        segmenter, costs = Named(), {("key",): 0.25}
        truth = self.labels([None, None, None, 0, 0, 2, 2, 2, 5, 5, 7, 7])
        assert streaming_miou(segmenter, IMAGES, truth, 10.0, costs) == 100
        assert segmenter.seen == [0, 2, 5, 7, 10]


def test_what_came_into_sight_counts_until_the_next_keyframe() -> None:
    """A column is uncovered once and moves right by a pixel a frame, and no other pixel counts."""
    truth = np.zeros((4, 8), np.uint8)
    exact, results = [], []
    for number, kind in enumerate(["key", "update", "carry", "key", "update"]):
        flow = np.zeros((4, 8, 2), np.float32)
        flow[:, 1:, 0] = -1  # the first column stays: what enters is told by occlusion alone
        occluded = np.zeros((4, 8), bool)
        occluded[:, 3] = number == 1
        exact.append((flow, occluded))
        results.append(FrameResult(number, None, kind, truth + 1))
    matrix = ConfusionMatrix(3)
    _count_uncovered(matrix, results, [truth] * 5, exact)
    assert matrix.counts.sum() == matrix.counts[0, 1] == 2 * 4  # frames 1 and 2; then all is seen


@pytest.fixture(scope="module")
def video() -> LabelledVideo:
    """A picture that moves left by four pixels a frame."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (12, 40, 3), np.uint8), (320, 96))
    frames = [Shown(wide[:, 4 * number : 4 * number + 160]) for number in range(8)]
    return LabelledVideo.read(frames, 15.0, crf=20)


class TestLowDelayCopy:
    def test_flow_is_that_of_its_vectors(self, video: LabelledVideo) -> None:
        segmenter = build_segmenter(pair()[0], CLASSES, flow=CodecFlow(), size=(96, 160))
        flows = [segmenter.push(*frame)[0].flow for frame in video.pushes()]
        assert flows == ["none", *["codec"] * 4, "none", "codec", "codec"]

    def test_time_is_taken_the_way_that_vectors_lead(self, video: LabelledVideo) -> None:
        shown: list[np.ndarray] = []

        class Watched(Named):
            def push(self, image: np.ndarray, pts: None, motion: object) -> list[FrameResult]:
                shown.append(image)
                return []

        for one_way, steps in (
            (video, [1, 1, 1, -7, 1]),
            (replace(video, vectors=None), [1, 1, 1, -1, -1]),
        ):
            run = _Run(Watched(), 13, one_way)
            shown.clear()
            run()
            places = [next(n for n, i in enumerate(video.images) if i is image) for image in shown]
            assert np.diff(places)[4:9].tolist() == steps


def test_the_update_network_alone_is_the_one_that_the_pair_runs(
    tmp_path: Path,
) -> None:
    """What a file gives depends on the role, and a model's own update goes before the default."""
    model = str(write_model(tmp_path / "whole.safetensors"))
    for update in (DEFAULT_UPDATE, model):
        base = SegmenterSettings(reference=model, update=update)
        networks = {n: place(s.reference) for n, s in compared(base).items() if s.mode == "deeplab"}
        assert networks["update network on every frame"] == update_place(base)
        assert networks["reference on every frame"] != update_place(base)


def test_consistency_asks_for_the_whole_window() -> None:
    labels = [np.array([[0, 1, 2, IGNORE_LABEL]], np.uint8)] * 4
    predicted = [label.copy() for label in labels]
    predicted[2] = np.array([[0, 0, 2, 0]], np.uint8)
    assert consistent_pixels(labels, predicted, 3).tolist() == [4, 6]


def test_networks_see_each_frame_once_whoever_asks() -> None:
    model, deep, light = pair()
    model, memory = for_inference(model, CPU, torch.float32), {}
    plain = FrameProgram(model, CPU, torch.float32)
    frames = torch.rand(2, 1, 3, 96, 160)
    with torch.no_grad():
        expected = [(plain.key(frame)[1], plain.refresh(frame)) for frame in frames]
        runs = deep.runs, light.runs
        for _ in range(3):
            program = RememberedProgram(model, CPU, torch.float32, memory=memory)
            for frame, (scores, fresh) in zip(frames, expected, strict=True):
                torch.testing.assert_close(program.key(frame.clone())[1], scores)
                torch.testing.assert_close(program.refresh(frame.clone()), fresh)
    assert (deep.runs, light.runs) == (runs[0] + 2, runs[1] + 2)
    assert len(CLASSES) == expected[0][0].shape[1]


def test_a_networks_scores_and_probabilities_are_not_taken_for_each_other() -> None:
    """A reference alone is asked for scores, and beside an update network for probabilities."""
    both, _, _ = pair()
    blended = Accel(both.reference, both.update, ProbabilityFusion())
    frame, memory = torch.rand(1, 3, 96, 160), {}
    with torch.no_grad():
        for model in (Accel(both.reference), blended):
            prepared = for_inference(model, CPU, torch.float32)
            expected = FrameProgram(prepared, CPU, torch.float32).key(frame)[1]
            program = RememberedProgram(prepared, CPU, torch.float32, memory=memory)
            torch.testing.assert_close(program.key(frame)[1], expected)


def test_the_chart_joins_what_nothing_beats() -> None:
    made = ScheduleScore("", 70.0, {}, 0.1, ms=10.0)
    scores = {
        "reference on every frame": replace(made, ms=50.0, miou=74.0),
        "paper: dff, interval 5": replace(made, ms=20.0, miou=69.0),
        "fast": made,
        "live fast": replace(made, ms=30.0, miou=72.0),
        "accel, gated": replace(made, ms=None),
    }
    chart = schedules_chart(scores)
    best = chart.series[-1]
    assert (best.name, list(best.x)) == ("best", [10.0, 30.0, 50.0])
    names = {series.name: list(series.labels) for series in chart.series[:-1]}
    assert names["presets"] == ["fast"]
    assert names["live presets"] == ["live fast"]
    assert "accel, gated" not in str(names)


def test_the_report_has_a_table_and_a_chart_of_schedules() -> None:
    made = ScheduleScore("keyframe every 5", 70.0, {8: 90.0, 16: 80.0}, 0.123, ms=10.0)
    found = results()
    family = NetworkFamily("made up", "R", {"S": "s"}, "R")
    found.schedules = {"made up": {"fast": made, "live fast": replace(made, streaming=60.0)}}
    text = _schedules(found.schedules["made up"], family)
    assert text.tables[0].rows[1] == [
        *["live fast", "keyframe every 5", "70.0", "90.0", "80.0", "0.12", "60.0", "10.0"]
    ]
    assert len(text.charts) == 1
    untimed = {"fast": replace(made, ms=None)}
    assert _schedules(untimed, family).charts == []
    assert to_json(found)["schedules"]["made up"]["fast"]["miou"] == 70.0


def test_a_low_delay_copy_needs_even_sides() -> None:
    with pytest.raises(UsageError, match="needs an even width and height, and these .* 90x61"):
        low_delay_copy([np.zeros((61, 90, 3), np.uint8)])

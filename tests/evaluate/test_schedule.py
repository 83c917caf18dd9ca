"""The evaluation schedule, with a predictor whose answer at each distance is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accel_rt.errors import InputError, UsageError
from accel_rt.evaluate.counts import Counts
from accel_rt.evaluate.run import Evaluation, evaluate
from accel_rt.evaluate.schedule import KeyframeSchedule, WorkUnit, work_units
from accel_rt.evaluate.scoring_pass import count_unit
from accel_rt.runtime.settings import SegmenterSettings
from tests.evaluate.stub import CLASSES, SIZE, AgeingPredictor, footage

ACCEL = SegmenterSettings(interval=4)
PIXELS = (SIZE[0] - 1) * SIZE[1]  # the first row is ignored


def run(
    tmp_path: Path, clips: tuple[list[bool], ...], density: str, interval: int = 4
) -> dict[str, Counts]:
    models = {
        "accel": replace(ACCEL, interval=interval),
        "deeplab": replace(ACCEL, mode="deeplab"),
    }
    evaluation = Evaluation(footage(*clips), models, density, AgeingPredictor)
    return evaluate(evaluation, tmp_path / "work", 1, lambda _: None)


def accuracy(offset: int) -> float:
    return 100 * (1 - offset / SIZE[1])


def test_dense_scores_every_frame_at_every_distance(tmp_path: Path) -> None:
    counted = run(tmp_path, ([True] * 7, [True] * 5), "dense")
    accel = counted["accel"]
    assert [accel.at_offset(d).pixels[:, 1].sum() // PIXELS for d in range(4)] == [12, 10, 8, 6]
    for offset in range(4):
        score = accel.at_offset(offset).summary(10)
        assert score["pixel_accuracy"] == pytest.approx(accuracy(offset))
    selected = np.array([12, 10, 8])
    expected = (selected * [accuracy(0), accuracy(1), accuracy(2)]).sum() / selected.sum()
    assert accel.at_interval(3).summary(10)["pixel_accuracy"] == pytest.approx(expected)
    assert accel.at_interval(1).summary(10)["miou"] == 100
    assert counted["deeplab"].schedule.longest == 1
    assert counted["deeplab"].at_interval(1).summary(10)["miou"] == 100


def test_sparse_rotates_the_distance(tmp_path: Path) -> None:
    snippet = [False] * 5 + [True] + [False] * 2
    accel = run(tmp_path, (snippet,) * 8, "sparse")["accel"]
    for interval in range(1, 5):
        counts = accel.at_interval(interval).pixels
        assert (counts[:, 1].sum(-1) == PIXELS).all()  # each labelled frame once
        right = counts[:, 0].sum(-1) / PIXELS
        expected = [accuracy(snippet % interval) / 100 for snippet in range(8)]
        assert right == pytest.approx(expected)
    selected = accel.at_offset(2).pixels[:, 1].sum(-1) > 0
    assert np.flatnonzero(selected).tolist() == [2, 6]
    assert accel.confusion[2].sum() == 8 * PIXELS


def test_confusion_is_that_of_the_interval(tmp_path: Path) -> None:
    accel = run(tmp_path, ([True] * 6,), "dense")["accel"]
    for interval in (1, 2, 4):
        matrix = accel.confusion[interval - 1]
        counts = accel.at_interval(interval).pixels.sum(0)
        assert np.diag(matrix).tolist() == counts[0].tolist()
        assert matrix.sum(1).tolist() == counts[1].tolist()
    assert accel.confusion[1, 0, 1] == 5 * (SIZE[0] // 2 - 1)  # one column, five frames


def test_temporal_scores_follow_the_stream(tmp_path: Path) -> None:
    """Nothing moves; from distance d-1 to d one column changes, at a keyframe all come back."""
    accel = run(tmp_path, ([True] * 9,), "dense", interval=3)["accel"]
    per_second, width = 10, SIZE[1]
    for offset, changed in ((1, 1), (2, 1), (0, 2)):
        flicker = accel.at_offset(offset).summary(per_second)["flicker"]
        assert flicker == pytest.approx(per_second * changed / width, rel=0.02)
    assert accel.at_interval(1).summary(10)["flicker"] == 0
    assert accel.at_interval(1).summary(10)["consistency"] == 100
    assert accel.at_interval(2).summary(10)["consistency"] < 100
    two = accel.at_interval(2).summary(per_second)["flicker"]
    assert two == pytest.approx(per_second / width, rel=0.02)  # one column there, one back


@pytest.mark.parametrize("density", ["dense", "sparse"])
def test_cutting_the_footage_changes_nothing(density: str) -> None:
    clip = footage([index % 3 != 1 for index in range(20)]).clips[0]
    schedules = {"accel": KeyframeSchedule(density, 4)}  # type: ignore[arg-type]
    flags = [frame.labelled for frame in clip.frames]

    def count(each: int) -> Counts:
        parts = []
        for unit in work_units([flags], each):
            predictor = AgeingPredictor({}, 4)
            done = count_unit(predictor, clip, unit, schedules, len(CLASSES))
            parts.append(done["accel"].arrays())
        return Counts.join(schedules["accel"], parts)

    whole, cut = count(100).arrays(), count(4).arrays()
    assert whole.keys() == cut.keys()
    assert whole["pixels"].any()
    assert whole["consistency"].any()
    for name, array in whole.items():
        assert (array == cut[name]).all(), name


def test_only_what_is_needed_is_predicted() -> None:
    clip = footage([False] * 40 + [True] + [False] * 9).clips[0]
    predictor = AgeingPredictor({}, 4)
    unit = WorkUnit(0, 0, 50, rank=2)
    count_unit(predictor, clip, unit, {"a": KeyframeSchedule("sparse", 4)}, 3)
    # Rank 2 is at distances 0, 0, 2, 2 of intervals 1 to 4; before it lie 0, 1, 1, 1.
    assert predictor.asked == [(4, "a", 0), (4, "a", 1), (5, "a", 0), (5, "a", 2)]


def test_pairs_at_a_labelled_frame() -> None:
    dense = KeyframeSchedule("dense", 2)
    assert dense.pairs(0, 9) == [(0, 1), (0, 0), (1, 0)]  # distances before and now
    assert dense.pairs(0, 1) == [(0, 1), (0, 0)]
    assert dense.pairs(0, 0) == []
    assert KeyframeSchedule("sparse", 3).pairs(4, 9) == [(0, 0), (1, 0), (0, 1)]


def test_shares_leave_out_what_has_no_labels() -> None:
    cut = list(work_units([[False] * 30 + [True] * 20, [True] * 3], 25))
    assert cut == [WorkUnit(0, 25, 50, 0), WorkUnit(1, 0, 3, 20)]


def test_counts_survive_json(tmp_path: Path) -> None:
    accel = run(tmp_path, ([True] * 5,), "dense")["accel"]
    again = Counts.from_json(accel.to_json(), 5, accel.pixels.shape[-1])
    assert again.schedule == accel.schedule
    for name, array in accel.arrays().items():
        assert (array == again.arrays()[name]).all()


def test_fewer_frames_than_the_interval() -> None:
    evaluation = Evaluation(footage([True] * 3), {"accel": ACCEL}, "dense", AgeingPredictor)
    with pytest.raises(InputError, match="clip0 has 3 frames, fewer than the keyframe interval 4"):
        evaluation.check()
    snippet = [False] * 2 + [True]
    evaluation = Evaluation(footage(snippet), {"accel": ACCEL}, "sparse", AgeingPredictor)
    with pytest.raises(InputError, match="stub_0002 has 2 frames before it in its snippet clip0"):
        evaluation.check()


def test_intervals_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1, got 0"):
        KeyframeSchedule("dense", 0)

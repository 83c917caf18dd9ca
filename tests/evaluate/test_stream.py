"""The evaluation protocol, with a segmenter whose answer at each distance is known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from accel_rt.data.camvid import camvid
from accel_rt.data.dataset import FrameSequence
from accel_rt.errors import UsageError
from accel_rt.evaluate.stream import score_snippets, score_stream, selected_in_snippets
from accel_rt.runtime.segmenter import Segmenter
from tests.data.test_samples import write_camvid


class AgeingSegmenter:
    """Right on keyframes; at distance ``d`` the top ``d`` tenths of the picture are wrong."""

    classes = range(11)

    def __init__(self, interval: int, keyframes_at: int | None = None) -> None:
        self._interval = interval
        self._keyframes_at = keyframes_at or interval
        self.reset()

    def reset(self) -> None:
        self._age = 0

    def step(self, image: np.ndarray) -> SimpleNamespace:
        truth = np.where(image[..., 0] > 127, 8, 3)
        age = self._age % self._interval
        kind = "key" if self._age % self._keyframes_at == 0 else "update"
        self._age += 1
        wrong = round(len(truth) * age / 10)
        truth[:wrong] = 0
        return SimpleNamespace(kind=kind, labels=truth.astype(np.uint8))


def frames(tmp_path: Path, count: int) -> list:
    return camvid(write_camvid(tmp_path, "val", count), "val").labelled()


def test_every_frame_is_met_at_every_distance(tmp_path: Path) -> None:
    score = score_stream(AgeingSegmenter(3), frames(tmp_path, 7), 3)  # type: ignore[arg-type]
    accuracy = [np.trace(m.counts) / m.counts.sum() for m in score.by_offset]
    assert accuracy[0] == 1.0
    assert accuracy[1] == pytest.approx(1 - 4 / 47)  # row 0 of 48 is unlabelled, 5 are wrong
    assert accuracy[2] == pytest.approx(1 - 9 / 47)
    per_frame = 47 * 64
    met = [m.counts.sum() // per_frame for m in score.by_offset]
    assert met == [7, 6, 5]  # frame d is the first that has a keyframe d frames before it
    assert score.miou() < score.by_offset[0].miou()


def sparse(tmp_path: Path, labelled: dict[int, list[int]]) -> list[FrameSequence]:
    """Sequences of so many frames, labelled at these indices only."""
    video = frames(tmp_path, max(labelled))
    return [
        FrameSequence(
            str(count),
            tuple(
                frame if i in kept else replace(frame, label_path=None)
                for i, frame in enumerate(video[:count])
            ),
        )
        for count, kept in labelled.items()
    ]


def test_sparse_labels_are_met_once_at_a_distance_that_rotates(tmp_path: Path) -> None:
    sequences = sparse(tmp_path, {4: [2, 3], 6: [1, 5], 5: [4]})
    met = [(s.name, i) for s, i in selected_in_snippets(sequences, 3)]
    assert met == [("4", 2), ("4", 3), ("6", 5), ("5", 4)]  # one has too few frames before it
    score = score_snippets(AgeingSegmenter(3), sequences, 3)  # type: ignore[arg-type]
    per_frame = 47 * 64
    assert [m.counts.sum() // per_frame for m in score.by_offset] == [2, 1, 1]
    accuracy = [np.trace(m.counts) / m.counts.sum() for m in score.by_offset]
    assert accuracy == [1.0, pytest.approx(1 - 4 / 47), pytest.approx(1 - 9 / 47)]


def test_too_few_sparse_labels(tmp_path: Path) -> None:
    sequences = sparse(tmp_path, {4: [2, 3], 5: [0]})
    with pytest.raises(UsageError, match="2 labelled frames have 2 frames before them: fewer"):
        score_snippets(AgeingSegmenter(3), sequences, 3)  # type: ignore[arg-type]


def test_keyframes_elsewhere_are_refused(tmp_path: Path) -> None:
    segmenter: Segmenter = AgeingSegmenter(3, keyframes_at=2)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="does not place keyframes every 3"):
        score_stream(segmenter, frames(tmp_path, 7), 3)


def test_fewer_frames_than_the_interval(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 frames are fewer than the interval 3"):
        score_stream(AgeingSegmenter(3), frames(tmp_path, 2), 3)  # type: ignore[arg-type]

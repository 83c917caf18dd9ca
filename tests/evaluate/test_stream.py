"""The evaluation protocol, with a segmenter whose answer at each distance is known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from accel_rt.data.camvid import camvid_frames
from accel_rt.errors import UsageError
from accel_rt.evaluate.stream import score_stream
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
    return camvid_frames(write_camvid(tmp_path, "val", count), "val")


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


def test_keyframes_elsewhere_are_refused(tmp_path: Path) -> None:
    segmenter: Segmenter = AgeingSegmenter(3, keyframes_at=2)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="does not place keyframes every 3"):
        score_stream(segmenter, frames(tmp_path, 7), 3)


def test_fewer_frames_than_the_interval(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 frames are fewer than the interval 3"):
        score_stream(AgeingSegmenter(3), frames(tmp_path, 2), 3)  # type: ignore[arg-type]

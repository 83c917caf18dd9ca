"""A fusion learnt on a video without labels: the reference's own answers are the target."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from accel_rt.errors import InputError, UsageError
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.foreign.function import FunctionNetwork
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.train.fusion import train_fusion
from accel_rt.train.own_labels import own_snippets
from accel_rt.train.pair_settings import FusionSettings

SIZE = (64, 96)


def moving(index: int) -> np.ndarray:
    """A bright bar that moves two pixels a frame over something dark."""
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[:, 10 + 2 * index : 30 + 2 * index] = 220
    return image


def bright(frame: np.ndarray) -> np.ndarray:
    return (frame.mean(2) > 128).astype(np.uint8)


def wrong(frame: np.ndarray) -> np.ndarray:
    """Scores that are sure, large, and the wrong way round."""
    scores = 20.0 * (bright(frame) - 0.5)
    return np.stack([scores, -scores]).astype(np.float32)


bright.classes = wrong.classes = ["dark", "bright"]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bar")
    for index in range(14):
        cv2.imwrite(f"{folder}/{index:02}.png", moving(index))
    return folder


def test_labels_are_what_the_reference_says(video: Path) -> None:
    networks = FunctionNetwork(bright, 2), FunctionNetwork(wrong, 2)
    program = FrameProgram(Accel(*networks, ScoreFusion(2)), torch.device("cpu"), torch.float32)
    rng = np.random.default_rng(0)
    spans = [(0, 0), (2, 0), (3, 0), (1, 3)] * 3
    snippets = list(own_snippets(str(video), program, None, spans, rng))
    found = sorted((len(snippet.frames) - 1 - snippet.after, snippet.after) for snippet in snippets)
    assert found == sorted(spans)
    images = [moving(index) for index in range(14)]
    for snippet in snippets:
        (last,) = (n for n, image in enumerate(images) if np.array_equal(image, snippet.frames[-1]))
        for back, frame in enumerate(reversed(snippet.frames)):
            np.testing.assert_array_equal(frame, images[last - back])
        labelled = snippet.frames[-1 - snippet.after]
        assert np.mean(snippet.labels == bright(labelled)) > 0.97


def test_a_pair_of_others_learns_from_its_reference(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of both is undecided; the fusion learns to distrust the update network."""
    pair = {name: f"python:{__name__}:{name}" for name in ("bright", "wrong")}
    few = FusionSettings(
        *pair.values(), video=str(video), interval=4, snippets=16, steps=50, rate=0.05
    )
    file = train_fusion(few, tmp_path, lambda _: None)
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(tmp_path))
    frames, agreed = [moving(index) for index in range(8)], {}
    for fusion in ("mean", "score"):
        settings = SegmenterSettings(
            reference=pair["bright"], update=pair["wrong"], fusion=fusion, interval=4
        )
        segmenter = load_segmenter(settings)
        same = [np.mean(segmenter.step(frame).labels == bright(frame)) for frame in frames]
        agreed[segmenter.describe()["fusion"]] = np.mean(same)
    assert agreed.pop(file.stem) > 0.95 > min(agreed.values())


def test_what_cannot_be_learnt_from_is_said(video: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data, a labelled data set, or from --video"):
        FusionSettings("a", "b")
    with pytest.raises(UsageError, match="--street and --shorter are for labelled pictures"):
        FusionSettings("a", "b", video=str(video), street=0.5)
    pair = (f"python:{__name__}:bright",) * 2
    with pytest.raises(InputError, match="has 14 frames, and 20 are needed from keyframe"):
        train_fusion(FusionSettings(*pair, video=str(video), interval=20), tmp_path)
    with pytest.raises(UsageError, match="'-' can be read only once"):
        train_fusion(FusionSettings(*pair, video="-"), tmp_path)

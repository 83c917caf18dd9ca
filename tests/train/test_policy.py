"""Learning where keyframes help most: their cost is exact, and learning finds where to spend."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from accel_rt.errors import OutputError, UsageError
from accel_rt.models.accel import Accel
from accel_rt.models.keyframe_gru import KeyframeGRU
from accel_rt.models.store import FOLDERS_VARIABLE, load_policy
from accel_rt.models.weights import read_description
from accel_rt.runtime.program import FrameProgram
from accel_rt.train import policy
from accel_rt.train.policy import Worth, at_fixed_interval, expected, fit, measure, train_policy
from accel_rt.train.settings import PolicySettings
from tests.models.test_weights import INFO
from tests.runtime.test_adaptive import changing
from tests.runtime.test_schedules import CPU
from tests.runtime.test_segmenter import colour_network
from tests.video.clips import write_clip

OLDEST = 40


def calm_and_wild(length: int = 72) -> Worth:
    """Every other 18 frames nothing is lost, and then much with age; the picture tells which."""
    wild = (torch.arange(length) // 18 % 2).float()[:, None]
    age = torch.arange(1.0, OLDEST + 1)
    return Worth(wild * age, wild * age, 5 * wild[:, 0], wild[:, 0])


def test_untrained_the_cost_is_that_of_a_fixed_interval() -> None:
    video = calm_and_wild()
    with torch.inference_mode():
        lost, keys = expected(KeyframeGRU(), [video, video], 6, sharper=1000.0)
    assert float(lost) == pytest.approx(at_fixed_interval(video, 6), rel=0.02)
    assert keys.tolist() == pytest.approx([1 / 6] * 2, rel=0.02)


def test_learning_spends_as_many_keyframes_where_they_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_WINDOW", 36)
    monkeypatch.setattr(policy, "_INTERVALS", (6,))
    video = calm_and_wild()
    network = fit([video], PolicySettings(steps=25, batch=2, rate=0.05), lambda text: None)
    with torch.inference_mode():
        lost, keys = expected(network, [video], 6, sharper=4.0)
    assert float(lost) < 0.9 * at_fixed_interval(video, 6)
    assert float(keys) == pytest.approx(1 / 6, rel=0.15)


def test_what_is_measured_is_what_comes_of_carrying() -> None:
    """A still half of the picture keeps its labels; of the other half all are others each frame."""
    frames = np.zeros((5, 64, 96, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, 48:, 0 if number % 2 else 2] = 250
    program = FrameProgram(Accel(colour_network().eval()), CPU, torch.float32)
    worth = measure(frames, program, None, 3)
    known = worth.loss.isfinite()
    assert known.tolist() == [[True, False, False], [True, True, False], *[[True] * 3] * 2]
    assert (worth.residual.isfinite() == known).all()
    assert (worth.loss[:, 0] > 30).all()  # a frame ago the colours were others
    assert (worth.loss[known][worth.loss[known] < 30] < 10).all()
    assert (worth.loss[2:, 1] < 10).all()  # two frames ago the same
    assert (worth.changed > 10).all()


def test_a_file_is_written_that_the_runtime_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "load_placed", lambda place: (colour_network().eval(), INFO))
    monkeypatch.setattr(policy, "_WINDOW", 8)
    clips = [write_clip(tmp_path / f"{n}.mp4", images=list(islice(changing(1), 9))) for n in "ab"]
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    lines: list[str] = []
    path = train_policy(clips, PolicySettings(steps=1, batch=1), tmp_path, lines.append)
    assert path == tmp_path / "policy.safetensors"
    assert read_description(path)["trained_on"] == f"2 videos, 18 frames, with {INFO.network}"
    assert load_policy() is load_policy()
    monkeypatch.setattr(policy, "_WINDOW", 9)
    with pytest.raises(UsageError, match="a.mp4 has fewer than 10 frames"):
        train_policy(clips, PolicySettings(), tmp_path, lines.append)


def test_videos_that_cannot_be_learnt_from_and_places_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "load_placed", lambda place: (colour_network().eval(), INFO))
    for number, height in enumerate((64, 64, 96)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((height, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="changes from 64x64 to 64x96: name videos whose frames"):
        train_policy([tmp_path], PolicySettings(), tmp_path / "out", lambda line: None)
    with pytest.raises(OutputError, match="cannot write .*0.png/policy.safetensors"):
        train_policy([tmp_path], PolicySettings(), tmp_path / "0.png", lambda line: None)

"""The keyframe loop: modes, cache, sizes, and agreement with the paper's forward pass."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.grid import Grid
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.layers import Features
from accel_rt.models.network import Network, TaskNetwork
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.normalise import normalise
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval, SceneCuts
from accel_rt.runtime.segmenter import Segmenter
from tests.models.paper import PaperForward
from tests.runtime import small

CLASSES = ClassSet(("dark", "blue", "red"), ((0, 0, 0), (0, 0, 255), (255, 0, 0)))


class Colours(nn.Module):
    """A feature network whose features are the cells' mean colours."""

    def forward(self, frame: Tensor) -> Features:
        return F.avg_pool2d(frame, 4), F.avg_pool2d(frame, 8), F.avg_pool2d(frame, 16)


def colour_network() -> Network:
    """Scores a cell by its blue and red: the label is the stronger one, 0 where both are weak."""
    task = TaskNetwork(3, len(CLASSES), state_channels=3)
    with torch.no_grad():
        task.projection.weight.copy_(torch.eye(3)[:, :, None, None])
        task.projection.bias.fill_(3.0)  # keeps the ReLU open
        weight = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0]])  # RGB features to scores
        task.scoring.weight.copy_(weight[:, :, None, None])
        task.scoring.bias.copy_(torch.tensor([0.5, -3.0, -3.0]))
    return Network(Colours(), task)


class KnownFlow:
    """A flow source that moves everything by the same number of cells each frame."""

    name = "known"

    normalisation = None
    latest = "known"

    def __init__(self, dx: float, dy: float = 0.0) -> None:
        self.vector = dx, dy

    def view(self, frame: np.ndarray, motion: object = None) -> np.ndarray:
        return frame

    def between(self, previous: np.ndarray, current: np.ndarray, grid: Grid) -> Tensor:
        return torch.tensor(self.vector)[None, :, None, None].expand(1, 2, *grid.cells)


def picture(blue_left: int, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """A black frame with a 32 pixels wide blue column that starts at ``blue_left``."""
    frame = np.zeros((*size, 3), np.uint8)
    frame[:, max(0, blue_left) : max(0, blue_left + 32), 0] = 255
    return frame


def segmenter(**options: object) -> Segmenter:
    model = options.pop("model", None) or Accel(colour_network())
    defaults = {"size": (96, 160), "policy": FixedInterval(4)}
    return build_segmenter(model, CLASSES, **{**defaults, **options})


def columns(labels: np.ndarray) -> np.ndarray:
    """First and last column of label 1 in the middle row."""
    found = np.flatnonzero(labels[len(labels) // 2] == 1)
    return found[[0, -1]]


def test_keyframes_come_every_interval() -> None:
    runner = segmenter(flow=KnownFlow(0))
    results = [runner.step(picture(32), Fraction(i, 25)) for i in range(9)]
    assert [r.kind for r in results] == ["key", "update", "update", "update"] * 2 + ["key"]
    assert [r.index for r in results] == list(range(9))
    assert results[3].pts == Fraction(3, 25)
    assert [r.flow for r in results[:3]] == ["none", "known", "known"]
    assert set(results[1].timings) == {"flow", "network", "output"}


def test_labels_have_the_sources_size_and_place() -> None:
    labels = segmenter().step(picture(32)).labels
    assert labels.dtype == np.uint8
    assert labels.shape == (96, 160)
    first, last = columns(labels)
    assert abs(first - 32) <= 4
    assert abs(last - 63) <= 4


def test_shifting_the_frame_by_16_pixels_shifts_the_labels_by_16() -> None:
    near, far = (segmenter().step(picture(left)).labels for left in (48, 64))
    np.testing.assert_array_equal(near[:, 16:128], far[:, 32:144])


def test_copy_mode_leaves_the_keyframes_labels() -> None:
    runner = segmenter()
    key = runner.step(picture(32)).labels
    later = runner.step(picture(64))
    assert later.kind == "update"
    np.testing.assert_array_equal(later.labels, key)


@pytest.mark.parametrize("incremental", [False, True])
def test_warping_follows_the_flow(incremental: bool) -> None:
    """Flow of -1 cell a frame: content was one cell to the left, so it moves right by 16."""
    runner = segmenter(flow=KnownFlow(-1), incremental=incremental)
    runner.step(picture(32))
    blank = np.zeros_like(picture(0))
    places = [columns(runner.step(blank).labels)[0] for _ in range(3)]
    assert [p - places[0] for p in places] == [0, 16, 32]
    assert abs(places[0] - 48) <= 4


def test_a_keyframe_replaces_the_cache() -> None:
    runner = segmenter(flow=KnownFlow(-1), policy=FixedInterval(2))
    for left in (16, 16, 96):
        labels = runner.step(picture(left)).labels
    assert abs(columns(labels)[0] - 96) <= 4


def test_fusion_sees_both_branches() -> None:
    """With the update branch alone in the fusion, labels follow the frame and not the cache."""
    fusion = ScoreFusion(len(CLASSES))
    with torch.no_grad():
        fusion.conv.weight[:, : len(CLASSES)] = 0
    model = Accel(colour_network(), colour_network(), fusion)
    runner = segmenter(model=model, flow=KnownFlow(0))
    runner.step(picture(32))
    assert abs(columns(runner.step(picture(96)).labels)[0] - 96) <= 4


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_reduced_update_branch_keeps_its_place(scale: float) -> None:
    fusion = ScoreFusion(len(CLASSES))
    with torch.no_grad():
        fusion.conv.weight[:, : len(CLASSES)] = 0
    model = Accel(colour_network(), colour_network(), fusion)
    runner = segmenter(model=model, flow=KnownFlow(0), update_scale=scale, size=(192, 320))
    wide = picture(64, (192, 320))
    wide[:, 96:192, 0] = 255
    runner.step(wide)
    first, last = columns(runner.step(wide).labels)
    tolerance = 4 / scale
    assert abs(first - 64) <= tolerance
    assert abs(last - 191) <= tolerance


def test_changed_frame_size_starts_over() -> None:
    runner = segmenter(flow=KnownFlow(0))
    assert runner.step(picture(32)).kind == "key"
    assert runner.step(picture(32)).kind == "update"
    result = runner.step(picture(32, (64, 128)))
    assert (result.kind, result.index, result.labels.shape) == ("key", 2, (64, 128))


def test_frames_may_be_views_with_negative_strides() -> None:
    """Which torch does not take: neither a flow network nor what feeds it may hand them on."""
    torch.manual_seed(5)
    model = small.accel()
    views, copies = (small.plain(model, flow=small.flownets()) for _ in range(2))
    for frame in small.frames(4):
        view = frame[:, ::-1, ::-1]
        np.testing.assert_array_equal(views.step(view).labels, copies.step(view.copy()).labels)


def test_reset_forgets_everything() -> None:
    runner = segmenter(flow=KnownFlow(0))
    runner.step(picture(32))
    runner.step(picture(32))
    runner.reset()
    result = runner.step(picture(96))
    assert (result.kind, result.index) == ("key", 0)
    assert abs(columns(result.labels)[0] - 96) <= 4


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (17, 33), (360, 482), (721, 1281), (5, 900)])
def test_any_frame_size(size: tuple[int, int]) -> None:
    model = Accel(colour_network(), colour_network(), ScoreFusion(len(CLASSES)))
    runner = segmenter(model=model, flow=DISFlow(), size=None, trained=(48, 64), update_scale=0.5)
    frame = np.full((*size, 3), (255, 0, 0), np.uint8)
    for _ in range(2):
        labels = runner.step(frame).labels
        assert labels.shape == size
        assert np.all(labels == 1)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        None,
    ],
)
def test_what_is_no_frame(frame: np.ndarray) -> None:
    with pytest.raises(UsageError, match="a frame"):
        segmenter().step(frame)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.9999), (torch.bfloat16, 0.95)])
def test_labels_agree_with_the_papers_forward(dtype: torch.dtype, least: float) -> None:
    """Deformable ResNets, random weights: float32 agrees but for ties; bfloat16 has 8 bits.

    Random networks leave many scores close together, which trained ones do not.
    """
    torch.manual_seed(11)
    rng = np.random.default_rng(11)

    def network(block: str) -> Network:
        feature = ResNet(ResNetSpec(block, (1, 1, 1, 1)))  # type: ignore[arg-type]
        network = Network(feature, TaskNetwork(feature.channels[-1], 3, state_channels=64))
        nn.init.normal_(network.task.scoring.weight, std=0.3)
        for name, parameter in network.named_parameters():
            if "offset.weight" in name:
                nn.init.normal_(parameter, std=0.02)
        return network.eval()

    accel = Accel(network("bottleneck"), network("basic"), ScoreFusion(3))
    size = (64, 96)
    frames = [cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), size[::-1]) for _ in range(4)]
    paper, expected = PaperForward(accel), []
    with torch.inference_mode():
        for index, frame in enumerate(frames):
            tensor = normalise(torch.from_numpy(frame)[None])
            if index == 0:
                expected.append(paper.keyframe(tensor)[1][0].numpy())
            else:
                flow = torch.tensor([0.5, -0.25])[None, :, None, None].expand(1, 2, 4, 6)
                expected.append(paper.intermediate(tensor, flow.contiguous())[1][0].numpy())
    runner = build_segmenter(
        accel, CLASSES, flow=KnownFlow(0.5, -0.25), incremental=True, size=size, dtype=dtype
    )
    for frame, labels in zip(frames, expected, strict=True):
        assert np.mean(runner.step(frame).labels == labels) >= least


class TestPolicies:
    def test_interval_zero(self) -> None:
        with pytest.raises(UsageError, match="must be at least 1, got 0"):
            FixedInterval(0)

    def test_a_cut_forces_a_keyframe(self) -> None:
        rng = np.random.default_rng(0)
        scenes = [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (160, 96)) for _ in "ab"]
        policy = SceneCuts(FixedInterval(100))
        stream = [scenes[0]] * 5 + [scenes[1]] * 5
        cuts = [i for i, f in enumerate(stream) if policy.decide(f, 1).cut]
        assert cuts == [5]

    def test_motion_and_noise_are_no_cuts(self) -> None:
        rng = np.random.default_rng(1)
        wide = cv2.resize(rng.integers(0, 256, (6, 30, 3), np.uint8), (800, 96))
        policy = SceneCuts(FixedInterval(100))
        for i in range(60):
            view = wide[:, 10 * i : 10 * i + 160].astype(np.int16) + rng.integers(-20, 21)
            assert policy.decide(np.clip(view, 0, 255).astype(np.uint8), 1).kind == "update"

    def test_intervals_count_from_the_cut(self) -> None:
        runner = segmenter(policy=SceneCuts(FixedInterval(3)))
        dark, bright = np.zeros((96, 160, 3), np.uint8), np.full((96, 160, 3), 255, np.uint8)
        kinds = [runner.step(f).kind for f in [dark, dark, bright, bright, bright, bright]]
        assert kinds == ["key", "update", "key", "update", "update", "key"]


def test_margins_are_low_along_edges():
    frame = picture(48)
    plain, result = segmenter().step(frame), segmenter(margins=True).step(frame)
    assert plain.margin is None
    assert np.array_equal(result.labels, plain.labels)
    assert result.margin.shape == frame.shape[:2]
    assert result.margin.dtype == np.float32
    first, last = columns(result.labels)
    middle = result.margin[48]
    assert middle.min() >= 0
    assert max(middle[first], middle[last]) < 0.2 * middle[(first + last) // 2]

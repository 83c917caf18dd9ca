"""Teachers: probabilities that do not depend on left and right, and losses that follow them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from accel_rt.classes import CITYSCAPES
from accel_rt.errors import UsageError
from accel_rt.models.zoo import build_network
from accel_rt.normalise import normalise, pad_to
from accel_rt.train.distil import HintedNetwork, Teacher, distillation_loss, hint_loss


def test_teacher_averages_networks_and_mirror_images() -> None:
    networks = [build_network(name, 4) for name in ("efficientnet_lite0", "resnet18")]
    teacher = Teacher(networks)
    images = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    probabilities = teacher(images).probabilities
    assert probabilities.shape == (2, 4, 16, 24)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 16, 24))
    torch.testing.assert_close(teacher(images.flip(2)).probabilities.flip(-1), probabilities)


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="'efficientnet_lite0' was trained for other classes"):
        Teacher.load(["efficientnet_lite0"], CITYSCAPES, torch.device("cpu"))


def test_teacher_gives_the_first_networks_features() -> None:
    networks = [build_network(name, 4).eval() for name in ("efficientnet_lite0", "resnet18")]
    images = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    teacher = Teacher(networks)
    assert teacher.channels == networks[0].feature.channels
    with torch.no_grad():
        expected = networks[0].feature(normalise(images))
    for given, wanted in zip(teacher(images).features, expected, strict=True):
        torch.testing.assert_close(given, wanted, atol=1e-3, rtol=1e-3)


def test_teacher_sees_frames_of_any_size_whole() -> None:
    teacher = Teacher([build_network("efficientnet_lite0", 4)], scales=(1.0, 1.5))
    frame = np.random.default_rng(0).integers(0, 256, (61, 90, 3), np.uint8)
    said = teacher.of_frame(frame)
    assert said.shape == (4, 16, 23)
    np.testing.assert_allclose(said.sum(0, dtype=int), 255, atol=2)
    padded = torch.from_numpy(pad_to(frame, (64, 96)))[None]
    expected = 255 * teacher(padded).probabilities[0, :, :16, :23]
    np.testing.assert_allclose(said, expected, atol=0.51)


def test_loss_where_a_teacher_says_nothing() -> None:
    scores, target = torch.randn(1, 5, 6, 8), torch.randn(1, 5, 6, 8).softmax(1)
    target[..., 4:] = 0
    torch.testing.assert_close(
        distillation_loss(scores, target),
        distillation_loss(scores[..., :4], target[..., :4]),
    )
    assert distillation_loss(scores, torch.zeros_like(target)) == 0


def test_loss_is_least_for_the_teachers_own_scores() -> None:
    target = torch.randn(2, 5, 6, 8).softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    torch.testing.assert_close(distillation_loss(target.log(), target), entropy)
    assert distillation_loss(torch.randn(2, 5, 3, 4), target) > entropy


def test_hint_loss_is_one_for_the_mean_and_none_for_the_features_themselves() -> None:
    features = tuple(7 + 3 * torch.randn(2, 6, 12 // k, 16 // k) for k in (1, 2, 4))
    means = [torch.zeros_like(feature) for feature in features]
    torch.testing.assert_close(hint_loss(means, features).item(), 1.0, atol=1e-3, rtol=0)
    own = [(f - f.mean((0, 2, 3), True)) / f.std((0, 2, 3), False, keepdim=True) for f in features]
    assert hint_loss(own, features) < 1e-4
    coarse = [F.avg_pool2d(feature, 2) for feature in means]
    assert 0 < hint_loss(coarse, features) < 1.1  # onto the guess's grid


def test_hinted_network_scores_as_the_network_does_and_learns_features() -> None:
    network = build_network("resnet18", 4)
    hinted = HintedNetwork(network, (5, 6, 7))
    images = torch.randn(1, 3, 32, 64)
    scores, guesses = hinted.eval()(images)
    torch.testing.assert_close(scores, network(images))
    assert [tuple(guess.shape) for guess in guesses] == [(1, 5, 8, 16), (1, 6, 4, 8), (1, 7, 2, 4)]
    features = (torch.randn(1, 5, 8, 16), torch.randn(1, 6, 4, 8), torch.randn(1, 7, 2, 4))
    hint_loss(guesses, features).backward()
    assert network.feature.layer4[1].conv2.weight.grad.abs().sum() > 0
    assert network.task.scoring.weight.grad is None

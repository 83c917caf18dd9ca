"""Teachers: probabilities that do not depend on left and right, and a loss that follows them."""

import torch

from accel_rt.models.zoo import build_network
from accel_rt.train.distil import Teacher, distillation_loss


def test_teacher_averages_networks_and_mirror_images() -> None:
    networks = [build_network(name, 4) for name in ("efficientnet_lite0", "resnet18")]
    teacher = Teacher(networks)
    images = torch.randn(2, 3, 64, 96)
    probabilities = teacher(images)
    assert probabilities.shape == (2, 4, 8, 12)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 8, 12))
    torch.testing.assert_close(teacher(images.flip(-1)).flip(-1), probabilities)


def test_loss_is_least_for_the_teachers_own_scores() -> None:
    target = torch.randn(2, 5, 6, 8).softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    torch.testing.assert_close(distillation_loss(target.log(), target), entropy)
    assert distillation_loss(torch.randn(2, 5, 3, 4), target) > entropy

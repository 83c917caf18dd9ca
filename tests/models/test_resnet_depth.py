"""A deeper network computes what the shallower one did, until it is trained."""

import pytest
import torch

from accel_rt.models.resnet_depth import with_depth_of
from accel_rt.models.zoo import build_network


@pytest.mark.parametrize(("shallow", "deep"), [("resnet18", "resnet34"), ("resnet50", "resnet101")])
def test_growing_keeps_the_scores(shallow: str, deep: str) -> None:
    trained = build_network(shallow, 5).eval()
    for module in trained.modules():  # as after training: norms that are not the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    network = build_network(deep, 5).eval()
    network.load_state_dict(with_depth_of(network, trained.state_dict()))
    frame = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(frame), trained(frame), rtol=1e-4, atol=1e-4)


def test_inserted_blocks_learn() -> None:
    """Their last norm starts at zero but has a gradient, so training can use them."""
    network = build_network("resnet34", 3)
    network.load_state_dict(with_depth_of(network, build_network("resnet18", 3).state_dict()))
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    inserted = network.get_parameter("feature.layer3.5.bn2.weight")
    assert inserted.count_nonzero() == 0
    assert inserted.grad is not None
    assert inserted.grad.abs().sum() > 0


def test_a_shallower_one_keeps_the_first_blocks() -> None:
    trained = build_network("resnet101", 5).eval()
    network = build_network("resnet50", 5).eval()
    network.load_state_dict(with_depth_of(network, trained.state_dict()))
    frame = torch.randn(1, 3, 64, 96)
    trained.feature.layer3 = trained.feature.layer3[:6]
    with torch.no_grad():
        torch.testing.assert_close(network(frame), trained(frame), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("deep", ["resnet18", "resnet34"])
def test_another_task_network_starts_fresh_on_the_same_features(deep: str) -> None:
    trained = build_network("resnet18", 5).eval()
    network = build_network(deep, 7, "skip").eval()
    fresh = network.task.scoring.weight.clone()
    network.load_state_dict(with_depth_of(network, trained.state_dict()))
    assert torch.equal(network.task.scoring.weight, fresh)
    frame = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for grown, own in zip(network.feature(frame), trained.feature(frame), strict=True):
            torch.testing.assert_close(grown, own, rtol=1e-4, atol=1e-4)


def test_other_classes_do_not_fit() -> None:
    """The same kind of task network is not replaced unasked."""
    network = build_network("resnet34", 3)
    with pytest.raises(RuntimeError, match="size mismatch"):
        network.load_state_dict(with_depth_of(network, build_network("resnet18", 4).state_dict()))


def test_other_block_types_do_not_fit() -> None:
    network = build_network("resnet50", 3)
    grown = with_depth_of(network, build_network("resnet18", 3).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        network.load_state_dict(grown)

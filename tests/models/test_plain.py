"""The network of plain convolutions: its branches are one convolution when it runs."""

import pytest
import torch
from torch import nn

from accel_rt.models.fuse import for_inference
from accel_rt.models.plain import RepConv2d
from accel_rt.models.zoo import build_network


def _trained(module: nn.Module) -> nn.Module:
    """``module`` with batch norms as training could leave them."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
                assert tensor is not None
                tensor.copy_(torch.randn_like(tensor))
            assert norm.running_var is not None
            norm.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.mark.parametrize("out_channels", [6, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_three_branches_are_one_convolution(out_channels: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = _trained(RepConv2d(6, out_channels, stride))
    assert isinstance(layer, RepConv2d)
    assert (layer.norm0 is not None) == (out_channels == 6 and stride == 1)
    x = torch.randn(2, 6, 9, 12)
    folded = layer.folded()
    assert folded.kernel_size == (3, 3)
    torch.testing.assert_close(folded(x), layer(x), rtol=1e-4, atol=1e-4)


def test_it_runs_as_it_was_trained() -> None:
    torch.manual_seed(1)
    network = build_network("plainnet", 5).eval()
    for module in network.modules():
        if isinstance(module, RepConv2d):
            _trained(module)
    x = torch.randn(1, 3, 48, 64)
    with torch.inference_mode():
        expected = network(x)
        result = for_inference(network, torch.device("cpu"), torch.float32)(x)
    assert result.shape == (1, 5, 12, 16)
    scale = float(expected.abs().max())
    torch.testing.assert_close(result / scale, expected / scale, rtol=1e-3, atol=1e-4)
    assert not [m for m in network.modules() if isinstance(m, (RepConv2d, nn.BatchNorm2d))]


def test_no_convolution_is_depthwise() -> None:
    network = build_network("plainnet", 5)
    assert {m.groups for m in network.modules() if isinstance(m, nn.Conv2d)} == {1}


def test_gradients_reach_every_branch() -> None:
    network = build_network("plainnet", 5).train()
    nn.init.normal_(network.get_parameter("task.correction.weight"))
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())

"""Feature and task networks: shapes, names, geometry, initialisation, folding."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.fuse import for_inference, fuse_networks
from accel_rt.models.init import load_feature_weights
from accel_rt.models.inverted_residual import PreparedInvertedResidual
from accel_rt.models.layers import DeformConv2d, DepthwiseConv2d
from accel_rt.models.prepared import (
    PreparedConv2d,
    PreparedMaxPool2d,
    PreparedWinogradConv2d,
)
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.models.zoo import NETWORKS, Task, build_network
from accel_rt.ops import extension_status, inverted_residual_pack, winograd_conv2d_pack
from tests.ops.inputs import residual_block

SLIM = ResNetSpec("basic", (1, 1, 1, 1))


def randomise_batch_norms(model: nn.Module) -> None:
    """Statistics and affine parameters as after training, so that folding has something to do."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_scores_on_its_grid(name: str) -> None:
    network = build_network(name, 11).eval()
    with torch.inference_mode():
        state = network.encode(torch.randn(1, 3, 64, 96))
        scores = network.cut(network.decode(state), (64, 96))
    stride = network.score_stride
    assert scores.shape == (1, 11, 64 // stride, 96 // stride)
    assert state.shape[-2:] == (64 // network.stride, 96 // network.stride)
    assert state.shape[1] == (1024 if name.startswith("resnet") else 11)


@pytest.mark.parametrize(
    ("name", "task", "stride"),
    [("resnet18", "skip", 4), ("resnet50", "skip", 4), ("efficientnet_lite0", "paper", 16)],
)
def test_any_network_takes_either_task_network(name: str, task: Task, stride: int) -> None:
    network = build_network(name, 5, task).eval()
    assert network.stride == stride
    with torch.inference_mode():
        scores = network(torch.randn(1, 3, 64, 96))
    assert scores.shape == (1, 5, 64 // stride, 96 // stride)


def test_unknown_network_names_the_choices() -> None:
    with pytest.raises(UsageError, match="unknown network 'vgg': choose from resnet18"):
        build_network("vgg", 11)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032),
     ("resnet101", 42_500_160)],
)  # fmt: skip
def test_resnet_without_offsets_has_torchvisions_size(name: str, parameters: int) -> None:
    """The published parameter counts of the ImageNet networks, less their classifier."""
    feature = build_network(name, 11).feature
    own = sum(p.numel() for n, p in feature.named_parameters() if ".offset." not in n)
    assert own == parameters


def test_resnet_uses_torchvisions_names() -> None:
    names = set(build_network("resnet50", 11).feature.state_dict())
    expected = {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer3.5.bn2.weight",
        "layer4.2.conv2.weight",
    }
    assert expected <= names


def test_conv5_is_deformable_and_dilated() -> None:
    feature = build_network("resnet18", 11).feature
    deformable = {n: m for n, m in feature.named_modules() if isinstance(m, DeformConv2d)}
    assert sorted(deformable) == [
        "layer4.0.conv1",
        "layer4.0.conv2",
        "layer4.1.conv1",
        "layer4.1.conv2",
    ]
    for layer in deformable.values():
        assert layer.dilation == (2, 2)
        assert layer.offset.out_channels == 2 * 9 * 4


def test_fresh_deformable_layer_is_the_plain_convolution() -> None:
    layer = DeformConv2d(8, 6, 3, padding=2, dilation=2).double()
    x = torch.randn(2, 8, 9, 11, dtype=torch.float64)
    plain = nn.functional.conv2d(x, layer.weight, padding=2, dilation=2)
    torch.testing.assert_close(layer(x), plain)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 2), (5, 2), (5, 3)])
def test_depthwise_training_computes_the_same_convolution(kernel: int, dilation: int) -> None:
    """On sizes that dilation does not divide, with gradients."""
    layer = DepthwiseConv2d(6, kernel, dilation=dilation)
    frame = torch.randn(2, 6, 11, 16)
    towards = torch.randn_like(frame)
    found = []
    for training in (True, False):
        x = frame.clone().requires_grad_()
        out = layer.train(training)(x)
        found.append((out, *torch.autograd.grad(out, (x, layer.weight), towards)))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)  # sums of 352


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_folding_batch_norms_changes_nothing(name: str) -> None:
    network = build_network(name, 5).double()
    randomise_batch_norms(network)
    network.eval()
    frame = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        before = network(frame)
        folded = fuse_networks(network)
        after = folded(frame)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_lite0", "resnet18_mxnet"])
def test_preparing_for_inference_keeps_the_scores(name: str) -> None:
    """Prepared convolutions, their activations with them, on two sizes of frame."""
    network = build_network(name, 5)
    randomise_batch_norms(network)
    nn.init.normal_(network.task.scoring.weight, std=0.1)
    network.eval()
    frames = torch.randn(1, 3, 64, 96), torch.randn(2, 3, 48, 64)
    with torch.inference_mode():
        before = [(*network.feature(frame), network(frame)) for frame in frames]
        prepared = for_inference(network, torch.device("cpu"), torch.float32)
        after = [(*prepared.feature(frame), prepared(frame)) for frame in frames]
    for old, new in zip(itertools.chain(*before), itertools.chain(*after), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * float(old.abs().max()))
    if torch.backends.mkldnn.is_available():
        kinds = {type(module) for module in prepared.feature.modules()}
        assert PreparedConv2d in kinds
        assert nn.Conv2d not in kinds
        if extension_status().loaded:
            assert DeformConv2d not in kinds
        filtered = winograd_conv2d_pack(torch.zeros(64, 64, 3, 3)) is not None
        assert (PreparedWinogradConv2d in kinds) == (filtered and name.startswith("resnet"))
        joined = inverted_residual_pack(*residual_block())
        served = joined is not None and name.startswith("efficientnet")
        assert (PreparedInvertedResidual in kinds) == served
        assert nn.ReLU6 not in kinds
        assert nn.MaxPool2d not in kinds


@pytest.mark.parametrize("size", [(6, 8), (2, 2), (7, 8), (6, 9)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_prepared_max_pool_is_torchs(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = torch.randn(2, 5, *size).to(memory_format=layout)
    x[0, 1, 0, 1] = torch.nan
    torch.testing.assert_close(
        PreparedMaxPool2d()(x), F.max_pool2d(x, 3, 2, 1), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_shifting_the_frame_by_a_cell_shifts_the_scores(name: str) -> None:
    """A 16-pixel shift moves everything away from the borders by exactly one stride-16 cell."""
    network = build_network(name, 3).double().eval()
    wide = torch.randn(1, 3, 64, 1040, dtype=torch.float64)
    with torch.inference_mode():
        first, second = network(wide[..., :1024]), network(wide[..., 16:])
    cells = 16 // network.stride
    middle = slice(first.shape[-1] // 2 - 2, first.shape[-1] // 2 + 2)
    moved = slice(middle.start + cells, middle.stop + cells)
    torch.testing.assert_close(second[..., middle], first[..., moved], rtol=1e-9, atol=1e-9)


class TestImageNetCheckpoint:
    def save(self, path: Path, **changes: torch.Tensor | None) -> Path:
        state = {k: v for k, v in ResNet(SLIM).state_dict().items() if ".offset." not in k}
        state |= {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
        for name, value in changes.items():
            key = name.replace("__", ".")
            state.pop(key, None)
            if value is not None:
                state[key] = value
        torch.save(state, path)
        return path

    def test_loads_everything_but_the_classifier(self, tmp_path: Path) -> None:
        path = self.save(tmp_path / "net.pth", conv1__weight=torch.full((64, 3, 7, 7), 0.25))
        feature = ResNet(SLIM)
        load_feature_weights(feature, path)
        assert torch.all(feature.conv1.weight == 0.25)

    def test_missing_tensor(self, tmp_path: Path) -> None:
        path = self.save(tmp_path / "net.pth", bn1__weight=None)
        with pytest.raises(WeightsError, match=r"1 tensors are missing .* \(first: bn1.weight\)"):
            load_feature_weights(ResNet(SLIM), path)

    def test_wrong_shape(self, tmp_path: Path) -> None:
        path = self.save(tmp_path / "net.pth", bn1__weight=torch.zeros(3))
        with pytest.raises(WeightsError, match="'bn1.weight' is .3,. there and .64,. in"):
            load_feature_weights(ResNet(SLIM), path)

    @pytest.mark.parametrize("content", ["text", "a tensor"])
    def test_other_files(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "net.pth"
        path.write_text("text")
        if content == "a tensor":
            torch.save(torch.zeros(3), path)
        with pytest.raises(WeightsError, match="is no checkpoint of tensors by name"):
            load_feature_weights(ResNet(SLIM), path)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="no checkpoint"):
            load_feature_weights(ResNet(SLIM), tmp_path / "none.pth")

"""A ResNet that takes over an EfficientNet-Lite's features, exactly where it can."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.models import transplant as module
from accel_rt.models.network import Network
from accel_rt.models.resnet import Bottleneck
from accel_rt.models.transplant import Reader, Stem, check_pair, donor_features, transplant
from accel_rt.models.zoo import build_network


def _as_trained(network: nn.Module, seed: int) -> nn.Module:
    """Norms that are not the identity, as after training."""
    torch.manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.5)
    with torch.no_grad():
        for _ in range(12):
            network.train()(torch.randn(2, 3, 64, 96))
    return network.eval()


@pytest.fixture(scope="module")
def donor() -> Network:
    return _as_trained(build_network("efficientnet_lite2", 5), 0)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    torch.manual_seed(1)
    return F.interpolate(torch.randn(2, 3, 12, 16), scale_factor=8, mode="bilinear")


Grown = tuple[Network, Stem, list[tuple[str, float]]]


@pytest.fixture(scope="module", params=["resnet50", "resnet101"])
def grown(request: pytest.FixtureRequest, donor: Network, frames: Tensor) -> Grown:
    torch.manual_seed(2)
    student = build_network(request.param, 5, "skip")
    stem = Stem(student.feature, donor.feature)
    quality = transplant(student.eval(), donor, stem.eval(), frames)
    return student, stem, quality


def test_every_bottleneck_takes_part(grown: Grown) -> None:
    """Even an untrained stem lets the frames that were fitted be explained nearly whole."""
    student, _, quality = grown
    names = [name for name, _ in quality]
    blocks = {
        f"{stage}.{i}"
        for stage in ("layer2", "layer3", "layer4")
        for i in range(len(getattr(student.feature, stage)))
    }
    assert len(set(names)) == len(names)
    # There is no donor block for the last two of ResNet-101.
    assert blocks - set(names) == blocks & {"layer3.21", "layer3.22"}
    assert quality[-1][1] > 0.9
    assert all(explained <= 1 for _, explained in quality)


def test_scores_become_the_donors(donor: Network, grown: Grown, frames: Tensor) -> None:
    student, *_ = grown
    with torch.no_grad():
        wanted, got = donor(frames), student(frames)
        fresh = build_network("resnet101", 5, "skip").eval()(frames)
    error = (got - wanted).square().mean() / wanted.var()
    assert error < 0.5
    assert error < 0.5 * (fresh - wanted).square().mean() / wanted.var()


def test_training_starts_from_the_same_function(grown: Grown, frames: Tensor) -> None:
    """A batch's own statistics are those that the norms were given."""
    student, *_ = grown
    with torch.no_grad():
        stream = student.feature.layer1(
            student.feature.maxpool(F.relu(student.feature.bn1(student.feature.conv1(frames))))
        )
        for stage in (student.feature.layer2, student.feature.layer3, student.feature.layer4):
            evaluated = stage.eval()(stream)
            trained = stage.train()(stream)
            torch.testing.assert_close(trained, evaluated, rtol=1e-2, atol=2e-2)
            stream = evaluated
    student.eval()


def test_what_the_donor_leaves_unused_can_be_learnt(grown: Grown, frames: Tensor) -> None:
    student, *_ = grown
    student.train()(frames).square().mean().backward()
    for block in (student.feature.layer2[1], student.feature.layer3[-1]):
        assert isinstance(block, Bottleneck)
        silent = block.bn3.weight == 0
        assert silent.any()
        assert block.bn3.weight.grad is not None
        assert block.bn3.weight.grad[silent].abs().max() > 0
    student.zero_grad()
    student.eval()


def test_a_reader_undoes_what_its_channels_are_raised_by() -> None:
    stage = module._Stage(build_network("efficientnet_lite2", 2).feature, [], {})
    raised = torch.tensor([1.0, 2.0])
    first, second = stage._claim(raised, 6), stage._claim(raised + 2, 6)
    assert first.channels.tolist() == [0, 1]
    assert second.channels.tolist() == [2, 3]
    stream = torch.arange(6.0).view(1, 6, 1, 1)
    assert first(stream).flatten().tolist() == [-1, -1]
    assert second(stream).flatten().tolist() == [-1, -1]


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_taps_of_a_depthwise_convolution_are_found_again(stride: int, dilation: int) -> None:
    depthwise = nn.Conv2d(40, 40, 3, stride, dilation, dilation, groups=40)
    conv = nn.Conv2d(40, 40, 3, stride, dilation, dilation)
    x = torch.randn(2, 40, 13, 17)
    with torch.no_grad():
        taps, bias = module._fit_taps(x, depthwise(x), conv)
        torch.testing.assert_close(taps.view(40, 1, 3, 3), depthwise.weight, rtol=0.01, atol=2e-3)
        torch.testing.assert_close(bias, depthwise.bias, rtol=0.01, atol=2e-3)


def test_written_rows_compute_what_they_are_told() -> None:
    conv, norm = nn.Conv2d(6, 9, 1, bias=False), nn.BatchNorm2d(9)
    x, rows = torch.randn(3, 6, 5, 7), torch.tensor([1, 4, 8])
    weight, bias = torch.randn(3, 6), torch.randn(3)
    with torch.no_grad():
        module._write(conv, norm, x, rows, weight, bias, 2.0)
        wanted = F.conv2d(x, 2 * weight[..., None, None], bias)
        torch.testing.assert_close(norm.eval()(conv(x))[:, rows], wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(norm.train()(conv(x))[:, rows], wanted, rtol=1e-4, atol=1e-4)


def test_decoder_reads_the_donors_features(donor: Network, frames: Tensor) -> None:
    """Streams that hold the features exactly give the donor's scores."""
    student = build_network("resnet101", 5, "skip").eval()
    features = donor.feature(frames)
    streams, readers = [], []
    for feature, width in zip(features, student.feature.channels, strict=True):
        channels = feature.shape[1]
        raised = torch.rand(channels)
        stream = torch.randn(feature.shape[0], width, *feature.shape[2:])
        stream[:, 3 : 3 + channels] = feature + raised[:, None, None]
        weight = torch.zeros(channels, width)
        weight[torch.arange(channels), 3 + torch.arange(channels)] = 1
        streams.append(stream)
        readers.append(Reader(weight, -raised))
    module._transplant_decoder(student.task, donor.task, readers)
    with torch.no_grad():
        torch.testing.assert_close(
            student.score(tuple(streams)), donor.score(features), rtol=1e-3, atol=1e-3
        )


def test_donor_features_are_the_networks_own(donor: Network, frames: Tensor) -> None:
    outputs = donor_features(donor.feature, frames)
    with torch.no_grad():
        for index, wanted in zip((3, 6, 20), donor.feature(frames), strict=True):
            torch.testing.assert_close(outputs[index], wanted)
    assert len(donor_features(donor.feature, frames, 4)) == 4


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("resnet18", "efficientnet_lite2"),
        ("resnet101", "efficientnet_lite0"),
        ("resnet101", "resnet18"),
    ],
)
def test_other_pairs_are_refused(student: str, teacher: str) -> None:
    with pytest.raises(UsageError, match="from an EfficientNet-Lite2 into a ResNet-50 or -101"):
        check_pair(build_network(student, 2).feature, build_network(teacher, 2).feature)


@pytest.mark.parametrize("student", ["resnet50", "resnet101"])
def test_the_right_pairs_are_taken(student: str) -> None:
    donor = build_network("efficientnet_lite2", 2).feature
    check_pair(build_network(student, 2).feature, donor)

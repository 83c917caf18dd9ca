"""A ResNet of bottlenecks that starts with the features of a trained EfficientNet-Lite.

An inverted bottleneck expands, convolves each channel by itself and projects; each expanded channel
does so independently of the others. A ResNet's bottleneck can therefore do the work of as many of
them as it is wide: its 1x1 convolution expands, its 3x3 convolution, for now zero but for its
diagonal, convolves, and its last 1x1 convolution projects what is added to the stream that passes
along the shortcuts. What does not fit exactly (5x5 kernels, channels left out, a shallower stem)
is fitted by least squares to the donor's own activations on some frames, a bottleneck at a time, on
top of whatever error those before it have left. Everything that the donor has no use for keeps its
fresh weights behind a scale of zero, so that training can make use of it.

ReLU ends every bottleneck, where the donor's features are signed: the stream carries them raised
by a constant per channel, and whoever reads them lowers them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.models.efficientnet_lite import EfficientNetLite, MBConv
from accel_rt.models.layers import FeatureNetwork
from accel_rt.models.network import Network, SkipTaskNetwork
from accel_rt.models.resnet import Bottleneck, ResNet

_RIDGE = 1e-4  # of the mean square, so that least squares has a unique answer
_LOWEST = 1e-4  # share of a feature's values that the ReLU may cut off below
_ALIVE = 0.1  # what a stream's unused channels hold: at zero, ReLU would let no gradient through
_QUANTILE_OF = 16384  # pixels; torch takes no more than some millions of values at once


@dataclass(frozen=True)
class Reader:
    """How donor features are read from a stream: ``weight [c, C] @ stream + bias [c]``."""

    weight: Tensor
    bias: Tensor

    @property
    def channels(self) -> Tensor:
        """The stream's channels, for a reader of one each."""
        return self.weight.argmax(1)

    def __call__(self, stream: Tensor) -> Tensor:
        return F.conv2d(stream, self.weight[..., None, None], self.bias)


@dataclass(frozen=True)
class _Slot:
    """A bottleneck's part: channels of donor block ``source`` towards the output of ``goal``."""

    source: int
    goal: int


def _each(blocks: Sequence[int], times: int) -> tuple[_Slot, ...]:
    return tuple(_Slot(block, block) for block in blocks for _ in range(times))


_STEM_ENDS = 3  # donor block whose output the ResNet's conv1 and layer1 are trained to give
_LAYER2 = (*_each((4, 5), 1), *_each((6,), 2))
_LAYER4 = (_Slot(16, 17), _Slot(18, 19), _Slot(20, 20))
_LAYER3 = {
    6: (_Slot(7, 7), _Slot(8, 10), _Slot(11, 11), _Slot(12, 14), *_each((15,), 2)),
    23: (*_each((7,), 1), *_each((8, 9, 10, 11), 2), *_each((12, 13, 14, 15), 3)),
}
"""What the bottlenecks of ResNet-50 and -101 do of the 21 blocks of EfficientNet-Lite2, in order;
layer3 by its length. Blocks between a slot's source and its goal are left out."""


class Stem(nn.Module):
    """What of a ResNet comes before its conv3, reading the donor's stride-4 features."""

    def __init__(self, student: ResNet, donor: EfficientNetLite) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            student.conv1, student.bn1, student.relu, student.maxpool, student.layer1
        )
        self.guess = nn.Conv2d(student.channels[0], donor.channels[0], 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised RGB ``[N, 3, H, W]`` to guesses ``[N, c, H/4, W/4]``."""
        return self.guess(self.trunk(frames))

    def reader(self) -> Reader:
        """The guess as a reader of the trunk's stream."""
        assert self.guess.bias is not None
        return Reader(self.guess.weight.detach().flatten(1), self.guess.bias.detach())


def check_pair(student: FeatureNetwork, donor: FeatureNetwork) -> None:
    """Raise :class:`~accel_rt.errors.UsageError` for networks that this cannot be done with."""
    fits = (
        isinstance(student, ResNet)
        and isinstance(donor, EfficientNetLite)
        and student.spec.block == "bottleneck"
        and len(donor._blocks) == _LAYER4[-1].source + 1
        and student.spec.layers[1:] in {(len(_LAYER2), n, len(_LAYER4)) for n in _LAYER3}
    )
    if not fits:
        raise UsageError(
            "features go from an EfficientNet-Lite2 into a ResNet-50 or -101: choose two of these"
        )


@torch.no_grad()
def donor_features(
    donor: EfficientNetLite, frames: Tensor, blocks: int | None = None
) -> list[Tensor]:
    """The outputs of the first ``blocks`` (all) for normalised frames ``[N, 3, H, W]``."""
    x = donor.relu(donor._bn0(donor._conv_stem(frames)))
    outputs = []
    for block in list(donor._blocks)[:blocks]:
        x = block(x)
        outputs.append(x)
    return outputs


@torch.no_grad()
def transplant(
    student: Network, donor: Network, stem: Stem, frames: Tensor
) -> list[tuple[str, float]]:
    """Fit ``student`` to ``donor`` on normalised ``frames [N, 3, H, W]``, in place.

    ``stem`` is the student's trained stem. Both are in ``eval`` mode. Returns, for each bottleneck
    in order, its name and the share of the variance of its goal that the stream then explains.
    """
    resnet, lite = student.feature, donor.feature
    assert isinstance(resnet, ResNet)
    assert isinstance(lite, EfficientNetLite)
    wanted = donor_features(lite, frames)
    stream = stem.trunk(frames)
    readers = {_STEM_ENDS: stem.reader()}
    quality = []
    stages = {"layer2": _LAYER2, "layer3": _LAYER3[resnet.spec.layers[2]], "layer4": _LAYER4}
    for name, slots in stages.items():
        bottlenecks = list(getattr(resnet, name))
        stage = _Stage(lite, wanted, readers)
        for index, slot in enumerate(slots):
            part = slots[:index].count(slot)
            stream = stage.fill(bottlenecks[index], slot, part, stream)
            explained = _explained(readers[slot.goal](stream), wanted[slot.goal])
            quality.append((f"{name}.{index}", explained))
        for unused in bottlenecks[len(slots) :]:
            nn.init.zeros_(unused.bn3.weight)
            stream = unused(stream)
    if isinstance(student.task, SkipTaskNetwork) and isinstance(donor.task, SkipTaskNetwork):
        ends = _STEM_ENDS, _LAYER2[-1].goal, _LAYER4[-1].goal
        _transplant_decoder(student.task, donor.task, [readers[block] for block in ends])
    return quality


class _Stage:
    """One ResNet stage while its bottlenecks are filled.

    ``readers`` says, by donor block, how its output is read from the stream, and is kept up to
    date. Donor blocks joined by shortcuts share their channels of the stream: a newer output
    replaces an older one.
    """

    def __init__(
        self, donor: EfficientNetLite, wanted: list[Tensor], readers: dict[int, Reader]
    ) -> None:
        self._donor, self._wanted, self._readers = donor, wanted, readers
        self._used = 0  # channels of the stream

    def fill(self, bottleneck: Bottleneck, slot: _Slot, part: int, stream: Tensor) -> Tensor:
        """Fit ``bottleneck`` with the ``part``-th share of its source; returns what comes out."""
        block = self._donor._blocks[slot.source]
        assert isinstance(block, MBConv)
        before, goal = self._wanted[slot.source - 1], self._wanted[slot.goal]
        reader = self._readers[slot.source - 1]
        width = bottleneck.conv2.out_channels
        convolved = block._bn1(
            block._depthwise_conv(block.relu(block._bn0(block._expand_conv(before))))
        )
        convolved = convolved.clamp(max=6)
        chosen = _most_important(block, convolved)[part * width : (part + 1) * width]
        middle = _expand(bottleneck, block, reader, stream, chosen)
        middle = _convolve(bottleneck, middle, convolved[:, chosen])

        joins = self._joined(slot.source - 1, slot.goal)
        begun = reader if joins else self._readers.get(slot.goal)
        missing = goal - begun(stream) if begun else goal
        shift: Tensor | float = 0.0
        if bottleneck.downsample is None and begun is not None:
            target = begun
        else:
            shift = self._raised(slot.goal)
            target = self._claim(shift, bottleneck.conv3.out_channels)
        if isinstance(bottleneck.downsample, nn.Sequential):
            conv, norm = bottleneck.downsample
            assert isinstance(norm, nn.BatchNorm2d)
            _silence(norm)
            nn.init.constant_(norm.bias, _ALIVE)
            norm.bias[target.channels] = 0
            if joins:  # what the new stage goes on from
                rows, bias = target.channels, reader.bias + shift
                _write(conv, norm, stream, rows, reader.weight, bias)
                shift = 0.0
        elif begun is None:
            shift = shift - _ALIVE  # is there already
        _project(bottleneck, middle, missing, target.channels, shift)
        self._readers[slot.goal] = target
        return bottleneck(stream)

    def _joined(self, first: int, last: int) -> bool:
        """Whether nothing but shortcuts lies between the outputs of two blocks."""
        blocks = list(self._donor._blocks)[first + 1 : last + 1]
        return all(isinstance(block, MBConv) and block.has_shortcut for block in blocks)

    def _raised(self, goal: int) -> Tensor:
        """What to add to the output of ``goal`` to make it, and those joined to it, positive."""
        joined = [b for b in range(goal, len(self._wanted)) if self._joined(goal, b)]
        every = -(-_pixels(self._wanted[goal]).shape[0] // _QUANTILE_OF)
        lows = [torch.quantile(_pixels(self._wanted[b])[::every], _LOWEST, dim=0) for b in joined]
        return (0.5 * _pixels(self._wanted[goal]).std(0) - torch.stack(lows).amin(0)).clamp(min=0)

    def _claim(self, raised: Tensor, width: int) -> Reader:
        """New channels of a stream ``width`` wide that carry features raised by ``raised``."""
        own = torch.arange(len(raised))
        weight = torch.zeros(len(raised), width)
        weight[own, self._used + own] = 1
        self._used += len(raised)
        return Reader(weight, -raised)


def _expand(
    bottleneck: Bottleneck, block: MBConv, reader: Reader, stream: Tensor, chosen: Tensor
) -> Tensor:
    """The bottleneck's first convolution: the donor's expansion of what ``reader`` reads."""
    scale, shift = _folded(block._bn0)
    weight = (block._expand_conv.weight.flatten(1) * scale[:, None])[chosen]
    bias = shift[chosen] + weight @ reader.bias
    rows = torch.arange(len(chosen))
    own = bottleneck.conv1.weight.flatten(1)[rows]
    unread = reader.weight.abs().sum(0) == 0
    scaled, factor = _normalised(weight @ reader.weight, own)
    # Silent so far, but listened to, so that training finds out what they are good for.
    scaled = scaled + torch.where(unread, own, 0)
    bias = bias - factor * _ALIVE * torch.where(unread, own, 0).sum(1)
    _write(bottleneck.conv1, bottleneck.bn1, stream, rows, scaled, bias, factor)
    return bottleneck.relu(bottleneck.bn1(bottleneck.conv1(stream)))


def _convolve(bottleneck: Bottleneck, middle: Tensor, goal: Tensor) -> Tensor:
    """The bottleneck's 3x3 convolution: on its diagonal, fitted to the donor's depthwise one."""
    conv, count = bottleneck.conv2, goal.shape[1]
    taps, bias = _fit_taps(middle[:, :count], goal, conv)
    rows = torch.arange(count)
    own = conv.weight[rows].flatten(1)
    weight = torch.zeros(count, *conv.weight.shape[1:])
    weight[rows, rows] = taps.view(-1, 3, 3)
    scaled, factor = _normalised(weight.flatten(1), own)
    _write(conv, bottleneck.bn2, middle, rows, scaled, bias, factor)
    return bottleneck.relu(bottleneck.bn2(conv(middle)))


def _project(
    bottleneck: Bottleneck, middle: Tensor, missing: Tensor, rows: Tensor, shift: Tensor | float
) -> None:
    """The bottleneck's last convolution: as much of ``missing [N, c, h, w]`` as there is."""
    weight, bias = _least_squares(_pixels(middle), _pixels(missing))
    own = bottleneck.conv3.weight.flatten(1)[rows]
    scaled, factor = _normalised(weight, own)
    _silence(bottleneck.bn3)
    _write(bottleneck.conv3, bottleneck.bn3, middle, rows, scaled, bias + shift, factor)


def _write(
    conv: nn.Module,
    norm: nn.Module,
    x: Tensor,
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    factor: Tensor | float = 1.0,
) -> None:
    """Make ``norm(conv(x))`` equal ``factor * (weight @ x) + bias`` in the given rows.

    The norm's statistics become those of ``x``, so that training, which takes a batch's own, goes
    on from the same function.
    """
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight[rows] = weight.view(-1, *conv.weight.shape[1:])
    out = _pixels(conv(x))
    mean, var = out.mean(0), out.var(0, correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight[rows] = factor * (var[rows] + norm.eps).sqrt()
    norm.bias[rows] = bias + factor * mean[rows]


def _silence(norm: nn.Module) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)


def _normalised(weight: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the length that fresh weights have, and the factors that undo it.

    The optimiser's steps then change them as fast as the others.
    """
    factor = weight.norm(dim=1) / own.norm(dim=1).mean()
    return weight / factor.clamp(min=1e-12)[:, None], factor


def _folded(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of a batch norm in ``eval`` mode."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _most_important(block: MBConv, convolved: Tensor) -> Tensor:
    """The expanded channels of ``block``, those that move its output most first."""
    scale, _ = _folded(block._bn2)
    reach = (block._project_conv.weight.flatten(1) * scale[:, None]).norm(dim=0)
    return (reach * _pixels(F.relu(convolved)).std(0)).argsort(descending=True)


def _fit_taps(x: Tensor, goal: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Kernels ``[C, 9]`` and biases ``[C]`` to bring each channel of ``x`` nearest to ``goal``."""
    taps, biases = [], []
    dilation = conv.dilation  # the padding, too
    for part, wanted in zip(x.split(32, 1), goal.split(32, 1), strict=True):
        n, c, h, w = part.shape
        columns = F.unfold(part.reshape(n * c, 1, h, w), 3, dilation, dilation, conv.stride)
        columns = columns.view(n, c, 9, -1).permute(1, 0, 3, 2).reshape(c, -1, 9)
        values = wanted.flatten(2).permute(1, 0, 2).reshape(c, -1, 1)
        solved, bias = _least_squares(columns, values)
        taps.append(solved[:, 0])
        biases.append(bias[:, 0])
    return torch.cat(taps), torch.cat(biases)


def _least_squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``weight [..., c, C]`` and ``bias [..., c]`` for ``x [..., P, C]`` and ``y [..., P, c]``."""
    x_mean, y_mean = x.mean(-2, keepdim=True), y.mean(-2, keepdim=True)
    centred = x - x_mean
    gram = (centred.mT @ centred).double()
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    ridge = _RIDGE * diagonal.mean(-1, keepdim=True) + 1e-9
    gram = gram + torch.diag_embed(ridge.expand_as(diagonal))
    solved = torch.linalg.solve(gram, (centred.mT @ (y - y_mean)).double()).float()
    return solved.mT, (y_mean - x_mean @ solved)[..., 0, :]


def _pixels(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` to ``[N * H * W, C]``."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _explained(guess: Tensor, wanted: Tensor) -> float:
    error = (_pixels(guess) - _pixels(wanted)).square().mean(0)
    return float(1 - error.mean() / _pixels(wanted).var(0).mean())


def _transplant_decoder(
    student: SkipTaskNetwork, donor: SkipTaskNetwork, readers: Sequence[Reader]
) -> None:
    """The donor's decoder, reading from the student's streams at strides 4, 8 and 16."""
    tensors = dict(donor.state_dict())
    for name, reader in zip(("fine_skip", "skip", "deep"), readers, strict=True):
        weight = tensors[f"{name}.0.weight"].flatten(1)
        tensors[f"{name}.0.weight"] = (weight @ reader.weight)[..., None, None]
        tensors[f"{name}.1.running_mean"] = tensors[f"{name}.1.running_mean"] - weight @ reader.bias
    student.load_state_dict(tensors)

"""What the authors called the layers of our networks.

Each function gives, for the modules of a network that hold parameters, the name of the node in
MXNet's graph.
"""

from __future__ import annotations

from accel_rt.models.preactivation import PreActivationSpec
from accel_rt.models.resnet import ResNetSpec

_BRANCHES = "abc"


def resnet(spec: ResNetSpec, prefix: str = "", numbered: bool = False) -> dict[str, str]:
    """A ResNet's; long stages have letters (3a, 3b, 3c), or are ``numbered`` (3a, 3b1, 3b2)."""
    names = {"feature.conv1": f"{prefix}conv1", "feature.bn1": f"{prefix}bn_conv1"}
    for stage, blocks in enumerate(spec.layers):
        for block in range(blocks):
            letter = chr(ord("a") + block)
            if numbered and blocks > 3 and block:
                letter = f"b{block}"
            names |= _block(f"feature.layer{stage + 1}.{block}", prefix, f"{stage + 2}{letter}", 3)
    return names


def preactivation(spec: PreActivationSpec, prefix: str) -> dict[str, str]:
    """A pre-activation ResNet's."""
    names = {"feature.conv1": f"{prefix}conv0", "feature.bn1": f"{prefix}bn0"}
    for stage in range(3):
        for unit in range(spec.layers[stage]):
            ours = f"feature.layer{stage + 1}.{unit}"
            theirs = f"{prefix}stage{stage + 1}_unit{unit + 1}"
            names |= {f"{ours}.{part}": f"{theirs}_{part}" for part in _UNIT}
            names[f"{ours}.shortcut"] = f"{theirs}_sc"
    for block in range(spec.layers[3]):
        letter = chr(ord("a") + block)
        names |= _block(f"feature.layer4.{block}", prefix, f"5{letter}", 2)
    return {**names, "feature.upsampling": f"{prefix}feat_upsampling"}


_UNIT = ("bn1", "conv1", "bn2", "conv2")


def _block(ours: str, prefix: str, place: str, convolutions: int) -> dict[str, str]:
    """A residual block's, of which some have no offsets and no shortcut."""
    names = {
        f"{ours}.downsample.0": f"{prefix}res{place}_branch1",
        f"{ours}.downsample.1": f"{prefix}bn{place}_branch1",
    }
    for number, letter in zip(range(1, convolutions + 1), _BRANCHES, strict=False):
        names[f"{ours}.conv{number}"] = f"{prefix}res{place}_branch2{letter}"
        names[f"{ours}.conv{number}.offset"] = f"{prefix}res{place}_branch2{letter}_offset"
        names[f"{ours}.bn{number}"] = f"{prefix}bn{place}_branch2{letter}"
    return names


def task(prefix: str = "") -> dict[str, str]:
    """A task network's; its projection is in two parts, and the bias is its own."""
    return {
        "task.projection": f"{prefix}fc6",
        "task.shift": f"{prefix}fc6",
        "task.scoring": f"{prefix}score",
        "task.upsampling": f"{prefix}upsampling",
    }


def flownet() -> dict[str, str]:
    """FlowNetS's."""
    names = {f"encoder.{i}.0": name for i, name in enumerate(_ENCODER)}
    for level in range(4):
        names[f"upconvs.{level}.0"] = f"deconv{5 - level}"
        names[f"upflows.{level}"] = f"upsample_flow{6 - level}to{5 - level}"
    return {**names, **{f"predictors.{i}": f"Convolution{i + 1}" for i in range(5)}}


_ENCODER = (
    "flow_conv1",
    "conv2",
    "conv3",
    "conv3_1",
    "conv4",
    "conv4_1",
    "conv5",
    "conv5_1",
    "conv6",
    "conv6_1",
)

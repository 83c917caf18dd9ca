"""Networks by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from accel_rt.errors import UsageError
from accel_rt.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteSpec
from accel_rt.models.layers import FeatureNetwork
from accel_rt.models.network import DeconvTaskNetwork, Network, SkipTaskNetwork, TaskNetwork
from accel_rt.models.plain import PlainNetwork, PlainSpec
from accel_rt.models.preactivation import PreActivationResNet, PreActivationSpec
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.models.timm import TimmFeatures

Task = Literal["paper", "skip", "plain", "deconv"]
"""Kinds of task networks: ``paper`` (stride 16, the state is the projected features), ``skip``
(stride 4, the state is the scores), ``plain`` (the like, narrower and without depthwise
convolutions) and ``deconv`` (as ``paper``, but for the authors' details)."""


@dataclass(frozen=True)
class NetworkSpec:
    """A feature network, and the task network that it has unless another one is asked for."""

    feature: ResNetSpec | PreActivationSpec | EfficientNetLiteSpec | PlainSpec
    task: Task
    summary: str


NETWORKS = {
    "resnet18": NetworkSpec(
        ResNetSpec("basic", (2, 2, 2, 2)), "paper", "deformable ResNet-18 (the paper's update)"
    ),
    "resnet34": NetworkSpec(
        ResNetSpec("basic", (3, 4, 6, 3)), "paper", "deformable ResNet-34 (the paper's update)"
    ),
    "resnet50": NetworkSpec(
        ResNetSpec("bottleneck", (3, 4, 6, 3)), "paper", "deformable ResNet-50 (the paper's update)"
    ),
    "resnet101": NetworkSpec(
        ResNetSpec("bottleneck", (3, 4, 23, 3)),
        "paper",
        "deformable ResNet-101 (the paper's reference)",
    ),
    "resnet18_mxnet": NetworkSpec(
        PreActivationSpec((2, 2, 2, 2)), "deconv", "the authors' own ResNet-18 (update)"
    ),
    "resnet34_mxnet": NetworkSpec(
        PreActivationSpec((3, 4, 6, 3)), "deconv", "the authors' own ResNet-34 (update)"
    ),
    "resnet50_mxnet": NetworkSpec(
        ResNetSpec("bottleneck", (3, 4, 6, 3), caffe=True, inside_only=True),
        "deconv",
        "the authors' own ResNet-50 (update)",
    ),
    "resnet101_mxnet": NetworkSpec(
        ResNetSpec(
            "bottleneck",
            (3, 4, 23, 3),
            offset_groups=1,
            caffe=True,
            dilated_offsets=False,
            inside_only=True,
        ),
        "deconv",
        "the authors' own ResNet-101 (reference)",
    ),
    "efficientnet_lite0": NetworkSpec(
        EfficientNetLiteSpec(1.0, 1.0), "skip", "EfficientNet-Lite0 with a stride-4 skip"
    ),
    "efficientnet_lite1": NetworkSpec(
        EfficientNetLiteSpec(1.0, 1.1), "skip", "EfficientNet-Lite1 with a stride-4 skip"
    ),
    "efficientnet_lite2": NetworkSpec(
        EfficientNetLiteSpec(1.1, 1.2), "skip", "EfficientNet-Lite2 with a stride-4 skip"
    ),
    "plainnet": NetworkSpec(
        PlainSpec((16, 32, 128, 256), (4, 6)), "plain", "plain 3x3 convolutions, made for CPUs"
    ),
}


_TIMM = re.compile(r"timm:([\w.]+)")


def is_network(name: str) -> bool:
    """Whether there may be a network of that name: one of :data:`NETWORKS`, or timm's."""
    return name in NETWORKS or _TIMM.fullmatch(name) is not None


def split_checkpoint(name: str) -> tuple[str, str]:
    """``timm:NAME@FILE`` as ``timm:NAME`` and ``FILE``; of other names the second is empty."""
    bare, _, file = name.partition("@")
    return (bare, file) if is_network(bare) and bare not in NETWORKS else (name, "")


def build_network(name: str, classes: int, task: Task | None = None) -> Network:
    """The network called ``name`` with fresh weights, scoring ``classes`` classes.

    ``timm:NAME`` is a feature network of timm. ``task`` chooses another task network than its own.
    Raises :class:`~accel_rt.errors.UsageError` if there is no such network.
    """
    if timm := _TIMM.fullmatch(name):
        feature = TimmFeatures(timm[1])
        network = _with_task(feature, task or "skip", classes)
        network.normalisation = feature.normalisation
        return network
    if name not in NETWORKS:
        choice = ", ".join(NETWORKS)
        raise UsageError(f"unknown network '{name}': choose from {choice}, or timm:NAME of timm's")
    spec = NETWORKS[name]
    return _with_task(_feature(spec.feature), task or spec.task, classes)


def _feature(
    spec: ResNetSpec | PreActivationSpec | EfficientNetLiteSpec | PlainSpec,
) -> FeatureNetwork:
    if isinstance(spec, ResNetSpec):
        return ResNet(spec)
    if isinstance(spec, PreActivationSpec):
        return PreActivationResNet(spec)
    return PlainNetwork(spec) if isinstance(spec, PlainSpec) else EfficientNetLite(spec)


def _with_task(feature: FeatureNetwork, task: Task, classes: int) -> Network:
    if task == "skip":
        return Network(feature, SkipTaskNetwork(feature.channels, classes))
    if task == "plain":
        return Network(feature, SkipTaskNetwork(feature.channels, classes, 64, 24, plain=True))
    make = TaskNetwork if task == "paper" else DeconvTaskNetwork
    return Network(feature, make(feature.channels[-1], classes))

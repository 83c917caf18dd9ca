"""Small networks for tests of what is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from accel_rt.classes import CAMVID
from accel_rt.models.layers import DeformConv2d
from accel_rt.models.network import Network, SkipTaskNetwork, TaskNetwork
from accel_rt.models.plain import PlainNetwork, PlainSpec
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.models.weights import ModelInfo, save_network
from accel_rt.models.zoo import build_network

INFO = ModelInfo("plainnet", CAMVID, (96, 128), "nothing")
FRAMES = np.random.default_rng(1).integers(0, 256, (6, 90, 120, 3), np.uint8)


def plain() -> Network:
    """Two dozen dense convolutions; the state is the scores."""
    feature = PlainNetwork(PlainSpec((8, 8, 16, 16), (1, 1)))
    network = Network(feature, SkipTaskNetwork(feature.channels, 11, 16, 8, plain=True))
    nn.init.normal_(network.task.correction.weight)
    return network.eval()


def deformable() -> Network:
    """A residual network whose last stage is deformable; the state is features."""
    feature = ResNet(ResNetSpec("basic", (1, 1, 1, 1)))
    network = Network(feature, TaskNetwork(feature.channels[-1], 11, 64))
    for module in network.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.offset.weight, std=0.02)
    return network.eval()


def write_network(path: Path) -> Path:
    """A weight file of a network of the zoo's."""
    torch.manual_seed(0)
    network = build_network("plainnet", 11)
    nn.init.normal_(network.task.correction.weight)
    save_network(path, network, INFO)
    return path

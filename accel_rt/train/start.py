"""Where a network's weights start from."""

from __future__ import annotations

from pathlib import Path

import torch

from accel_rt.models import store
from accel_rt.models.grow import grow
from accel_rt.models.init import imagenet_file, load_feature_weights
from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet
from accel_rt.models.weights import fit, load_tensors
from accel_rt.models.zoo import Task, build_network


def start_network(
    name: str, classes: int, init: str, seed: int, task: Task | None = None
) -> Network:
    """A network, with its own or another ``task`` network, that starts from ``init``.

    ``init`` is ``none`` (random weights of ``seed``), ``imagenet`` (the installed ImageNet
    checkpoint), an ImageNet checkpoint in torchvision's format (such as ``.pth``), or weights of
    this package (an installed name or a ``.safetensors`` file), which may be those of a shallower
    ResNet of the same block type, or of one with another task network.

    Raises :class:`~accel_rt.errors.UsageError` for an unknown name and
    :class:`~accel_rt.errors.WeightsError` for a file that does not fit.
    """
    torch.manual_seed(seed)
    network = build_network(name, classes, task)
    if init == "none":
        return network
    if init == "imagenet":
        load_feature_weights(network.feature, imagenet_file(name))
    elif Path(init).suffix in ("", ".safetensors"):
        path = store.find(init)
        tensors, _ = load_tensors(path)
        if isinstance(network.feature, ResNet):
            tensors = grow(network, tensors)
        fit(network, tensors, path)
    else:
        load_feature_weights(network.feature, Path(init))
    return network

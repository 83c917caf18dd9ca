"""Where a network's weights start from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.models import store
from accel_rt.models.init import imagenet_file, load_feature_weights
from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet
from accel_rt.models.resnet_depth import with_depth_of
from accel_rt.models.timm import TimmFeatures
from accel_rt.models.weights import (
    ModelInfo,
    describing,
    fit,
    load_tensors,
    read_description,
    split_part,
)
from accel_rt.models.zoo import Task, build_network, split_checkpoint
from accel_rt.normalise import Normalisation

_CHECKPOINTS = (".pth", ".pt", ".bin", ".tar", ".ckpt")


def start_network(
    name: str, classes: ClassSet, init: str, seed: int, task: Task | None = None
) -> Network:
    """A network, with its own or another ``task`` network, that starts from ``init``.

    ``name`` may be ``timm:NAME@FILE``, which starts from a checkpoint of timm's. Else ``init`` is
    ``none`` (random weights of ``seed``), ``imagenet`` (the installed ImageNet checkpoint; timm's
    own weights for its networks), an ImageNet checkpoint in torchvision's format (such as
    ``.pth``), or weights of this package (an installed name or a ``.safetensors`` file), which may
    be those of a ResNet of the same block type and another depth, or with another task network.
    Weights of other classes keep all but their scoring layers, which begin anew for classes that
    they do not know by name.

    Raises :class:`~accel_rt.errors.UsageError` for an unknown name and
    :class:`~accel_rt.errors.WeightsError` for a file that does not fit.
    """
    torch.manual_seed(seed)
    name, file = split_checkpoint(name)
    network = build_network(name, len(classes), task)
    feature = network.feature
    if file:
        if init != "none":
            raise UsageError(f"the network starts from {file}: leave --init {init} out")
        assert isinstance(feature, TimmFeatures)
        feature.load_checkpoint(Path(file))
    elif init == "none":
        pass
    elif init == "imagenet" and isinstance(feature, TimmFeatures):
        feature.load_pretrained()
    elif init == "imagenet":
        load_feature_weights(feature, imagenet_file(name))
    elif not _is_checkpoint(init):
        path = store.find(init)
        tensors, description = load_tensors(path)
        if (known := store.class_names(path)) != classes.names:
            tensors = _rescored(network, tensors, known, classes.names)
        if description.get("network") == name:
            with describing(path):
                info = ModelInfo.from_json(description)
            network.normalisation = Normalisation(info.mean_rgb, info.std_rgb)
        if isinstance(feature, ResNet):
            tensors = with_depth_of(network, tensors)
        fit(network, tensors, path)
    else:
        load_feature_weights(feature, Path(init))
    return network


def initial_task(init: str) -> Task | None:
    """The task network of the weights ``init``, see :func:`start_network`; None where they have the
    one that belongs to their network, or none."""
    if init in ("none", "imagenet") or _is_checkpoint(init):
        return None
    return read_description(store.find(init)).get("task")


def _is_checkpoint(init: str) -> bool:
    """Whether it is a file of somebody else's, and not weights of this package."""
    path = split_part(Path(init))[0]
    return path.suffix != ".safetensors" and (path.is_file() or path.suffix in _CHECKPOINTS)


def _rescored(
    network: Network, tensors: dict[str, Tensor], known: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """``tensors`` with ``network``'s own scoring layers, whose rows are taken over by name."""
    rescored = dict(tensors)
    for layer in ("scoring", "correction", "upsampling"):
        for kind in ("weight", "bias"):
            key = f"task.{layer}.{kind}"
            own = network.state_dict().get(key)
            if own is not None and key in tensors and own.shape[1:] == tensors[key].shape[1:]:
                rescored[key] = own.clone()
                for row, name in enumerate(names):
                    if name in known:
                        rescored[key][row] = tensors[key][known.index(name)]
    return rescored

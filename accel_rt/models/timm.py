"""Feature networks of timm (PyTorch Image Models)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.layers import FeatureNetwork, Features, resize_grid
from accel_rt.models.optional import package, reason
from accel_rt.normalise import Normalisation


class TimmFeatures(FeatureNetwork):
    """timm's network ``name`` without its classifier, with fresh weights.

    Its maps are those at strides 4 and 8, and the last one, brought from its stride to 16.
    Raises :class:`~accel_rt.errors.UsageError` if timm is missing, or has no such network, or one
    that gives no such maps or takes pictures of a single size.
    """

    fusible = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        try:
            self.network = _create(name, pretrained=False)
            maps: Any = self.network.feature_info
            strides, widths = maps.reduction(), maps.channels()
            self._maps = strides.index(4), strides.index(8), len(strides) - 1
            self._stride = max(16, strides[-1])
            self.channels = widths[self._maps[0]], widths[self._maps[1]], widths[-1]
            self._try()
        except UsageError:
            raise
        except Exception as error:  # timm raises many kinds
            raise UsageError(
                f"timm's '{name}' cannot be used ({reason(error)}): name a network with maps "
                f"at strides 4, 8 and 16 or more of pictures of any size, such as timm:resnet18"
            ) from error

    @property
    def normalisation(self) -> Normalisation:
        """How timm's own weights want their pictures."""
        told: Any = self.network.pretrained_cfg
        return Normalisation(tuple(told["mean"]), tuple(told["std"]))

    def forward(self, frame: Tensor) -> Features:
        """``[N, 3, H, W]`` normalised RGB to ``[N, C, H/s, W/s]`` for the strides s."""
        height, width = frame.shape[-2:]
        padded = F.pad(frame, (0, -width % self._stride, 0, -height % self._stride))
        found = self.network(padded)
        stride4, stride8, last = (found[index] for index in self._maps)
        stride16 = resize_grid(last, (padded.shape[-2] // 16, padded.shape[-1] // 16))
        return (
            stride4[..., : height // 4, : width // 4],
            stride8[..., : height // 8, : width // 8],
            stride16[..., : height // 16, : width // 16],
        )

    def _try(self) -> None:
        with torch.no_grad():
            maps = self.eval()(torch.zeros(1, 3, 80, 112))
        self.train()
        wanted = [(n, 80 // s, 112 // s) for n, s in zip(self.channels, (4, 8, 16), strict=True)]
        if (shapes := [tuple(found.shape[1:]) for found in maps]) != wanted:
            raise ValueError(f"its maps are {shapes}, not {wanted}")

    def load_pretrained(self) -> None:
        """Take timm's own weights, which it fetches or has in its cache.

        Raises :class:`~accel_rt.errors.WeightsError` if it has none or cannot.
        """
        try:
            trained = _create(self._name, pretrained=True)
        except Exception as error:  # of the hub, of files
            raise WeightsError(
                f"timm's weights of '{self._name}' cannot be had ({reason(error)}): name a "
                f"file as timm:{self._name}@FILE"
            ) from error
        self.network.load_state_dict(trained.state_dict())

    def load_checkpoint(self, path: Path) -> None:
        """Take the weights of a checkpoint of timm's, without its classifier.

        Raises :class:`~accel_rt.errors.WeightsError` if it is missing, damaged, or of another
        network.
        """
        if not path.is_file():
            raise WeightsError(f"no checkpoint {path}: name an existing file after timm:NAME@")
        own = self.network.state_dict()
        try:
            state = package("timm.models", "timm", "timm").load_state_dict(str(path))
            found = {_plain(name): tensor for name, tensor in state.items()}
            if missing := [name for name in own if _plain(name) not in found]:
                raise ValueError(f"it has no '{missing[0]}'")
            self.network.load_state_dict({name: found[_plain(name)] for name in own})
        except Exception as error:  # of damaged and of other files, many kinds
            raise WeightsError(
                f"{path} holds no weights of timm's {self._name} ({reason(error)})"
            ) from error


def _create(name: str, pretrained: bool) -> nn.Module:
    timm = package("timm", "timm", "timm")
    return timm.create_model(name, pretrained=pretrained, features_only=True)


def _plain(name: str) -> str:
    """A tensor's name, whether its network is whole or taken apart for its maps."""
    return name.removeprefix("model.").replace(".", "_")

"""From the authors' parameters to our networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from accel_rt.errors import WeightsError
from accel_rt.models.flownet import MXNetFlowNetS
from accel_rt.models.mxnet import names
from accel_rt.models.network import Network
from accel_rt.models.preactivation import PreActivationSpec
from accel_rt.models.resnet import ResNetSpec
from accel_rt.models.zoo import NETWORKS, build_network
from accel_rt.normalise import CAFFE_MEAN_RGB, Normalisation

CLASSES = 19
"""Cityscapes', which all of the authors' models score."""

REFERENCE = "resnet101_mxnet"
RAW = Normalisation(CAFFE_MEAN_RGB, (1 / 255, 1 / 255, 1 / 255))
"""Colours of 0 to 255 less their mean."""

_EPS = 2e-5
_NORM_NAMES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_var",
}


@dataclass(frozen=True)
class Version:
    """One of the authors' models; ``update`` is None for Deep Feature Flow.

    ``prefix`` and ``heads`` begin the names of the update's feature and task network.
    """

    title: str
    update: str | None = None
    prefix: str = ""
    heads: str = ""


VERSIONS = {
    "18": Version("Accel-18", "resnet18_mxnet", "18_", "18_"),
    "34": Version("Accel-34", "resnet34_mxnet", "34_", "34_"),
    "50": Version("Accel-50", "resnet50_mxnet", "50_", "curr_"),
    "101": Version("Accel-101", REFERENCE),
    "dff": Version("Deep Feature Flow"),
}


@dataclass(frozen=True)
class Converted:
    """A model's state dicts by part: ``reference``, ``flow``, ``update`` and ``fusion``.

    There is no ``update`` where the reference network is its own. ``flow`` is the flow network
    without tensors, ``normalisations`` are the networks', and ``unused`` are the names of the
    parameters that no part wants.
    """

    version: Version
    flow: MXNetFlowNetS
    parts: dict[str, dict[str, Tensor]]
    normalisations: dict[str, Normalisation]
    unused: list[str]


def convert(parameters: Mapping[str, np.ndarray]) -> Converted:
    """The authors' parameters, by their names with ``arg:`` or ``aux:``, as our tensors.

    Raises :class:`~accel_rt.errors.WeightsError` saying what is missing or does not fit.
    """
    source, version = _Source(parameters), _version_of(parameters)
    normalisations = {"reference": RAW, "update": RAW}
    with torch.device("meta"):  # shapes are all that is wanted
        reference, flow = build_network(REFERENCE, CLASSES), MXNetFlowNetS()
        update = build_network(version.update, CLASSES) if version.update else None
    parts = {
        "reference": source.tensors(reference, _feature_names(REFERENCE) | names.task()),
        "flow": source.tensors(flow, names.flownet()),
    }
    if update is not None and version.update is not None:
        if version.update != REFERENCE:
            theirs = _feature_names(version.update, version.prefix) | names.task(version.heads)
            parts["update"] = source.tensors(update, theirs)
        parts["fusion"] = source.fusion(reference, of_features=version.update == REFERENCE)
        if isinstance(NETWORKS[version.update].feature, PreActivationSpec):
            normalisations["update"] = source.frame_norm(f"{version.prefix}bn_data")
    source.check(version)
    return Converted(version, flow, parts, normalisations, sorted(source.left))


def _version_of(parameters: Mapping[str, np.ndarray]) -> Version:
    for name, version in VERSIONS.items():
        if any(key.partition(":")[2].startswith(f"{name}_") for key in parameters):
            return version
    return VERSIONS["101" if "arg:corr_weight" in parameters else "dff"]


def _feature_names(network: str, prefix: str = "") -> dict[str, str]:
    spec = NETWORKS[network].feature
    if isinstance(spec, PreActivationSpec):
        return names.preactivation(spec, prefix)
    assert isinstance(spec, ResNetSpec)
    return names.resnet(spec, prefix, numbered=network == REFERENCE)


class _Source:
    """Parameters, and what became of them: ``left`` are those that nothing has wanted yet."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        self._parameters = parameters
        self.left = set(parameters)
        self._missing: list[str] = []
        self._wrong: list[str] = []

    def tensors(self, module: nn.Module, nodes: dict[str, str]) -> dict[str, Tensor]:
        """The state dict of ``module``, of whose modules ``nodes`` tell the authors' names."""
        found = {}
        for name, like in module.state_dict().items():
            path, _, leaf = name.rpartition(".")
            if isinstance(module.get_submodule(path), nn.BatchNorm2d):
                if leaf == "num_batches_tracked":
                    continue
                leaf = _NORM_NAMES[leaf]
            found[name] = self._take(f"{nodes[path]}_{leaf}", tuple(like.shape))
        return found

    def fusion(self, reference: Network, of_features: bool) -> dict[str, Tensor]:
        """The state dict of the fusion, whose two halves lie side by side."""
        channels = reference.feature.channels[-1] if of_features else CLASSES
        weight = self._take("corr_weight", (channels, 2 * channels, 1, 1))
        bias = self._take("corr_bias", (channels,))
        if not of_features:
            return {"conv.weight": weight, "conv.bias": bias}
        warped, current = (half.contiguous() for half in weight.chunk(2, 1))
        return {
            "reference_half.weight": warped,
            "update_half.weight": current,
            "update_half.bias": bias,
        }

    def frame_norm(self, node: str) -> Normalisation:
        """The batch norm of the frame itself, whose gamma counts as 1, as a normalisation."""
        mean, variance, beta, _ = (
            self._take(f"{node}_{leaf}", (3,)).double()
            for leaf in ("moving_mean", "moving_var", "beta", "gamma")
        )
        std = (variance.clamp(min=0) + _EPS).sqrt()
        mean_rgb = torch.tensor(CAFFE_MEAN_RGB, dtype=torch.float64) + (mean - beta * std) / 255
        if not ((mean_rgb >= 0) & (mean_rgb <= 1)).all():
            self._wrong.append(f"'{node}' takes no colours")
        (red, green, blue), (r, g, b) = mean_rgb.tolist(), (std / 255).tolist()
        return Normalisation((red, green, blue), (r, g, b))

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A parameter in float32; what is wrong with it is told by :meth:`check`."""
        moving = name.endswith(("_moving_mean", "_moving_var"))
        key = f"{'aux' if moving else 'arg'}:{name}"
        self.left.discard(key)
        found = self._parameters.get(key)
        if found is None:
            self._missing.append(name)
        elif found.shape != shape:
            self._wrong.append(f"'{name}' is {found.shape} and should be {shape}")
        else:
            tensor = torch.from_numpy(found.astype(np.float32))
            if not tensor.isfinite().all():
                self._wrong.append(f"'{name}' holds values that are no finite numbers")
            elif name.endswith("_moving_var") and (tensor < 0).any():
                self._wrong.append(f"'{name}' holds variances below 0")
            return tensor
        return torch.zeros(shape)

    def check(self, version: Version) -> None:
        """Raise if parameters were missing or wrong."""
        faults = []
        if self._missing:
            faults.append(f"{len(self._missing)} parameters are missing ({_some(self._missing)})")
        if self._wrong:
            faults.append(f"{len(self._wrong)} do not fit ({_some(self._wrong)})")
        if faults:
            raise WeightsError(
                f"this is not all of {version.title}: {' and '.join(faults)}: name the file of its "
                f"last epoch, and with --base the one that it was trained from"
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

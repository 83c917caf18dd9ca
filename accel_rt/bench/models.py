"""The models of the end-to-end benchmark, with random weights: they do not change the speed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from accel_rt.classes import CAMVID
from accel_rt.flow.dis import DISFlow
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.layers import DeformConv2d
from accel_rt.models.network import Network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class Model:
    """A model by its networks, and the keyframe interval at which its stream runs.

    Without ``update`` it is Deep Feature Flow; at interval 1 DeepLab; with ``plain`` DeepLab in
    plain PyTorch, whatever the device can do better.
    """

    name: str
    reference: str = "resnet101"
    update: str | None = None
    update_scale: float = 1.0
    interval: int = 5
    plain: bool = False


BASELINE = Model("DeepLab-101, plain PyTorch", interval=1, plain=True)

MODELS = (
    BASELINE,
    Model("DeepLab-101", interval=1),
    Model("DFF"),
    Model("Accel-18", update="resnet18"),
    Model("Accel-18, update x0.5", update="resnet18", update_scale=0.5),
    Model("Accel-34", update="resnet34"),
    Model("Accel-50", update="resnet50"),
    Model("Accel-101", update="resnet101"),
    Model("Accel light", "efficientnet_lite2", "efficientnet_lite0"),
)
QUICK_MODELS = tuple(
    model for model in MODELS if model.name not in ("Accel-34", "Accel-50", "Accel-101")
)


@dataclass(frozen=True)
class Built:
    """A segmenter, and its update network where it has one."""

    segmenter: Segmenter
    update: Network | None


class Networks:
    """Builds segmenters that share their reference networks."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._reference = cache(random_network)

    def build(self, model: Model) -> Built:
        """``model`` with a keyframe every ``model.interval`` frames, and DIS flow between them."""
        reference = self._reference(model.reference)
        update = fusion = None
        if model.update is not None:
            update, fusion = random_network(model.update), ScoreFusion(len(CAMVID)).eval()
        segmenter = Segmenter(
            Accel(reference, update, fusion),
            CAMVID,
            flow=DISFlow() if model.interval > 1 else None,
            policy=FixedInterval(model.interval),
            update_scale=model.update_scale,
            device=self._device,
            dtype=self._dtype,
        )
        return Built(segmenter, update)


def random_network(name: str) -> Network:
    """A network whose deformable taps lie between pixels, as those of trained ones do.

    Offsets are random constants: computed from the diverging activations of an untrained network
    they would point outside the picture, where nothing is read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(name, len(CAMVID))
        for module in network.modules():
            if isinstance(module, DeformConv2d):
                assert module.offset.bias is not None
                nn.init.uniform_(module.offset.bias, -2, 2)
    return network.eval()

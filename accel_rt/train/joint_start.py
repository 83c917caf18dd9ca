"""Where joint training starts from: two trained networks, their fusion, and a flow network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from accel_rt.classes import ClassSet
from accel_rt.flow.flownets import load_flownet
from accel_rt.models import store
from accel_rt.models.accel import Accel, FeatureFusion, ScoreFusion
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo, load_network
from accel_rt.train.joint_model import JointModel
from accel_rt.train.pair_settings import JointSettings
from accel_rt.train.sources import check_network


@dataclass(frozen=True)
class JointStart:
    """The module to train, and what the files of its networks say of them."""

    model: JointModel
    reference: ModelInfo
    update: ModelInfo | None


def start_joint(settings: JointSettings, classes: ClassSet) -> JointStart:
    """Load what ``settings`` name, for samples labelled with ``classes``.

    Raises :class:`~accel_rt.errors.UsageError`, before any network is built, for networks of
    other classes, and as :func:`~accel_rt.models.store.find` for names.
    """
    names, paths = [settings.reference], [store.find(settings.reference)]
    if settings.update:
        names.append(settings.update)
        paths.append(store.find(settings.update, role="update"))
    flow_path = None if settings.flow == "dis" else store.find(settings.flow, "flownets")
    for name, path in zip(names, paths, strict=True):
        check_network(name, path, classes)
    reference, info = load_network(paths[0])
    update, update_info = load_network(paths[1]) if settings.update else (None, None)
    fusion: ScoreFusion | FeatureFusion | None = None
    if update is not None and update_info is not None:
        fusion = _start_fusion(settings, reference, update, (paths[0], paths[1]))
    flow = None if flow_path is None else load_flownet(flow_path)
    model = JointModel(
        Accel(reference, update, fusion),
        flow,
        settings.warp == "incremental",
        gate=settings.gate,
        compare=settings.same_at_half > 0,
    )
    return JointStart(model, info, update_info)


def _start_fusion(
    settings: JointSettings, reference: Network, update: Network, paths: tuple[Path, Path]
) -> ScoreFusion | FeatureFusion:
    """The pair's installed fusion of the kind, or a fresh one."""
    installed = store.find_fusion(*paths, settings.fusion)
    if installed is not None:
        return store.load_pair_fusion(installed, reference, update)
    if settings.fusion == "feature":
        return FeatureFusion(reference, update)
    return ScoreFusion(reference.classes)

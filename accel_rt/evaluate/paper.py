"""The paper's evaluation: its models, as far as they are installed, and its own numbers.

Jain, Wang, Gonzalez, "Accel: A Corrective Fusion Network for Efficient Semantic Segmentation on
Video" (CVPR 2019), section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.models import store
from accel_rt.runtime.settings import SegmenterSettings

INTERVAL = 5
"""Tables 1, 3 and 4."""

LONGEST = 10
"""Table 2, figures 3b and 4."""

TABLE_1 = {
    "DeepLab-18": (57.7, 0.22),
    "DFF": (68.7, 0.25),
    "DeepLab-34": (62.8, 0.33),
    "Accel-18": (72.1, 0.44),
    "DeepLab-50": (70.1, 0.51),
    "Accel-34": (72.4, 0.53),
    "Accel-50": (74.2, 0.67),
    "DeepLab-101": (75.2, 0.74),
    "Accel-101": (75.5, 0.87),
}
"""mIoU in percent and seconds a frame, Cityscapes at 2048x1024 on a Tesla K80, interval 5."""

TABLE_2 = {
    "DFF": (75.2, 73.8, 72.0, 70.2, 68.7, 67.3, 65.0, 63.4, 62.4, 60.6),
    "Accel-18": (75.2, 74.6, 73.2, 72.6, 72.1, 71.7, 70.0, 70.0, 69.9, 69.6),
    "Accel-34": (75.2, 74.7, 73.3, 72.6, 72.4, 72.3, 70.8, 70.7, 70.7, 70.2),
    "Accel-50": (75.2, 75.1, 74.7, 74.3, 74.2, 74.2, 73.4, 73.2, 73.2, 73.0),
    "Accel-101": (75.2, 75.4, 75.4, 75.4, 75.5, 75.5, 75.5, 75.5, 75.5, 75.5),
}
"""mIoU at intervals 1 to 10."""

TABLE_3 = {
    "Accel-18": (62.4, 57.7, 69.2),
    "Accel-34": (62.4, 62.8, 69.7),
    "Accel-50": (62.4, 70.1, 73.0),
    "Accel-101": (62.4, 75.2, 75.5),
}
"""mIoU at offset 4 of interval 5: reference branch alone, update branch alone, both."""

TABLE_4 = {"feature fusion": (69.5, 0.46), "score fusion": (69.2, 0.44)}
"""Accel-18: mIoU at offset 4 of interval 5, and seconds a frame."""


@dataclass(frozen=True)
class NetworkFamily:
    """A reference network with its updates, and what their models are called.

    ``updates`` maps a model's suffix to its update network; the first one has variants in the
    tables beyond the paper's.
    """

    title: str
    reference: str
    updates: dict[str, str]
    reference_suffix: str
    tag: str = ""

    @property
    def dff(self) -> str:
        """Name of the model without an update branch."""
        return f"DFF{self.tag}"

    @property
    def accel(self) -> list[str]:
        """Names of the models with one."""
        return [f"Accel-{suffix}" for suffix in self.updates]

    def deeplab(self, suffix: str) -> str:
        """Name of a network alone on every frame."""
        return f"DeepLab-{suffix}"

    @property
    def first(self) -> str:
        """Suffix of the update network that has variants."""
        return next(iter(self.updates))


PAPER_TASK = "-paper"
"""Ends the name of weights with the paper's task network beside those with another."""

PAPER = NetworkFamily(
    "the paper's networks",
    "resnet101",
    {"18": "resnet18", "34": "resnet34", "50": "resnet50", "101": "resnet101"},
    "101",
)


@dataclass
class ModelSet:
    """The models to evaluate, by name, and those of the tables that cannot be.

    ``missing`` maps the name of such a model to the reason.
    """

    families: list[NetworkFamily] = field(default_factory=list)
    models: dict[str, SegmenterSettings] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def available_models(
    base: SegmenterSettings, classes: ClassSet, longest: int = LONGEST
) -> ModelSet:
    """Every model of the tables whose weights for ``classes`` are installed.

    ``base`` gives device, precision, size and the warp of the tables, composed where it is auto;
    models run up to interval ``longest``. Raises :class:`~accel_rt.errors.UsageError` if there is
    none.
    """
    installed = {
        entry.name
        for entry in store.installed()
        if entry.kind == "network" and entry.description["classes"]["names"] == [*classes.names]
    }
    flow = any(entry.kind == "flownets" for entry in store.installed())
    base = replace(base, interval=longest, scene_cuts=False)
    if base.warp == "auto":
        base = replace(base, warp="composed")
    found = ModelSet()
    for family in (PAPER, *_light(installed)):
        _add_family(found, family, base, installed, flow)
    if not found.models:
        raise UsageError(
            f"none of the evaluation's networks is installed for the data's {len(classes)} "
            f"classes: put weights into $ACCEL_RT_WEIGHTS, see 'accel-rt models'"
        )
    return found


def _light(installed: Iterable[str]) -> list[NetworkFamily]:
    """The largest EfficientNet-Lite on keyframes, the smallest between them."""
    lite = sorted(name for name in installed if name.startswith("efficientnet_lite"))
    if not lite:
        return []
    small, large = (name.removeprefix("efficientnet_lite") for name in (lite[0], lite[-1]))
    title = f"light networks (EfficientNet-Lite{large} and -Lite{small})"
    return [NetworkFamily(title, lite[-1], {f"Lite{small}": lite[0]}, f"Lite{large}", "-Lite")]


def _add_family(
    found: ModelSet, family: NetworkFamily, base: SegmenterSettings, installed: set[str], flow: bool
) -> None:
    networks = {**family.updates, family.reference_suffix: family.reference}
    for suffix, network in networks.items():
        name = family.deeplab(suffix)
        if network in installed:
            found.models[name] = replace(base, mode="deeplab", reference=network)
        else:
            found.missing[name] = _not_installed(network)
    if family.reference not in installed:
        for name in (family.dff, *family.accel):
            found.missing[name] = _not_installed(family.reference)
        return
    found.families.append(family)
    dff = replace(base, mode="dff", reference=family.reference)
    found.models[family.dff] = dff
    for suffix, network in family.updates.items():
        name = f"Accel-{suffix}"
        if network in installed:
            found.models[name] = replace(base, reference=family.reference, update=network)
        else:
            found.missing[name] = _not_installed(network)
    _add_variants(found, family, installed, flow)


def _not_installed(network: str) -> str:
    return f"no '{network}' weights for these classes are installed"


def variant(name: str, what: str) -> str:
    """Name of a model's variant."""
    return f"{name}, {what}"


OTHER_WARP = {"composed": "incremental", "incremental": "composed"}


def _add_variants(found: ModelSet, family: NetworkFamily, installed: set[str], flow: bool) -> None:
    """Models beyond table 1: other warps, copied features, FlowNetS, half-size updates, fusions."""
    dff, accel = family.dff, family.accel[0]
    found.models[variant(dff, "copied")] = replace(found.models[dff], mode="copy")
    for name in (dff, accel):
        if name not in found.models:
            continue
        settings = found.models[name]
        other = OTHER_WARP[settings.warp]
        found.models[variant(name, other)] = replace(settings, warp=other)  # type: ignore[arg-type]
        if flow:
            found.models[variant(name, "FlowNetS")] = replace(settings, flow="flownets")
        else:
            found.missing[variant(name, "FlowNetS")] = "no 'flownets' weights are installed"
    if accel in found.models:
        settings = found.models[accel]
        found.models[variant(accel, "update x0.5")] = replace(settings, update_scale=0.5)
        _add_fusions(found, accel, settings, installed)


def _add_fusions(
    found: ModelSet, accel: str, settings: SegmenterSettings, installed: set[str]
) -> None:
    """Both fusions of table 4, of the pair as it has the paper's task network if that is there."""
    names = [f"{name}{PAPER_TASK}" for name in (settings.reference, settings.update)]
    if installed.issuperset(names):
        settings = replace(settings, reference=names[0], update=names[1])
        found.models[variant(accel, "score fusion")] = settings
    files = store.find(settings.reference), store.find(settings.update, role="update")
    if store.find_fusion(*files, "feature") is not None:
        found.models[variant(accel, "feature fusion")] = replace(settings, fusion="feature")
    else:
        pair = f"{settings.reference} and {settings.update}"
        found.missing[variant(accel, "feature fusion")] = (
            f"no trained feature fusion of {pair} is installed"
        )

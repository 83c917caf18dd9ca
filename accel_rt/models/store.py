"""Installed weights: those that ship with the package and the user's own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.accel import FeatureFusion, ScoreFusion
from accel_rt.models.network import Network
from accel_rt.models.weights import METADATA_KEY, fit, load_tensors, save_tensors

_PACKAGED = Path(__file__).parent.parent / "weights"


def folders() -> list[Path]:
    """Where weights are looked up: ``$ACCEL_RT_WEIGHTS`` (if set) before the package's own."""
    own = os.environ.get("ACCEL_RT_WEIGHTS")
    return [Path(own), _PACKAGED] if own else [_PACKAGED]


@dataclass(frozen=True)
class Entry:
    """An installed weight file and what its metadata says."""

    name: str
    path: Path
    description: dict

    @property
    def kind(self) -> str:
        """``network``, ``fusion``, ``feature-fusion`` or ``flownets``."""
        return self.description["kind"]


def installed() -> list[Entry]:
    """Every readable weight file of :func:`folders`; the first of a name wins."""
    entries: dict[str, Entry] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            description = _describe(path)
            if description is not None and path.stem not in entries:
                entries[path.stem] = Entry(path.stem, path, description)
    return list(entries.values())


def _describe(path: Path) -> dict | None:
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})[METADATA_KEY])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def class_names(path: Path) -> tuple[str, ...] | None:
    """The class names that a network's file says it is for, without loading it; None if unsaid."""
    description = _describe(path) or {}
    return tuple(description["classes"]["names"]) if "classes" in description else None


def find(name_or_path: str, kind: str = "network") -> Path:
    """The weight file of a ``kind`` called ``name_or_path``: an installed name, or a path.

    Raises :class:`~accel_rt.errors.WeightsError` for a path that is not there and
    :class:`~accel_rt.errors.UsageError` for an unknown name.
    """
    path = Path(name_or_path)
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        if not path.is_file():
            raise WeightsError(f"no weight file {path}: see 'accel-rt models' for those installed")
        return path
    paths = {entry.name: entry.path for entry in installed() if entry.kind == kind}
    if name_or_path not in paths:
        choice = f"choose from {', '.join(paths)}, or " if paths else ""
        raise UsageError(
            f"no installed {kind} weights '{name_or_path}': {choice}give a .safetensors file"
        )
    return paths[name_or_path]


def fusion_name(reference: str, update: str, kind: str = "score") -> str:
    """File stem of the ``score`` or ``feature`` fusion of a pair of networks."""
    return f"{'fusion' if kind == 'score' else 'feature-fusion'}-{reference}-{update}"


def find_fusion(reference: str, update: str, kind: str = "score") -> Path | None:
    """The installed ``score`` or ``feature`` fusion of a pair, or None if there is none."""
    name = fusion_name(reference, update, kind)
    return next((entry.path for entry in installed() if entry.name == name), None)


def save_fusion(path: Path, fusion: ScoreFusion | FeatureFusion, description: dict) -> None:
    """Write a pair's fusion; ``description`` says which pair and how it was trained."""
    kind = "fusion" if isinstance(fusion, ScoreFusion) else "feature-fusion"
    save_tensors(path, _own_tensors(fusion), {"kind": kind, **description})


def _own_tensors(fusion: ScoreFusion | FeatureFusion) -> dict[str, Tensor]:
    """Without the projection that feature fusion shares with the reference network."""
    tensors = fusion.state_dict()
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("_projection")}


def load_pair_fusion(
    path: Path, reference: Network, update: Network
) -> ScoreFusion | FeatureFusion:
    """Rebuild the fusion of either kind stored at ``path`` for its two networks.

    Raises :class:`~accel_rt.errors.WeightsError` if it is something else or does not fit.
    """
    tensors, description = load_tensors(path)
    if description.get("kind") != "feature-fusion":
        return load_fusion(path, reference.classes)
    fusion = FeatureFusion(reference, update)
    shared = fusion.state_dict().keys() - _own_tensors(fusion).keys()
    fit(fusion, {**{name: fusion.state_dict()[name] for name in shared}, **tensors}, path)
    return fusion.eval()


def load_fusion(path: Path, classes: int) -> ScoreFusion:
    """Rebuild the score fusion stored at ``path`` for networks of ``classes`` classes.

    Raises :class:`~accel_rt.errors.WeightsError` if it is something else or does not fit.
    """
    tensors, description = load_tensors(path)
    if description.get("kind") != "fusion":
        raise WeightsError(f"{path} does not hold a fusion: name a fusion's weight file")
    fusion = ScoreFusion(classes)
    fit(fusion, tensors, path)
    return fusion.eval()

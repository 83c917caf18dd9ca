"""Installed weights: those that ship with the package and the user's own."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from accel_rt.errors import UsageError, WeightsError
from accel_rt.jsonfile import member
from accel_rt.models.accel import FeatureFusion, Gate, ScoreFusion
from accel_rt.models.keyframe_gru import KeyframeGRU
from accel_rt.models.network import Network
from accel_rt.models.weights import (
    ModelInfo,
    content_hash,
    describing,
    fit,
    load_tensors,
    part_path,
    read_description,
    save_tensors,
    split_part,
)

FOLDERS_VARIABLE = "ACCEL_RT_WEIGHTS"

Role = Literal["reference", "update"]

_PACKAGED = Path(__file__).parent.parent / "weights"


def folders() -> list[Path]:
    """Where weights are looked up: those that ``$ACCEL_RT_WEIGHTS`` names, then the package's own,
    then those of installed packages with an entry point ``accel_rt.weights``.

    Several in the variable are separated as in ``$PATH``. Raises
    :class:`~accel_rt.errors.UsageError` for one that is no folder.
    """
    named = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    own = [Path(text) for text in named if text]
    for folder in own:
        if not folder.is_dir():
            raise UsageError(
                f"{FOLDERS_VARIABLE} names '{folder}', which is no folder: name folders with "
                f"weight files, separated by '{os.pathsep}', or unset it"
            )
    return [*own, _PACKAGED, *_data_packages()]


@cache
def _data_packages() -> tuple[Path, ...]:
    """Folders of the Python packages that entry points name; their code is not run."""
    found = []
    for point in entry_points(group="accel_rt.weights"):
        with suppress(ImportError):  # one that is only half there
            spec = find_spec(point.module)
            if spec is not None and spec.origin is not None:
                found.append(Path(spec.origin).parent)
    return tuple(found)


@dataclass(frozen=True)
class Entry:
    """A weight file in one of the folders; ``error`` says why it cannot be used."""

    name: str
    path: Path
    description: dict[str, Any]
    error: WeightsError | None = None

    @property
    def kind(self) -> str:
        """``network``, ``fusion``, ``feature-fusion``, ``flownets`` or ``policy``; ``model`` is
        several.

        Empty where unreadable.
        """
        return self.description.get("kind", "")


def installed() -> list[Entry]:
    """Every usable weight file of :func:`folders`; the first of a name wins."""
    return [entry for entry in _first_of_each_name() if entry.error is None]


def damaged() -> list[Entry]:
    """The files that :func:`installed` leaves out, with what is wrong with them."""
    return [entry for entry in _all() if entry.error is not None]


def _first_of_each_name() -> list[Entry]:
    entries: dict[str, Entry] = {}
    for entry in _all():
        entries.setdefault(entry.name, entry)
    return list(entries.values())


def _all() -> Iterator[Entry]:
    for folder in folders():
        yield from _entries(folder)


def _entries(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.glob("[!.]*.safetensors")):
        try:
            yield Entry(path.stem, path, _checked_description(path))
        except WeightsError as error:
            yield Entry(path.stem, path, {}, error)


def _checked_description(path: Path) -> dict[str, Any]:
    """A file's description with all that its kind must say."""
    description = read_description(path)
    if description["kind"] == "model":
        with describing(path):
            member(description, "trained_on", str)
            for part in member(description, "parts", dict):
                if not part:
                    raise ValueError("one of its parts has no name")
                _checked_description(part_path(path, part))
        return description
    with describing(path):
        if description["kind"] == "network":
            ModelInfo.from_json(description)
        elif description["kind"] in ("fusion", "feature-fusion"):
            for name in ("reference", "update", "trained_on"):
                member(description, name, str)
        elif description["kind"] == "policy":
            member(description, "trained_on", str)
        elif description["kind"] == "flownets":
            member(description, "width", float)
            member(description, "trained_on", str)
        else:
            raise ValueError(f"its kind '{description['kind']}' is not known here")
    return description


def class_names(path: Path) -> tuple[str, ...]:
    """The class names that a network's file says it is for, without loading it.

    Raises :class:`~accel_rt.errors.WeightsError` if it does not say them.
    """
    with describing(path):
        return ModelInfo.from_json(read_description(path)).classes.names


def find(name_or_path: str, kind: str = "network", role: Role = "reference") -> Path:
    """The weight file of a ``kind`` called ``name_or_path``: an installed name, or a path.

    Of a run's folder it is the file in it, or that of the ``role`` in the pair it holds; of a
    model's file the part of that role, or another part of it that is named after a ``#``. Raises
    :class:`~accel_rt.errors.WeightsError` for a path that is not there or an installed
    file that is damaged, and :class:`~accel_rt.errors.UsageError` for an unknown name.
    """
    path, part = split_part(Path(name_or_path))
    if is_path(name_or_path):
        if os.path.isdir(path):
            return _in_folder(path, kind, role)
        if not os.path.isfile(path):
            raise WeightsError(f"no weight file {path}: see 'accel-rt models' for those installed")
        return part_path(path, part) if part else _part_for(path, kind, role)
    entries = {entry.name: entry for entry in _first_of_each_name()}
    found = entries.get(path.name)
    if found is not None and found.error is not None:
        raise found.error
    if found is not None and found.kind == "model":
        return part_path(found.path, part) if part else _part_for(found.path, kind, role)
    if found is None or found.kind != kind:
        names = [entry.name for entry in entries.values() if entry.kind == kind]
        choice = f"choose from {', '.join(names)}, or " if names else ""
        raise UsageError(
            f"no installed {kind} weights '{name_or_path}': {choice}give a .safetensors file"
        )
    return found.path


def is_path(name_or_path: str) -> bool:
    """Whether :func:`find` takes it for a path, and not for the name of something installed."""
    path, _ = split_part(Path(name_or_path))
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        return True
    return os.path.isdir(path) and any(path.glob("*.safetensors"))


def _in_folder(folder: Path, kind: str, role: Role) -> Path:
    """The weight file of a ``kind`` in a run's folder; of two networks that of the ``role``."""
    entries = list(_entries(folder))
    found = [entry.path for entry in entries if entry.kind == kind]
    if len(found) > 1:
        if kind == "network" and not any(entry.kind == "fusion" for entry in entries):
            raise WeightsError(
                f"{folder} holds {len(found)} network weights and no fusion that says which is "
                f"which: let their training end ('accel-rt train' with the same --out goes on), "
                f"or name a .safetensors file in it"
            )
        named = [entry.description.get(f"{role}_sha256") for entry in entries]
        found = [path for path in found if content_hash(path) in named]
    if len(found) != 1:
        wrong = next((str(entry.error) for entry in entries if entry.error), "")
        held = f"{len(found) or 'no'} {kind} weights that can be told apart"
        raise WeightsError(f"{folder} holds {held}: {wrong or 'name a .safetensors file in it'}")
    return found[0]


def _part_for(path: Path, kind: str, role: Role) -> Path:
    """The part of a model's file that serves as a ``kind`` in a ``role``; of others the file."""
    part = {"network": role, "flownets": "flow"}.get(kind, kind)
    return own_part(path, part) or path


def own_part(path: Path, part: str) -> Path | None:
    """What names another part of the model's file that ``path`` is of; None if there is none."""
    file, _ = split_part(path)
    description = read_description(file)
    parts = description.get("parts") if description["kind"] == "model" else None
    return part_path(file, part) if isinstance(parts, dict) and part in parts else None


def file_stem(network: str) -> str:
    """What a file of the network called so is called, without its suffix."""
    return re.sub(r"[^\w.-]+", "-", network)


def fusion_name(reference: str, update: str, kind: str = "score") -> str:
    """File stem of the ``score`` or ``feature`` fusion of a pair of networks."""
    names = file_stem(reference), file_stem(update)
    return "-".join(("fusion" if kind == "score" else "feature-fusion", *names))


def pair(reference: Path | str, update: Path | str) -> dict[str, str]:
    """What a fusion's description says of the two networks that it belongs to.

    They are weight files, or the names of networks that have none here.
    """
    described = _pair_names(reference, update)
    for role, place in (("reference", reference), ("update", update)):
        if isinstance(place, Path):
            digest = content_hash(place)
        else:
            digest = hashlib.sha256(place.encode()).hexdigest()
        described[f"{role}_sha256"] = digest
    return described


def _pair_names(reference: Path | str, update: Path | str) -> dict[str, str]:
    """By role, what the descriptions of two networks call them."""
    return {
        role: read_description(place).get("network", place.stem)
        if isinstance(place, Path)
        else place
        for role, place in (("reference", reference), ("update", update))
    }


def find_fusion(reference: Path | str, update: Path | str, kind: str = "score") -> Path | None:
    """The installed ``score`` or ``feature`` fusion that was trained for these two, as for
    :func:`pair`.

    It belongs to their contents, whatever they are called, and may lie beside them; None if there
    is none. Two parts of one model's file have, if no other, the fusion of that file, of whatever
    kind.
    """
    kind = "fusion" if kind == "score" else "feature-fusion"
    beside = {p.parent for p in (reference, update) if isinstance(p, Path)} - set(folders())
    entries = chain(chain.from_iterable(map(_entries, sorted(beside))), _all())
    named = _pair_names(reference, update)
    fusions = [e for e in entries if e.kind == kind and named.items() <= e.description.items()]
    wanted = pair(reference, update) if fusions else {}
    found = next((e.path for e in fusions if wanted.items() <= e.description.items()), None)
    if found is None and isinstance(reference, Path) and isinstance(update, Path):
        same = split_part(reference)[0] == split_part(update)[0]
        return own_part(reference, "fusion") if same else None
    return found


def no_fusion(reference: str, update: str) -> str:
    """What to tell the user where :func:`find_fusion` finds none."""
    return (
        f"no fusion is trained for the weights of '{reference}' and '{update}': the mean of their "
        f"scores is used ('accel-rt train fusion' trains one)"
    )


def save_fusion(path: Path, fusion: ScoreFusion | FeatureFusion, description: dict) -> None:
    """Write a fusion; ``description`` is that of its :func:`pair`, and how it was trained."""
    score = isinstance(fusion, ScoreFusion)
    gate = {"gate": vars(fusion.gate)} if score and fusion.gate != Gate() else {}
    kind = "fusion" if score else "feature-fusion"
    save_tensors(path, _own_tensors(fusion), {"kind": kind, **gate, **description})


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
    if description["kind"] != "feature-fusion":
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
    if description["kind"] != "fusion":
        raise WeightsError(f"{path} does not hold a fusion: name a fusion's weight file")
    fusion = ScoreFusion(classes)
    fit(fusion, tensors, path)
    if "gate" in description:
        with describing(path):
            names = [field.name for field in fields(Gate)]
            numbers = {name: member(description["gate"], name, float) for name in names}
            if not all(map(math.isfinite, numbers.values())):
                raise ValueError("'gate' must hold finite numbers")
            fusion.gate = Gate(**numbers)
    return fusion.eval()


POLICY_WEIGHTS = "policy"
"""Name of the installed :class:`~accel_rt.models.keyframe_gru.KeyframeGRU`, and its file's kind."""


def load_policy() -> KeyframeGRU:
    """What has learnt to place keyframes, as installed; read once.

    Raises as :func:`find`, and :class:`~accel_rt.errors.WeightsError` for what does not fit.
    """
    return _policy(tuple(folders()))


@lru_cache(maxsize=1)
def _policy(looked_up_in: tuple[Path, ...]) -> KeyframeGRU:
    path = find(POLICY_WEIGHTS, POLICY_WEIGHTS)
    network = KeyframeGRU()
    fit(network, load_tensors(path)[0], path)
    return network.eval().requires_grad_(False)

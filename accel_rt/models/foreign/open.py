"""Networks by name: ours by that of their weights, those of others by a prefix that says whose."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path

from accel_rt.classes import ClassSet
from accel_rt.files import contents_digest
from accel_rt.models import store
from accel_rt.models.foreign.place import Place
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo, load_network

_HERE = "accel_rt.models.foreign"
PREFIXES = {
    "hf": (f"{_HERE}.huggingface", "open_huggingface"),
    "onnx": (f"{_HERE}.runtimes", "open_onnx"),
    "openvino": (f"{_HERE}.runtimes", "open_openvino"),
    "python": (f"{_HERE}.function", "open_function"),
    "torchvision": (f"{_HERE}.torchvision", "open_torchvision"),
}
"""Where a prefix's networks are opened: a module, and its function."""


def is_foreign(name: str) -> bool:
    """Whether ``name`` begins with one of :data:`PREFIXES`."""
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in PREFIXES


def place(name: str, role: store.Role = "reference") -> Path | str:
    """The weight file of the network called ``name``; the name itself where it has none here.

    Raises as :func:`~accel_rt.models.store.find`.
    """
    return name if is_foreign(name) else store.find(name, role=role)


def absolute(name: str) -> str:
    """``name`` with the files on this machine that it names by their absolute paths."""
    if not is_foreign(name):
        return str(Path(name).absolute()) if store.is_path(name) else name
    prefix, _, where = name.partition(":")
    text, mark, query = where.partition("?")
    network, at, file = text.partition("@") if prefix == "torchvision" else ("", "", text)
    path = Path(file).absolute() if prefix != "python" and os.path.exists(file) else file
    return f"{prefix}:{network}{at}{path}{mark}{query}"


def foreign_digest(name: str) -> str:
    """``name`` with a digest of the files on this machine that it names; a hub's are its own."""
    prefix, _, where = name.partition(":")
    return f"{name} {contents_digest(_named_files(prefix, where))}"


def _named_files(prefix: str, where: str) -> Iterator[Path]:
    if prefix == "python":
        origin = _module_file(where.partition(":")[0])
        yield from [Path(origin)] if origin else []
        return
    name = where.partition("?")[0]
    parts = name.split("@") if prefix == "torchvision" else [name]
    for part in filter(None, parts):
        path = Path(part)
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        elif path.is_file():
            yield path
            if prefix == "openvino":
                yield path.with_suffix(".bin")


def _module_file(module: str) -> str | None:
    """The file of a module, which is not imported."""
    folders: Sequence[str] = [os.getcwd(), *sys.path]
    spec = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, folders)
        folders = (spec and spec.submodule_search_locations) or []
    return spec.origin if spec else None


def load_placed(found: Path | str, classes: ClassSet | None = None) -> tuple[Network, ModelInfo]:
    """The network of a :func:`place`, and what is known of it; ``classes`` go before its own.

    Raises :class:`~accel_rt.errors.UsageError` and :class:`~accel_rt.errors.WeightsError` for what
    cannot be used.
    """
    if isinstance(found, Path):
        ours, info = load_network(found)
        named = Place(found.stem, told=classes).classes(len(info.classes), info.classes)
        return ours, replace(info, classes=named)
    prefix, _, where = found.partition(":")
    module, function = PREFIXES[prefix]
    network, classes = getattr(import_module(module), function)(where, classes)
    return network.eval(), ModelInfo(found, classes, network.size, "elsewhere")

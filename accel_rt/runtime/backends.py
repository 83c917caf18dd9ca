"""What runs a network on the CPU: PyTorch with our operators, OpenVINO or onnxruntime."""

from __future__ import annotations

import copy
import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import cast
from weakref import WeakKeyDictionary

import torch

from accel_rt.device import resolve_device, resolve_precision
from accel_rt.errors import OutputError, UsageError
from accel_rt.files import write_whole
from accel_rt.jsonfile import read_json, typed
from accel_rt.models.accel import Accel
from accel_rt.models.exported import (
    ENGINES,
    Engine,
    ExportedNetwork,
    described,
    engine_version,
    start,
)
from accel_rt.models.fuse import for_inference
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo, content_hash, read_int8
from accel_rt.runtime.halves import halves
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.version import __version__

LoadNetwork = Callable[[Path | str], tuple[Network, ModelInfo]]

_SIZE = 360, 480
_TIMED = 5  # passes, of which the median counts
_RUNNING: WeakKeyDictionary[Network, dict[str, ExportedNetwork]] = WeakKeyDictionary()


def cache_folder() -> Path:
    """Where exported networks are kept: ``$XDG_CACHE_HOME/accel-rt``, else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accel-rt"


def on_backend(load: LoadNetwork, settings: SegmenterSettings) -> LoadNetwork:
    """``load``, with our networks put on the backend that ``settings`` ask for.

    Raises :class:`~accel_rt.errors.UsageError` for one that is not installed or not for the device.
    """
    backend, on_cpu = settings.backend, resolve_device(settings.device).type == "cpu"
    if backend == "torch" or (backend == "auto" and not on_cpu):
        return load
    if not on_cpu:
        raise UsageError(f"the backend '{backend}' runs on the CPU: choose --device cpu or torch")

    def loaded(found: Path | str) -> tuple[Network, ModelInfo]:
        network, info = load(found)
        if not isinstance(found, Path):  # someone else's, or in a file of a backend's already
            return network, info
        engine = backend if backend != "auto" else _fastest(found, network, info, settings)
        if engine == "torch":
            return network, info
        return _running(cast(Engine, engine), found, network, info, settings), info

    return loaded


def describe(model: Accel) -> str:
    """What runs the branches of ``model``, in words."""
    branches = [branch for branch in (model.reference, model.update) if branch is not None]
    others = {False: "torch", True: "its own library"}
    engines = [getattr(branch, "engine", others[branch.foreign]) for branch in branches]
    if len(set(engines)) == 1:
        return engines[0]
    return f"reference on {engines[0]}, update on {engines[1]}"


def _running(
    engine: Engine, found: Path, network: Network, info: ModelInfo, settings: SegmenterSettings
) -> ExportedNetwork:
    """``network``, of the file ``found``, on an engine."""
    quantised = _int8(found, settings)
    name = f"{engine} int8" if quantised else engine
    started = _RUNNING.setdefault(network, {})
    if name not in started:
        size = settings.size if network.cell == 1 else None
        told, run = start(engine, quantised or exported(found, network, info, size))
        network_of = ExportedNetwork(described(told), run, network.classes, network.task, name)
        started[name] = network_of
    return started[name]


def _int8(found: Path, settings: SegmenterSettings) -> bytes | None:
    """The integers beside the weights, unless the user asks for a precision."""
    return read_int8(found) if settings.precision == "auto" else None


def _cached(found: Path, size: tuple[int, int] | None = None) -> Path:
    name = "-".join((content_hash(found), __version__, *map(str, size or ())))
    return cache_folder() / f"{name}.onnx"


def exported(
    found: Path, network: Network, info: ModelInfo, size: tuple[int, int] | None = None
) -> bytes:
    """The ``network`` of the file ``found`` as ONNX, for frames of one ``size`` or of any.

    It is written once and kept in :func:`cache_folder`. Raises as
    :func:`~accel_rt.runtime.halves.halves`.
    """
    path = _cached(found, size)
    if path.is_file():
        return path.read_bytes()
    pieces = halves(Accel(copy.deepcopy(network)), info, size=size, names=("keyframe",))
    data = pieces["keyframe"].to_onnx()
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    return data


def _fastest(found: Path, network: Network, info: ModelInfo, settings: SegmenterSettings) -> str:
    """``torch``, or an engine that is faster here.

    Engines are tried where a file for them is at hand: integers beside the weights, or what an
    earlier run on them left. What was measured is kept.
    """
    quantised = _int8(found, settings) is not None
    installed = {engine: engine_version(engine) for engine in ENGINES if engine_version(engine)}
    if not installed or not (quantised or _cached(found).is_file()):
        return "torch"
    case = [content_hash(found), quantised, settings.precision, torch.get_num_threads()]
    key = json.dumps([*case, installed, torch.__version__, __version__, platform.node()])
    kept = cache_folder() / "speeds.json"
    try:
        known = typed(read_json(kept), dict, "a record of speeds")
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = _measure(list(installed), found, network, info, settings)
        with suppress(OSError, OutputError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, json.dumps(known, indent=1))
    return min(known[key], key=known[key].get)


@torch.inference_mode()
def _measure(
    engines: list[Engine],
    found: Path,
    network: Network,
    info: ModelInfo,
    settings: SegmenterSettings,
) -> dict[str, float]:
    """Milliseconds of a pass in PyTorch and on each of ``engines`` that can run it, in turns."""
    cpu = torch.device("cpu")
    dtype = resolve_precision(settings.precision, cpu)
    runs = {"torch": for_inference(copy.deepcopy(network), cpu, dtype)}
    for engine in engines:
        with suppress(Exception):  # of a runtime that cannot, many kinds
            runs[engine] = _running(engine, found, network, info, settings)
    height, width = (-(-side // network.cell) * network.cell for side in info.size or _SIZE)
    picture = torch.zeros(1, 3, height, width, dtype=dtype)
    picture = picture.contiguous(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + _TIMED):
        for name, run in runs.items():
            started = perf_counter()
            run(picture)
            if turn:
                times[name].append(1e3 * (perf_counter() - started))
    return {name: median(taken) for name, taken in times.items()}

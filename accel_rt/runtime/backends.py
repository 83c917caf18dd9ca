"""What runs a network on the CPU: PyTorch with our operators, OpenVINO or onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

import torch

from accel_rt.device import has_fast_bf16, resolve_device
from accel_rt.errors import AccelError, UsageError, WeightsError
from accel_rt.files import cache_folder, keep
from accel_rt.models.accel import Accel
from accel_rt.models.exported import Engine, ExportedNetwork, described, engine_version, start
from accel_rt.models.network import Network
from accel_rt.models.optional import reason
from accel_rt.models.weights import ModelInfo, content_hash, read_int8
from accel_rt.runtime.halves import halves
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.version import __version__

LoadNetwork = Callable[[Path | str], tuple[Network, ModelInfo]]

_Size = tuple[int, int] | None
_RUNNING: WeakKeyDictionary[Network, dict[tuple[str, _Size], ExportedNetwork]]
_RUNNING = WeakKeyDictionary()


def integers_are_faster() -> bool:
    """Whether ``auto`` runs the 8-bit integers beside a file's weights: on CPUs without bfloat16 in
    hardware, where OpenVINO is installed.

    With it PyTorch stays: which is faster there was not measured.
    """
    return not has_fast_bf16(torch.device("cpu")) and engine_version("openvino") is not None


def on_backend(load: LoadNetwork, settings: SegmenterSettings) -> LoadNetwork:
    """``load``, with our networks put on the backend that ``settings`` ask for.

    Integers beside the weights are what runs, unless ``settings`` name a precision. Raises
    :class:`~accel_rt.errors.UsageError` for a backend that is not installed or not for the device.
    """
    backend, on_cpu = settings.backend, resolve_device(settings.device).type == "cpu"
    automatic, any_precision = backend == "auto", settings.precision == "auto"
    if backend == "torch" or (
        automatic and not (on_cpu and any_precision and integers_are_faster())
    ):
        return load
    if not on_cpu:
        raise UsageError(f"the backend '{backend}' runs on the CPU: choose --device cpu or torch")

    def loaded(found: Path | str) -> tuple[Network, ModelInfo]:
        network, info = load(found)
        if not isinstance(found, Path):  # someone else's, or in a file of a backend's already
            return network, info
        integers = read_int8(found) if any_precision else None
        if automatic and integers is None:
            return network, info
        engine = cast(Engine, "openvino" if automatic else backend)
        return _running(engine, found, network, info, settings, integers), info

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
    engine: Engine,
    found: Path,
    network: Network,
    info: ModelInfo,
    settings: SegmenterSettings,
    integers: bytes | None,
) -> ExportedNetwork:
    """``network``, of the file ``found``, on an engine: its ``integers`` if there are any."""
    name = f"{engine} int8" if integers else engine
    size = settings.size if network.cell == 1 else None
    started = _RUNNING.setdefault(network, {})
    if (name, size) not in started:
        file = integers or exported(found, network, info, size)
        try:
            told, run = start(engine, file)
        except AccelError:
            raise
        except Exception as error:  # of other people's runtimes, many kinds
            raise WeightsError(
                f"{name} does not run {found} ({reason(error)}): choose --backend torch"
            ) from error
        network_of = ExportedNetwork(described(told), run, network.classes, network.task, name)
        started[name, size] = network_of
    return started[name, size]


def exported(
    found: Path, network: Network, info: ModelInfo, size: tuple[int, int] | None = None
) -> bytes:
    """The ``network`` of the file ``found`` as ONNX, for frames of one ``size`` or of any.

    It is written once and kept in :func:`cache_folder`. Raises as
    :func:`~accel_rt.runtime.halves.halves`.
    """
    name = "-".join((content_hash(found), __version__, *map(str, size or ())))
    path = cache_folder() / f"{name}.onnx"
    if path.is_file():
        return path.read_bytes()
    pieces = halves(Accel(copy.deepcopy(network)), info, size=size, names=("keyframe",))
    data = pieces["keyframe"].to_onnx()
    keep(path, data)
    return data

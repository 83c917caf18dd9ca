"""Weight files: safetensors with quantised convolution weights and a JSON description.

A file's metadata carries all that is needed to rebuild and feed the model. Convolution weights
are stored as integers (see :mod:`accel_rt.models.quantise`) and dequantised at load.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from accel_rt.classes import ClassSet
from accel_rt.errors import OutputError, WeightsError
from accel_rt.files import write_whole
from accel_rt.models.network import Network
from accel_rt.models.quantise import Bits, dequantise, quantise
from accel_rt.models.zoo import Task, build_network
from accel_rt.normalise import MEAN_RGB, STD_RGB

METADATA_KEY = "accel_rt"
"""Where a file's description is found in its safetensors metadata."""


@dataclass(frozen=True)
class ModelInfo:
    """What a weight file says of its model.

    ``size`` is the processing size ``(width, height)`` it was trained for; ``miou`` its mIoU in
    percent on ``evaluated_on`` (None: not measured); ``task`` the kind of its task network (None:
    the one that belongs to ``network``).
    """

    network: str
    classes: ClassSet
    size: tuple[int, int]
    trained_on: str
    miou: float | None = None
    evaluated_on: str = ""
    mean_rgb: tuple[float, ...] = MEAN_RGB
    std_rgb: tuple[float, ...] = STD_RGB
    task: Task | None = None


def save_network(path: Path, network: Network, info: ModelInfo, bits: Bits = 8) -> None:
    """Write ``network`` and ``info`` to ``path``, replacing it only when complete."""
    save_tensors(path, network.state_dict(), {"kind": "network", **asdict(info)}, bits)


def load_network(path: Path) -> tuple[Network, ModelInfo]:
    """Rebuild the network stored at ``path``, in ``eval`` mode and float32.

    Raises :class:`~accel_rt.errors.WeightsError` if the file is missing, damaged, of another
    kind, or does not fit the network it names.
    """
    tensors, description = load_tensors(path)
    if description.pop("kind", None) != "network":
        raise WeightsError(f"{path} does not hold a network: name a network's weight file")
    classes = ClassSet(
        tuple(description["classes"]["names"]),
        tuple(tuple(color) for color in description["classes"]["colors_rgb"]),
    )
    tuples = {name: tuple(v) for name, v in description.items() if isinstance(v, list)}
    info = ModelInfo(**{**description, **tuples, "classes": classes})
    network = build_network(info.network, len(classes), info.task)
    fit(network, tensors, path)
    return network.eval(), info


def fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load ``tensors`` into ``module``; a mismatch names the first tensor that does not fit."""
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise WeightsError(f"{path} does not fit: it has no tensor '{name}'")
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"{path} does not fit: '{name}' is {tuple(tensors[name].shape)} there and "
                f"{tuple(tensor.shape)} in the model"
            )
    extra = next((name for name in tensors if name not in wanted), None)
    if extra is not None:
        raise WeightsError(f"{path} does not fit: the model has no tensor '{extra}'")
    module.load_state_dict(tensors)


def save_tensors(path: Path, tensors: dict[str, Tensor], description: dict, bits: Bits = 8) -> None:
    """Write tensors, quantised where it pays, with ``description`` as JSON metadata."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith("num_batches_tracked"):
            stored.update(quantise(name, tensor, bits))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write weights to {path}: {error}") from error
    write_whole(path, save(stored, {METADATA_KEY: json.dumps(description)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read a file of :func:`save_tensors`: float32 tensors and the description."""
    if not path.is_file():
        raise WeightsError(f"no weight file {path}: see 'accel-rt models' for those installed")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}): fetch it again"
        ) from error
    if METADATA_KEY not in metadata:
        raise WeightsError(f"{path} has no accel-rt description: it was written by something else")
    tensors = dequantise(stored)
    for name in list(tensors):
        if name.endswith("running_var"):  # batch norms count steps that inference never reads
            counter = name.replace("running_var", "num_batches_tracked")
            tensors[counter] = torch.zeros((), dtype=torch.long)
    return tensors, json.loads(metadata[METADATA_KEY])

"""Weight files: safetensors with quantised convolution weights and a JSON description.

A file's metadata carries all that is needed to rebuild and feed the model. Convolution weights
are stored as integers (see :mod:`accel_rt.models.quantise`) and dequantised at load.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from accel_rt.classes import ClassSet
from accel_rt.errors import AccelError, WeightsError
from accel_rt.files import make_parent, write_whole
from accel_rt.jsonfile import member, parse_json, typed
from accel_rt.models.network import Network
from accel_rt.models.quantise import Bits, dequantise, quantise
from accel_rt.models.zoo import Task, build_network, is_network
from accel_rt.normalise import MEAN_RGB, STD_RGB, Normalisation

T = TypeVar("T")

METADATA_KEY = "accel_rt"
"""Where a file's description is found in its safetensors metadata."""

INT8_OF = "int8_of"
"""In the description of a file with integers, the :func:`content_hash` of what they are made of."""

_BESIDE = "|"  # begins the names of what lies in a file beside its weights
_INT8 = f"{_BESIDE}int8.onnx"

_NONE = type(None)
_TASKS = None, *get_args(Task)


@dataclass(frozen=True)
class ModelInfo:
    """What a weight file says of its model.

    ``size`` is the processing size ``(height, width)`` it was trained for, which files have as
    width and height (None: any); ``miou`` its mIoU in percent on ``evaluated_on`` (None: not
    measured); ``task`` the kind of its task network (None: the one that belongs to ``network``).
    """

    network: str
    classes: ClassSet
    size: tuple[int, int] | None
    trained_on: str
    miou: float | None = None
    evaluated_on: str = ""
    mean_rgb: tuple[float, float, float] = MEAN_RGB
    std_rgb: tuple[float, float, float] = STD_RGB
    task: Task | None = None

    def to_json(self) -> dict[str, Any]:
        """What a network's file says; its size is ``[width, height]``."""
        assert self.size is not None, "networks of ours are for a size"
        return {"kind": "network", **asdict(self), "size": self.size[::-1]}

    @classmethod
    def from_json(cls, stored: Any) -> ModelInfo:
        """What a file's description says; raises ``ValueError`` naming what is missing or wrong."""
        network, task = member(stored, "network", str), member(stored, "task", (str, _NONE), None)
        for name, known in ((network, is_network(network)), (task, task in _TASKS)):
            if not known:
                raise ValueError(f"it is of a network '{name}' that is not known here")
        width, height = _numbers(stored, "size", int, 2)
        if not all(16 <= side <= 8192 for side in (width, height)):
            raise ValueError(
                f"its processing size {width}x{height} is not 16 to 8192 pixels a side"
            )
        mean = _numbers(stored, "mean_rgb", float, 3, MEAN_RGB)
        std = _numbers(stored, "std_rgb", float, 3, STD_RGB)
        if min(std) <= 0:
            raise ValueError(f"'std_rgb' must be above 0, got {std}")
        return cls(
            network,
            ClassSet.from_json(member(stored, "classes", dict)),
            (height, width),
            member(stored, "trained_on", str),
            member(stored, "miou", (float, _NONE), None),
            member(stored, "evaluated_on", str, ""),
            mean,
            std,
            task,
        )


def _numbers(stored: Any, name: str, kind: type, count: int, default: tuple = ()) -> tuple:
    """The list of ``count`` finite numbers called ``name``."""
    values = member(stored, name, list, list(default))
    if len(values) != count:
        raise ValueError(f"'{name}' must be {count} numbers, got {len(values)}")
    for value in values:
        if not math.isfinite(typed(value, kind, f"'{name}'")):
            raise ValueError(f"'{name}' must be finite, got {value}")
    return tuple(values)


def save_network(path: Path, network: Network, info: ModelInfo, bits: Bits = 8) -> None:
    """Write ``network`` and ``info`` to ``path``, replacing it only when complete."""
    save_tensors(path, network.state_dict(), info.to_json(), bits)


def load_network(path: Path) -> tuple[Network, ModelInfo]:
    """Rebuild the network stored at ``path``, in ``eval`` mode and float32.

    Raises :class:`~accel_rt.errors.WeightsError` if the file is missing, damaged, of another
    kind, or does not fit the network it names.
    """
    tensors, description = load_tensors(path)
    if description["kind"] != "network":
        raise WeightsError(f"{path} does not hold a network: name a network's weight file")
    with describing(path):
        info = ModelInfo.from_json(description)
    network = build_network(info.network, len(info.classes), info.task)
    fit(network, tensors, path)
    network.normalisation = Normalisation(info.mean_rgb, info.std_rgb)
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
    make_parent(path)
    write_whole(path, save(stored, {METADATA_KEY: json.dumps(description)}))


def save_int8(path: Path, weights: Path, onnx: bytes, made_of: str) -> None:
    """Write the network's file ``weights`` anew, with a graph of integers for other runtimes.

    ``made_of`` is the :func:`content_hash` of the weights that it was made of. Whoever reads the
    weights reads the same as before.
    """
    description, tensors = _open(weights, _tensors)
    graph = torch.frombuffer(bytearray(onnx), dtype=torch.uint8)
    told = json.dumps({**description, INT8_OF: made_of})
    write_whole(path, save({**tensors, _INT8: graph}, {METADATA_KEY: told}))


def read_int8(path: Path) -> bytes | None:
    """The ONNX file of :func:`save_int8` in the network's file ``path``, if it has one.

    Raises :class:`~accel_rt.errors.WeightsError` if it was made of other weights than lie there.
    """
    made_of = read_description(path).get(INT8_OF)
    if made_of is None:
        return None
    if made_of != content_hash(path):
        raise WeightsError(
            f"{path} has 8-bit integers of other weights than its own: pack it again with "
            f"'accel-rt pack --int8', or leave them alone with --precision fp32"
        )
    return _open(path, lambda description, file: file.get_tensor(_INT8).numpy().tobytes())


@contextmanager
def describing(path: Path) -> Iterator[None]:
    """Turn a ``ValueError`` about the content of a weight file into one sentence."""
    try:
        yield
    except ValueError as error:
        raise WeightsError(f"{path} cannot be used ({error}): restore or remove it") from error


def read_description(path: Path) -> dict[str, Any]:
    """What a weight file says of itself, without its tensors; ``kind`` is a text.

    Raises :class:`~accel_rt.errors.WeightsError` for a file that is no weight file of ours.
    """
    return _open(path, lambda description, file: description)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`save_tensors`: float32 tensors and the description.

    Raises :class:`~accel_rt.errors.WeightsError` for a file that is missing, damaged, something
    else, or holds NaN or infinities.
    """
    description, stored = _open(path, _tensors)
    with describing(path):
        tensors = dequantise(stored)
        for name in list(tensors):
            if name.endswith("running_var"):  # batch norms count steps that inference never reads
                counter = name.replace("running_var", "num_batches_tracked")
                tensors[counter] = torch.zeros((), dtype=torch.long)
                if (tensors[name] < 0).any():
                    raise ValueError(f"'{name}' holds variances below 0")
    return tensors, description


def save_model(path: Path, parts: dict[str, Part], trained_on: str, bits: Bits = 8) -> None:
    """Write all networks of a model, by the names of their parts, as one file.

    Everything that reads a network's file reads a part of this one, by :func:`part_path`.
    """
    tensors = {
        f"{name}.{tensor}": value
        for name, part in parts.items()
        for tensor, value in part.tensors.items()
    }
    described = {name: part.description for name, part in parts.items()}
    description = {"kind": "model", "trained_on": trained_on, "parts": described}
    save_tensors(path, tensors, description, bits)


@dataclass(frozen=True)
class Part:
    """A state dict, and what a file of it alone would say of it."""

    tensors: dict[str, Tensor]
    description: dict[str, Any]


def part_path(path: Path, part: str) -> Path:
    """What names a part of a model's file, as if it were a file: ``FILE#PART``."""
    return path.with_name(f"{path.name}#{part}")


def split_part(path: Path) -> tuple[Path, str]:
    """The file, and the part of it that a path names; that is empty for the whole file."""
    name, mark, part = path.name.rpartition("#")
    if not mark or os.path.isfile(path):
        return path, ""
    return path.with_name(name), part


def content_hash(path: Path) -> str:
    """SHA-256 of what a file computes: its tensors, classes and gate, whatever else it says.

    Raises :class:`~accel_rt.errors.WeightsError` as :func:`load_tensors`.
    """
    file, _ = split_part(path)
    if not file.is_file():
        return _open(path, lambda description, file: "")
    status = file.stat()
    return _content_hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _content_hash(path: Path, size: int, changed_ns: int) -> str:
    description, tensors = _open(path, _tensors)
    digest = hashlib.sha256(json.dumps(description.get("classes")).encode())
    if "gate" in description:
        digest.update(json.dumps(description["gate"], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(description: dict[str, Any], file: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    names = [name for name in file.keys() if not name.startswith(_BESIDE)]  # noqa: SIM118
    return description, {name: file.get_tensor(name) for name in names}


def _open(path: Path, read: Callable[[dict[str, Any], Any], T]) -> T:
    """What ``read`` makes of a file's description and the open safetensors file."""
    whole, part = split_part(path)
    if not whole.is_file():
        raise WeightsError(f"no weight file {whole}: see 'accel-rt models' for those installed")
    try:
        with safe_open(whole, "pt") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise WeightsError(
                    f"{path} has no accel-rt description: it was written by something else"
                )
            description = parse_json(metadata[METADATA_KEY])
            if part:
                parts = member(description, "parts", dict, {})
                if part not in parts:
                    raise WeightsError(f"{whole} has no part '{part}', but {', '.join(parts)}")
                description = parts[part]
                file = _PartOfFile(file, f"{member(description, 'tensors', str, part)}.")
            member(description, "kind", str)
            return read(description, file)
    except AccelError:
        raise
    except Exception as error:  # of a damaged file the reader raises many kinds
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}): restore or remove it"
        ) from error


class _PartOfFile:
    """The tensors of an open file whose names begin with ``prefix``, without it."""

    def __init__(self, file: Any, prefix: str) -> None:
        self._file, self._prefix = file, prefix

    def keys(self) -> list[str]:
        """The names of the tensors."""
        names = self._file.keys()
        return [name[len(self._prefix) :] for name in names if name.startswith(self._prefix)]

    def get_tensor(self, name: str) -> Tensor:
        """The tensor called ``name``."""
        return self._file.get_tensor(self._prefix + name)

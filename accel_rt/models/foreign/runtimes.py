"""Network files that a runtime of its own executes on arrays: ONNX and OpenVINO."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.classes import ClassSet
from accel_rt.errors import AccelError, UsageError, WeightsError
from accel_rt.models.exported import (
    Engine,
    ExportedNetwork,
    Run,
    described,
    model_run,
    openvino_core,
    session_run,
)
from accel_rt.models.foreign.network import ForeignNetwork
from accel_rt.models.foreign.place import Place
from accel_rt.models.network import Network
from accel_rt.models.onnx import DESCRIPTION_KEY
from accel_rt.models.optional import package, reason
from accel_rt.normalise import Normalisation

OPTIONS = ("input", "output", "classes", "normalise")

_PROBE = (384, 512)
_LIKELY = ("logits", "out", "output", "scores", "pred", "labels")


@dataclass(frozen=True)
class Port:
    """An input or output; sides of ``shape`` that may be any are None."""

    name: str
    shape: tuple[int | None, ...]
    whole: bool

    def is_picture(self) -> bool:
        """Whether it takes pictures, channels first or last."""
        return len(self.shape) == 4 and 3 in (self.shape[1], self.shape[3])

    def is_answer(self) -> bool:
        """Whether it may be scores or labels."""
        return len(self.shape) == 4 or (self.whole and len(self.shape) == 3)


class RuntimeNetwork(ForeignNetwork):
    """A file's network, run by ``run`` from an array ``[1, ...]`` to one."""

    def __init__(
        self,
        name: str,
        run: Callable[[np.ndarray], np.ndarray],
        port: Port,
        normalisation: Normalisation,
    ) -> None:
        self._channels_last = port.shape[1] != 3
        height, width = port.shape[1:3] if self._channels_last else port.shape[2:4]
        fixed = (height, width) if height and width else None
        super().__init__(0, fixed_size=fixed)
        self._name, self._run, self._port, self._wanted = name, run, port, normalisation

    def probe(self) -> int:
        """How many classes it scores, found out on a black frame; 0 if it answers with labels."""
        answer = self.answer(torch.zeros(1, 3, *(self.fixed_size or _PROBE)))
        return answer.shape[1] if answer.is_floating_point() else 0

    def set_classes(self, count: int) -> None:
        """Expect scores of so many classes."""
        self._classes = count

    def answer(self, frame: Tensor) -> Tensor:
        frame = frame.float().cpu()
        if self.fixed_size and frame.shape[-2:] != self.fixed_size:
            frame = F.interpolate(frame, self.fixed_size, mode="bilinear", antialias=True)
        frame = frame.round().byte() if self._port.whole else self._wanted.of_bytes(frame)
        if self._channels_last:
            frame = frame.permute(0, 2, 3, 1)
        return torch.cat([self._one(one) for one in frame.contiguous().numpy()])

    def _one(self, image: np.ndarray) -> Tensor:
        try:
            found = torch.from_numpy(np.asarray(self._run(image[None])))
        except Exception as error:  # runtimes raise many kinds
            height, width = image.shape[:2] if self._channels_last else image.shape[1:]
            raise WeightsError(
                f"{self._name} failed on a frame of {width}x{height} ({reason(error)}): try "
                f"another --size"
            ) from error
        if found.is_floating_point():
            if found.ndim != 4 or found.shape[1] < 2:
                raise UsageError(
                    f"{self._name} gave {list(found.shape)}, no scores of two or more classes: "
                    f"name another output by ?output=NAME"
                )
            return found.permute(0, 3, 1, 2) if self._channels_last else found
        if self._channels_last and found.ndim == 4 and found.shape[-1] == 1:
            found = found[..., 0]
        return found.reshape(1, *found.shape[-2:]).long()


def open_onnx(text: str, told: ClassSet | None = None) -> tuple[Network, ClassSet]:
    """An ONNX file, by onnxruntime on torch's number of threads."""
    place = Place.parse(text, OPTIONS, told)
    runtime = package("onnxruntime", "onnx", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    path = place.file()
    try:
        session = runtime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise _unreadable(place.name, "ONNX", error) from error
    says = session.get_modelmeta().custom_metadata_map
    own = _own(place, "onnx", session_run(session), says.get(DESCRIPTION_KEY), says.get("classes"))
    return own or of_session(session, place)


def of_session(session: Any, place: Place) -> tuple[ForeignNetwork, ClassSet]:
    """A session of onnxruntime."""

    def port(found: Any) -> Port:
        shape = tuple(side if isinstance(side, int) else None for side in found.shape)
        return Port(found.name, shape, "float" not in found.type)

    metadata = session.get_modelmeta().custom_metadata_map
    into = _choose(place, "input", [port(found) for found in session.get_inputs()])
    out = _choose(place, "output", [port(found) for found in session.get_outputs()])
    half = next(f.type for f in session.get_inputs() if f.name == into.name) == "tensor(float16)"

    def run(image: np.ndarray) -> np.ndarray:
        image = image.astype(np.float16) if half else image
        return session.run([out.name], {into.name: image})[0]

    return _finished(place, run, into, metadata.get("classes") or metadata.get("names"))


def open_openvino(text: str, told: ClassSet | None = None) -> tuple[Network, ClassSet]:
    """An OpenVINO or ONNX file, by OpenVINO in float32 on torch's number of threads."""
    place = Place.parse(text, OPTIONS, told)
    package("openvino", "openvino", "openvino")
    path, core = place.file(), openvino_core()
    try:
        model = core.read_model(path)
        info = {key: _rt_info(model, "framework", key) for key in (DESCRIPTION_KEY, "classes")}
        if own := _own(place, "openvino", model_run(core, model), *info.values()):
            return own
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # By default bfloat16 where the processor has it, which changes answers.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(model, "CPU", options)
    except AccelError:
        raise
    except Exception as error:
        raise _unreadable(place.name, "OpenVINO", error) from error

    def port(found: Any) -> Port:
        shape = tuple(s.get_length() if s.is_static else None for s in found.partial_shape)
        return Port(found.any_name, shape, not found.element_type.is_real())

    into = _choose(place, "input", [port(found) for found in compiled.inputs])
    out = _choose(place, "output", [port(found) for found in compiled.outputs])

    def run(image: np.ndarray) -> np.ndarray:
        return compiled({into.name: image})[out.name]

    names = info["classes"] or _rt_info(model, "framework", "names")
    return _finished(place, run, into, names or _rt_info(model, "model_info", "labels"))


def _rt_info(model: Any, *key: str) -> str | None:
    return str(model.get_rt_info([*key]).value) if model.has_rt_info([*key]) else None


def _own(
    place: Place, engine: Engine, run: Run, told: str | None, classes: str | None
) -> tuple[Network, ClassSet] | None:
    """The network of a file that ``accel-rt export`` wrote; None for those of others."""
    if told is None:
        return None
    if place.options:
        raise UsageError(
            f"{place.name} was exported from here and says itself what it wants: leave out "
            f"?{'&'.join(place.options)}"
        )
    try:
        description = described(told)
        found = ClassSet.from_json(json.loads(classes or ""))
    except AccelError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{place.name} does not say what its network wants ({error}): export it again"
        ) from error
    found = place.classes(len(found), found)
    return ExportedNetwork(description, run, len(found), engine=engine), found


def _finished(
    place: Place, run: Callable[[np.ndarray], np.ndarray], port: Port, told: str | None
) -> tuple[ForeignNetwork, ClassSet]:
    network = RuntimeNetwork(place.name, run, port, place.normalisation())
    classes = place.classes(network.probe(), _names(told))
    network.set_classes(len(classes))
    return network, classes


def _choose(place: Place, role: str, ports: Sequence[Port]) -> Port:
    """The input for pictures or the output with the answer: that which is named, or the only one.

    Raises :class:`~accel_rt.errors.UsageError` if it cannot be told.
    """
    named = place.options.get(role)
    fits = [p for p in ports if (p.is_picture() if role == "input" else p.is_answer())]
    if named is not None:
        fits = [port for port in ports if port.name == named]
    elif len(fits) > 1:
        likely = [port for port in fits if port.name.lower() in _LIKELY]
        fits = likely[:1] or fits
    if len(fits) != 1:
        there = ", ".join(f"{port.name} {list(port.shape)}" for port in ports)
        raise UsageError(
            f"which {role} of {place.name} is meant cannot be told: name one by ?{role}=NAME, "
            f"there are {there}"
        )
    return fits[0]


def _names(told: str | None) -> ClassSet | list[str] | None:
    """Classes in a file's metadata: a class set or list as JSON, Python's way to write a list or
    an object, or words."""
    if not told:
        return None
    stored: Any = told
    for read in (json.loads, ast.literal_eval):
        try:
            stored = read(told)
            break
        except (ValueError, SyntaxError, RecursionError):
            continue
    if isinstance(stored, dict) and "colors_rgb" in stored:
        return ClassSet.from_json(stored)
    if isinstance(stored, dict):
        return [str(name) for name in stored.values()]
    return [str(name) for name in (stored if isinstance(stored, list) else told.split())]


def _unreadable(name: str, kind: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{name} is not a readable {kind} file ({reason(error)}): restore or remove it"
    )

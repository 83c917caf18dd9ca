"""Networks of ours in ONNX files, run by onnxruntime or OpenVINO in the place of PyTorch."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from accel_rt.errors import UsageError
from accel_rt.files import cache_folder, keep
from accel_rt.models.network import Network, ScoresState, TaskNetwork
from accel_rt.models.onnx import DESCRIPTION_KEY
from accel_rt.normalise import Normalisation

Engine = Literal["openvino", "onnx"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

Run = Callable[[Tensor, str], Tensor]
"""From a picture ``[1, 3, H, W]`` and an output's name to that output, float32."""

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}


class ExportedNetwork(Network):
    """A network whose file says ``description`` of itself, run by ``run``.

    With ``task``, the network's own task network, its state is the same as in PyTorch; without, the
    state is its scores. ``engine`` is what runs it, in words.
    """

    def __init__(
        self,
        description: dict[str, Any],
        run: Run,
        classes: int,
        task: TaskNetwork | ScoresState | None = None,
        engine: str = "",
    ) -> None:
        nn.Module.__init__(self)
        self.feature = nn.Identity()  # type: ignore[assignment]
        self.task = task or ScoresState(description["score_stride"])  # type: ignore[assignment]
        self.engine, self._run = engine, run
        self._state = "state" if task else "scores"
        self._cell, self._classes = description["cell"], classes
        mean, std = description["mean_rgb"], description["std_rgb"]
        self.normalisation = Normalisation(tuple(mean), tuple(std))
        self.size, self.fixed_size = (
            tuple(description[name]) if description[name] else None
            for name in ("size", "fixed_size")
        )

    @property
    def cell(self) -> int:
        return self._cell

    @property
    def classes(self) -> int:
        return self._classes

    def encode(self, frame: Tensor) -> Tensor:
        return self._output(frame, self._state)

    def forward(self, frame: Tensor) -> Tensor:
        return self._output(frame, "scores")

    def _output(self, frame: Tensor, name: str) -> Tensor:
        found = torch.cat([self._run(one, name) for one in frame.split(1)])
        return found.to(frame.dtype).contiguous(memory_format=torch.channels_last)


def described(metadata: str) -> dict[str, Any]:
    """What a file of ours says of itself.

    Raises :class:`~accel_rt.errors.UsageError` for one that is half of a pair and of no use alone.
    """
    description = json.loads(metadata)
    if description["piece"] != "keyframe":
        raise UsageError(
            "this file is the half of a pair that needs a state and flow: name the keyframe's file"
        )
    return description


def engine_version(engine: Engine) -> str | None:
    """The version of an engine's package, None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_PACKAGES[engine])
    except PackageNotFoundError:
        return None


def start(engine: Engine, file: bytes) -> tuple[str, Run]:
    """What an ONNX file of ours says of itself, and an engine with it, on torch's threads.

    Raises :class:`~accel_rt.errors.UsageError` where it is not installed.
    """
    if engine_version(engine) is None:
        raise UsageError(
            f"the backend '{engine}' needs {_PACKAGES[engine]}: pip install 'accel-rt[{engine}]'"
        )
    if engine == "onnx":
        session = _session(file)
        return session.get_modelmeta().custom_metadata_map[DESCRIPTION_KEY], session_run(session)
    core = openvino_core()
    model = core.read_model(file)
    told = str(model.get_rt_info(["framework", DESCRIPTION_KEY]).value)
    return told, model_run(core, model, sha256(file).hexdigest())


def _session(file: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])


def session_run(session: Any) -> Run:
    """A session of onnxruntime."""

    def run(picture: Tensor, output: str) -> Tensor:
        picture = picture.float().contiguous(memory_format=torch.contiguous_format)
        return torch.from_numpy(session.run([output], {"picture": picture.numpy()})[0])

    return run


def openvino_core() -> Any:
    """OpenVINO, taught ONNX's deformable convolution, which it has under another name."""
    import openvino
    from openvino import opset8
    from openvino.frontend.onnx import ConversionExtension

    def deform_conv2d(node: Any) -> list[Any]:
        image, weight, offset, *others = map(node.get_input, range(node.get_input_size()))
        attribute, pads = node.get_attribute, [*node.get_attribute("pads")]
        bias, mask = (*others, None, None)[:2]
        found = opset8.deformable_convolution(
            image,
            offset,
            weight,
            [*attribute("strides")],
            pads[:2],
            pads[2:],
            [*attribute("dilations")],
            mask=mask,
            group=attribute("group"),
            deformable_group=attribute("offset_group"),
            bilinear_interpolation_pad=True,
        )
        if bias is not None and bias.get_partial_shape().rank.is_static:
            found = opset8.add(found, opset8.unsqueeze(bias, np.array([0, 2, 3])))
        return [found.output(0)]

    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", deform_conv2d))
    return core


def model_run(core: Any, model: Any, name: str = "") -> Run:
    """A model of OpenVINO, compiled for each size and type of pictures that comes.

    What was compiled is kept in :func:`~accel_rt.files.cache_folder` for the next run, if the model
    has a ``name`` that no other has. Threads take turns: a keyframe may be under way beside the
    frames when the next is asked for.
    """
    requests: dict[Any, Any] = {}
    turn = Lock()

    def request(picture: Tensor) -> Any:
        threads = torch.get_num_threads()
        key = picture.shape, picture.dtype, threads
        if key not in requests:
            sized = model.clone()
            sized.reshape({"picture": [*picture.shape]})
            precision = "bf16" if picture.dtype == torch.bfloat16 else "f32"
            options = {
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": precision,
                "PERFORMANCE_HINT": "LATENCY",
            }
            case = "-".join([name, *map(str, picture.shape)]) if name else ""
            requests[key] = _compiled(core, sized, options, case).create_infer_request()
        return requests[key]

    def run(picture: Tensor, output: str) -> Tensor:
        image = picture.float().contiguous(memory_format=torch.contiguous_format)
        with turn:
            found = request(picture).infer({"picture": image.numpy()}, share_inputs=True)
            return torch.from_numpy(found[output].copy())

    return run


def _compiled(core: Any, model: Any, options: dict[str, Any], case: str) -> Any:
    """The model compiled for this machine, in seconds, or as it was kept for the ``case``."""
    if not case:
        return core.compile_model(model, "CPU", options)
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    machine = repr((engine_version("openvino"), platform.node(), processor, options))
    path = cache_folder() / f"{case}-{sha256(machine.encode()).hexdigest()[:16]}.openvino"
    if path.is_file():
        with suppress(RuntimeError, OSError):  # of a file that OpenVINO cannot read
            return core.import_model(path.read_bytes(), "CPU", options)
    compiled = core.compile_model(model, "CPU", options)
    keep(path, compiled.export_model().getvalue())
    return compiled

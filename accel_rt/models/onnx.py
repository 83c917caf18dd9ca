"""Modules of ours as ONNX: our operators become ONNX's own, and sides may be any multiple."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.ops import eager

OPSET = 20
"""Of the files that are written: DeformConv is there from 19 on."""

DESCRIPTION_KEY = "accel_rt"
"""Where a file's description is found in its metadata."""

Sides = tuple[int, int] | None
"""What an input's height and width are multiples of, the same number of times; None: fixed."""


def trace(module: nn.Module, inputs: dict[str, tuple[Tensor, Sides]]) -> ExportedProgram:
    """``module``, called with ``inputs`` by name, as a graph for inference.

    Each input is an example and its :data:`Sides`.
    """
    rows, columns = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)

    def sides(per: Sides) -> dict[int, Any] | None:
        if per is None:
            return None
        return {2: _times(per[0], rows), 3: _times(per[1], columns)}

    examples = {name: example for name, (example, _) in inputs.items()}
    dynamic = {name: sides(per) for name, (_, per) in inputs.items()}
    with _quiet():
        program = torch.export.export(
            module.requires_grad_(False).eval(), (), examples, dynamic_shapes=dynamic
        )
        plain = _plain()
        used = any(node.target in plain for node in program.graph.nodes)
        return program.run_decompositions(plain) if used else program


def _times(number: int, dim: Any) -> Any:
    return dim if number == 1 else number * dim


def _plain() -> dict[Any, Callable]:
    """Our operators, where they are compiled, that PyTorch has others for."""
    if not hasattr(torch.ops.accel_rt, "flow_warp"):
        return {}

    def warp(input: Tensor, flow: Tensor, zeros: bool) -> Tensor:
        outside = "zeros" if zeros else "border"
        grid = eager.sampling_grid(flow)
        return F.grid_sample(input, grid, padding_mode=outside, align_corners=True)

    return {torch.ops.accel_rt.flow_warp.default: warp}


def to_onnx(program: ExportedProgram, outputs: Sequence[str], metadata: dict[str, str]) -> bytes:
    """The file of a traced module.

    Raises :class:`~accel_rt.errors.UsageError` without the packages of ``accel-rt[onnx]``.
    """
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            raise UsageError(
                f"ONNX files are written with {package}: pip install 'accel-rt[onnx]'"
            ) from error
    with _quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            output_names=outputs,
            custom_translation_table=_translations(),
            verbose=False,
        )
    assert converted is not None
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of this source
    converted.model.metadata_props.update(metadata)
    return converted.model_proto.SerializeToString()


def _translations() -> dict[Any, Callable]:
    """Our operators, where they are compiled, that ONNX has others for."""
    from onnxscript import opset20 as onnx

    def deform_conv2d(
        input: Any,
        offset: Any,
        weight: Any,
        bias: Any,
        mask: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> Any:
        channels, kernel = weight.shape[1], list(weight.shape[2:])
        return onnx.DeformConv(
            input,
            weight,
            offset,
            bias,
            mask,
            strides=stride,
            pads=[*padding, *padding],
            dilations=dilation,
            kernel_shape=kernel,
            group=input.shape[1] // channels,
            offset_group=offset.shape[1] // (2 * kernel[0] * kernel[1]),
        )

    if not hasattr(torch.ops.accel_rt, "deform_conv2d"):
        return {}
    return {torch.ops.accel_rt.deform_conv2d.default: deform_conv2d}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

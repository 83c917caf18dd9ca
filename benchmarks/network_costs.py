"""What each piece of a frame moves and computes on a GPU, kernel by kernel, without one.

The pieces that the frame loop replays as graphs run on tensors without values, with the networks
prepared as for CUDA in float16; every operator that is called counts, in place copies included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from accel_rt import ops
from accel_rt.flow.device_dis import DeviceDIS
from accel_rt.flow.flownets import FlowNetSFlow
from accel_rt.flow.source import FlowSource
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.fuse import for_inference
from accel_rt.models.prepared import prepare
from accel_rt.models.zoo import build_network
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.nodes import FrameNodes
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.schedule import Schedule
from accel_rt.train.losses import segmentation_loss
from accel_rt.train.optimiser import parameter_groups
from benchmarks.roofline import Cost, Peak

BANDWIDTH_SHARE, ARITHMETIC_SHARE = 0.8, 0.6
"""Of a GPU's peaks, what a good kernel reaches."""

META, _CUDA, _HALF = torch.device("meta"), torch.device("cuda"), torch.float16
_CLASSES = 19
_aten = torch.ops.aten
_ONE_KERNEL = (_aten.cudnn_convolution_relu.default, _aten.cudnn_convolution_add_relu.default)
_FREE = ("empty", "detach", "lift_fresh")


@dataclass(frozen=True)
class Model:
    """Networks at an interval between keyframes; ``flownet``: flow by FlowNetS instead of DIS."""

    name: str
    reference: str
    update: str | None = None
    interval: int = 5
    flownet: bool = False


MODELS = (
    Model("Accel-18", "resnet101", "resnet18"),
    Model("Accel-18, FlowNetS", "resnet101", "resnet18", flownet=True),
    Model("Accel-34", "resnet101", "resnet34"),
    Model("DFF", "resnet101"),
    Model("DeepLab-101", "resnet101", interval=1),
    Model("light pair", "efficientnet_lite2", "efficientnet_lite0"),
    Model("DeepLab-Lite2", "efficientnet_lite2", interval=1),
)


def expected_seconds(cost: Cost, peak: Peak) -> float:
    """What a good kernel of this cost takes."""
    good = replace(
        peak,
        bandwidth=BANDWIDTH_SHARE * peak.bandwidth,
        tensor=ARITHMETIC_SHARE * peak.tensor,
        float32=ARITHMETIC_SHARE * peak.float32,
    )
    return cost.seconds(good)


def pieces(model: Model, size: tuple[int, int]) -> dict[str, list[Cost]]:
    """The kernels of each piece of a keyframe and of an update at ``size`` ``(height, width)``."""
    with as_on_cuda():
        program, flow = program_of(model)
        geometry = plan(size, None, size, 1.0, program.model.cell)
        nodes = FrameNodes(program, geometry, flow, Schedule(interval=model.interval))
        works = {f"{model.reference}, keyframe": [nodes.key, nodes.observe, nodes.key_output]}
        if model.update:
            works[f"{model.update}, update"] = [nodes.refresh]
        if model.interval > 1:
            works["FlowNetS" if model.flownet else "DIS"] = [nodes.look, nodes.advance]
            works[f"{model.reference}, merge and labels"] = [nodes.merge, nodes.output]
        for _ in range(2):  # from the second time on results are copied into their places
            found = {name: _count(each) for name, each in works.items()}
    return found


def by_kind(costs: Sequence[Cost], peak: Peak) -> list[tuple[str, int, Cost, float]]:
    """Kind of kernel, how many, what they cost together, and their seconds; the longest first."""
    kinds: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        kinds[cost.op].append(cost)
    rows = [
        (
            kind,
            len(each),
            Cost(kind, "", sum(c.bytes for c in each), sum(c.flops for c in each)),
            sum(expected_seconds(c, peak) for c in each),
        )
        for kind, each in kinds.items()
    ]
    return sorted(rows, key=lambda row: -row[3])


def frames_per_second(model: Model, counted: dict[str, list[Cost]], peak: Peak) -> float:
    """Of a GPU that does nothing but these kernels, one after the other."""
    key, *later = (sum(expected_seconds(c, peak) for c in costs) for costs in counted.values())
    return model.interval / (key + (model.interval - 1) * sum(later))


def training_step(name: str, size: tuple[int, int], batch: int) -> list[Cost]:
    """The kernels of one step of training the network ``name``, in bfloat16, by AdamW.

    Making the samples is not among them.
    """
    with META:
        network = build_network(name, _CLASSES).to(torch.bfloat16)
        labels = torch.empty((batch, *size), dtype=torch.long)
        frames = torch.empty((batch, 3, *size), dtype=torch.bfloat16)
    network.train().to(memory_format=torch.channels_last)
    frames = frames.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(parameter_groups([network], 0.02), foreach=True)

    def step() -> None:
        segmentation_loss(network(frames).float(), labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    step()  # from the second on its state is there
    return _count([step])


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Inference by the operators of a library that was built for CUDA."""
    built = replace(ops.extension_status(), cuda_built=True)
    with patch.object(ops, "extension_status", lambda: built), torch.inference_mode():
        yield


def program_of(model: Model) -> tuple[FrameProgram, FlowSource | None]:
    """The frame program and the flow of ``model``, prepared as for CUDA, without values."""
    with META:
        reference = build_network(model.reference, _CLASSES)
        networks = Accel(reference)
        if model.update:
            networks = Accel(
                reference, build_network(model.update, _CLASSES), ScoreFusion(_CLASSES)
            )
        flow: FlowSource | None = None
        if model.interval > 1:
            flow = DeviceDIS(META)
            if model.flownet:
                network = FlowNetS()
                flow = FlowNetSFlow(network, META, _HALF)
                _prepare(network)
    program = FrameProgram(for_inference(networks, META, _HALF), META, _HALF)
    _prepare(networks)
    return program, flow


def _prepare(networks: torch.nn.Module) -> None:
    for graph in [m for m in networks.modules() if isinstance(m, fx.GraphModule)]:
        prepare(graph, _CUDA, _HALF)


def _count(works: Sequence[Callable[[], None]]) -> list[Cost]:
    with Counter() as counter:
        for work in works:
            work()
    return counter.costs


class Counter(TorchDispatchMode):
    """Notes the cost of every operator."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[Cost] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _ONE_KERNEL:
            out = _fused_output(func, args)
        else:
            if func is not _aten.upsample_bilinear2d.vec:  # one kernel on CUDA
                with self:  # an operator that is made of others counts as these
                    out = func.decompose(*args, **kwargs)
                if out is not NotImplemented:
                    return out
            out = func(*args, **kwargs)
        self.costs += _costs(func, args, kwargs, out)
        return out


def _fused_output(func: Any, args: Any) -> Tensor:
    x, weight, rest = args[0], args[1], args[2:]
    geometry = rest[1:5] if func is _ONE_KERNEL[0] else rest[3:7]
    stride, padding, dilation, groups = geometry
    return _aten.convolution(x, weight, None, stride, padding, dilation, False, [0, 0], groups)


def _costs(func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Iterator[Cost]:
    name = func._schema.name.partition("::")[2]
    returns = func._schema.returns
    is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    if is_view or name.startswith(_FREE):
        return
    inputs, outputs = _tensors((args, kwargs)), _tensors(out)
    if name in ("copy_", "zero_", "fill_"):
        inputs = inputs[1:]
    moved = _bytes(inputs) + _bytes(outputs)
    shape = "x".join(map(str, outputs[0].shape)) if outputs else ""
    if name == "deform_conv2d":
        yield from _deform_conv2d(args, out, shape)
    elif name == "convolution_backward":  # of the input and of the weight: both read the gradient
        gradient, _, weight = args[:3]
        flops = 4 * weight.numel() * prod(gradient.shape[2:]) * gradient.shape[0]
        unit: Any = "float32" if args[9] > 1 else "tensor"
        yield Cost(name, shape, moved + _bytes([gradient]), flops, unit)
    elif "batch_norm" in name:  # its statistics first
        yield Cost(name, shape, 2 * _bytes(inputs) + _bytes(outputs), 8 * outputs[0].numel())
    elif func._overloadpacket in flop_registry or func in _ONE_KERNEL or name == "addmm_":
        x, weight = args[1:3] if name.startswith("addmm") else args[:2]
        transposed = name == "convolution" and args[6]
        places = prod((x if transposed else out).shape[2:]) * out.shape[0]
        is_matrix = weight.dim() == 2
        flops = 2 * x.numel() * weight.shape[1] if is_matrix else 2 * weight.numel() * places
        bias = args[2] if name == "convolution" else None
        side = "" if is_matrix else f" {weight.shape[2]}x{weight.shape[3]}"
        grouped = name == "convolution" and args[8] > 1
        unit = "float32" if grouped else "tensor"
        yield Cost(f"{name}{side}", shape, moved, flops, unit)
        if bias is not None:  # PyTorch adds it in a kernel of its own
            yield Cost("bias", shape, 2 * _bytes(outputs), out.numel())
    elif name == "depthwise_conv2d":
        yield Cost(name, shape, moved, 2 * prod(args[1].shape[:2]) * out.numel())
    elif name == "warp_score":
        cache, _, weight, _ = args
        cells = out.shape[0] * prod(out.shape[2:])
        yield Cost(name, shape, moved, cells * cache.shape[1] * (8 + 2 * weight.shape[0]))
    elif name == "upsample_argmax":
        yield Cost(name, shape, moved, 3 * args[0].shape[1] * out.numel())
    elif name == "patch_flow":
        images, (rounds, iterations) = _bytes(args[:2]), args[3:5]
        fits = (5 + iterations) * args[0].numel() // 16
        for _ in range(rounds):
            yield Cost(f"{name}: search", shape, images, fits * 64 * 16)
        yield Cost(f"{name}: densify", shape, images + _bytes([out]), 4 * 16 * args[0].numel())
    else:
        yield Cost(name, shape, moved, sum(t.numel() for t in outputs))


def _deform_conv2d(args: Any, out: Tensor, shape: str) -> Iterator[Cost]:
    """Gathered columns through memory, the matrix product of which PyTorch's library does."""
    x, offset, weight = args[:3]
    taps = prod(weight.shape[2:])
    columns = taps * x.shape[1] * prod(out.shape[2:]) * out.shape[0]
    size = x.element_size()
    gathered = _bytes([x, offset]) + columns * size
    yield Cost("deform_conv2d: columns", shape, gathered, 8 * columns)
    flops = 2 * columns * weight.shape[0]
    moved = columns * size + _bytes([weight, out])
    yield Cost("deform_conv2d: product", shape, moved, flops, "tensor")


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)

"""The nodes without a device at all: nothing in them may touch the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accel_rt.classes import CAMVID
from accel_rt.flow.flownets import FlowNetSFlow
from accel_rt.models.accel import Accel, FeatureFusion, ScoreFusion
from accel_rt.models.flownet import FlowNetS, MXNetFlowNetS
from accel_rt.models.fuse import fuse_networks
from accel_rt.models.layers import to_fast_layout
from accel_rt.models.zoo import build_network
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.nodes import FrameNodes
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import Schedule
from accel_rt.runtime.span import AFTER, SpanNodes

META = torch.device("meta")
MXNET: dict = {"flow_network": MXNetFlowNetS}
CLASSES = 11


class OnDeviceOnly(TorchDispatchMode):
    """Refuses what a graph cannot hold: values read by the host, and tensors of the host.

    With ``numbers`` the host may compute with numbers of its own: a graph has them as constants.
    """

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self._numbers = numbers

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert "_local_scalar_dense" not in str(func), "the host reads a value"
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor) and not (self._numbers and leaf.dim() == 0):
                assert leaf.device == META, f"{func} works on the host"
        return result


def nodes(
    reference: str,
    update: str,
    fusion: type,
    scale=1.0,
    incremental=False,
    trained=(90, 120),
    flow_network=FlowNetS,
    spans=False,
    **options,
) -> FrameNodes | SpanNodes:
    branches = [build_network(name, CLASSES) for name in (reference, update)]
    both = ScoreFusion(CLASSES) if fusion is ScoreFusion else fusion(*branches)
    model = to_fast_layout(fuse_networks(Accel(*branches, both).eval()), META, torch.float16)
    flow = FlowNetSFlow(flow_network(0.25).eval(), META, torch.float16)
    geometry = plan((180, 250), trained, None, scale, model.cell)
    program = FrameProgram(model, META, torch.float16, incremental=incremental, update_scale=scale)
    if spans:
        schedule = Schedule(5, 2, True, look_ahead=True, gate=True)
        return SpanNodes(program, geometry, flow, schedule, moves=True, **options)
    return FrameNodes(program, geometry, flow, Schedule(5, 2, True), **options)


@pytest.mark.parametrize(
    ("reference", "update", "fusion", "options"),
    [
        ("resnet50", "resnet18", ScoreFusion, {}),
        ("resnet18", "resnet18", FeatureFusion, {"scale": 0.5}),
        ("efficientnet_lite2", "efficientnet_lite0", ScoreFusion, {"incremental": True}),
        ("resnet50_mxnet", "resnet18_mxnet", ScoreFusion, {"incremental": True, **MXNET}),
        # At 82 rows the keyframe's features have another size than the flow.
        (
            "resnet50_mxnet",
            "resnet18_mxnet",
            ScoreFusion,
            MXNET | {"trained": (82, 120), "incremental": True},
        ),
    ],
)
def test_nothing_touches_the_host(reference: str, update: str, fusion: type, options: dict) -> None:
    overlay = Overlay(CAMVID.palette_bgr(), 0.5, (1, 2))
    with torch.inference_mode():
        run = nodes(reference, update, fusion, margins=True, overlay=overlay, **options)
        with OnDeviceOnly():
            for _ in range(2):
                for node in (run.key, run.observe, run.key_output):
                    node()
                for node in (run.refresh, run.look, run.advance, run.merge, run.output):
                    node()
                for node in (run.request, run.pending_key, run.look, run.advance_pending):
                    node()
                for node in (run.look, run.advance_carried, run.carry, run.output):
                    node()
                for node in (run.take_pending, run.refresh, run.merge, run.output):
                    node()
    assert run.results["labels"].shape == (180, 250)


@pytest.mark.parametrize(
    ("reference", "update", "fusion", "options"),
    [
        ("resnet18", "resnet18", FeatureFusion, {"scale": 0.5}),
        ("resnet18", "resnet18", ScoreFusion, {"incremental": True}),
        ("resnet50_mxnet", "resnet18_mxnet", ScoreFusion, MXNET | {"trained": (82, 120)}),
    ],
)
def test_nothing_of_look_ahead_touches_the_host(
    reference: str, update: str, fusion: type, options: dict
) -> None:
    kinds, names = ("carry", "update", "carry"), ("0", "1", "2", AFTER)
    with torch.inference_mode():
        run = nodes(reference, update, fusion, margins=True, spans=True, **options)
        run.draw(Overlay(CAMVID.palette_bgr(), 0.5, (1, 2)))
        assert all(run.reserve(name) for name in names)
        with OnDeviceOnly(numbers=True):
            run.look(False)
            for both in (False, True):
                run.key()
                run.turn()
                for name, kind in zip(names, (*kinds, "key"), strict=True):
                    run.look(True)
                    run.refresh()
                    run.hold(name, kind)
                run.key()
                run.updated(kinds, both)
                run.carried(kinds, both)
                run.output(names)
    assert not any(run.reserve(name) for name in names)
    assert run.kept["drawn 2"].shape == (180, 250, 3)
    assert run.kept[f"margin {AFTER}"].shape == (180, 250)


def test_the_watch_sees_the_host() -> None:
    with pytest.raises(AssertionError, match="works on the host"), OnDeviceOnly():
        torch.zeros(2, device=META) + torch.ones(2).to(META)
    value = torch.ones(())
    with pytest.raises(AssertionError, match="the host"), OnDeviceOnly():
        value.item()

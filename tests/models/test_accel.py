"""The fast forward against the paper's, line by line."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel_rt import ops
from accel_rt.errors import UsageError
from accel_rt.models.accel import Accel, FeatureFusion, ScoreFusion
from accel_rt.models.network import Network, TaskNetwork
from accel_rt.models.resnet import ResNet, ResNetSpec
from accel_rt.models.zoo import build_network
from accel_rt.runtime.program import FrameProgram
from tests.models.paper import PaperForward, output_block

SIZE = (80, 112)
CLASSES = 7
CPU = torch.device("cpu")


def network(spec: ResNetSpec) -> Network:
    feature = ResNet(spec)
    return Network(feature, TaskNetwork(feature.channels[-1], CLASSES, state_channels=96))


def lively(module: nn.Module) -> nn.Module:
    """Weights that make scores differ and offsets move, in float64 for exact comparison."""
    for name, parameter in module.named_parameters():
        if "scoring" in name or "offset" in name or "fusion" in name:
            nn.init.normal_(parameter, std=0.2)
        if name.endswith("scoring.bias"):
            nn.init.zeros_(parameter)
    return module.double().eval()


def model(kind: str) -> Accel:
    reference = network(ResNetSpec("bottleneck", (1, 1, 1, 1)))
    if kind == "dff":
        return lively(Accel(reference))
    update = network(ResNetSpec("basic", (1, 1, 1, 1)))
    fusion = ScoreFusion(CLASSES) if kind == "score" else FeatureFusion(reference, update)
    return lively(Accel(reference, update, fusion))


def refreshed(program: FrameProgram, frame: Tensor) -> Tensor | None:
    return None if program.model.update is None else program.refresh(frame)


def frames(count: int) -> list[Tensor]:
    """Pictures with large, differing regions."""
    coarse = 3 * torch.randn(count, 1, 3, 4, 5, dtype=torch.float64)
    return [F.interpolate(f, SIZE, mode="nearest") for f in coarse]


def flows(count: int) -> list[Tensor]:
    """Smooth motion of up to two cells, beyond the borders too."""
    coarse = 2 * torch.randn(count, 1, 2, 2, 2, dtype=torch.float64)
    cells = SIZE[0] // 16, SIZE[1] // 16
    return [F.interpolate(f, cells, mode="bilinear", align_corners=True) for f in coarse]


@pytest.mark.parametrize("kind", ["dff", "score", "feature"])
def test_incremental_warping_equals_the_paper(kind: str) -> None:
    """Project then warp, fuse then upsample: the same probabilities and labels to 1e-9."""
    torch.manual_seed(3)
    accel = model(kind)
    paper = PaperForward(accel)
    stream, motion = frames(4), flows(3)
    with torch.inference_mode():
        expected = [paper.keyframe(stream[0])]
        program = FrameProgram(accel, CPU, torch.float64, incremental=True)
        state, scores = program.key(stream[0])
        got = [output_block(F.interpolate(scores, SIZE, mode="bilinear"))]
        for frame, flow in zip(stream[1:], motion, strict=True):
            expected.append(paper.intermediate(frame, flow))
            state = program.advance(state, flow)
            scores = program.merge(state, refreshed(program, frame))
            got.append(output_block(F.interpolate(scores, SIZE, mode="bilinear")))
    for (probabilities, labels), (fast_probabilities, fast_labels) in zip(
        expected, got, strict=True
    ):
        torch.testing.assert_close(fast_probabilities, probabilities, rtol=1e-9, atol=1e-9)
        assert torch.equal(fast_labels, labels)
        assert len(labels.unique()) > 1


@pytest.mark.parametrize("kind", ["dff", "score", "feature"])
def test_first_composed_warp_equals_the_paper(kind: str) -> None:
    """One frame after the keyframe composed and incremental warping are the same thing.

    float32 through the fused kernel: its order of summation differs by some 1e-5.
    """
    torch.manual_seed(4)
    accel = model(kind)
    paper = PaperForward(accel)
    stream, (flow,) = frames(2), flows(1)
    with torch.inference_mode():
        paper.keyframe(stream[0])
        probabilities, _ = paper.intermediate(stream[1], flow)
        accel.float()
        program = FrameProgram(accel, CPU, torch.float32)
        state = program.advance(program.key(stream[0].float())[0], flow.float())
        scores = program.merge(state, refreshed(program, stream[1].float()))
        fast, _ = output_block(F.interpolate(scores, SIZE, mode="bilinear"))
    torch.testing.assert_close(fast.double(), probabilities, rtol=1e-3, atol=1e-4)


def test_composed_flow_of_constant_motion_adds_up() -> None:
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = 0.75, -0.5
    composed = ops.compose_flow(ops.compose_flow(flow, flow), flow)
    torch.testing.assert_close(composed, 3 * flow)


def test_composed_flow_looks_up_the_older_flow_where_the_newer_points() -> None:
    older = torch.zeros(1, 2, 1, 4)
    older[0, 0, 0] = torch.tensor([0.0, 10.0, 20.0, 30.0])
    newer = torch.zeros(1, 2, 1, 4)
    newer[0, 0] = 1.0
    expected = torch.tensor([11.0, 21.0, 31.0, 31.0])
    torch.testing.assert_close(ops.compose_flow(older, newer)[0, 0, 0], expected)


def test_fresh_score_fusion_is_the_mean() -> None:
    a, b = torch.randn(2, 1, CLASSES, 5, 6)
    torch.testing.assert_close(ScoreFusion(CLASSES)(a, b), (a + b) / 2)


def test_score_fusion_works_on_the_finer_grid() -> None:
    coarse, fine = torch.randn(1, CLASSES, 3, 4), torch.randn(1, CLASSES, 6, 8)
    fusion = ScoreFusion(CLASSES)
    upsampled = F.interpolate(coarse, (6, 8), mode="bilinear")
    torch.testing.assert_close(fusion(coarse, fine), (upsampled + fine) / 2)
    torch.testing.assert_close(fusion(fine, coarse), (upsampled + fine) / 2)


def test_joint_training_reaches_every_part() -> None:
    """Gradients flow through fusion, both branches, warp and flow (paper section 3.3)."""
    torch.manual_seed(5)
    accel = model("score")
    stream, (flow,) = frames(2), flows(1)
    flow.requires_grad_()
    program = FrameProgram(accel, CPU, torch.float64)
    state = program.advance(program.key(stream[0])[0], flow)
    program.merge(state, program.refresh(stream[1])).square().mean().backward()
    assert flow.grad is not None
    assert flow.grad.abs().sum() > 0
    for name, parameter in accel.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_feature_fusion_needs_the_papers_task_network() -> None:
    lite = build_network("efficientnet_lite0", CLASSES)
    with pytest.raises(UsageError, match="--task paper', or use score fusion"):
        FeatureFusion(lite, lite)


def test_update_and_fusion_come_together() -> None:
    reference = network(ResNetSpec("basic", (1, 1, 1, 1)))
    with pytest.raises(UsageError, match="give both or neither"):
        Accel(reference, fusion=ScoreFusion(CLASSES))

"""The frame program, rule by rule, against sums by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.models.accel import Accel, FeatureFusion, Gate, ScoreFusion
from accel_rt.models.zoo import build_network
from accel_rt.normalise import Normalisation
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.program import FrameProgram, State
from tests.runtime import small

CPU = torch.device("cpu")


def program(incremental: bool = False, scale: float = 1.0, fusion: type = ScoreFusion):
    torch.manual_seed(2)
    model = small.accel(fusion=fusion)
    return FrameProgram(model, CPU, torch.float32, incremental=incremental, update_scale=scale)


def flows(count: int, cells: tuple[int, int]) -> list[Tensor]:
    """Smooth motion that differs from place to place and from frame to frame."""
    coarse = 1.5 * torch.randn(count, 1, 2, 3, 4)
    return [F.interpolate(f, cells, mode="bilinear", align_corners=True) for f in coarse]


def sampled(grid: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``grid [C, h, w]`` at positions in cells, bilinearly; the border repeats."""
    height, width = grid.shape[1:]
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    y1, x1 = (y0 + 1).clip(max=height - 1), (x0 + 1).clip(max=width - 1)
    fy, fx = y - y0, x - x0
    top = grid[:, y0, x0] * (1 - fx) + grid[:, y0, x1] * fx
    return top * (1 - fy) + (grid[:, y1, x0] * (1 - fx) + grid[:, y1, x1] * fx) * fy


@pytest.mark.parametrize("incremental", [False, True])
def test_a_state_goes_back_along_the_newest_flow_first(incremental: bool) -> None:
    """A cell's way to the keyframe: by the last frame's flow, from there by the one before."""
    torch.manual_seed(1)
    cells = (9, 12)
    features, (first, second) = torch.randn(1, 5, *cells), flows(2, cells)
    run = program(incremental)
    state = run.advance(run.advance(State(features), first), second)
    ys, xs = np.mgrid[: cells[0], : cells[1]].astype(float)
    grid, one, two = (t[0].double().numpy() for t in (features, first, second))
    if incremental:
        once = sampled(grid, ys + one[1], xs + one[0])
        expected = sampled(once, ys + two[1], xs + two[0])
    else:
        along = two + sampled(one, ys + two[1], xs + two[0])
        expected = sampled(grid, ys + along[1], xs + along[0])
    np.testing.assert_allclose(run.moved(state)[0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_without_flow_a_state_stays() -> None:
    state = State(torch.randn(1, 2, 3, 4))
    assert program().advance(state, None) is state


def test_a_pending_state_gathers_flow_and_then_moves_what_arrives() -> None:
    torch.manual_seed(4)
    features, (first, second) = torch.randn(1, 5, 6, 8), flows(2, (6, 8))
    run = program()
    waiting = run.advance(run.advance(State(None), first), second)
    arrived = run.advance(State(features), waiting.flow)
    at_once = run.advance(run.advance(State(features), first), second)
    torch.testing.assert_close(run.moved(arrived), run.moved(at_once))


def test_flow_of_a_coarser_grid_moves_a_finer_one_by_as_many_pixels() -> None:
    ramp = torch.arange(32.0).expand(1, 1, 16, 32).clone()
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 0.5  # of a cell that is four cells of the ramp wide
    moved = program().moved(program().advance(State(ramp), flow))
    torch.testing.assert_close(moved[..., :28], ramp[..., :28] + 2)


def test_each_branch_computes_its_own_part() -> None:
    run = program()
    model = run.model
    frame, other = torch.randn(2, 1, 3, *small.SIZE)
    with torch.no_grad():
        state, scores = run.key(frame)
        torch.testing.assert_close(scores, model.reference(frame))
        torch.testing.assert_close(run.refresh(other), model.update(other))
        model.fusion.conv.weight.normal_()
        expected = model.fusion(model.reference(frame), model.update(other))
        torch.testing.assert_close(run.merge(state, run.refresh(other)), expected)
        torch.testing.assert_close(run.merge(state, None), scores)


def test_feature_fusion_joins_projected_features() -> None:
    """Against fusing the features themselves, before the projection."""
    run = program(fusion=FeatureFusion)
    fusion, reference, update = run.model.fusion, run.model.reference, run.model.update
    frame, other = torch.randn(2, 1, 3, *small.SIZE)
    with torch.no_grad():
        torch.nn.init.normal_(fusion.reference_half.weight, std=0.3)
        torch.nn.init.normal_(fusion.update_half.weight, std=0.3)
        state, scores = run.key(frame)
        torch.testing.assert_close(scores, reference(frame))
        fused = fusion.reference_half(reference.feature(frame)[-1])
        fused = fused + fusion.update_half(update.feature(other)[-1])
        expected = reference.score((*reference.feature(frame)[:-1], fused))
        torch.testing.assert_close(run.merge(state, run.refresh(other)), expected)


def test_each_branch_is_fed_as_its_network_wants() -> None:
    run = program(scale=0.5)
    run.model.update.normalisation = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    geometry = plan(small.SIZE, small.SIZE, None, 0.5, run.model.cell)
    frame = np.full((*small.SIZE, 3), 255, np.uint8)
    reference, update = run.prepare(frame, geometry), run.prepare(frame, geometry, "update")
    assert update.shape[-1] * 2 == reference.shape[-1] == geometry.padded[1]
    torch.testing.assert_close(update[0, :, 0, 0], torch.full((3,), 2.0))
    torch.testing.assert_close(reference[0, 0, 0, 0].item(), (1 - 0.485) / 0.229)


def test_labels_are_those_of_the_sources_pixels() -> None:
    """Of a source twice as large as what was processed, and padded there."""
    run = program()
    geometry = plan((100, 60), (50, 30), None, 1.0, run.model.cell)
    scores = torch.randn(1, 3, geometry.padded[0] // 16, geometry.padded[1] // 16)
    full = F.interpolate(scores, (2 * geometry.padded[0], 2 * geometry.padded[1]), mode="bilinear")
    out = run.output(scores, geometry, margins=True)
    assert out.labels.shape == (100, 60)
    assert (out.labels == full.argmax(1)[0, :100, :60]).float().mean() > 0.999
    best = full.topk(2, dim=1).values[0, :, :100, :60]
    torch.testing.assert_close(out.margin, best[0] - best[1], atol=1e-4, rtol=1e-4)


def test_a_gate_finer_than_the_scores_opens_where_the_update_is_alone() -> None:
    residual = torch.zeros(1, 1, 24, 32)
    residual[..., 16:] = 1000
    gated = program().gated(torch.zeros(1, 3, 6, 8), torch.ones(1, 3, 12, 16), residual)
    shut = torch.tensor(Gate().bias).sigmoid().item()
    assert gated.shape == (1, 3, 6, 8)
    np.testing.assert_allclose(gated[..., :4].numpy(), shut, rtol=1e-5)
    np.testing.assert_allclose(gated[..., 4:].numpy(), 1)


def test_flows_errors_lie_on_the_pixels_that_networks_of_single_pixels_score() -> None:
    """A frame that is cut short has those of a whole number of cells."""
    torch.manual_seed(5)
    networks = [build_network("resnet18_mxnet", 3) for _ in range(2)]
    fusion = ScoreFusion(3)
    fusion.gate = Gate(inconsistency=0.05)
    run = FrameProgram(Accel(*networks, fusion), CPU, torch.float32)
    (flow,) = flows(1, (6, 8))
    errors = []
    for size in ((96, 128), (90, 120)):
        picture = torch.zeros(1, 3, *size)
        state = State(torch.zeros(1, 3, 6, 8), flow, picture, size)
        errors.append(run.inconsistency(state))
        assert errors[-1].shape == run.residual(state, picture).shape
    whole, cut = errors
    torch.testing.assert_close(cut[..., :80, :110], whole[..., :80, :110])  # less half the blur
    assert whole.max() > 1


def test_an_update_without_a_network_is_the_reference_alone() -> None:
    torch.manual_seed(6)
    run = FrameProgram(Accel(small.network(small.TaskNetwork)), CPU, torch.float32)
    assert not run.update_stands_alone
    assert not program(fusion=FeatureFusion).update_stands_alone
    assert program().update_stands_alone

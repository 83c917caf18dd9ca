import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import AccelError, UsageError
from accel_rt.ops import eager, upsample_argmax, upsample_argmax_margin
from accel_rt.ops._checks import with_memory
from tests.ops.inputs import LAYOUTS
from tests.ops.tolerances import assert_near

# Labels may differ where the two best scores are this near: rounding decides.
TIE = 1e-4

# scores' shape and the labels' size: whole factors, fractions, shrinking, one cell, one class,
# one pixel, and more cells to a block than shared memory holds
CASES = [
    ((2, 19, 9, 11), (144, 176)),
    ((1, 11, 7, 5), (70, 33)),
    ((1, 4, 3, 4), (3, 4)),
    ((1, 5, 20, 30), (7, 4)),
    ((2, 3, 1, 1), (10, 13)),
    ((1, 1, 4, 4), (9, 9)),
    ((1, 255, 3, 3), (20, 301)),
    ((1, 7, 6, 6), (1, 1)),
    ((1, 60, 16, 150), (40, 260)),
]


def run(executor, scores: Tensor, size: tuple[int, int], extent=None) -> Tensor:
    covered = size if extent is None else extent
    return executor.upsample_argmax(scores, size, float(covered[0]), float(covered[1])).cpu()


def assert_labels(labels: Tensor, upsampled: Tensor) -> None:
    """Asserts that `labels` are the best classes of `upsampled` [N, C, H, W], up to near ties."""
    assert labels.dtype == torch.uint8
    assert labels.shape == (upsampled.shape[0], *upsampled.shape[2:])
    assert int(labels.max()) < upsampled.shape[1]
    chosen = upsampled.gather(1, labels.long()[:, None])[:, 0]
    assert (chosen >= upsampled.max(1).values - TIE).all()
    assert (labels != upsampled.argmax(1)).float().mean() < 1e-3


@pytest.mark.parametrize("size", [(3, 9), (5, 8)])
def test_the_assertion_itself(size):
    upsampled = torch.randn(1, 4, *size)
    labels = upsampled.argmax(1).to(torch.uint8)
    assert_labels(labels, upsampled)
    labels[0, 1, 2] = (labels[0, 1, 2] + 1) % 4
    with pytest.raises(AssertionError):
        assert_labels(labels, upsampled)


@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_matches_interpolate(executor, shape, size):
    for smooth in (False, True):
        scores = torch.randn(shape)
        if smooth:  # neighbours agree, as in pictures
            scores = F.avg_pool2d(F.pad(scores, (2, 2, 2, 2), "replicate"), 5, 1)
        upsampled = F.interpolate(scores.double(), size, mode="bilinear", align_corners=False)
        assert_labels(run(executor, scores, size), upsampled)


@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_twin_matches_interpolate(shape, size):
    scores = torch.randn(shape, dtype=torch.float64)
    upsampled = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    assert_labels(eager.upsample_argmax(scores, size, size), upsampled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_types_and_layouts(executor, layout, dtype):
    scores = LAYOUTS[layout](torch.randn(2, 6, 5, 7).to(dtype))
    upsampled = F.interpolate(scores.double(), (40, 50), mode="bilinear", align_corners=False)
    assert_labels(run(executor, scores, (40, 50)), upsampled)


def test_extent_crops_the_padding(executor):
    """A map of a padded frame gives the labels of the frame inside."""
    scores = torch.randn(1, 8, 9, 11)
    whole = run(executor, scores, (144, 176))
    assert torch.equal(run(executor, scores, (130, 170), (144, 176)), whole[:, :130, :170])


def test_extent_may_be_a_fraction(executor):
    """Against its definition, position by position."""
    scores, extent = torch.randn(1, 5, 4, 6, dtype=torch.float64), (33.5, 50.25)
    position = [
        ((torch.arange(n, dtype=torch.float64) + 0.5) * cells / covered - 0.5).clamp(0, cells - 1)
        for n, cells, covered in zip((30, 50), (4, 6), extent, strict=True)
    ]
    upsampled = torch.empty(1, 5, 30, 50, dtype=torch.float64)
    for i, y in enumerate(position[0]):
        for j, x in enumerate(position[1]):
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, 3), min(left + 1, 5)
            high = scores[..., top, left] * (left + 1 - x) + scores[..., top, right] * (x - left)
            low = scores[..., bottom, left] * (left + 1 - x) + scores[..., bottom, right] * (
                x - left
            )
            upsampled[..., i, j] = high * (top + 1 - y) + low * (y - top)
    assert_labels(run(executor, scores, (30, 50), extent), upsampled)
    assert_labels(eager.upsample_argmax(scores, (30, 50), extent), upsampled)


def test_shifting_by_a_cell_shifts_the_labels(executor):
    scores = torch.randn(1, 6, 5, 9)
    labels = run(executor, scores, (80, 144))
    shifted = run(executor, scores.roll(1, 3), (80, 144))
    assert torch.equal(shifted[:, :, 24:136], labels[:, :, 8:120])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_margin(executor, shape, size, dtype):
    scores = torch.randn(shape).to(dtype)
    covered = float(size[0]), float(size[1])
    labels, margin = (t.cpu() for t in executor.upsample_argmax_margin(scores, size, *covered))
    assert torch.equal(labels, run(executor, scores, size))
    upsampled = F.interpolate(scores.double(), size, mode="bilinear", align_corners=False)
    assert margin.dtype == torch.float32
    if shape[1] == 1:
        assert margin.shape == labels.shape
        assert margin.isposinf().all()
    else:
        best, second = upsampled.topk(2, 1).values.unbind(1)
        assert_near(margin, best - second, torch.float32)


def test_margin_of_ties_and_crops(executor):
    scores = torch.randn(2, 5, 4, 6)
    scores[:, 4] = scores[:, 2]
    labels, margin = executor.upsample_argmax_margin(scores, (30, 41), 32.0, 48.0)
    assert (margin[labels == 2] == 0).all()
    assert (margin[labels != 2] >= 0).all()
    assert (labels != 4).all()
    whole = executor.upsample_argmax_margin(scores, (32, 48), 32.0, 48.0)
    assert torch.equal(margin, whole[1][:, :30, :41])


def test_first_of_tied_classes_wins(executor):
    scores = torch.zeros(1, 5, 3, 4)
    assert (run(executor, scores, (12, 40)) == 0).all()
    scores[:, 3:] = 1
    assert (run(executor, scores, (12, 40)) == 3).all()
    scores[:, :, :, 2:] = -1
    scores[:, 1, :, 2:] = 5
    labels = run(executor, scores, (12, 40))
    assert labels[0, 0].unique().tolist() == [1, 3]


def best_of_read(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, C, H, W] by definition, of the taps that weigh something; NaN counts as -inf."""
    upsampled = scores.double().nan_to_num(-torch.inf, torch.inf, -torch.inf)
    for dim, side in zip((2, 3), size, strict=True):
        cells = upsampled.shape[dim]
        position = (torch.arange(side, dtype=torch.float64) + 0.5) * cells / side - 0.5
        position = position.clamp(0, cells - 1)
        low = position.floor().long()
        share = (position - low).reshape([-1 if axis == dim else 1 for axis in range(4)])
        first = upsampled.index_select(dim, low)
        second = upsampled.index_select(dim, (low + 1).clamp(max=cells - 1))
        upsampled = torch.where(share > 0, first * (1 - share) + second * share, first)
    return upsampled


@pytest.mark.parametrize("size", [(5, 7), (15, 21), (80, 112), (33, 40)])
def test_scores_that_are_no_numbers(executor, size):
    """A class that is switched off, everywhere or in places, wins only where all are."""
    for off in (-torch.inf, torch.nan):
        scores = torch.randn(2, 12, 5, 7)
        scores[:, 0] = off
        scores[0, 5] = off
        scores[:, 1:][torch.rand(2, 11, 5, 7) < 0.1] = off
        assert_labels(run(executor, scores, size), best_of_read(scores, size))
        assert_labels(eager.upsample_argmax(scores, size, size), best_of_read(scores, size))
        labels, margin = (t.cpu() for t in executor.upsample_argmax_margin(scores, size, *size))
        assert torch.equal(labels, run(executor, scores, size))
        assert (margin >= 0).all()


def test_empty_batch(executor):
    assert run(executor, torch.zeros(0, 3, 4, 5), (8, 10)).shape == (0, 8, 10)


@pytest.mark.parametrize("name", ["upsample_argmax", "upsample_argmax_margin"])
def test_opcheck(name):
    operator = getattr(torch.ops.accel_rt, name).default
    opcheck(operator, (torch.randn(2, 4, 3, 5), [12, 20], 12.0, 20.0))


@pytest.mark.parametrize("classes", [1, 4])
def test_margin_face_and_twin(classes):
    scores = torch.randn(1, classes, 3, 5)
    labels, margin = upsample_argmax_margin(scores, (40, 60), extent=(48, 70))
    assert torch.equal(labels, upsample_argmax(scores, (40, 60), extent=(48, 70)))
    twin_labels, twin_margin = eager.upsample_argmax_margin(scores, (40, 60), (48, 70))
    assert (labels == twin_labels).float().mean() > 0.99
    torch.testing.assert_close(margin, twin_margin, rtol=1e-4, atol=1e-5)


def test_face():
    scores = torch.randn(1, 4, 3, 5).requires_grad_()
    upsampled = F.interpolate(scores, (48, 70), mode="bilinear", align_corners=False)
    assert_labels(upsample_argmax(scores, (48, 70)), upsampled.detach())
    assert torch.equal(
        upsample_argmax(scores, (40, 60), extent=(48, 70)),
        upsample_argmax(scores, (48, 70))[:, :40, :60],
    )


@pytest.mark.parametrize(
    ("shape", "size", "extent", "message"),
    [
        ((4, 3, 5), (6, 7), None, r"scores must be .* got \(4, 3, 5\)"),
        ((1, 0, 3, 5), (6, 7), None, "scores must be"),
        ((1, 256, 3, 5), (6, 7), None, "at most 255 classes fit a byte, got 256"),
        ((1, 4, 3, 5), (0, 7), None, r"size must be \(height, width\) in pixels, got \(0, 7\)"),
        ((1, 4, 3, 5), (6.5, 7), None, r"size must be .* got \(6.5, 7\)"),
        ((1, 4, 3, 5), 6, None, "size must be .* got 6; both"),
        ((1, 4, 3, 5), (6, 2**25), None, "size must be at most 16777216 pixels"),
        ((1, 4, 3, 5), (2**99, 7), None, "size must be at most 16777216 pixels"),
        ((1, 4, 3, 5), (6, 7), (6, 0), "extent must be .* both positive"),
        ((1, 4, 3, 5), (6, 7), (6, math.nan), "extent must be"),
        ((1, 4, 3, 5), (6, 7), (6, math.inf), "extent must be"),
    ],
)
def test_errors(shape, size, extent, message):
    for operator in (upsample_argmax, upsample_argmax_margin):
        with pytest.raises(UsageError, match=message):
            operator(torch.zeros(shape), size, extent)


def test_sizes_beyond_the_memory_are_said():
    with pytest.raises(AccelError, match=r"not enough memory for labels of \(16777216, 16777216\)"):
        upsample_argmax(torch.zeros(1, 4, 3, 3), (2**24, 2**24))


def test_illegal_accesses_are_not_called_a_lack_of_memory():
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        with_memory("upsample_argmax", "labels", fail)


@pytest.mark.parametrize("extent", [(1e-300, 5.0), (5.0, 1e-4), (1e300, 1e300)])
def test_extents_of_any_size_stay_inside_of_the_map(executor, extent):
    scores = torch.randn(1, 4, 3, 5)
    expected = eager.upsample_argmax(scores.double(), (6, 300), extent)
    assert torch.equal(run(executor, scores, (6, 300), extent).cpu(), expected)


def test_operator_checks_what_it_reads(executor):
    with pytest.raises(RuntimeError, match="upsample_argmax: the arguments"):
        run(executor, torch.zeros(1, 256, 3, 3), (6, 6))
    with pytest.raises(RuntimeError, match="upsample_argmax: the arguments"):
        run(executor, torch.zeros(1, 4, 3, 3), (6, 6), (0, 6))

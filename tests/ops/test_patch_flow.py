"""One level of dense inverse search: against its float64 twin, and known motion."""

import pytest
import torch
from torch import Tensor
from torch.library import opcheck
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.ops import eager, patch_flow


def scenes(images: int, height: int, width: int, shift: tuple[float, float]) -> tuple[Tensor, ...]:
    """Smooth pictures, and those before: what is at (x, y) was at (x, y) + shift."""
    coarse = torch.rand(images, 1, height // 4 + 6, width // 4 + 6) * 255
    wide = F.interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False)[:, 0]
    y, x = torch.meshgrid(torch.arange(height) + 12.0, torch.arange(width) + 12.0, indexing="ij")
    current = torch.stack([eager._sample(picture, y, x) for picture in wide])
    previous = torch.stack([eager._sample(p, y - shift[1], x - shift[0]) for p in wide])
    return current, previous


def assert_mostly_near(actual: Tensor, expected: Tensor) -> None:
    """Where two displacements fit alike, rounding decides between them: rarely, then."""
    apart = (actual.double().cpu() - expected).abs().amax(1)
    assert (apart > 0.05).double().mean() < 0.02, f"off by up to {apart.max():.3g} pixels"


@pytest.mark.parametrize("size", [(8, 8), (8, 21), (13, 9), (32, 48), (37, 50)], ids=str)
@pytest.mark.parametrize("images", [1, 2])
def test_gives_what_its_twin_gives(executor, size, images):
    current, previous = scenes(images, *size, (1.3, -0.7))
    begin = 2 * torch.randn(images, 2, *size)
    arguments = (2, 3, 200.0)
    found = executor.patch_flow(current, previous, begin, *arguments)
    assert found.shape == begin.shape
    assert found.dtype == torch.float32
    wide = (tensor.double() for tensor in (current, previous, begin))
    assert_mostly_near(found, eager.patch_flow(*wide, *arguments))


@pytest.mark.parametrize("own", [(1, 1), (5, 3), (16, 24), (40, 50)], ids=str)
def test_begins_at_flow_of_any_size(executor, own):
    current, previous = scenes(2, 32, 48, (1.3, -0.7))
    unit = torch.tensor([48 / own[1], 32 / own[0]])[:, None, None]  # its pixels, in the images'
    begin = 2 * torch.randn(2, 2, *own) / unit  # from far away, more patches find two that fit
    larger = F.interpolate(begin.double(), (32, 48), mode="bilinear", align_corners=False)
    larger *= unit.double()
    expected = eager.patch_flow(current.double(), previous.double(), larger, 2, 3, 200.0)
    assert_mostly_near(executor.patch_flow(current, previous, begin, 2, 3, 200.0), expected)


def test_finds_a_shift(executor):
    current, previous = scenes(1, 40, 56, (1.3, -0.7))
    found = executor.patch_flow(current, previous + 20, torch.zeros(1, 2, 40, 56), 3, 6, 1.0).cpu()
    inside = found[0, :, 6:-6, 6:-6].flatten(1)
    assert (inside - torch.tensor([[1.3], [-0.7]])).abs().median() < 0.1  # brighter by 20, too


def test_flat_images_keep_the_flow_they_are_given(executor):
    flat = torch.full((1, 16, 24), 90.0)
    begin = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 16, 24)
    assert_mostly_near(executor.patch_flow(flat, flat, begin, 2, 4, 200.0), begin.double())


def test_a_neighbour_that_fits_better_is_followed(executor):
    """Without steps: the only patch that knows the shift hands it on, one patch a round."""
    current, previous = scenes(1, 32, 32, (6.0, 0.0))
    begin = torch.zeros(1, 2, 32, 32)
    begin[0, 0, :, :12] = 6  # the first two columns of patches: their middles are at 4 and 8
    for rounds, known in ((1, 3), (3, 5)):
        found = executor.patch_flow(current, previous, begin, rounds, 0, 200.0).cpu()
        alone = found[0, 0, 16, 4 * known - 4 : 4 * known]  # patches that know, and no other
        assert (alone > 2).all()


def test_nothing_is_read_beyond_the_image(executor):
    current, previous = scenes(1, 16, 24, (0.5, 0.5))
    far = torch.full((1, 2, 16, 24), 1e6)
    far[0, 0, :8] = torch.nan
    assert executor.patch_flow(current, previous, far, 2, 4, 200.0).shape == far.shape


def test_face():
    current, previous = scenes(1, 16, 24, (0.5, 0.5))
    begin = torch.zeros(1, 2, 16, 24)
    for flow in (begin, begin[..., ::2, ::3]):
        opcheck(torch.ops.accel_rt.patch_flow.default, (current, previous, flow, 2, 4, 200.0))
    assert patch_flow(current[:0], previous[:0], begin[:0]).shape == (0, 2, 16, 24)
    with pytest.raises(UsageError, match=r"\[N, H, W\] of one size and flow \[N, 2, h, w\]"):
        patch_flow(current, previous[:, 1:], begin)
    with pytest.raises(UsageError, match=r"got .*, \(1, 3, 16, 24\)"):
        patch_flow(current, previous, torch.zeros(1, 3, 16, 24))
    with pytest.raises(UsageError, match="must be float32, got torch.float64"):
        patch_flow(current.double(), previous, begin)
    with pytest.raises(UsageError, match="at least 8 pixels high and wide"):
        patch_flow(current[:, :7], previous[:, :7], begin[:, :, :7])
    with pytest.raises(UsageError, match="damping above 0"):
        patch_flow(current, previous, begin, damping=0)
    with pytest.raises(UsageError, match="current must be a tensor, got NoneType"):
        patch_flow(None, previous, begin)

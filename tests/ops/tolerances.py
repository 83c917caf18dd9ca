"""How far a kernel may be from the float64 twin, and why."""

import torch
from torch import Tensor

# Inputs are of unit scale and so are results. Errors come from three places:
# - positions: in float32 a position below 64 px is off by up to 4e-6 px, and a sample changes by a
#   few units per pixel;
# - sums: kept in float32 (float64), rounded a few dozen times;
# - storage: bfloat16 rounds results, and a convolution's gathered columns, by 2**-9 of their
#   value, float16 by 2**-12.
# (relative, absolute) by element type:
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-4, 5e-5),
    torch.float16: (2e-3, 4e-3),
    torch.bfloat16: (1e-2, 3e-2),
}


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Asserts that `actual` is `expected` within the tolerance of kernels on `dtype`."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} != {tuple(expected.shape)}"
    relative, absolute = TOLERANCE[dtype]
    actual, expected = actual.detach().double().cpu(), expected.detach().double()
    allowed = absolute + relative * expected.abs()
    wrong = ~((actual - expected).abs() <= allowed)  # NaN is wrong, too
    if wrong.any():
        worst = (actual - expected).abs().nan_to_num(torch.inf).argmax()
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.numel()} elements are off, worst at"
            f" {tuple(int(i) for i in torch.unravel_index(worst, actual.shape))}: got"
            f" {actual.flatten()[worst]:.6g}, expected {expected.flatten()[worst]:.6g}"
        )


def assert_alike(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """:func:`assert_near` where Inf and NaN stand at the same places in both."""
    actual, expected = actual.detach().double().cpu(), expected.detach().double()
    odd = ~expected.isfinite()
    assert torch.equal(actual[odd].nan_to_num(7), expected[odd].nan_to_num(7))
    assert_near(torch.where(odd, 0, actual), torch.where(odd, 0, expected), dtype)


def assert_infinities_reach(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """:func:`assert_near`, save that all is Inf or NaN where `expected` is, and may be beside."""
    actual, expected = actual.detach().double().cpu(), expected.detach().double()
    assert not actual[~expected.isfinite()].isfinite().any()
    odd = ~actual.isfinite()
    assert_near(torch.where(odd, 0, actual), torch.where(odd, 0, expected), dtype)

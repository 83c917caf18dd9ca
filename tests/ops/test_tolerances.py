import pytest
import torch

from tests.ops.tolerances import TOLERANCE, assert_near


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_accepts_what_is_near(dtype):
    expected = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    relative, absolute = TOLERANCE[dtype]
    assert_near(expected + 0.9 * absolute, expected, dtype)
    assert_near(expected * (1 + 0.9 * relative), expected, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_refuses_one_element_that_is_off(dtype):
    expected = torch.zeros(2, 3, dtype=torch.float64)
    actual = expected.clone()
    actual[1, 2] = 1.1 * TOLERANCE[dtype][1]
    with pytest.raises(AssertionError, match=r"1 of 6 elements are off, worst at \(1, 2\)"):
        assert_near(actual, expected, dtype)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_refuses_what_is_not_finite(value):
    with pytest.raises(AssertionError, match="1 of 2"):
        assert_near(torch.tensor([0.0, value]), torch.zeros(2).double(), torch.float32)


def test_refuses_another_shape():
    with pytest.raises(AssertionError, match=r"\(2, 1\) != \(1, 2\)"):
        assert_near(torch.zeros(2, 1), torch.zeros(1, 2), torch.float32)

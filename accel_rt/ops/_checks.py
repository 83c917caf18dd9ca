"""What the operators ask of their arguments, before the compiled library is entered.

Errors are sentences that name the operator, the argument and what it got. The library itself only
guards memory.
"""

import operator as python_operator
from collections.abc import Callable
from typing import Any, TypeVar

from torch import SymInt, Tensor

from accel_rt.errors import AccelError, UsageError

Pair = tuple[int, int]
Result = TypeVar("Result")

# Rows and columns of an image, padding included: float32 positions tell as many pixels apart.
MAX_SIDE = 2**24
# Of images averaged by area on CUDA: products of two sides fit an int of 32 bits.
MAX_CUDA_SIDE = 32767


def check_tensors(operator: str, optional: tuple[str, ...] = (), **tensors: Tensor | None) -> None:
    """Each is a tensor; those named in `optional` may be None."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) and not (tensor is None and name in optional):
            raise UsageError(f"{operator}: {name} must be a tensor, got {type(tensor).__name__}")


def check_sides(operator: str, name: str, *sides: int) -> None:
    """Height and width are not beyond what positions can tell apart."""
    if max(sides) > MAX_SIDE:
        raise UsageError(
            f"{operator}: {name} must be at most {MAX_SIDE} pixels high and wide, got {sides}"
        )


def check_packed(operator: str, packed: Tensor, fits: bool = True) -> None:
    """`packed` may be weights that the operator's own function laid out; `fits`: by its sizes."""
    if packed.dim() != 4 or not packed.permute(0, 2, 3, 1).is_contiguous() or not fits:
        raise UsageError(
            f"{operator}: packed must come from {operator.removesuffix('_packed')}_pack, got"
            f" {tuple(packed.shape)} with strides {packed.stride()}"
        )


def as_pair(operator: str, name: str, value: Any, unit: str = "pixels") -> Pair:
    """``value`` as a positive (height, width) within :data:`MAX_SIDE`."""
    pair = _whole(value)
    if len(pair) != 2 or min(pair) < 1:
        raise UsageError(
            f"{operator}: {name} must be (height, width) in {unit}, got {value!r}; both must be"
            " positive"
        )
    check_sides(operator, name, *pair)
    return pair[0], pair[1]


def as_pair_or_number(operator: str, name: str, value: Any, least: int) -> Pair:
    """``value``, one number or (vertical, horizontal), as a pair from ``least`` to MAX_SIDE."""
    pair = _whole((value, value) if isinstance(value, int) else value)
    if len(pair) != 2 or min(pair) < least:
        raise UsageError(
            f"{operator}: {name} must be one number or two, at least {least}, got {value!r}"
        )
    if max(pair) > MAX_SIDE:
        raise UsageError(f"{operator}: {name} must be at most {MAX_SIDE}, got {value!r}")
    return pair[0], pair[1]


def _whole(values: Any) -> tuple[Any, ...]:
    """``values`` as a tuple of whole numbers, empty if they are none."""
    try:
        return tuple(
            value if isinstance(value, SymInt) else python_operator.index(value) for value in values
        )
    except TypeError:
        return ()


def with_memory(
    operator: str, what: str, function: Callable[..., Result], *arguments: Any
) -> Result:
    """``function(*arguments)``; a sentence if there is not enough memory for ``what``."""
    try:
        return function(*arguments)
    except (RuntimeError, MemoryError) as error:
        told = str(error)
        if isinstance(error, RuntimeError) and (
            "memory" not in told or "illegal memory access" in told
        ):
            raise
        raise AccelError(f"{operator}: there is not enough memory for {what}") from error

"""The ways to run the kernels: CPU at each SIMD level, CUDA sources on the CPU, a CUDA device."""

import contextlib
import ctypes
import functools
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from accel_rt.ops import extension_status
from tests.csrc.emulated.build import load_emulated_ops
from tests.need import need

HALVES = (torch.bfloat16, torch.float16)
SIMD_LEVELS = ("baseline", "avx2", "avx512") if platform.machine() == "x86_64" else ("baseline",)
EXECUTORS = (*(f"cpu-{level}" for level in SIMD_LEVELS), "cuda-emulated", "cuda")


@dataclass(frozen=True)
class Executor:
    """Runs the operators below their Python face, on tensors that come from the CPU."""

    name: str
    namespace: Any
    device: str
    dtypes: tuple[torch.dtype, ...]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = getattr(self.namespace, name)

        def run(*arguments: Any) -> Any:
            return operator(*(a.to(self.device) if isinstance(a, Tensor) else a for a in arguments))

        return run


@functools.cache
def _compiled() -> ctypes.CDLL:
    status = extension_status()
    if not status.loaded:
        pytest.fail(f"the operators to test are not there: {status.reason}")
    library = ctypes.CDLL(str(status.path))
    library.accel_rt_set_simd.restype = ctypes.c_char_p
    return library


@contextlib.contextmanager
def select(name: str, seed: int) -> Iterator[Executor]:
    """The executor of that name; skips the test where the machine lacks it."""
    library = _compiled()
    kind, _, level = name.partition("-")
    if name == "cuda-emulated":
        load_emulated_ops().emulator_seed(seed)
        yield Executor(name, torch.ops.accel_rt_emulated, "cpu", (torch.float32, *HALVES))
    elif kind == "cuda":
        need("cuda")
        yield Executor(name, torch.ops.accel_rt, "cuda", (torch.float32, *HALVES))
    else:
        try:
            if library.accel_rt_set_simd(level.encode()).decode() != level:
                pytest.skip(f"this processor has no {level}")
            dtypes = (torch.float64, torch.float32, *HALVES)
            yield Executor(name, torch.ops.accel_rt, "cpu", dtypes)
        finally:
            library.accel_rt_set_simd(None)

"""Device and precision."""

from __future__ import annotations

import torch

from accel_rt.errors import UsageError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:i`` to a device that is there.

    Raises :class:`~accel_rt.errors.UsageError` for another name or a missing device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UsageError(f"unknown device '{name}': choose auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise UsageError(f"no device '{name}': this machine has {count} CUDA devices")
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware (on CPUs AVX-512 BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is float16 on CUDA, bfloat16 on CPUs that have it in hardware, else float32.

    Raises :class:`~accel_rt.errors.UsageError` for float16 on a CPU.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    if name not in _DTYPES:
        raise UsageError(f"unknown precision '{name}': choose auto, {', '.join(_DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError("fp16 runs on CUDA only: choose bf16 or fp32 on the CPU")
    return _DTYPES[name]

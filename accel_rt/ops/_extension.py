"""Finds and loads the compiled operators, and says so when it cannot."""

import ctypes
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ExtensionStatus:
    """What became of the compiled operators.

    Attributes:
        loaded: whether they are in use; if not, plain PyTorch stands in, many times slower.
        path: the library, or where it would be.
        reason: why it is not in use, empty if it is.
        cuda_built: whether it has CUDA kernels.
        simd: the instruction set its CPU kernels use (``avx512``, ``avx2``, ``baseline``), or
            ``none``.
    """

    loaded: bool
    path: Path
    reason: str
    cuda_built: bool
    simd: str


def _load() -> ExtensionStatus:
    path = _FOLDER / "_C.abi3.so"

    def missing(reason: str) -> ExtensionStatus:
        return ExtensionStatus(False, path, reason, False, "none")

    if not path.is_file():
        return missing(f"{path} does not exist: the package was installed without it")
    try:
        torch.ops.load_library(str(path))
        library = ctypes.CDLL(str(path))
        library.accel_rt_simd.restype = ctypes.c_char_p
    except (OSError, RuntimeError, AttributeError) as error:
        return missing(f"{path} does not load under torch {torch.__version__}: {error}")
    return ExtensionStatus(
        loaded=True,
        path=path,
        reason="",
        cuda_built=bool(library.accel_rt_cuda_built()),
        simd=library.accel_rt_simd().decode(),
    )


_STATUS = _load()
if not _STATUS.loaded:
    warnings.warn(
        f"accel_rt runs without its compiled operators, many times slower: {_STATUS.reason}",
        RuntimeWarning,
        stacklevel=2,
    )


def extension_status() -> ExtensionStatus:
    """What became of the compiled operators when the package was imported."""
    return _STATUS


def has_operator(name: str) -> bool:
    """Whether the loaded library has this operator: one built from older sources may not."""
    return _STATUS.loaded and hasattr(torch.ops.accel_rt, name)


def has_kernels(tensor: torch.Tensor, operator: str = "flow_warp") -> bool:
    """Whether the compiled `operator` serves tensors of this one's device and type."""
    if not has_operator(operator):
        return False
    device = tensor.device.type
    on_cuda = device == "cuda" and _STATUS.cuda_built and tensor.dtype != torch.float64
    return on_cuda or device in ("cpu", "meta")


def without_gradient(operator: Callable[..., torch.Tensor], *arguments: object) -> torch.Tensor:
    """``operator(*arguments)``, through which no gradient flows.

    To enter a mode for nothing takes longer than small operators.
    """
    if torch.is_grad_enabled() and any(map(_requires_grad, arguments)):
        with torch.no_grad():
            return operator(*arguments)
    return operator(*arguments)


def _requires_grad(argument: object) -> bool:
    return isinstance(argument, torch.Tensor) and argument.requires_grad


def output_format(tensor: torch.Tensor) -> torch.memory_format:
    """The layout of the operators' results: channels_last for such an input, else contiguous."""
    channels_last = tensor.size(1) > 1 and tensor.stride(1) == 1 and not tensor.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format

"""Builds the operators over emulated CUDA kernels, for tests on machines without a GPU."""

import ctypes
import functools
import platform
from pathlib import Path

import torch
from torch.utils import cpp_extension

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KERNELS = sorted((ROOT / "csrc").rglob("*.cu"))
BUILD = ROOT / "build" / "emulated"


@functools.cache
def load_emulated_ops(folder: Path = BUILD) -> ctypes.CDLL:
    """Registers ``torch.ops.accel_rt_emulated``, compiled in `folder` if need be.

    Returns:
        The library; its ``emulator_seed(seed)`` sets the order that threads run in, and
        ``run_fault_kernel`` shows what the emulator notices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = [HERE / "emulator.cpp", HERE / "faults.cpp", HERE / "ops.cpp"]
    for kernel in KERNELS:
        # torch would hand a .cu file to nvcc
        wrapper = folder / f"{kernel.parent.name}_{kernel.stem}.cpp"
        text = f'#include "{kernel}"\n'
        if not wrapper.is_file() or wrapper.read_text() != text:
            wrapper.write_text(text)
        sources.append(wrapper)
    flags = [
        "-std=c++17",
        "-O2",
        "-fvisibility-inlines-hidden",
        "-Wno-unknown-pragmas",
        "-Wno-unused-function",
        "-DTORCH_TARGET_VERSION=0x020a000000000000ULL",
        "-DACCEL_RT_CUDA",
        "-DACCEL_RT_EMULATED_CUDA",
        # The 16-byte accesses of a pack trap on a device if they are not aligned.
        "-fsanitize=alignment,bounds",
        "-fno-sanitize-recover=all",
    ]
    if platform.machine().lower() in ("x86_64", "amd64"):
        flags.append("-DACCEL_RT_X86")
    cpp_extension.load(
        name="accel_rt_emulated",
        sources=[str(source) for source in sources],
        extra_cflags=flags,
        extra_include_paths=[str(HERE / "include")],
        extra_ldflags=["-fsanitize=alignment,bounds"],
        build_directory=str(folder),
        is_python_module=False,
        verbose=False,
    )
    assert hasattr(torch.ops.accel_rt_emulated, "flow_warp")
    library = ctypes.CDLL(str(folder / "accel_rt_emulated.so"))
    library.emulator_seed.argtypes = [ctypes.c_uint64]
    library.run_fault_kernel.argtypes = [
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_size_t,
    ]
    library.run_fault_kernel.restype = ctypes.c_char_p
    return library

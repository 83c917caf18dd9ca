"""Builds the operators over emulated CUDA kernels, for tests on machines without a GPU."""

import ctypes
import functools
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "emulated"
KERNELS = sorted((ROOT / "csrc").rglob("*.cu"))
# Kernels, right or wrong: memory accesses are reported to the emulator (races.cpp answers the
# calls), and the 16-byte accesses of a pack trap if they are not aligned, as on a device.
CHECKS = "-fsanitize=thread -fsanitize=alignment,bounds -fno-sanitize-recover=all"
# Instead of these, accesses outside of tensors are found. Fibres confuse what it knows of stacks.
ADDRESS_CHECKS = "-fsanitize=address --param asan-stack=0 -fno-omit-frame-pointer -g1"


@dataclass(frozen=True)
class Variant:
    """A library whose kernels differ in one file.

    Attributes:
        name: of the library.
        kernel: the file in ``csrc/`` that is replaced.
        source: what replaces it.
    """

    name: str
    kernel: Path
    source: Path


def object_name(source: Path) -> str:
    return f"{source.parent.name}_{source.stem}.o"


def build_emulated_ops(folder: Path, variants: list[Variant], address: bool = False) -> Path:
    """Compiles the library in `folder` if need be, and its variants beside it."""
    checks = ADDRESS_CHECKS if address else CHECKS
    defines = "-DTORCH_TARGET_VERSION=0x020a000000000000ULL -DACCEL_RT_CUDA"
    defines += " -DACCEL_RT_EMULATED_CUDA"
    defines += " -DACCEL_RT_X86" * (platform.machine().lower() in ("x86_64", "amd64"))
    torch_folder = Path(torch.__file__).parent
    runtime = "-fsanitize=address" if address else "-fsanitize=alignment,bounds"
    lines = [
        "ninja_required_version = 1.3",
        f"flags = -std=c++17 -fPIC -fvisibility-inlines-hidden -Wall -Wno-unknown-pragmas"
        f" -Wno-unused-function {defines} -isystem {torch_folder}/include -I{HERE}/include",
        f"checks = {checks}",
        "rule compile",
        f"  command = {os.environ.get('CXX', 'g++')} $flags $extra -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link",
        f"  command = {os.environ.get('CXX', 'g++')} -shared $in {runtime} -Wl,-z,defs"
        f" -L{torch_folder}/lib -ltorch_cpu -o $out",
    ]
    objects = {}
    for name in ("emulator.cpp", "ops.cpp", "races.cpp"):
        source = HERE / name
        objects[source] = object_name(source)
        lines += [f"build {objects[source]}: compile {source}", "  extra = -O2"]
    for source in (HERE / "faults.cpp", *KERNELS):
        objects[source] = object_name(source)
        lines += [
            f"build {objects[source]}: compile {source}",
            "  extra = -O2 -x c++ $checks",
        ]
    lines.append(f"build accel_rt_emulated.so: link {' '.join(objects.values())}")
    for variant in variants:
        changed = {**objects, variant.kernel: f"{variant.name}.o"}
        lines += [
            f"build {variant.name}.o: compile {variant.source}",
            f"  extra = -O1 -x c++ $checks -iquote {variant.kernel.parent}",
            f"build {variant.name}.so: link {' '.join(changed.values())}",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.ninja").write_text("\n".join([*lines, ""]))
    command = [sys.executable, "-m", "ninja", "-C", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "accel_rt_emulated.so"


@functools.cache
def load_emulated_ops() -> ctypes.CDLL:
    """Registers ``torch.ops.accel_rt_emulated``, compiled if need be.

    Where the environment variable ``ACCEL_RT_EMULATED`` names a library, that one.

    Returns:
        The library; its ``emulator_seed(seed)`` sets the order that threads run in, and
        ``run_fault_kernel`` shows what the emulator notices.
    """
    path = os.environ.get("ACCEL_RT_EMULATED") or str(build_emulated_ops(BUILD, []))
    torch.ops.load_library(path)
    library = ctypes.CDLL(path)
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

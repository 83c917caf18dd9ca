"""What the compiler made of the CUDA kernels: registers, shared memory, occupancy, instructions.

    python benchmarks/cuda_kernels.py FILE...     libraries or objects that nvcc compiled

Prints a table, and exits with 1 if a kernel that should does not read 16 bytes at once
(``LDG.E.128``) or use tensor cores (``HMMA``). Needs ``cuobjdump`` and ``nvdisasm``
(``pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm``) and CUDA's headers; no GPU.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

BLOCK_THREADS = 256  # of every kernel
RESERVED_SHARED_BYTES = 1024  # for the system, which the compiler counts from sm_90 on
# Kernels whose names begin so read 16 bytes at once.
WIDE = (
    "convolve<float, 4",
    "convolve<__half, 8",
    "convolve<__nv_bfloat16, 8",
    "gather<float, 4>",
    "gather<__half, 8>",
    "gather<__nv_bfloat16, 8>",
    "grad_flow<float, 4>",
    "grad_flow<__half, 8>",
    "grad_flow<__nv_bfloat16, 8>",
    "grad_offset<float, 4>",
    "grad_offset<__half, 8>",
    "grad_offset<__nv_bfloat16, 8>",
    "overlay",
    "score<float, 4>",
    "score<__half, 8>",
    "score<__nv_bfloat16, 8>",
    "warp_nhwc<float, 4>",
    "warp_nhwc<__half, 8>",
    "warp_nhwc<__nv_bfloat16, 8>",
)


@dataclass(frozen=True)
class Kernel:
    """One kernel's use of a multiprocessor; `shared_bytes` without what a launch adds."""

    name: str
    arch: int
    registers: int
    shared_bytes: int
    local_bytes: int


def find_tool(name: str) -> str:
    """A CUDA program on PATH or from its wheel."""
    wheels = Path(sysconfig.get_path("purelib"), "nvidia").glob(f"*/bin/{name}")
    found = shutil.which(name) or next((str(path) for path in wheels), None)
    if found is None:
        sys.exit(f"{name} was not found: pip install nvidia-cuda-{name}")
    return found


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def short_name(mangled: str) -> str:
    """`overlay<true>` of the mangled name of accel_rt::(anonymous namespace)::overlay."""
    name = run("c++filt", mangled).strip().partition("(anonymous namespace)::")[2] or mangled
    name = re.sub(r"\(accel_rt::.*|\(.*\)$", "", name).removeprefix("void ")
    return re.sub(r"\((?:int|bool)\)", "", name).rstrip("(")


def usages(file: Path) -> Iterator[Kernel]:
    arch, function = 0, ""
    for line in run(find_tool("cuobjdump"), "-res-usage", str(file)).splitlines():
        if found := re.search(r"arch = sm_(\d+)", line):
            arch = int(found[1])
        elif found := re.match(r"\s*Function (\S+):", line):
            function = found[1]
        elif found := re.search(r"REG:(\d+).*SHARED:(\d+).*LOCAL:(\d+)", line):
            registers, shared, local = (int(group) for group in found.groups())
            shared -= RESERVED_SHARED_BYTES if arch >= 90 else 0
            yield Kernel(short_name(function), arch, registers, shared, local)


def wide_loads(file: Path) -> dict[tuple[int, str], bool]:
    """Whether kernels read 16 bytes at once, by architecture and name."""
    found: dict[tuple[int, str], bool] = {}
    arch, key = 0, (0, "")
    for line in run(find_tool("cuobjdump"), "-sass", str(file)).splitlines():
        if match := re.search(r"arch = sm_(\d+)", line):
            arch = int(match[1])
        elif match := re.match(r"\s*Function : (\S+)", line):
            key = (arch, short_name(match[1]))
            found[key] = False
        elif "LDG.E.128" in line:
            found[key] = True
    return found


def occupancy_library(folder: Path) -> ctypes.CDLL:
    nvcc = shutil.which("nvcc")
    plan = subprocess.run(
        [str(nvcc), "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False
    )
    root = re.search(r"TOP=(.+)", plan.stderr)
    if root is None:
        sys.exit("nvcc was not found: cuda_occupancy.h is beside it")
    library = folder / "occupancy.so"
    source = Path(__file__).with_name("occupancy.cpp")
    include = Path(root[1].strip(), "include")
    run("g++", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library))
    return ctypes.CDLL(str(library))


def table(kernels: list[Kernel], library: ctypes.CDLL) -> Iterator[str]:
    """Markdown: a row for each kernel, a column for each architecture."""
    arches = sorted({kernel.arch for kernel in kernels})
    yield "| kernel | " + " | ".join(f"sm_{arch}" for arch in arches) + " |"
    yield "|---|" + "---|" * len(arches)
    for name in sorted({kernel.name for kernel in kernels}):
        cells = []
        for arch in arches:
            found = [k for k in kernels if (k.name, k.arch) == (name, arch)]
            cells.append(cell(found[0], library) if found else "-")
        yield f"| `{name}` | " + " | ".join(cells) + " |"


def cell(kernel: Kernel, library: ctypes.CDLL) -> str:
    most = ctypes.c_int()
    warps = library.resident_warps(
        kernel.arch // 10,
        kernel.arch % 10,
        BLOCK_THREADS,
        kernel.registers,
        kernel.shared_bytes,
        ctypes.byref(most),
    )
    shared = f" {kernel.shared_bytes / 1024:.0f}K" if kernel.shared_bytes >= 1024 else ""
    return f"{kernel.registers}{shared} {100 * warps / most.value:.0f}%"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Print the kernels' registers, shared memory and occupancy for every architecture."""
    kernels = [kernel for file in files for kernel in usages(file)]
    if not kernels:
        sys.exit("no CUDA kernels in these files")
    with tempfile.TemporaryDirectory() as folder:
        click.echo("\n".join(table(kernels, occupancy_library(Path(folder)))))
    spilled = [f"{k.name} on sm_{k.arch} uses local memory" for k in kernels if k.local_bytes]
    narrow = [
        f"{name} on sm_{arch} reads no 16 bytes at once"
        for file in files
        for (arch, name), wide in wide_loads(file).items()
        if name.startswith(WIDE) and not wide
    ]
    if spilled or narrow:
        sys.exit("\n".join([*spilled, *narrow]))


if __name__ == "__main__":
    main()

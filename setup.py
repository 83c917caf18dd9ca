"""Builds the extension ``accel_rt/ops/_C.abi3.so`` with ninja.

It uses LibTorch's stable ABI and no Python symbols, so one library serves every Python and every
torch from 2.10 on, with or without CUDA. The build fails with its reason; to install without the
extension (slow, plain PyTorch), ask for it. Environment variables:

ACCEL_RT_PURE_PYTHON=1   build no extension
ACCEL_RT_CUDA=auto|0|1   CUDA kernels: if nvcc is found (default), never, or fail without nvcc
ACCEL_RT_CUDA_ARCHES     compute capabilities, default those of 75 80 86 89 90 100 120 nvcc knows
ACCEL_RT_STRICT=1        compiler warnings and register spills are errors
ACCEL_RT_CXXFLAGS        more flags for CXX, to compile and to link, for example of a sanitizer
CXX, NVCC, MAX_JOBS      compilers and number of parallel jobs
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "csrc"
TARGET_TORCH = (2, 10)
CUDA_ARCHES = ["75", "80", "86", "89", "90", "100", "120"]
# Kernels are compiled once for each of these and chosen at run time.
SIMD_FLAGS = {
    "baseline": "",
    "avx2": "-march=x86-64-v3",
    "avx512": "-march=x86-64-v4 -mprefer-vector-width=512",
}
AMX_FLAGS = f"{SIMD_FLAGS['avx512']} -mavx512bf16 -mamx-tile -mamx-bf16"
PURE_PYTHON = os.environ.get("ACCEL_RT_PURE_PYTHON") == "1"
STRICT = os.environ.get("ACCEL_RT_STRICT") == "1"
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def find_nvcc() -> str | None:
    """The CUDA compiler to use, or None for a build without CUDA."""
    wanted = os.environ.get("ACCEL_RT_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        sys.exit(f"ACCEL_RT_CUDA must be auto, 0 or 1, got {wanted!r}")
    if wanted == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    if nvcc is None and home and (Path(home) / "bin" / "nvcc").is_file():
        nvcc = str(Path(home) / "bin" / "nvcc")
    if nvcc is None and wanted == "1":
        sys.exit("ACCEL_RT_CUDA=1 but nvcc was not found: put it on PATH or set NVCC or CUDA_HOME")
    return nvcc


def cuda_root(nvcc: str) -> Path:
    """The toolkit's folder, seen through any wrapper script around nvcc."""
    dry_run = subprocess.run(
        [nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False
    )
    top = re.search(r"TOP=(.+)", dry_run.stderr)
    if top is None:
        sys.exit(f"{nvcc} --dryrun does not name its toolkit:\n{dry_run.stderr}")
    return Path(top.group(1).strip()).resolve()


def cuda_libraries(root: Path) -> Path:
    """The toolkit's folder with the static runtime."""
    for name in ("lib64", f"targets/{platform.machine()}-linux/lib", "lib"):
        if (root / name / "libcudart_static.a").is_file():
            return root / name
    sys.exit(f"libcudart_static.a is not in the CUDA toolkit at {root}")


def cuda_targets(nvcc: str) -> str:
    """nvcc's flags for the wanted architectures, and PTX of the newest for later ones."""
    arches = os.environ.get("ACCEL_RT_CUDA_ARCHES", "").replace(",", " ").split()
    if not arches:
        known = subprocess.run(
            [nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True
        )
        arches = [arch for arch in CUDA_ARCHES if f"compute_{arch}\n" in known.stdout]
    if not arches or not all(arch.isdigit() for arch in arches):
        sys.exit(f"ACCEL_RT_CUDA_ARCHES must be numbers such as '80 90', got {arches}")
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in arches]
    newest = max(arches, key=int)
    return " ".join([*flags, f"-gencode=arch=compute_{newest},code=compute_{newest}"])


class BuildWithNinja(build_ext):
    """Compiles csrc/ and links the library; ninja tracks headers and flags."""

    def build_extension(self, ext: Extension) -> None:
        try:
            import torch
        except ImportError as error:
            sys.exit(
                f"building the extension needs torch ({error}): install torch first and build with"
                " --no-build-isolation, or set ACCEL_RT_PURE_PYTHON=1 to do without the extension"
            )
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) < TARGET_TORCH:
            sys.exit(f"building the extension needs torch >= 2.10, found {torch.__version__}")
        if not any(SOURCES.rglob("*.cpp")):
            sys.exit(
                f"there are no sources in {SOURCES}: get the whole repository, or set"
                " ACCEL_RT_PURE_PYTHON=1 to install without the extension"
            )
        output = Path(self.get_ext_fullpath(ext.name)).resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = (ROOT / self.build_temp).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        plan = folder / "build.ninja"
        plan.write_text(ninja_file(Path(torch.__file__).parent, output))
        command = [sys.executable, "-m", "ninja", "-C", str(folder)]
        if jobs := os.environ.get("MAX_JOBS"):
            command += ["-j", jobs]
        if self.verbose > 1:
            command.append("-v")
        print(f"building {output.name}: {' '.join(command)}", flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(
                "the extension did not build (the compiler's words are above); set"
                " ACCEL_RT_PURE_PYTHON=1 to install without it"
            )


def ninja_file(torch_folder: Path, output: Path) -> str:
    """The build as ninja rules: one edge per object file, one to link."""
    nvcc = find_nvcc()
    root = cuda_root(nvcc) if nvcc else None
    version = f"0x{TARGET_TORCH[0]:02x}{TARGET_TORCH[1]:02x}000000000000ULL"
    defines = f"-DTORCH_TARGET_VERSION={version}"
    defines += " -DACCEL_RT_X86" * IS_X86 + " -DACCEL_RT_CUDA" * bool(nvcc)
    # Messages name source files from here, not from where they were built.
    defines += f" {shlex.quote(f'-fmacro-prefix-map={ROOT}/=')}"
    includes = f"-isystem {shlex.quote(str(torch_folder / 'include'))}"
    warnings = "-Wall -Wextra -Wno-unknown-pragmas" + " -Werror" * STRICT
    links = f"-L{shlex.quote(str(torch_folder / 'lib'))} -ltorch_cpu"
    if root:
        includes += f" -isystem {shlex.quote(str(root / 'include'))}"
        links += f" -L{shlex.quote(str(cuda_libraries(root)))} -lcudart_static -lrt -ldl -lpthread"
    cuda_warnings = "-Xptxas -warn-spills -Xptxas -Werror -Werror all-warnings" if STRICT else ""
    more_flags = os.environ.get("ACCEL_RT_CXXFLAGS", "")
    lines = [
        "ninja_required_version = 1.3",
        f"cxx = {os.environ.get('CXX', 'g++')}",
        f"flags = -std=c++17 -O3 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden {warnings}"
        f" {defines} {more_flags}",
        f"torch = {includes}",
        "kernel = -ffp-contract=fast -fno-math-errno -fno-trapping-math -fopenmp-simd",
        f"links = -shared -Wl,--no-undefined -Wl,--as-needed {more_flags or '-s'} {links}",
        "rule compile",
        "  command = $cxx $flags $extra -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $out",
        "rule link",
        "  command = $cxx $in $links -o $out",
        "  description = $out",
    ]
    if nvcc:
        lines += [
            f"nvcc = {shlex.quote(nvcc)}",
            f"cuda_flags = -std=c++17 -O3 -Xcompiler -fPIC,-fvisibility=hidden {cuda_targets(nvcc)}"
            f" {cuda_warnings}",
            "rule compile_cuda",
            "  command = $nvcc $cuda_flags -MD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = $out",
        ]
    objects = []

    def compile_object(source: Path, suffix: str, rule: str, extra: str = "") -> None:
        name = "_".join(source.relative_to(SOURCES).with_suffix("").parts) + suffix + ".o"
        objects.append(name)
        lines.append(f"build {name}: {rule} {ninja_path(source)}")
        if extra:
            lines.append(f"  extra = {extra}")

    for source in sorted(SOURCES.rglob("*.cpp")):
        if source.name == "cpu.cpp":
            for level in SIMD_FLAGS if IS_X86 else ["baseline"]:
                flags = f"$kernel -DACCEL_RT_SIMD={level} {SIMD_FLAGS[level]}"
                compile_object(source, f"_{level}", "compile", flags)
        elif source.name == "amx.cpp":
            if IS_X86:
                compile_object(source, "", "compile", f"$kernel {AMX_FLAGS}")
        else:
            compile_object(source, "", "compile", "$torch")
    for source in sorted(SOURCES.rglob("*.cu")) if nvcc else []:
        compile_object(source, "_cuda", "compile_cuda")
    library = ninja_path(output)
    lines += [f"build {library}: link {' '.join(objects)}", f"default {library}", ""]
    return "\n".join(lines)


def ninja_path(path: Path) -> str:
    return re.sub(r"([ :$])", r"$\1", str(path))


if PURE_PYTHON:
    print("ACCEL_RT_PURE_PYTHON=1: no extension, plain PyTorch operators", flush=True)
    setup()
else:
    setup(
        ext_modules=[Extension("accel_rt.ops._C", sources=[], py_limited_api=True)],
        cmdclass={"build_ext": BuildWithNinja},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )

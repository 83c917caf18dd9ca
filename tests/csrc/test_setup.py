"""The build says what is wrong and fails; it never leaves the extension out by itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "setup.py", "build_ext"),
            *("--build-temp", str(folder / "temp"), "--build-lib", str(folder / "lib")),
        ],
        cwd=root,
        env={**os.environ, "ACCEL_RT_CUDA": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_fails(result: subprocess.CompletedProcess[str], message: str) -> None:
    assert result.returncode != 0
    assert message in result.stderr


def fake_nvcc(folder: Path, root: Path) -> str:
    script = folder / "nvcc"
    script.write_text(f"#!/bin/sh\necho '#$ TOP={root}' >&2\n")
    script.chmod(0o755)
    return str(script)


def test_pure_python_builds_nothing(tmp_path):
    result = build(tmp_path, ACCEL_RT_PURE_PYTHON="1", CXX="false")
    assert result.returncode == 0
    assert "no extension" in result.stdout
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_that_fails(tmp_path):
    result = build(tmp_path, CXX="false")
    assert_fails(result, "the extension did not build")
    assert "ACCEL_RT_PURE_PYTHON=1" in result.stderr


def test_unknown_choice(tmp_path):
    result = build(tmp_path, ACCEL_RT_CUDA="maybe")
    assert_fails(result, "ACCEL_RT_CUDA must be auto, 0 or 1, got 'maybe'")


def test_cuda_without_nvcc(tmp_path):
    result = build(tmp_path, ACCEL_RT_CUDA="1", PATH=str(tmp_path), NVCC="", CUDA_HOME="")
    assert_fails(result, "nvcc was not found")


def test_cuda_toolkit_without_its_runtime(tmp_path):
    result = build(tmp_path, ACCEL_RT_CUDA="1", NVCC=fake_nvcc(tmp_path, tmp_path))
    assert_fails(result, f"libcudart_static.a is not in the CUDA toolkit at {tmp_path}")


def test_unknown_architecture(tmp_path):
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libcudart_static.a").touch()
    nvcc = fake_nvcc(tmp_path, tmp_path)
    result = build(tmp_path, ACCEL_RT_CUDA="1", NVCC=nvcc, ACCEL_RT_CUDA_ARCHES="sm_90")
    assert_fails(result, "ACCEL_RT_CUDA_ARCHES must be numbers such as '80 90', got ['sm_90']")


def test_a_folder_without_sources(tmp_path):
    (tmp_path / "accel_rt").mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "accel_rt/version.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    result = build(tmp_path, tmp_path)
    assert_fails(result, f"there are no sources in {tmp_path / 'csrc'}")
    assert "ACCEL_RT_PURE_PYTHON=1" in result.stderr


def test_a_source_distribution_has_all_sources(tmp_path):
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    listed = (tmp_path / "accel_rt.egg-info" / "SOURCES.txt").read_text().splitlines()
    sources = [path for path in ROOT.glob("csrc/**/*") if path.is_file()]
    assert {str(path.relative_to(ROOT)) for path in sources} <= set(listed)


def test_kernels_do_not_depend_on_torch():
    """They are compiled for SIMD levels and by nvcc, where torch's headers have no place."""
    names = ("cpu.cpp", "cuda.cu", "kernel.h", "bilinear.h", "cpu.h", "cuda.cuh")
    kernels = [path for path in ROOT.glob("csrc/*/*") if path.name in names]
    assert len(kernels) > 10
    for source in kernels:
        assert "torch/" not in source.read_text(), source

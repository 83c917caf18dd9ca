"""Each planted mistake in a CUDA kernel is noticed, and the kernels as they are pass."""

import subprocess
import sys

import pytest

from tests.csrc.emulated.build import BUILD, KERNELS, ROOT, build_emulated_ops
from tests.csrc.mutations import CHECKS, MUTATIONS


def test_every_kernel_has_three_mistakes():
    files = [str(kernel.relative_to(ROOT / "csrc")) for kernel in KERNELS]
    for file in files:
        if file != "common/cuda_error.cu":
            assert sum(m.kernel == file for m in MUTATIONS) >= 3, file
    assert {m.kernel for m in MUTATIONS} <= set(files)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_mistakes_are_noticed():
    variants = [mutation.plant(BUILD / "mutants") for mutation in MUTATIONS]
    right = build_emulated_ops(BUILD, variants)
    arguments = [f"{right}:{check}" for check in CHECKS]
    arguments += [f"{BUILD / m.name}.so:{m.check}" for m in MUTATIONS]
    result = subprocess.run(
        [sys.executable, "-m", "tests.csrc.mutations", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    outcome = {tuple(line.split()[:2]): line.split()[2] for line in result.stdout.splitlines()}
    expected = {(right.stem, check): "passes" for check in CHECKS}
    expected.update({(m.name, m.check): "fails" for m in MUTATIONS})
    assert outcome == expected

import os
import random

import pytest
import torch

from tests.ops.executors import EXECUTORS, Executor, select

SEED = int(os.environ.get("ACCEL_RT_TEST_SEED", random.SystemRandom().randrange(2**31)))
# Whichever test comes first compiles the emulated kernels.
MARKS = {
    "cuda": pytest.mark.cuda,
    "cuda-emulated": [pytest.mark.emulated, pytest.mark.timeout(1800)],
}


def pytest_report_header():
    return f"operators: fresh random inputs, repeat with ACCEL_RT_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def _fresh_inputs():
    torch.manual_seed(SEED)


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in EXECUTORS])
def executor(request) -> Executor:
    """Each way to run the kernels, one after the other."""
    with select(request.param, SEED) as chosen:
        yield chosen

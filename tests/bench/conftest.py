"""One thread: small work is faster so, and a busy machine stretches it less."""

from __future__ import annotations

import pytest

from accel_rt.bench.run import threads_set_to


@pytest.fixture(autouse=True)
def _one_thread():
    with threads_set_to(1):
        yield

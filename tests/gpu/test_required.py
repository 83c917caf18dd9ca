"""Where a device is promised, its tests cannot pass by being skipped."""

import pytest
import torch

from tests.ops.executors import select


@pytest.fixture(autouse=True)
def _no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_promised_device_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEL_RT_REQUIRE_CUDA", "1")
    with pytest.raises(pytest.fail.Exception, match="no CUDA device"), select("cuda", 0):
        pass


def test_else_its_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCEL_RT_REQUIRE_CUDA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no CUDA device"), select("cuda", 0):
        pass

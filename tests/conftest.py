"""What every test relies on."""

from collections.abc import Iterator

import pytest
import torch

from accel_rt.runtime import backends


@pytest.fixture(scope="session", autouse=True)
def _floats_run() -> Iterator[None]:
    """``auto`` runs the weights in PyTorch, whatever is installed and lies beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "integers_are_faster", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _same_inputs() -> None:
    """Random inputs do not depend on which tests ran before; operators get fresh ones instead."""
    torch.manual_seed(0)

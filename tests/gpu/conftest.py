import pytest

from tests.ops.conftest import SEED
from tests.ops.executors import select


@pytest.fixture(autouse=True)
def _device(request):
    """Tests marked ``cuda`` skip without a device, and fail if one was promised."""
    if request.node.get_closest_marker("cuda") is None:
        yield
    else:
        with select("cuda", SEED):
            yield

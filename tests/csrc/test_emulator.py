"""What the emulated CUDA runtime notices: the other tests' results rest on it."""

import pytest
import torch

from tests.csrc.emulated.build import load_emulated_ops

pytestmark = pytest.mark.emulated


def run(kernel: str, numbers: torch.Tensor, *, threads=64, blocks=1, shared_bytes=0) -> str | None:
    fault = load_emulated_ops().run_fault_kernel(
        kernel.encode(), numbers.data_ptr(), blocks, threads, shared_bytes
    )
    return None if fault is None else fault.decode()


@pytest.fixture(autouse=True)
def _seed():
    load_emulated_ops().emulator_seed(int(torch.randint(2**31, ()).item()))


def test_barrier_orders_threads():
    numbers = torch.arange(192.0)
    assert run("reverse", numbers, blocks=3) is None
    assert torch.equal(numbers, torch.arange(192.0).reshape(3, 64).flip(1).flatten())


def test_missing_barrier_is_a_race():
    for _ in range(5):  # in whatever order the threads run
        message = run("reverse without a barrier", torch.arange(192.0), blocks=3)
        assert message == "two threads race for shared memory"


def test_warp_shuffle():
    numbers = torch.rand(64, dtype=torch.float32)
    expected = numbers.reshape(2, 32).sum(1)
    assert run("sum a warp", numbers) is None
    torch.testing.assert_close(numbers, expected.repeat_interleave(32))


def test_thread_that_leaves_before_a_barrier():
    numbers = torch.ones(64)
    assert run("leave before a barrier", numbers) is None
    numbers[5] = -1
    assert run("leave before a barrier", numbers) == (
        "a thread left before a barrier that others wait at"
    )
    assert run("reverse", torch.zeros(64)) is None  # and the emulator goes on


def test_threads_at_different_barriers():
    assert run("different barriers", torch.ones(64)) == "threads wait at different barriers"


def test_shuffle_in_a_partial_warp():
    assert run("sum a warp", torch.ones(20), threads=20) == (
        "a shuffle reads a lane that is not there"
    )


def test_shared_memory_starts_as_nan():
    numbers = torch.zeros(64)
    assert run("read unwritten", numbers, shared_bytes=256) is None
    assert numbers.isnan().all()


@pytest.mark.parametrize("limits", [{"threads": 1025}, {"blocks": 0}, {"shared_bytes": 49153}])
def test_launches_beyond_the_limits(limits):
    assert run("reverse", torch.zeros(2048), **limits) == "invalid configuration argument"

"""Batches that threads make: those of the same numbers, in order, or the error of a sample."""

import pytest
import torch
from torch.utils.data import Dataset

from accel_rt.errors import AccelError, InputError
from accel_rt.train.input import batches
from accel_rt.train.processes import joined
from accel_rt.train.settings import DeepLabSettings

CPU = torch.device("cpu")


class Numbers(Dataset):
    def __init__(self, damaged: int = -1) -> None:
        self._damaged = damaged

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self._damaged:
            raise InputError("a damaged picture")
        return torch.tensor(index)


def settings(**values: int) -> DeepLabSettings:
    return DeepLabSettings(network="resnet18", data=None, street=1.0, steps=9, batch=4, **values)


@pytest.mark.parametrize("workers", [0, 5])
def test_threads_give_all_batches_in_order(workers: int) -> None:
    with joined("cpu") as processes:
        made = list(batches(Numbers(), settings(workers=workers), processes, 2, CPU))
    assert torch.equal(torch.stack(made), torch.arange(8, 36).reshape(7, 4))


def test_threads_pass_on_the_error_of_a_sample() -> None:
    with joined("cpu") as processes:
        made = batches(Numbers(damaged=14), settings(), processes, 2, CPU)
        assert next(made).tolist() == [8, 9, 10, 11]
        with pytest.raises(AccelError, match="a damaged picture"):
            next(made)

"""The processes that train together: one alone, or those ``torchrun`` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from accel_rt.device import resolve_device


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. ``rank`` 0 writes and speaks."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of ``tensor`` over the processes, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def shared(self, value: Any) -> Any:
        """The first process's ``value``; waits for it."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=self.device)
        return values[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the processes."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def apart(self, model: nn.Module, part: bool) -> AbstractContextManager:
        """Let gradients add up in each process by itself while ``part``."""
        if part and isinstance(model, DistributedDataParallel):
            return model.no_sync()
        return nullcontext()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes ``torchrun`` started (gloo on the CPU, NCCL on CUDA), if it did.

    Those that have joined already stay so: joining anew would meet what the first time left behind.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield Processes(resolve_device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", 0))
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if distributed.is_initialized():
        yield Processes(chosen, rank, world)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(chosen, rank, world)
    finally:
        distributed.destroy_process_group()


class _Total(torch.autograd.Function):
    """The sum of a tensor over the processes, differentiable in each one's part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Total.forward(ctx, gradients[0].contiguous())


class ProcessBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the samples of all processes; PyTorch's own needs an accelerator."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        sums = torch.cat([wide.sum((0, 2, 3)), wide.new_tensor([x.numel() // x.shape[1]])])
        sums = _Total.apply(sums)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean[:, None, None]
        variance = _Total.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = self.momentum or 0.0
            unbiased = variance * count / (count - 1)
            for kept, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                assert kept is not None
                kept.lerp_(new, momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        # The statistics are already taken out; what is left is a scale and a shift.
        scale = (variance + self.eps).rsqrt()
        if not self.affine:
            return (centred * scale[:, None, None]).to(x.dtype)
        scale = scale * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with every batch norm taking its statistics over all processes."""
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = ProcessBatchNorm2d  # same parameters and names, another forward
    return model

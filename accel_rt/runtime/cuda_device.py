"""The device calls that the CUDA frame loop makes; everything else of it runs without a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Work = Callable[[], None]


class Event(Protocol):
    """A mark in a stream that others wait for and that has a time."""

    def record(self, stream: Any) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, end_event: Any) -> float: ...


class Device(Protocol):
    """Streams, events, pinned memory and graphs of one device."""

    def stream(self) -> Any:
        """A new stream, with ``wait_event(event)``."""

    def event(self) -> Event:
        """A new event that takes the time."""

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Host memory that the device copies from and to by itself."""

    def run(self, stream: Any, work: Work) -> None:
        """Launch ``work`` on ``stream``."""

    def capture(self, stream: Any, work: Work) -> Work:
        """Record ``work`` without running it and return what replays it.

        Raises RuntimeError where something in it cannot be recorded.
        """

    def synchronize(self) -> None:
        """Wait until nothing runs any more."""


class CudaDevice:
    """A GPU through :mod:`torch.cuda`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)

    def event(self) -> torch.cuda.Event:
        # Blocking: the host thread sleeps while it waits, and leaves its core to the encoder.
        return torch.cuda.Event(enable_timing=True, blocking=True)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def run(self, stream: torch.cuda.Stream, work: Work) -> None:
        with torch.cuda.stream(stream):
            work()

    def capture(self, stream: torch.cuda.Stream, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # A pool of its own for each graph (the default): some run at the same time. Other threads
        # may use the device meanwhile. The outer context restores the caller's stream where a
        # failed capture does not.
        recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
        with torch.cuda.stream(stream), recording:
            work()
        return graph.replay

    def synchronize(self) -> None:
        torch.cuda.synchronize(self._device)


def pinned_like(cuda: Device, tensor: Tensor) -> Tensor:
    """Pinned host memory for what ``tensor`` holds."""
    return cuda.pinned(tuple(tensor.shape), tensor.dtype)


def copy_on(cuda: Device, stream: Any, target: Tensor, source: Tensor) -> None:
    """Launch a copy on ``stream``; the host does not wait."""

    def copy() -> None:
        target.copy_(source, non_blocking=True)

    cuda.run(stream, copy)


def wake(device: torch.device) -> None:
    """Let CUDA load its libraries in a thread, while the host reads weights.

    What goes wrong there will do so again, and be raised, where the device is used.
    """

    def work() -> None:
        with suppress(RuntimeError):
            x = torch.zeros(1, 8, 8, 8, dtype=torch.float16, device=device)
            functional.conv2d(x, x).flatten(1) @ x[0, 0, :1]

    threading.Thread(target=work, name="wake", daemon=True).start()

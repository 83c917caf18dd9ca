"""Where the nodes of a span run: here at once, or on a GPU (:mod:`.cuda_launch`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accel_rt.runtime.executor import StageClock
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.span import SpanNodes

Found = tuple[list[dict[str, np.ndarray]], float]
"""Results of frames on the host, by what they are, and milliseconds to fetch them."""


class Clock(Protocol):
    """Adds up milliseconds per stage: ``with clock("network"): ...``."""

    def __call__(self, stage: str) -> AbstractContextManager[None]: ...

    @property
    def ms(self) -> Mapping[str, float]:
        """What was added up; on a GPU once its work is done."""


class Launcher(Protocol):
    """Runs nodes one after the other, for the frames that are put where the nodes find them."""

    stay: bool
    """Whether tensors keep their place, as :class:`~accel_rt.runtime.kept.Kept` has it."""

    @property
    def runs_ahead(self) -> int:
        """How often nodes should run before they matter, so that none of them is slower then."""

    def start(self, nodes: SpanNodes) -> None:
        """These nodes are run from now on."""

    def renew(self) -> None:
        """:meth:`SpanNodes.output` is to be run anew: what it does has changed."""

    def load(self, frame_bgr: np.ndarray) -> None:
        """Take the next frame, uint8 ``[H, W, 3]``."""

    def put_flow(self, flow: Tensor) -> None:
        """Take flow ``[1, 2, h, w]`` that the host computed."""

    def launch(self, node: Callable[..., None], *arguments: Any) -> None:
        """Run one of the nodes."""

    def clock(self) -> Clock:
        """A clock of what is launched inside it."""

    def fetch(self, results: Sequence[Mapping[str, str]]) -> Callable[[], Found]:
        """Begin to fetch results, whose names are :meth:`SpanNodes.results`'s; what is returned
        waits for them."""

    def describe(self) -> dict[str, Any]:
        """How it runs, ready for a report."""

    def wait(self) -> None:
        """Wait for everything that was launched."""


class Direct:
    """Runs nodes at once, on frames resized by the host; a :class:`Launcher`."""

    stay = False
    runs_ahead = 0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self, nodes: SpanNodes) -> None:
        self._nodes = nodes

    def renew(self) -> None:
        pass

    def load(self, frame_bgr: np.ndarray) -> None:
        self._nodes.frame = resize_frame(frame_bgr, self._nodes.geometry.processed)

    def put_flow(self, flow: Tensor) -> None:
        self._nodes.kept.keep("newer", flow.to(self._device))

    def launch(self, node: Callable[..., None], *arguments: Any) -> None:
        node(*arguments)

    def clock(self) -> StageClock:
        return StageClock()

    def fetch(self, results: Sequence[Mapping[str, str]]) -> Callable[[], Found]:
        clock, kept = StageClock(), self._nodes.kept
        with clock("fetch"):
            found = [
                {what: kept.pop(name).cpu().numpy() for what, name in one.items()}
                for one in results
            ]
        return lambda: (found, clock.ms["fetch"])

    def describe(self) -> dict[str, Any]:
        return {}

    def wait(self) -> None:
        pass

"""Work on a GPU's streams, recorded once and replayed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from accel_rt.runtime.cuda_device import Device, Work

PLAIN_RUNS = 1
"""Runs of a node before it is captured: they allocate, and load what is loaded at first use."""


@dataclass
class GraphNode:
    """A piece of work on its stream, and what replays it once it has been captured."""

    stream: Any
    work: Work
    runs: int = 0
    replay: Work | None = None


class Graphs:
    """Launches nodes on a device, and captures them once they have run :data:`PLAIN_RUNS` times.

    ``refused`` says why launches stay plain, from the first that cannot be captured on.
    """

    def __init__(self, cuda: Device, refused: str = "") -> None:
        self._cuda, self.refused = cuda, refused

    def launch(self, name: str, node: GraphNode) -> None:
        """Run ``node``, whose name is for the warning, after what its stream has been given."""
        if node.replay is None and not self.refused and node.runs >= PLAIN_RUNS:
            try:
                node.replay = self._cuda.capture(node.stream, node.work)
            except RuntimeError as error:
                self.refused = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"no CUDA graph of '{name}', launches stay plain: {self.refused}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        self._cuda.run(node.stream, node.replay or node.work)
        node.runs += 1

    def describe(self) -> str:
        """Whether graphs are captured, for a report."""
        return f"no: {self.refused}" if self.refused else "yes"

"""Timing: competitors take turns, so that whatever disturbs the machine disturbs them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Milliseconds of the runs of one thing."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    def percentile(self, q: float) -> float:
        """Percentile ``q`` (0 to 100), interpolated between runs."""
        return float(np.percentile(self.ms, q))


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds go on until ``budget_s`` is spent, within the two bounds.

    Untimed ones go before, for ``warm_up_s`` and one at least: some virtual machines take seconds
    to have memory for what is allocated anew in each.
    """

    budget_s: float
    least_rounds: int
    most_rounds: int
    warm_up_s: float = 0.0


def interleave(
    runs: Mapping[str, Callable[[], object]],
    effort: Effort,
    *,
    synchronise: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Samples]:
    """Time each of ``runs`` once per round (A B C, A B C, ...) after untimed rounds.

    ``synchronise`` waits for the device before the clock is read. What a run returns is freed
    outside its time.
    """
    started = clock()
    while True:
        for run in runs.values():
            run()
        synchronise()
        if clock() - started >= effort.warm_up_s:
            break
    ms: dict[str, list[float]] = {name: [] for name in runs}
    started, rounds = clock(), 0
    while rounds < effort.least_rounds or (
        rounds < effort.most_rounds and clock() - started < effort.budget_s
    ):
        for name, run in runs.items():
            begun = clock()
            result = run()
            synchronise()
            ms[name].append(1e3 * (clock() - begun))
            del result
        rounds += 1
    return {name: Samples(tuple(values)) for name, values in ms.items()}

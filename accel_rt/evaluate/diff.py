"""What changed between two evaluations, and whether it is more than noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.evaluate.bootstrap import interval_95
from accel_rt.evaluate.counts import SCORES
from accel_rt.evaluate.results import Results


@dataclass(frozen=True)
class Change:
    """One score of one model: ``low`` to ``high`` is the 95% interval of ``after - before``."""

    model: str
    score: str
    before: float
    after: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def compare(a: Results, b: Results, interval: int) -> list[Change]:
    """Changes from ``a`` to ``b`` of the models that both have, at ``interval``.

    Both are resampled with the same frames (a paired bootstrap), so what makes a frame hard for
    both does not blur their difference. If each holds one model, those two are compared, whatever
    their names. Raises :class:`~accel_rt.errors.UsageError` if they were not taken on the same
    frames or have no model in common.
    """
    first, second = a.dataset, b.dataset
    if (first.footage, first.runs) != (second.footage, second.runs):
        raise UsageError(
            f"the results are of different frames ({first.footage}, {sum(first.runs)} labelled; "
            f"{second.footage}, {sum(second.runs)} labelled): evaluate both on the same"
        )
    if (first.classes.names, first.density) != (second.classes.names, second.density):
        raise UsageError("the results differ in classes or protocol: evaluate both alike")
    changes = []
    for label, name_a, name_b in _pairs(a, b):
        # A network on every frame has one interval, which stands for all.
        limits = [m.longest for m in (a.models[name_a], b.models[name_b]) if m.longest > 1]
        if limits and interval > min(limits):
            raise UsageError(
                f"{label} was evaluated up to interval {min(limits)}, not {interval}: choose a "
                f"smaller --interval"
            )
        weights, rate = first.weights, first.rate
        before = a.models[name_a].at_interval(interval)
        after = b.models[name_b].at_interval(interval)
        spread_a, spread_b = before.scores(weights, rate), after.scores(weights, rate)
        summary_a, summary_b = before.summary(rate), after.summary(rate)
        for score in SCORES:
            if np.isnan(summary_a[score]) or np.isnan(summary_b[score]):
                continue
            low, high = interval_95(spread_b[score] - spread_a[score])
            changes.append(Change(label, score, summary_a[score], summary_b[score], low, high))
    return changes


def _pairs(a: Results, b: Results) -> list[tuple[str, str, str]]:
    """Label and names of the models to compare."""
    common = [(name, name, name) for name in a.models if name in b.models]
    if common:
        return common
    if len(a.models) == len(b.models) == 1:
        first, second = next(iter(a.models)), next(iter(b.models))
        return [(f"{first} -> {second}", first, second)]
    raise UsageError(
        f"the results have no model in common ({', '.join(a.models)}; {', '.join(b.models)}): "
        f"give results of the same models"
    )

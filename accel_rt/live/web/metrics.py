"""The loop's figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from accel_rt.live.stats import LiveStats, Percentiles, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "accel_rt_live_"


def prometheus_text(stats: LiveStats, server: Mapping[str, int]) -> bytes:
    """``stats`` and the server's own counts, in base units (seconds, bytes, ratios)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(lambda: _families(stats, server)))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()

    def describe(self) -> list[Metric]:
        return []


def _families(stats: LiveStats, server: Mapping[str, int]) -> Iterator[Metric]:
    yield _gauges(
        "state",
        "1 for the state that the loop is in",
        "state",
        {state: float(state == stats.state) for state in get_args(State)},
    )
    for name, what, count in (
        ("frames", "pictures shown", stats.frames),
        ("keyframes", "pictures that brought new reference features", stats.keyframes),
        ("dropped_frames", "frames of the source that were not shown", stats.dropped),
        ("reconnects", "times that the source came back", stats.reconnects),
        ("viewers_served", "viewers of the page so far", server["served"]),
        ("viewers_dropped", "viewers cut off because they stalled", server["dropped"]),
        ("viewers_refused", "viewers turned away because there were too many", server["refused"]),
        ("pictures_encoded", "pictures encoded for viewers", server["encoded"]),
    ):
        yield CounterMetricFamily(_PREFIX + name, what, value=count)
    for name, what, value in (
        ("fps", "pictures shown a second", stats.fps),
        ("source_fps", "frames a second that the source delivers", stats.source_fps),
        ("uptime_seconds", "time since the loop began", stats.uptime_s),
        ("memory_bytes", "resident memory of the process", stats.memory_mb * 2**20),
        ("recording", "1 while a file is being written", float(stats.recording is not None)),
        ("viewers", "viewers of the page now", server["viewers"]),
    ):
        if value is not None:
            yield GaugeMetricFamily(_PREFIX + name, what, value=value)
    yield _quantiles("age_seconds", "from a frame's capture to its picture", stats.age_ms)
    yield _quantiles("frame_seconds", "work on a frame", stats.frame_ms)
    yield _gauges(
        "stage_seconds",
        "mean time of each stage of a frame",
        "stage",
        {stage: ms / 1e3 for stage, ms in stats.stage_ms.items()},
    )
    yield _gauges("class_share_ratio", "share of the picture", "class", stats.class_share)


def _quantiles(name: str, what: str, of_ms: Percentiles | None) -> Metric:
    values = {} if of_ms is None else {"0.5": of_ms.p50, "0.95": of_ms.p95, "0.99": of_ms.p99}
    return _gauges(name, what, "quantile", {q: ms / 1e3 for q, ms in values.items()})


def _gauges(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family

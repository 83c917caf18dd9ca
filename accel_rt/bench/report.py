"""Results as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from accel_rt.bench.baseline import deformable_convolution
from accel_rt.bench.models import BASELINE
from accel_rt.bench.ops import Measured
from accel_rt.bench.run import FRAME_SIZE, Results
from accel_rt.bench.stream import INTERVALS, STAGES, ModelTimes
from accel_rt.runtime.schedule import FrameKind
from accel_rt.size import wxh

_PERCENTILES = (50, 95, 99)
_KINDS: tuple[FrameKind, ...] = ("key", "update")


def to_json(results: Results) -> dict[str, Any]:
    """Everything that was measured, in plain types; milliseconds unless a name says otherwise."""
    report: dict[str, Any] = {
        "device": results.device,
        "precision": results.precision,
        "threads": results.threads,
    }
    if results.operators:
        report["ops"] = [operator_json(measured) for measured in results.operators]
    if results.models:
        report["e2e"] = {
            "frame_size": list(FRAME_SIZE[::-1]),
            "baseline": BASELINE.name,
            "baseline_deformable_convolution": deformable_convolution(),
            "models": [_model_json(times, results.models) for times in results.models],
        }
    return report


def operator_json(measured: Measured) -> dict[str, Any]:
    """One case: every run of it with its role, times and ratios."""
    peers, (limit,) = measured.names("peer"), measured.names("limit")
    runs = {}
    for name, samples in measured.samples.items():
        rate, unit = measured.rate(name)
        role = measured.roles[name]
        run: dict[str, Any] = {
            "role": role,
            "median_ms": samples.median,
            "p95_ms": samples.p95,
            "runs": len(samples.ms),
            unit.lower().replace("/s", "_per_s"): rate,
        }
        if role == "ours":
            run["times_faster_than"] = {peer: measured.ratio(peer, name) for peer in peers}
            run["times_the_limit"] = measured.ratio(name, limit)
        runs[name] = run
    return {
        "op": measured.op,
        "shape": measured.shape,
        "precision": measured.precision,
        "runs": runs,
        "skipped": list(measured.skipped),
    }


def _model_json(times: ModelTimes, models: list[ModelTimes]) -> dict[str, Any]:
    model = times.model
    frames = {}
    for kind in _KINDS:
        samples = times.step(kind)
        if samples.ms:
            frames[kind] = {
                "frames": len(samples.ms),
                **{f"p{q}_ms": samples.percentile(q) for q in _PERCENTILES},
                **{f"{stage}_ms": times.stage(kind, stage) for stage in _stages(times)},
            }
    baseline = _baseline(models)
    return {
        "model": model.name,
        "reference": model.settings.reference,
        "update": model.settings.update if model.settings.mode == "accel" else None,
        "update_scale": model.settings.update_scale,
        "frames": frames,
        "other_share_of_update": times.other_share(),
        "stream": {
            "interval": model.interval,
            "ms_per_frame": times.measured_ms(),
            **_speed(times.measured_ms(), baseline),
        },
        "intervals": {
            str(interval): {
                "ms_per_frame": times.mean_ms(interval),
                **_speed(times.mean_ms(interval), baseline),
            }
            for interval in INTERVALS
        },
        "peak_memory_mb": times.memory_mb,
    }


def _stages(times: ModelTimes) -> tuple[str, ...]:
    return () if times.model.plain else STAGES


def _baseline(models: list[ModelTimes]) -> ModelTimes | None:
    return next((times for times in models if times.model.plain), None)


def _speed(ms: float, baseline: ModelTimes | None) -> dict[str, float]:
    speed = {"frames_per_s": 1e3 / ms}
    if baseline is not None:
        speed["times_baseline"] = baseline.measured_ms() / ms
    return speed


def tables(results: Results) -> Group:
    """The tables to print."""
    parts: list[Any] = list(operator_tables(results.operators))
    if results.models:
        parts += [_frame_table(results), _speed_table(results.models), _notes()]
    return Group(*parts)


def operator_tables(operators: list[Measured]) -> Iterator[Table | str]:
    """A table for each operator, and a line for each peer that could not run."""
    for op in dict.fromkeys(measured.op for measured in operators):
        cases = [measured for measured in operators if measured.op == op]
        unit = cases[0].rate(cases[0].names("ours")[0])[1]
        table = _table(op, "shape", "type", "form")
        for heading in ("ms", "p95", unit):
            table.add_column(heading, justify="right")
        table.add_column("peer")
        for heading in ("ms", "faster"):
            table.add_column(heading, justify="right")
        table.add_column("limit")
        for heading in ("ms", "of limit"):
            table.add_column(heading, justify="right")
        for measured in cases:
            for name in measured.names("ours"):
                for row in _operator_rows(measured, name):
                    table.add_row(*row)
        yield table
        for skipped in dict.fromkeys(reason for case in cases for reason in case.skipped):
            yield f" not compared: {skipped}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    for heading in columns:
        table.add_column(heading)
    return table


def _operator_rows(measured: Measured, name: str) -> Iterator[tuple[str, ...]]:
    """A row for each peer of one of ours; what does not depend on it is in the first alone."""
    samples, (limit,) = measured.samples[name], measured.names("limit")
    own = (
        measured.shape,
        measured.precision,
        name,
        _number(samples.median),
        _number(samples.p95),
        _number(measured.rate(name)[0]),
    )
    bound = (limit, _number(measured.samples[limit].median), f"{measured.ratio(name, limit):.2f}x")
    rows = [
        (peer, _number(measured.samples[peer].median), f"{measured.ratio(peer, name):.1f}x")
        for peer in measured.names("peer")
    ] or [("-", "-", "-")]
    yield (*own, *rows[0], *bound)
    for row in rows[1:]:
        yield ("",) * len(own) + row + ("",) * len(bound)


def _frame_table(results: Results) -> Table:
    title = f"models at {wxh(FRAME_SIZE)}: milliseconds by kind of frame"
    table = _table(title, "model", "frame")
    columns = [f"p{q}" for q in _PERCENTILES] + list(STAGES) + ["other"]
    for heading in ("frames", *columns, "peak MB"):
        table.add_column(heading, justify="right")
    for times in results.models:
        for kind in _KINDS:
            samples = times.step(kind)
            if not samples.ms:
                continue
            share = times.other_share() if kind == "update" else None
            stages = _stages(times)
            table.add_row(
                times.model.name if kind == "key" else "",
                kind,
                str(len(samples.ms)),
                *(_number(samples.percentile(q)) for q in _PERCENTILES),
                *(_number(times.stage(kind, stage)) if stages else "-" for stage in STAGES),
                "-" if share is None else f"{100 * share:.1f}%",
                "-" if times.memory_mb is None or kind != "key" else f"{times.memory_mb:.0f}",
            )
    return table


def _speed_table(models: list[ModelTimes]) -> Table:
    title = "models: frames/s, and how many times the baseline's, by keyframe interval"
    table = _table(title, "model")
    for interval in INTERVALS:
        table.add_column(str(interval), justify="right")
    table.add_column("as streamed", justify="right")
    baseline = _baseline(models)
    for times in models:
        streamed = f" at {times.model.interval}"
        table.add_row(
            times.model.name,
            *(_rate(times.mean_ms(interval), baseline) for interval in INTERVALS),
            _rate(times.measured_ms(), baseline) + streamed,
        )
    return table


def _notes() -> str:
    return (
        "Frames/s at an interval follow from the medians of keyframes and of the frames between "
        "them; 'as streamed' was timed as a whole.\n"
        "'other' is the share of an update frame that is neither a network nor the flow.\n"
        f"Baseline: {BASELINE.name}, float32, NCHW; deformable convolutions: "
        f"{deformable_convolution()}; interpolation and argmax on every frame."
    )


def _rate(ms: float, baseline: ModelTimes | None) -> str:
    speed = _speed(ms, baseline)
    times = f" ({speed['times_baseline']:.1f}x)" if "times_baseline" in speed else ""
    return f"{speed['frames_per_s']:.1f}{times}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

"""Where the time of a frame goes: torch's profiler on a keyframe or an update frame.

python -m benchmarks.frame_profile [--model Accel-18] [--kind update] [--rows 20]
"""

from __future__ import annotations

from dataclasses import replace

import click
from torch.profiler import ProfilerActivity, profile

from accel_rt.bench.models import MODELS
from accel_rt.bench.run import threads_set_to
from accel_rt.bench.stream import street_frames
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import PRECISIONS

_MODELS = {model.name: model for model in MODELS if not model.plain}


@click.command()
@click.option("--model", type=click.Choice(list(_MODELS)), default="Accel-18", show_default=True)
@click.option("--kind", type=click.Choice(("key", "update")), default="update", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option("--rows", default=20, show_default=True, help="Of the table.")
def main(model: str, kind: str, precision: str, threads: int | None, rows: int) -> None:
    """Print the operators that take longest, added up over the frames of one kind."""
    chosen = _MODELS[model].on("cpu", precision)  # type: ignore[arg-type]
    if kind == "update" and chosen.interval == 1:
        raise click.UsageError(f"every frame of {model} is a keyframe: add --kind key")
    settings = chosen.settings
    if settings.backend == "auto":  # torch's profiler sees nothing of another one
        settings = replace(settings, backend="torch")
    with threads_set_to(threads):
        segmenter = load_segmenter(settings)
        frames = street_frames(chosen.interval)
        for frame in frames:  # to warm up
            segmenter.step(frame)
        segmenter.reset()
        first, rest = frames[:1], frames[1:]
        if kind == "update":
            segmenter.step(first[0])
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for frame in first if kind == "key" else rest:
                segmenter.step(frame)
    click.echo(profiler.key_averages().table("self_cpu_time_total", row_limit=rows))


if __name__ == "__main__":
    main()

"""mIoU and time of each mode on CamVid's validation video.

    python benchmarks/camvid.py DATA [--reference NAME] [--update NAME] [--intervals 5,10]

DATA is a folder in CamVid's layout whose ``val`` frames are consecutive. Every frame is met at
every distance from the keyframe. Prints a markdown table.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from accel_rt.data.camvid import camvid_frames
from accel_rt.evaluate.stream import score_stream
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE, SegmenterSettings


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--reference", default=DEFAULT_REFERENCE, show_default=True)
@click.option("--update", default=DEFAULT_UPDATE, show_default=True)
@click.option("--intervals", default="5", show_default=True, help="Such as 2,5,10.")
@click.option("--precision", default="auto", show_default=True)
@click.option("--fusion", type=click.Path(path_type=Path), help="Another fusion weight file.")
def main(
    data: Path, reference: str, update: str, intervals: str, precision: str, fusion: Path | None
) -> None:
    """Print mIoU by distance from the keyframe, and milliseconds a frame, of every mode."""
    frames = camvid_frames(data, "val")
    base = SegmenterSettings(
        reference=reference, update=update, precision=precision, fusion=fusion, scene_cuts=False
    )
    click.echo("| mode | interval | mIoU | at distance 0, 1, ... | ms a frame, mean (median) |")
    click.echo("|---|---|---|---|---|")
    rows = [
        (f"deeplab {reference}", replace(base, mode="deeplab", interval=1)),
        (f"deeplab {update}", replace(base, mode="deeplab", interval=1, reference=update)),
    ]
    for interval in (int(text) for text in intervals.split(",")):
        rows += [
            ("copy", replace(base, mode="copy", interval=interval)),
            ("dff", replace(base, mode="dff", interval=interval)),
            ("dff, incremental", replace(base, mode="dff", interval=interval, warp="incremental")),
            ("accel", replace(base, interval=interval)),
            ("accel, update at half size", replace(base, interval=interval, update_scale=0.5)),
        ]
    for name, settings in rows:
        score = score_stream(load_segmenter(settings), frames, settings.interval)
        by_offset = " ".join(f"{matrix.miou():.1f}" for matrix in score.by_offset)
        mean_ms = 1000 * sum(score.step_s) / len(score.step_s)
        median_ms = 1000 * median(score.step_s)
        click.echo(
            f"| {name} | {settings.interval} | {score.miou():.1f} | {by_offset} | "
            f"{mean_ms:.1f} ({median_ms:.1f}) |"
        )


if __name__ == "__main__":
    main()

"""``accel-rt segment``: videos in, videos with their classes out."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accel_rt.cli.fields import THREADS, Number, field_options, from_values
from accel_rt.cli.jobs import local_output, plan_jobs
from accel_rt.cli.many import ManyOptions
from accel_rt.cli.options import (
    load_chosen,
    palette_option,
    preset_option,
    reading_limits,
    reading_options,
    segmenter_options,
    segmenter_settings,
    with_preset,
)
from accel_rt.errors import AccelError, UsageError
from accel_rt.redact import redact
from accel_rt.runtime.schedule import PRESETS
from accel_rt.runtime.settings import DEFAULT_UPDATE, SegmenterSettings
from accel_rt.version import __version__
from accel_rt.video.display import FileDisplay
from accel_rt.video.limits import MAX_RATE, MIN_RATE, Limits

if TYPE_CHECKING:  # slow to import
    from accel_rt.cli.segment_run import SegmentOptions

# Named here because their modules are slow to import; a test holds them together.
_CODECS = ("h264", "hevc", "vp9", "av1")
_FILES = ("weights", "reference", "update", "zones", "palette")  # options that may name files
_MASK_FORMATS = ("png", "npz", "rle", "coco", "cvat", "label-studio")


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR",
    help="Video, GIF or WebP to write, or a folder for several inputs.  [default: INPUT_accel.mp4 "
    "beside INPUT, or a picture if it is one]",
)
@segmenter_options
@preset_option(PRESETS, "balanced")
@field_options(FileDisplay)
@palette_option
@click.option("--codec", type=click.Choice(_CODECS), default="h264", show_default=True)
@click.option(
    "--crf", type=int, metavar="N", help="Quality, lower is better.  [default: good for the codec]"
)
@click.option("--no-audio", is_flag=True, help="Leave the sound out of the video.")
@click.option("--no-video", is_flag=True, help="Write no video (masks or timings only).")
@click.option("--masks", metavar="DIR", help="Store label maps.")
@click.option(
    "--masks-format",
    type=click.Choice(_MASK_FORMATS),
    help="Indexed PNG with palette, NumPy, or one file of COCO's, CVAT's or Label Studio's.  "
    "[default: png]",
)
@click.option(
    "--timing",
    metavar="FILE",
    help="Write per-frame timings to FILE.csv or FILE.json.",
)
@click.option(
    "--stats",
    metavar="FILE",
    help="Write each class's share of every frame, and the mean margin, to FILE.csv or .parquet.",
)
@click.option(
    "--zones",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Polygons to measure, too, as JSON: corners by name, in pixels or fractions.",
)
@click.option("--summary", is_flag=True, help="Print each class's mean share.")
@click.option("--start", type=Number(min=0), metavar="S", help="Begin S seconds into the input.")
@click.option("--end", type=Number(min=0), metavar="S", help="End S seconds into the input.")
@click.option(
    "--rate",
    type=Number(MIN_RATE, MAX_RATE),
    metavar="FPS",
    help="Frames per second of images and raw streams.  [default: as they say, or 25]",
)
@reading_options
@click.option(
    "--skip-existing", is_flag=True, help="Leave inputs whose outputs are all there and whole."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where a run with the same settings was killed; the result is the same.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut videos into chunks, and segment them in N processes; -o names a folder. "
    "The same command goes on where one was broken off.",
)
@click.option(
    "--cluster",
    metavar="auto|ray://HOST:PORT",
    help="Do that on the machines of a Ray cluster ('auto': the one this machine is of).",
)
@click.option(
    "--cores-per-worker",
    type=THREADS,
    metavar="N",
    help="CPU threads of each worker.  [default: its share of this machine, 2 in a cluster]",
)
@click.option(
    "--chunk-seconds",
    type=Number(min=1),
    metavar="S",
    help="Length of chunks; each begins with a keyframe.  [default: 30]",
)
@click.option(
    "--json-progress", is_flag=True, help="Tell the progress of chunks in lines of JSON on stdout."
)
def segment(
    inputs: tuple[str, ...],
    output: str | None,
    no_video: bool,
    masks: str | None,
    timing: str | None,
    stats: str | None,
    skip_existing: bool,
    resume: bool,
    **values: Any,
) -> int:
    """Segment INPUTs and write them as videos with their classes in colour.

    INPUT is a video file, a folder or quoted glob of images, a URL, or - for standard input.
    Ctrl-C finishes the file with what was done, but leaves that of an earlier run as it was: then
    --resume goes on from the last checkpoint, of which there is one about every 100 frames, but
    none of a GIF or WebP.

    With --workers or --cluster INPUT is a video file, a folder or quoted glob of videos, or a URL
    that fsspec knows, such as s3://.
    """
    for what, named in (("input", inputs), ("output", (output, masks, timing, stats))):
        if "" in named:
            raise UsageError(f"an {what} is empty text (an unset shell variable?): name a file")
    values = with_preset(values, PRESETS, "balanced")
    settings = segmenter_settings(values)
    if values["masks_format"] and not masks:
        raise UsageError("--masks-format is for --masks: give that, too")
    values["masks_format"] = values["masks_format"] or "png"
    if stats:
        settings = replace(settings, margins=True)
    elif values["zones"] and not values["summary"]:
        raise UsageError("--zones are for --stats or --summary: give one of them, too")
    many = ManyOptions(**{field.name: values.pop(field.name) for field in fields(ManyOptions)})
    stored = {
        **{name: value for name, value in values.items() if name != "summary"},
        "video": not no_video,
        "masks": masks is not None,
        "timing": timing is not None,
        "stats": stats is not None,
        "zones": values["zones"] and str(values["zones"]),
        "timeout": Limits(**reading_limits(values)).timeout_s,
        "allow": [redact(each) for each in values["allow"]],
        "size": settings.size and settings.size[::-1],  # width first, as it was written
        "version": __version__,
    }
    if many != ManyOptions():
        if skip_existing or resume or values["summary"]:
            raise UsageError(
                "--workers and --cluster go on by themselves and print no shares: leave out "
                "--skip-existing, --resume and --summary"
            )
        from accel_rt.cli.many_run import run_many
        from accel_rt.scale.plan import Outputs

        wanted = Outputs(None if no_video else "wanted", masks, timing, stats)
        options = _options(values)
        return run_many(inputs, output, wanted, settings, values, options, many, stored)
    output = output and local_output(output)
    folder, times, shares = (
        Path(local_output(path)) if path else None for path in (masks, timing, stats)
    )
    files = [settings.map, settings.flow, settings.fusion_weights, *map(values.get, _FILES)]
    read = [Path(file) for file in files if file and os.path.isfile(file)]
    jobs = plan_jobs(inputs, output, folder, times, video=not no_video, stats=shares, read=read)
    from accel_rt.cli.segment_run import Choices, run_jobs

    options = _options(values)

    def policy() -> Any:
        from accel_rt.runtime.load import keyframe_policy

        return keyframe_policy(settings)

    def weights() -> list[str]:
        from accel_rt.runtime.load import weights_digests

        return weights_digests(settings)

    choices = Choices(
        load=lambda: load_chosen(settings, values, overlap=True),
        weights=weights,
        policy=policy,
        networks=_networks(settings),
        settings=stored,
        skip_existing=skip_existing,
        resume=resume,
    )
    return run_jobs(jobs, options, choices)


def _options(values: dict[str, Any]) -> SegmentOptions:
    """How the values of the command say to read, show and store."""
    from accel_rt.cli.segment_run import SegmentOptions

    display = from_values(FileDisplay, {**values, "classes": values["classes"] or None})
    limits = Limits(**reading_limits(values))
    chosen = {**values, "display": display, "limits": limits}
    return SegmentOptions(**{field.name: chosen[field.name] for field in fields(SegmentOptions)})


def _networks(settings: SegmenterSettings) -> str:
    """The networks that ``settings`` name, in words."""
    from accel_rt.runtime.load import own_part

    if settings.mode != "accel" or not settings.schedule.updates:
        return settings.reference
    own = None
    with suppress(AccelError):  # told when the networks are loaded
        own = settings.update == DEFAULT_UPDATE and own_part(settings, "update")
    return settings.reference if own else f"{settings.reference} and {settings.update}"

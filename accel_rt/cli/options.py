"""Options that several commands share; their defaults and bounds are those of the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import click

from accel_rt.cli.fields import Size
from accel_rt.cli.text import say
from accel_rt.data.layouts import LAYOUTS
from accel_rt.runtime.settings import FLOWS, FUSIONS, MODES, PRECISIONS, WARPS, SegmenterSettings
from accel_rt.video.limits import MAX_PIXELS, TIMEOUT_S

_DEFAULTS = SegmenterSettings()

F = TypeVar("F", bound=Callable[..., Any])


def layout_option(help: str) -> Callable[[F], F]:
    """``--layout`` of a data set's folder."""
    return click.option(
        "--layout", type=click.Choice(LAYOUTS), default="auto", show_default=True, help=help
    )


class NameOrFile(click.Choice):
    """One of some names, or the path of a weight file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and value.endswith(".safetensors"):
            return value
        return super().convert(value, param, ctx)


_SEGMENTER_OPTIONS = (
    click.option(
        "--mode",
        type=click.Choice(MODES),
        default=_DEFAULTS.mode,
        show_default=True,
        help="accel: reference on keyframes, update in between; dff: warp only; copy: copy only; "
        "deeplab: reference on every frame.",
    ),
    click.option(
        "--reference",
        metavar="NAME|PATH",
        help=f"Network of the keyframes; see 'accel-rt models'.  [default: {_DEFAULTS.reference}]",
    ),
    click.option(
        "--update",
        metavar="NAME|PATH",
        default=_DEFAULTS.update,
        show_default=True,
        help="Network of the frames between them.",
    ),
    click.option(
        "--weights", metavar="NAME|PATH", help="Weights to use for the reference network."
    ),
    click.option(
        "--fusion",
        "fuse",
        type=click.Choice(FUSIONS),
        default=_DEFAULTS.fuse,
        show_default=True,
        help="What of both branches is joined: their scores, their features, or the mean score.",
    ),
    click.option(
        "--interval",
        type=int,
        metavar="N",
        default=_DEFAULTS.interval,
        show_default=True,
        help="A keyframe every N frames.",
    ),
    click.option(
        "--scene-cuts/--no-scene-cuts",
        default=_DEFAULTS.scene_cuts,
        show_default=True,
        help="Place a keyframe wherever the picture changes at once, too.",
    ),
    click.option(
        "--flow",
        type=NameOrFile(FLOWS),
        metavar=f"{'|'.join(FLOWS)}|FILE",
        default=_DEFAULTS.flow,
        show_default=True,
        help="Optical flow: dis (OpenCV, CPU), flownets (the paper's network, as installed), or "
        "FlowNetS from a weight file.",
    ),
    click.option(
        "--warp",
        type=click.Choice(WARPS),
        default=_DEFAULTS.warp,
        show_default=True,
        help="Warp the keyframe's features once by composed flow, or again for every frame.",
    ),
    click.option(
        "--update-scale",
        type=float,
        metavar="S",
        default=_DEFAULTS.update_scale,
        show_default=True,
        help="Linear size of the update network's input: 1, 0.5 or 0.25.",
    ),
    click.option(
        "--size",
        type=Size(),
        metavar="WxH",
        help="Processing size.  [default: the source's shape at the size the weights are for]",
    ),
    click.option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        default=_DEFAULTS.device,
        show_default=True,
        help="Where the networks run.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=_DEFAULTS.precision,
        show_default=True,
        help="auto: bf16 on CPUs that have it in hardware, fp16 on CUDA, else fp32.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="CPU threads of the networks.  [default: one for each core]",
    ),
)


_READING_OPTIONS = (
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        default=TIMEOUT_S,
        show_default=True,
        help="Give up on a URL or pipe that sends nothing for so many seconds.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        default=MAX_PIXELS,
        show_default=True,
        help="Refuse pictures of more pixels.",
    ),
    click.option(
        "--allow",
        multiple=True,
        metavar="PATH|URL",
        help="What a playlist or a script of cuts may name: a file, a folder, or all URLs that "
        "begin so; may be given again.  [default: the server that a playlist came from]",
    ),
)


def reading_options(command: F) -> F:
    """Add ``--timeout``, ``--max-pixels`` and ``--allow``, see accel_rt.video.limits."""
    for option in reversed(_READING_OPTIONS):
        command = option(command)
    return command


def segmenter_options(command: F) -> F:
    """Add the options that choose a segmenter; the command gets them as keyword arguments."""
    for option in reversed(_SEGMENTER_OPTIONS):
        command = option(command)
    return command


def segmenter_settings(choices: dict[str, Any]) -> SegmenterSettings:
    """Settings from the values of :func:`segmenter_options`.

    ``--weights`` says where the reference's weights come from; :func:`load_chosen` holds them
    against ``--reference`` where both are given.
    """
    same = {field.name for field in fields(SegmenterSettings)} & choices.keys() - {"reference"}
    settings = SegmenterSettings(**{name: choices[name] for name in same})
    reference = choices["weights"] or choices["reference"]
    return replace(settings, reference=reference) if reference else settings


def load_chosen(settings: SegmenterSettings, choices: dict[str, Any], **options: Any) -> Any:
    """The segmenter that ``settings`` and the values of :func:`segmenter_options` ask for.

    ``options`` go to :func:`accel_rt.runtime.load.load_segmenter`.

    Raises as :func:`accel_rt.runtime.load.load_segmenter`, and
    :class:`~accel_rt.errors.WeightsError` if ``--weights`` hold another network than
    ``--reference``.
    """
    import torch

    from accel_rt.errors import WeightsError
    from accel_rt.runtime.load import load_segmenter

    if choices["threads"]:
        torch.set_num_threads(choices["threads"])
    segmenter = load_segmenter(settings, **options)
    description = segmenter.describe()
    if "note" in description:
        say(f"note: {description['note']}")
    wanted, found = choices["reference"], description["reference"]
    if choices["weights"] and wanted and wanted != found:
        raise WeightsError(
            f"the weights '{choices['weights']}' do not fit: they are of {found}, and "
            f"--reference asks for {wanted}"
        )
    return segmenter

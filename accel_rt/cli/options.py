"""Options that several commands share; their defaults and bounds are those of the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from accel_rt.cli.fields import Number, field_options, from_values, threads_option
from accel_rt.cli.text import say
from accel_rt.data.layouts import LAYOUTS
from accel_rt.option import options
from accel_rt.palette import PALETTES
from accel_rt.runtime.schedule import PresetName, Schedule
from accel_rt.runtime.settings import DEFAULT_UPDATE, SegmenterSettings
from accel_rt.video.limits import MAX_PIXELS, STREAM_TIMEOUT_S, TIMEOUT_S

F = TypeVar("F", bound=Callable[..., Any])


def layout_option(help: str) -> Callable[[F], F]:
    """``--layout`` of a data set's folder."""
    return click.option(
        "--layout", type=click.Choice(LAYOUTS), default="auto", show_default=True, help=help
    )


_SEGMENTER_OPTIONS = (
    click.option(
        "--weights",
        metavar="NAME|PATH",
        help="Weights to use for the reference network; a run's folder gives the update's, too.",
    ),
    threads_option("CPU threads of the networks.  [default: one for each core]"),
)


palette_option = click.option(
    "--palette",
    metavar="|".join((*PALETTES, "FILE")),
    help="Colours of the classes, or a JSON file of them by name.  [default: clear where it "
    "knows every class, else the weights' own]",
)

_READING_OPTIONS = (
    click.option(
        "--timeout",
        type=Number(min=0, min_open=True),
        metavar="S",
        help="Give up on a URL or pipe that sends nothing for so many seconds.  [default: "
        f"{TIMEOUT_S:g}; live streams {STREAM_TIMEOUT_S:g}]",
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
    """Add ``--timeout``, ``--max-pixels`` and ``--allow``; :func:`reading_limits` takes them."""
    for option in reversed(_READING_OPTIONS):
        command = option(command)
    return command


def reading_limits(values: dict[str, Any]) -> dict[str, Any]:
    """What :func:`reading_options` gave, by the names of :class:`~accel_rt.video.limits.Limits`."""
    limits = {name: values[name] for name in ("max_pixels", "allow")}
    return limits if values["timeout"] is None else {**limits, "timeout_s": values["timeout"]}


def preset_option(schedules: dict[PresetName, Schedule], default: PresetName | None) -> Any:
    """``--preset`` with a command's ``schedules``; ``default`` holds if none of them is named."""
    told = "; ".join(f"{name}: {schedule.describe()}" for name, schedule in schedules.items())
    return click.option(
        "--preset",
        type=click.Choice(list(schedules)),
        help=f"How often which network runs. {told}. Single options, such as --interval, go before "
        f"it, and without it begin at the paper's schedule."
        + (f"  [default: {default}, if none of them is given]" if default else ""),
    )


_SCHEDULE = ("mode", *(field.name for field in fields(Schedule)))


def with_preset(
    values: dict[str, Any], schedules: dict[PresetName, Schedule], default: PresetName | None
) -> dict[str, Any]:
    """The values of a command, those of its preset in the place of options that were not given."""
    context = click.get_current_context()
    given = {
        name
        for name in _SCHEDULE
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    preset = values["preset"] or (None if given else default)
    if preset is None:
        return values
    chosen = {name: value for name, value in vars(schedules[preset]).items() if name not in given}
    return {**values, **chosen}


def segmenter_options(command: F, without: Sequence[str] = ()) -> F:
    """Add the options that choose a segmenter; the command gets them as keyword arguments.

    ``without`` names fields that the command has options of its own for.
    """
    for option in reversed(_SEGMENTER_OPTIONS):
        command = option(command)
    names = (field.name for field, _ in options(SegmenterSettings))
    return field_options(SegmenterSettings, *(n for n in names if n not in without))(command)


def segmenter_settings(choices: dict[str, Any]) -> SegmenterSettings:
    """Settings from the values of :func:`segmenter_options`.

    ``--weights`` says where the reference's weights come from; :func:`load_chosen` holds them
    against ``--reference`` where both are given. A folder's are both networks', but for an
    ``--update`` of the user's own.
    """
    chosen = dict(choices)
    if weights := choices["weights"]:
        chosen["reference"] = weights
        if os.path.isdir(weights) and chosen["update"] == DEFAULT_UPDATE:
            chosen["update"] = weights
    return from_values(SegmenterSettings, chosen)


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

"""Options that the evaluation's commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accel_rt import threads
from accel_rt.cli.fields import Number
from accel_rt.cli.options import layout_option

if TYPE_CHECKING:
    from accel_rt.evaluate.footage import Footage
    from accel_rt.evaluate.results import DatasetInfo

F = TypeVar("F", bound=Callable[..., Any])

# Named here because their module is slow to import; a test holds them together.
DENSITIES = ("auto", "dense", "sparse")

_OPTIONS = (
    click.option("--split", default="val", show_default=True, help="Part of the data set."),
    layout_option("How the folder is laid out."),
    click.option(
        "--protocol",
        "density",
        type=click.Choice(DENSITIES),
        default="auto",
        show_default=True,
        help="sparse: the keyframe's distance rotates over the labelled frames, as in the paper; "
        "dense: every frame at every distance; auto: dense if half of the frames are labelled.",
    ),
    click.option(
        "--rate",
        type=Number(min=0, min_open=True),
        metavar="FPS",
        help="Frames per second of the video.  [default: the data set's, else 25]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes.  [default: one for each core; 1 on CUDA]",
    ),
    click.option("--no-timing", is_flag=True, help="Leave out time and memory."),
)


def footage_options(command: F) -> F:
    """Add the options that choose the footage and how it is worked through."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_dataset_info(data: str, values: dict[str, Any]) -> tuple[Footage, DatasetInfo]:
    """The footage that DATA and the options name, and its facts."""
    from accel_rt.evaluate.footage import open_footage
    from accel_rt.evaluate.results import DatasetInfo

    footage = open_footage(data, values["split"], values["layout"])
    density = footage.density() if values["density"] == "auto" else values["density"]
    return footage, DatasetInfo.of(footage, density, values["rate"])


def worker_count(workers: int | None, device: str) -> int:
    """How many processes: one on CUDA, else one for each core, unless told."""
    from accel_rt.device import resolve_device

    if workers is None:
        workers = threads.free_cores()
    return 1 if resolve_device(device).type == "cuda" else workers

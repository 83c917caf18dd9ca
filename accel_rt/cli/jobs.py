"""Which inputs become which files: everything about paths that can be settled before any work."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from accel_rt.errors import OutputError, UsageError
from accel_rt.video.location import STDIN, is_url, local_path, source_name

P = TypeVar("P", Path, str)

_ENDING = "_accel"


@dataclass(frozen=True)
class Job:
    """One input and the files made of it; None for those not wanted.

    ``source`` is what :func:`accel_rt.video.reader.open_source` takes, or a list of images.
    """

    source: str | list[Path]
    name: str
    video: Path | None
    masks: Path | None
    timing: Path | None
    stats: Path | None = None


def plan_jobs(
    inputs: Sequence[str],
    output: str | None,
    masks: Path | None,
    timing: Path | None,
    video: bool = True,
    stats: Path | None = None,
    read: Sequence[Path] = (),
) -> list[Job]:
    """Settle where everything goes, and make the folders that are needed.

    ``output`` names a video file, or a folder if it is one, ends in a slash or has to hold
    several videos; None puts ``NAME_accel.mp4`` beside each input, or a picture beside a
    lone picture. With several inputs ``masks``
    gets a folder, ``timing`` and ``stats`` a file for each. ``read`` are files that are read
    beside the inputs: none is written over.

    Raises :class:`~accel_rt.errors.UsageError` where names do not fit together and
    :class:`~accel_rt.errors.OutputError` where something cannot be written.
    """
    if output is not None and not video:
        raise UsageError("-o names the video that --no-video leaves out: give one of the two")
    sources = _sources(inputs)
    several = len(sources) > 1
    folder = _output_folder(output, several)
    jobs = []
    for source in sources:
        beside, name = _place(source)
        target = (folder or beside) / (name + _ENDING + _suffix(source))
        if output and folder is None:
            target = Path(output)
        jobs.append(
            Job(
                source=source,
                name=source if isinstance(source, str) else f"{len(source)} images of {name}",
                video=target if video else None,
                masks=masks / name if masks and several else masks,
                timing=_path_of_one(timing, name) if timing and several else timing,
                stats=_path_of_one(stats, name) if stats and several else stats,
            )
        )
    _check(jobs, folder, read)
    return jobs


def local_output(text: str) -> str:
    """The path of an output named ``text``, a path or a ``file://`` URL; a last slash stays.

    Raises :class:`~accel_rt.errors.UsageError` for other URLs.
    """
    if is_url(text):
        raise UsageError(
            f"'{text}' is a URL, where outputs go with --workers or --cluster alone: add one of "
            "these, or name a path"
        )
    path = local_path(text)
    return os.path.join(path, "") if text.endswith("/") else str(path)


def _sources(inputs: Sequence[str]) -> list[str | list[Path]]:
    """The inputs; several images are one sequence in natural order.

    A shell that expands a pattern puts ``img10.png`` before ``img2.png``.
    """
    from accel_rt.video.images import image_files, is_image

    paths = [Path(text) for text in inputs if not is_url(text)]
    all_images = all(is_image(path) and os.path.isfile(path) for path in paths)
    images = image_files(paths)
    if len(paths) == len(inputs) > 1 and all_images and images:
        return [images]
    return list(inputs)


def _output_folder(output: str | None, several: bool) -> Path | None:
    if output is None:
        return None
    path = Path(output)
    if os.path.isdir(path) or output.endswith("/"):
        return path
    if several and (os.path.exists(path) or path.suffix):
        raise UsageError(f"several inputs need a folder, got -o '{output}': give -o FOLDER/")
    return path if several else None


def _place(source: str | list[Path]) -> tuple[Path, str]:
    """The folder beside an input, and the name its outputs are derived from."""
    if isinstance(source, list):
        folder = source[0].resolve().parent
        return folder.parent, folder.name
    path = local_path(source)
    if is_url(source):
        name = source_name(source)
        return Path(), name if name == urlsplit(source).hostname else Path(name).stem
    if source == STDIN or path.is_relative_to("/dev") or path.is_relative_to("/proc"):
        return Path(), "stdin" if source == STDIN else f"pipe{path.name}"
    if os.path.isdir(path):
        return path.resolve().parent, path.resolve().name
    if not os.path.exists(path) and glob.has_magic(source):
        folder = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        return folder.resolve().parent, folder.resolve().name
    return path.parent, path.stem


def _suffix(source: str | list[Path]) -> str:
    """What is made of ``source``: a video, or a picture of a lone picture, of the same kind."""
    from accel_rt.video.images import is_image
    from accel_rt.video.picture_file import frames_in, is_picture

    if isinstance(source, list) or is_url(source):
        return ".mp4"
    path = local_path(source)
    if not is_image(path) or not os.path.isfile(path) or (frames_in(path) or 1) > 1:
        return ".mp4"
    return path.suffix.lower() if is_picture(path) else ".png"


def _path_of_one(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}_{name}{path.suffix}")


def _several(source: str | list[Path]) -> str:
    """What an input is that certainly has several pictures; nothing for what may have one."""
    from accel_rt.video.images import image_files, is_image
    from accel_rt.video.picture_file import frames_in

    if isinstance(source, str) and not is_url(source) and os.path.isfile(local_path(source)):
        path = local_path(source)
        if not is_image(path):
            return "is a video"
        return "has several" if (frames_in(path) or 1) > 1 else ""
    return "are several" if len(image_files(files_of(source))) > 1 else ""


def _is_still(path: Path) -> bool:
    from accel_rt.video.picture_file import is_picture
    from accel_rt.video.picture_writer import ANIMATED

    return is_picture(path) and path.suffix.lower() not in ANIMATED


def _check(jobs: Sequence[Job], folder: Path | None, read: Sequence[Path]) -> None:
    from accel_rt.video.output import check_output_path
    from accel_rt.video.picture_writer import ANIMATED
    from accel_rt.video.stats_log import check_stats_suffix
    from accel_rt.video.timing import check_suffix

    owners: dict[Path, str] = {}
    for job in jobs:
        check_owner(owners, job.name, (job.video, job.masks, job.timing, job.stats))
    for job in jobs:
        if job.video and _is_still(job.video) and (what := _several(job.source)):
            raise UsageError(
                f"'{job.video}' holds one picture and '{job.name}' {what}: name a video, or a "
                f"file that ends in {' or '.join(ANIMATED)}"
            )
        if job.timing:
            check_suffix(job.timing)
        if job.stats:
            check_stats_suffix(job.stats)
        _check_masks(job)
    inputs = [path for job in jobs for path in files_of(job.source)]
    files = [
        file for job in jobs for file in (job.video, job.timing, job.stats) if file is not None
    ]
    for file in files:
        if any(os.path.exists(file) and file.samefile(other) for other in read):
            raise UsageError(f"the output '{file}' is a file that this run reads: name another one")
        if file.parent != folder:
            check_output_path(file, inputs)
    for made in (folder, *(job.masks for job in jobs)):  # last: a refusal leaves no folder
        if made is not None:
            make_folder(made)
    for file in files:
        check_output_path(file, inputs)


def check_owner(owners: dict[P, str], name: str, outputs: Iterable[P | None]) -> None:
    """Note in ``owners`` that ``outputs``, None for what is not wanted, are of the input ``name``.

    Raises :class:`~accel_rt.errors.UsageError` where two would be written to one place.
    """
    wanted = [output for output in outputs if output is not None]
    for output in wanted:
        if wanted.count(output) > 1:
            raise UsageError(f"two outputs would be written to '{output}': name two files")
        if output in owners:
            raise UsageError(
                f"'{owners[output]}' and '{name}' would both be written to '{output}': "
                "run them one by one, and name other outputs for each"
            )
        owners[output] = name


def _check_masks(job: Job) -> None:
    """Masks among the pictures that they are of would be taken for pictures the next time."""
    if job.masks is None or not os.path.isdir(job.masks):
        return
    from accel_rt.video.images import is_image

    # A video may have its masks beside it.
    folders = {file.parent for file in files_of(job.source) if is_image(file)}
    if any(job.masks.samefile(folder) for folder in folders):
        raise UsageError(
            f"'{job.masks}' is the folder of the input's pictures: name another one with --masks"
        )


def files_of(source: str | list[Path]) -> list[Path]:
    """The files of an input; none for a URL."""
    if isinstance(source, list):
        return source
    path = local_path(source)
    if is_url(source):
        return []
    if os.path.isdir(path):
        with suppress(PermissionError):  # who reads it says so
            return list(path.iterdir())
        return []
    if not os.path.exists(path) and glob.has_magic(source):
        return [Path(match) for match in glob.glob(str(path), recursive=True)]
    return [path]


def make_folder(path: Path) -> None:
    """Make a folder for outputs; raises :class:`UsageError` and :class:`OutputError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"'{path}' is a file: name a folder") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot make the folder '{path}': {reason}") from error

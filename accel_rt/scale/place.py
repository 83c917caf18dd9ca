"""Where inputs, chunks and outputs are: folders that all workers see, or URLs of fsspec."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from accel_rt.errors import AccelError, InputError, OutputError, UsageError
from accel_rt.files import UNFINISHED, new_token, why_unwritable
from accel_rt.scale.plan import digest
from accel_rt.video.images import is_hidden
from accel_rt.video.location import is_url, local_path, not_there, source_name
from accel_rt.video.masks import CLASSES_FILE, video_masks

_KINDS = "mp4 m4v mov mkv webm avi ts mts m2ts mpg mpeg wmv flv ogv 3gp"
VIDEO_SUFFIXES = tuple(f".{kind}" for kind in _KINDS.split(" "))
"""What is taken for a video in a folder."""

REPORT = "chunk.json"
_TOLD = ("size", "ETag", "Last-Modified")  # by HTTP, where a URL's key is of its address alone
_SPARE = 1  # inputs that a machine keeps copies of, beyond one for each core


def remote(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises :class:`UsageError` where a package for it is missing.
    """
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"'{url}' cannot be opened ({error}): pip install 'accel-rt[cluster]', and the package "
            "of fsspec for this kind of URL"
        ) from error


@contextmanager
def remote_errors(url: str, kind: type[AccelError]) -> Iterator[None]:
    """Turn whatever a file system of fsspec raises into a ``kind``."""
    try:
        yield
    except AccelError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise kind(f"'{url}' cannot be reached ({type(error).__name__}: {text})") from error


def absolute(place: str) -> str:
    """A path or URL for processes in any folder, such as those of a cluster."""
    return place if is_url(place) else str(local_path(place).absolute())


def expand(inputs: list[str], leave_out: str = "") -> list[tuple[str, str]]:
    """The videos that ``inputs`` name, each with its name below the outputs' folder, no suffix.

    A folder gives all videos in it, at any depth and behind links, a pattern those that it matches;
    what is in the folder ``leave_out`` is none. Paths are absolute. Raises :class:`InputError` for
    what is not there, has no video or cannot be looked through, and :class:`UsageError` for videos
    that would have their outputs among them.
    """
    found: dict[str, str] = {}
    for text in inputs:
        videos = _remote_videos if is_url(text) else _local_videos
        paths = videos(text, leave_out if is_url(text) == is_url(leave_out) else "")
        if not paths:
            raise InputError(
                f"'{text}' holds no video (looked for {', '.join(VIDEO_SUFFIXES)}): folders of "
                "images are segmented without --workers and --cluster"
            )
        found.update(paths)
    return list(found.items())


def _local_videos(text: str, leave_out: str) -> dict[str, str]:
    path = local_path(text)
    if os.path.isdir(path):
        base, paths = path, _visible_files(path)
    elif os.path.exists(path):
        return {absolute(text): path.stem}
    elif glob.has_magic(text):
        base = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        paths = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    else:
        raise not_there(text)
    outputs = Path(leave_out).resolve() if leave_out else None
    if outputs == base.resolve():
        raise _outputs_among_inputs(leave_out)
    return {
        str(each.absolute()): str(each.relative_to(base).with_suffix(""))
        for each in paths
        if each.suffix.lower() in VIDEO_SUFFIXES
        and os.path.isfile(each)
        and not any(part.startswith(".") for part in each.relative_to(base).parts)
        and (outputs is None or outputs not in each.resolve().parents)
    }


def _visible_files(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """All files in ``folder``, at any depth, but for hidden ones.

    A link to one of the folders ``above`` would lead round in a circle, and is left out.
    """
    try:
        above = (*above, folder.resolve())
        found: list[Path] = []
        for each in sorted(folder.iterdir()):
            if is_hidden(each):
                continue
            if not each.is_dir():
                found.append(each)
            elif each.resolve() not in above:
                found += _visible_files(each, above)
        return found
    except OSError as error:
        raise InputError(
            f"'{error.filename or folder}' cannot be looked through "
            f"({(error.strerror or str(error)).lower()}): check its permissions"
        ) from error


def _outputs_among_inputs(folder: str) -> UsageError:
    return UsageError(
        f"'{folder}' is the folder of the inputs, and outputs in it would be taken for inputs the "
        "next time: name another one with -o"
    )


def _remote_videos(url: str, leave_out: str) -> dict[str, str]:
    system, path = remote(url)
    outputs = remote(leave_out)[1].rstrip("/") if leave_out else None
    with remote_errors(url, InputError):
        name = Path(source_name(url))
        if name.suffix.lower() in VIDEO_SUFFIXES and system.isfile(path):
            return {url: name.stem}
        if system.isdir(path):
            base, paths = path, system.find(path)
        elif system.exists(path):
            return {url: name.stem}
        elif glob.has_magic(path):
            base = next(str(p) for p in Path(path).parents if not glob.has_magic(str(p)))
            paths = system.glob(path)
        else:
            raise InputError(f"there is nothing at '{url}': check the URL")
        if outputs == base.rstrip("/"):
            raise _outputs_among_inputs(leave_out)
        videos = [
            each
            for each in sorted(paths)
            if each.lower().endswith(VIDEO_SUFFIXES)
            and (outputs is None or not each.startswith(f"{outputs}/"))
        ]
        return {
            system.unstrip_protocol(each): os.path.splitext(os.path.relpath(each, base))[0]
            for each in videos
        }


def identity(source: str) -> list[Any]:
    """What tells an input, as it is now, from others; changes when it is written."""
    if is_url(source):
        system, path = remote(source)
        with remote_errors(source, InputError):
            told = system.info(path)
            return [source, str(system.ukey(path)), *(str(told.get(name)) for name in _TOLD)]
    try:
        status = os.stat(local_path(source))
    except OSError as error:
        raise InputError(f"there is no file '{source}' any more: check the path") from error
    return [local_path(source).name, status.st_size, status.st_mtime_ns]


def is_there(output: str) -> bool:
    """Whether there is anything at ``output``."""
    if not is_url(output):
        return os.path.exists(output)
    system, path = remote(output)
    with remote_errors(output, OutputError):
        return bool(system.exists(path))


def input_file(source: str) -> Path:
    """A file of this machine with what is at ``source``, a path or URL.

    A URL is read once for all workers that share a folder for temporary files, where some copies
    are kept.
    """
    if not is_url(source):
        return local_path(source)
    system, path = remote(source)
    folder = Path(tempfile.gettempdir(), f"accel-rt-inputs-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    copy = folder / (digest(identity(source)) + Path(source_name(source)).suffix)
    with copy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            unfinished = copy.with_suffix(UNFINISHED)
            with remote_errors(source, InputError):
                system.get_file(path, str(unfinished))
            unfinished.replace(copy)
        os.utime(copy)
    _prune(folder, (os.cpu_count() or 1) + _SPARE)
    return copy


def _prune(folder: Path, most: int) -> None:
    """Leave the ``most`` copies that were used last; others do so at the same time."""
    used = []
    for each in folder.iterdir():
        with suppress(FileNotFoundError):
            if each.suffix not in (".lock", UNFINISHED):
                used.append((each.stat().st_mtime, each))
    for _, each in sorted(used, reverse=True)[most:]:
        each.unlink(missing_ok=True)


def deliver(made: Path, output: str) -> None:
    """Put the file ``made``, or the masks in that folder, where ``output`` says, a URL.

    Masks of an earlier video that is there are removed.
    """
    system, path = remote(output)
    with remote_errors(output, OutputError):
        if made.is_dir():
            names = sorted(each.name for each in made.iterdir())
            replaced = _masks_at(system, path).difference(names)
            system.makedirs(path, exist_ok=True)
            system.put([str(made / name) for name in names], [f"{path}/{name}" for name in names])
            for name in sorted(replaced):
                with suppress(FileNotFoundError):
                    system.rm_file(f"{path}/{name}")
            return
        system.makedirs(os.path.dirname(path), exist_ok=True)
        unfinished = f"{path}.{new_token()}{UNFINISHED}"
        system.put_file(str(made), unfinished)
        system.mv(unfinished, path)


def _masks_at(system: Any, path: str) -> set[str]:
    """The files of the masks that an earlier run left of a video, with what tells of them."""
    with tempfile.TemporaryDirectory(prefix="accel-rt-") as folder:
        with suppress(FileNotFoundError):
            system.get_file(f"{path}/{CLASSES_FILE}", f"{folder}/{CLASSES_FILE}")
        masks = video_masks(Path(folder))
        return {*masks, CLASSES_FILE} if masks else set()


class Chunks:
    """The chunks that are done: a folder for each in ``root``, a path or URL.

    A folder that has its name is whole.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._url = is_url(root)

    def names(self) -> set[str]:
        """The chunks that are there."""
        if self._url:
            system, path = remote(self.root)
            with remote_errors(self.root, OutputError):
                return {each.split("/")[-2] for each in system.glob(f"{path}/*/{REPORT}")}
        if not os.path.isdir(self.root):
            return set()
        return {name for name in os.listdir(self.root) if not name.endswith(UNFINISHED)}

    def remove_unfinished(self) -> None:
        """Remove what workers left that were killed; none may be at work."""
        for path in () if self._url else Path(self.root).glob(f"*{UNFINISHED}"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """An empty folder that becomes the chunk ``name`` when the block ends."""
        with _folder(None if self._url else Path(self.root), name) as folder:
            yield folder
            if self._url:
                self._upload(folder, name)
                return
            with _writing(folder):
                for path in (*folder.rglob("*"), folder):
                    _flush(path)
                try:
                    folder.rename(Path(self.root, name))
                except OSError:
                    if not os.path.exists(Path(self.root, name)):  # else another one was first
                        raise
                _flush(Path(self.root))

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """A folder of this machine with what is in the chunk ``name``."""
        if not self._url:
            yield Path(self.root, name)
            return
        system, path = remote(f"{self.root}/{name}")
        with _folder(None, name) as folder:
            with remote_errors(self.root, InputError):
                files = [os.path.relpath(each, path) for each in system.find(path)]
                for each in files:
                    (folder / each).parent.mkdir(parents=True, exist_ok=True)
                there = [f"{path}/{each}" for each in files]
                system.get(there, [str(folder / each) for each in files])
            yield folder

    def report(self, name: str) -> dict[str, Any] | None:
        """What stands in the report of a chunk; None if it is not there."""
        try:
            if self._url:
                system, path = remote(f"{self.root}/{name}/{REPORT}")
                with remote_errors(self.root, OutputError):
                    return json.loads(system.cat_file(path)) if system.exists(path) else None
            return json.loads(Path(self.root, name, REPORT).read_bytes())
        except FileNotFoundError:
            return None

    def remove(self, names: list[str]) -> None:
        """Remove chunks that are not needed any more."""
        for name in names:
            if self._url:
                system, path = remote(f"{self.root}/{name}")
                with suppress(Exception):
                    system.rm_file(f"{path}/{REPORT}")  # first: what is left is no chunk
                    system.rm(path, recursive=True)
                continue
            folder = Path(self.root, name)
            unfinished = folder.with_name(f"{name}.{new_token()}{UNFINISHED}")
            with suppress(OSError):
                folder.rename(unfinished)
                shutil.rmtree(unfinished, ignore_errors=True)

    def _upload(self, folder: Path, name: str) -> None:
        system, path = remote(f"{self.root}/{name}")
        files = sorted(
            str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()
        )
        files.remove(REPORT)
        with remote_errors(self.root, OutputError):
            there = [f"{path}/{each}" for each in files]
            for parent in {os.path.dirname(each) for each in there} | {path}:
                system.makedirs(parent, exist_ok=True)
            system.put([str(folder / each) for each in files], there)
            system.put_file(str(folder / REPORT), f"{path}/{REPORT}")  # last: now it is whole


class Lines:
    """A file of lines in ``folder``, a path or URL, that is added to.

    A URL gets a further object a second or so; :meth:`flush` writes what is left.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._url = folder, is_url(folder)
        self._waiting: list[str] = []
        if not self._url:
            with _writing(Path(folder)):
                self._file = open(f"{folder}/manifest.jsonl", "a+b", buffering=0)  # noqa: SIM115

    def read(self) -> list[bytes]:
        """All lines that are there."""
        if not self._url:
            self._file.seek(0)
            text = self._file.read()
            if text and not text.endswith(b"\n"):  # cut off when a run was killed
                self._file.write(b"\n")
            return text.splitlines()
        system, path = remote(self._folder)
        with remote_errors(self._folder, OutputError):
            names = sorted(system.glob(f"{path}/manifest.*.jsonl"))
            return [line for name in names for line in system.cat_file(name).splitlines()]

    def write(self, line: str) -> None:
        """Add a line."""
        if self._url:
            self._waiting.append(line)
            return
        with _writing(Path(self._file.name)):
            self._file.write(line.encode() + b"\n")
            os.fsync(self._file.fileno())

    def flush(self) -> None:
        """Have all lines written."""
        if self._waiting:
            system, path = remote(self._folder)
            with remote_errors(self._folder, OutputError):
                text = "\n".join(self._waiting).encode() + b"\n"
                system.makedirs(path, exist_ok=True)
                system.pipe_file(f"{path}/manifest.{time.time_ns():020d}.{new_token()}.jsonl", text)
            self._waiting = []


@contextmanager
def _folder(beside: Path | None, name: str) -> Iterator[Path]:
    """A new folder, removed at the end unless it has another name by then."""
    with _writing(beside or Path(tempfile.gettempdir())):
        if beside is None:
            folder = Path(tempfile.mkdtemp(prefix="accel-rt-"))
        else:
            folder = beside / f"{name}.{new_token()}{UNFINISHED}"
            folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(why_unwritable(path, error)) from error


def _flush(path: Path) -> None:
    """Have a file or folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

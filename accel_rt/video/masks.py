"""Label maps to files: indexed PNG, NumPy archives, or one file for an annotation tool."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.errors import OutputError, UsageError
from accel_rt.files import link_or_copy, new_token, replacing, unfinished_path, write_whole
from accel_rt.video.annotations import (
    FILES,
    class_annotations,
    count_frames,
    is_written_here,
    write_annotations,
)
from accel_rt.video.output import LineFile, output_errors

CLASSES_FILE, COCO_FILE = "classes.json", FILES["rle"]
_FRAMES_FILE = "frames.jsonl"
_SUFFIXES = (".png", ".npz")
_PNG_COMPRESSION = 4  # label maps are nearly as small as at 9, in a third of the time


class MaskWriter:
    """Writes uint8 label maps ``[H, W]`` to ``directory``, which is made if it is missing.

    * ``png``: ``frame_000000.png``, indexed, with the class colours as its palette;
    * ``npz``: ``frame_000000.npz``, compressed, the labels as ``labels``;
    * ``rle``: one ``masks.json`` as COCO lays it out: ``categories`` (``id`` is the label),
      ``annotations`` (one per class and frame, with compressed run lengths, ``area`` and
      ``bbox``) and ``images`` (``id`` is the frame's index). Labels without a class are left out;
    * ``coco``: the same as ``instances_default.json``, with categories from 1 on, as tools such as
      CVAT and datumaro need them;
    * ``cvat``: one ``annotations.xml`` as 'CVAT for images' has it, and ``label-studio`` one
      ``label_studio.json`` of tasks with predictions, likewise.

    Beside PNG and NPZ files ``classes.json`` says what each label means and which files are masks.
    Until :meth:`close` all of them are in ``unfinished``, a folder inside ``directory``, each
    complete once it is written (run-length masks as a line of JSON per frame). Then those of a
    video, whose names are numbers, take the place of an earlier video's; masks that are called
    after pictures stay beside others. ``keep`` takes up such a folder after its first ``keep``
    frames.

    Raises :class:`UsageError` for an unknown format, for masks that would overwrite files that
    are no masks, and beside those of pictures for others than their classes; :class:`OutputError`
    if something cannot be written.
    """

    def __init__(
        self,
        directory: Path | str,
        fmt: str,
        class_set: ClassSet,
        token: str | None = None,
        keep: int | None = None,
    ) -> None:
        formats: dict[str, Callable[[str, int, np.ndarray], None]] = {
            "png": self._write_png,
            "npz": self._write_npz,
            **dict.fromkeys(FILES, self._write_runs),
        }
        if fmt not in formats:
            raise UsageError(f"unknown mask format '{fmt}': choose from {', '.join(formats)}")
        self._write, self._format = formats[fmt], fmt
        self._directory = Path(directory)
        self._class_set = class_set
        self._palette_rgb = class_set.palette_bgr()[:, ::-1].tobytes()
        self._earlier = _recorded(self._directory)
        self._of_videos = video_masks(self._directory)
        self._numbered = True
        self._names: set[str] = set()
        check_folder(self._directory, fmt)
        if fmt not in FILES and self._stays:
            self._check_classes()
        self._frames: LineFile | None = None
        self._open = True
        self._token = token or new_token()
        self.unfinished = unfinished_folder(self._directory, self._token)
        self._skipped: set[str] | None = None
        with output_errors(self._directory):
            self._made = not self._directory.exists()
            if keep is None:
                self.unfinished.mkdir(parents=True)
            elif not self.unfinished.is_dir():
                raise OutputError(
                    f"'{self.unfinished}' with the first {keep} masks is gone: begin anew without "
                    f"--resume"
                )
        if fmt in FILES:
            self._frames = LineFile(self.unfinished / _FRAMES_FILE, keep)

    def write(self, index: int, labels: np.ndarray, image: str | None = None) -> None:
        """Write the label map of frame ``index``, uint8 ``[H, W]``.

        ``image`` is the name of the picture's own file, which its mask is called after.
        """
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise UsageError(f"labels must be uint8 [H, W], got {labels.dtype} {labels.shape}")
        if not self._open:
            raise UsageError("the masks are finished: no frame can be added")
        self._prune()
        self._write(self._name(index, image), index, labels)

    def take(self, folder: Path, frames: int, first: int) -> None:
        """Add the masks of ``frames`` frames, which another writer left in ``folder``.

        Its frame 0 is frame ``first`` here. What lies there stays there.
        """
        with output_errors(self._directory):
            if self._frames is not None:
                for frame in stored_frames(folder):
                    index = frame["image"]["id"] + first
                    frame["image"] |= {"id": index, "file_name": self._name(index, None)}
                    for annotation in frame["annotations"]:
                        annotation["image_id"] = index
                    self._frames.write(json.dumps(frame))
                return
            for index in range(frames):
                name, target = self._name(index, None), self._name(first + index, None)
                link_or_copy(folder / name, self.unfinished / target)

    def skip(self, index: int, image: str | None = None) -> None:
        """Pass over a frame whose mask is there already, after ``keep``."""
        if self._skipped is None:
            self._skipped = set()
        self._skipped.add(self._name(index, image))

    def _name(self, index: int, image: str | None) -> str:
        """The name of a frame's mask, or of its picture where one file has them all."""
        suffix = f".{self._format}"
        if self._format in FILES:
            suffix = ".png" if image is None else Path(image).suffix
        name = _mask_name(index, image, suffix, self._names)
        if image is not None:  # the others are different anyway
            self._names.add(name)
            if self._numbered:
                self._numbered = False
                self._check_classes()
        if self._format not in FILES and name not in self._earlier:
            _check_free(self._directory / name)
        return name

    def close(self) -> None:
        """:meth:`complete` the masks and :meth:`commit` them; a second call does nothing."""
        if self._open:
            self.complete()
            self.commit()

    def complete(self) -> None:
        """Write the one file, or ``classes.json``, under an unfinished name."""
        self._prune()
        if self._frames is not None:
            self._frames.close()
            with replacing(self.unfinished / FILES[self._format]) as file:
                frames = partial(stored_frames, self.unfinished)
                write_annotations(self._format, file, self._class_set, frames)
            return
        with output_errors(self._directory):
            new = {path.name for path in self.unfinished.iterdir() if path.suffix in _SUFFIXES}
        of_videos = new if self._numbered else self._of_videos - new
        content = self._classes(new | self._stays, of_videos)
        write_whole(self.unfinished / CLASSES_FILE, content)

    def commit(self) -> None:
        """Put the completed masks in their place."""
        self._open = False
        commit_masks(self._directory, self._token)

    def abandon(self) -> None:
        """Remove what was written; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        if self._frames is not None:
            self._frames.close()
        shutil.rmtree(self.unfinished, ignore_errors=True)
        if self._made:
            with suppress(OSError):
                self._directory.rmdir()

    def leave(self) -> None:
        """Leave what is there as it is, to be taken up again."""
        self._open = False
        if self._frames is not None:
            self._frames.close()

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _prune(self) -> None:
        """Remove files of frames that come again, after those that were skipped."""
        if self._skipped is None or self._format in FILES:
            return
        with output_errors(self._directory):
            for path in self.unfinished.iterdir():
                if path.name not in self._skipped:
                    path.unlink()
        self._skipped = None

    @property
    def _stays(self) -> set[str]:
        """Masks of earlier runs that stay: all but those of a video beside those of another."""
        return self._earlier - self._of_videos if self._numbered else self._earlier

    def _classes(self, masks: set[str], of_videos: set[str]) -> str:
        """What the values of the files ``masks`` mean, as data sets of folders say it, too."""
        pairs = zip(self._class_set.names, self._class_set.colors_rgb, strict=True)
        classes = [{"name": name, "color": color} for name, color in pairs]
        told = {"classes": classes, "ignore": [IGNORE_LABEL], "masks": sorted(masks)}
        return json.dumps({**told, "numbered": sorted(of_videos)}, indent=1)

    def _check_classes(self) -> None:
        """Masks stay beside those of other pictures: their values must mean the same."""
        told = _stored(self._directory).get("classes", []) if self._earlier else []
        if told and [one["name"] for one in told] != list(self._class_set.names):
            raise UsageError(
                f"the folder '{self._directory}' holds masks of other classes: name another folder "
                f"with --masks"
            )

    def _write_png(self, name: str, index: int, labels: np.ndarray) -> None:
        image = Image.fromarray(labels)
        image.putpalette(self._palette_rgb)
        with self._whole_or_not(name) as path:
            image.save(path, "PNG", compress_level=_PNG_COMPRESSION)

    def _write_npz(self, name: str, index: int, labels: np.ndarray) -> None:
        with self._whole_or_not(name) as path:
            np.savez_compressed(path, labels=labels)

    @contextmanager
    def _whole_or_not(self, name: str) -> Iterator[Path]:
        path = self.unfinished / name
        with output_errors(self._directory):
            try:
                yield path
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def _write_runs(self, name: str, index: int, labels: np.ndarray) -> None:
        assert self._frames is not None
        height, width = labels.shape
        image = {"id": index, "file_name": name, "height": height, "width": width}
        annotations = [
            {"image_id": index, **annotation}
            for annotation in class_annotations(labels, len(self._class_set))
        ]
        self._frames.write(json.dumps({"image": image, "annotations": annotations}))


def check_folder(directory: Path, fmt: str) -> None:
    """Raise :class:`UsageError` where masks would take the place of somebody else's files."""
    if fmt in FILES:
        if not is_written_here(path := directory / FILES[fmt], fmt):
            _check_free(path)
    elif not _recorded(directory):
        _check_free(directory / CLASSES_FILE)


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError(
            f"the folder '{path.parent}' holds '{path.name}', which is no mask of an "
            f"earlier run: name another folder with --masks"
        )


def stored_frames(folder: Path) -> Iterator[dict[str, Any]]:
    """What a writer of run-length masks has noted of each frame in its unfinished ``folder``."""
    with (folder / _FRAMES_FILE).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def commit_masks(directory: Path, token: str) -> None:
    """Put completed masks in their place, which may be done again where it was broken off.

    Those of an earlier video are removed. Meanwhile ``classes.json`` names both.
    """
    folder = unfinished_folder(directory, token)
    if not folder.is_dir():
        return
    earlier, classes = _recorded(directory), directory / CLASSES_FILE
    with output_errors(directory):
        names = _recorded(folder)
        gone = earlier - names if names else video_masks(directory)
        if names and gone:
            content = json.loads((folder / CLASSES_FILE).read_bytes())
            both = sorted(names | earlier)
            write_whole(classes, json.dumps({**content, "masks": both}, indent=1))
        for name in sorted(names):
            with suppress(FileNotFoundError):
                (folder / name).replace(directory / name)
        for name in gone:
            (directory / name).unlink(missing_ok=True)
        if not names and gone:  # one file for all frames, beside masks of pictures perhaps
            if left := sorted(earlier - gone):
                told = {**_stored(directory), "masks": left, "numbered": []}
                write_whole(classes, json.dumps(told, indent=1))
            else:
                classes.unlink(missing_ok=True)
        for name in (CLASSES_FILE, *FILES.values()):
            with suppress(FileNotFoundError):
                (folder / name).replace(directory / name)
        shutil.rmtree(folder)


def remove_unfinished_masks(directory: Path, token: str) -> None:
    """Remove what an unfinished run left."""
    shutil.rmtree(unfinished_folder(directory, token), ignore_errors=True)


def unfinished_folder(directory: Path, token: str) -> Path:
    """Where the masks for ``directory`` are while they are being written."""
    return unfinished_path(directory / "masks", token)


def count_masks(directory: Path, fmt: str, pictures: Sequence[str] | None = None) -> int | None:
    """How many masks finished runs left in ``directory``; None if they are not all there.

    They are those of a video, or of ``pictures``, the names of one for each frame; those of others
    may lie beside them.
    """
    try:
        if fmt in FILES:
            return count_frames(directory / FILES[fmt], fmt)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    recorded, names = _recorded(directory), _names(directory, fmt, pictures)
    there = all(name.endswith(f".{fmt}") and (directory / name).is_file() for name in names)
    return len(names) if names and names <= recorded and there else None


def replaces_masks(directory: Path, fmt: str, pictures: Callable[[], Sequence[str] | None]) -> bool:
    """Whether masks of an earlier run in ``directory`` go when those of a video, or of
    ``pictures()``, come; that opens all of them and is asked where masks of an earlier run are."""
    if fmt in FILES:
        return (directory / FILES[fmt]).exists() or bool(video_masks(directory))
    recorded = _recorded(directory)
    return bool(recorded) and not recorded.isdisjoint(_names(directory, fmt, pictures()))


def video_masks(directory: Path) -> set[str]:
    """The masks of an earlier run in ``directory`` that are a video's: their names are numbers."""
    told = _stored(directory).get("numbered")
    if isinstance(told, list):
        return _recorded(directory).intersection(map(str, told))
    return _recorded(directory) if told else set()  # of earlier versions: all, or none


def _recorded(directory: Path) -> set[str]:
    """The mask files that ``classes.json`` of an earlier run names; none if there is no such."""
    try:
        names = _stored(directory)["masks"]
        return {name for name in names if Path(name).name == name and name.endswith(_SUFFIXES)}
    except (KeyError, TypeError):
        return set()


def _names(directory: Path, fmt: str, pictures: Sequence[str] | None) -> set[str]:
    """What the masks of ``pictures`` are called; None asks for those of a video that are there."""
    if pictures is None:
        return video_masks(directory)
    names: set[str] = set()
    for index, picture in enumerate(pictures):
        names.add(_mask_name(index, picture, f".{fmt}", names))
    return names


def _mask_name(index: int, image: str | None, suffix: str, taken: set[str]) -> str:
    """The name of the mask of frame ``index``, called after its picture's file ``image``."""
    stem = f"frame_{index:06d}" if image is None else Path(image).stem
    while stem + suffix in taken:
        stem += f"_{index:06d}"
    return stem + suffix


def _stored(directory: Path) -> dict[str, Any]:
    """What ``classes.json`` of an earlier run says; nothing if there is no such."""
    try:
        stored = json.loads((directory / CLASSES_FILE).read_bytes())
        return stored if isinstance(stored, dict) else {}
    except (OSError, ValueError):
        return {}

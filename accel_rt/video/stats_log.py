"""What each frame shows, as CSV or Parquet: shares of the classes in the picture and its zones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.files import new_token, remove_unfinished, replacing, unfinished_path
from accel_rt.video.output import LineFile, output_errors
from accel_rt.video.zones import Zones

_LEADING = ("frame", "pts_s", "zone", "margin")


class StatsLog:
    """A row for each frame and zone: ``frame``, ``pts_s``, ``zone``, mean ``margin``, each class.

    Classes are shares of the zone, 0 to 1; a cell without a value is empty. The column of a class
    that is called as one of the first four has ``class`` and a space before its name. Until
    :meth:`commit` the rows are in a CSV file with an unfinished name, each on disk once it is
    added; ``keep`` takes such a file up after its first ``keep`` frames. :attr:`means` are over
    these, too.

    ``path`` None keeps the means only. Raises :class:`UsageError` for another suffix,
    :class:`OutputError` if it cannot be written.
    """

    def __init__(
        self,
        path: Path | None,
        classes: ClassSet,
        zones: Zones,
        token: str | None = None,
        keep: int | None = None,
    ) -> None:
        self.path, self.frames = path, 0
        self._classes, self._zones = classes, zones
        self._sums = {name: np.zeros(len(classes)) for name in zones.names}
        self._seen = dict.fromkeys(zones.names, 0)
        self._token = token or new_token()
        self._open = True
        self._file: LineFile | None = None
        if path is not None:
            check_stats_suffix(path)
            lines = None if keep is None else 1 + keep * len(zones.names)
            self._file = LineFile(unfinished_path(path, self._token), lines)
            if keep is None:
                self._file.write(_line((*_LEADING, *map(_column, classes.names))))
            else:
                self._count(keep)

    def add(
        self, frame: int, pts: Fraction, labels: np.ndarray, margin: np.ndarray | None = None
    ) -> None:
        """Add a frame: ``labels`` uint8 ``[H, W]``, ``margin`` float32 ``[H, W]``."""
        self.frames += 1
        for zone, values in self._zones.measure(labels, len(self._classes), margin).items():
            self._add_to_means(zone, values[1:])
            if self._file:
                shown = ("" if value is None else f"{value:.6g}" for value in values)
                self._file.write(_line((str(frame), f"{float(pts):.6f}", zone, *shown)))

    def _count(self, frames: int) -> None:
        """Take the rows of the first ``frames`` frames into the means."""
        assert self._file is not None
        self.frames = frames
        with (
            output_errors(self._file.path),
            self._file.path.open(encoding="utf-8", newline="") as file,
        ):
            for row in islice(csv.reader(file), 1, None):
                self._add_to_means(row[2], [float(c) if c else None for c in row[len(_LEADING) :]])

    def _add_to_means(self, zone: str, shares: Sequence[float | None]) -> None:
        """Those of a frame; None where the zone has none of its pixels."""
        known = [share for share in shares if share is not None]
        if len(known) == len(shares):
            self._sums[zone] += np.array(known)
            self._seen[zone] += 1

    def take(self, rows: Path, frames: int, first: int) -> None:
        """Add the rows of ``frames`` frames that another log left unfinished in ``rows``.

        Its frame 0 is frame ``first`` here. :attr:`means` do not count them.
        """
        assert self._file is not None
        with output_errors(self._file.path), rows.open(newline="", encoding="utf-8") as file:
            for row in islice(csv.reader(file), 1, None):
                self._file.write(_line((str(int(row[0]) + first), *row[1:])))
        self.frames += frames

    @property
    def means(self) -> dict[str, dict[str, float] | None]:
        """For each zone each class's mean share, 0 to 1; None for one that no frame reaches."""
        return {
            zone: dict(zip(self._classes.names, (sums / self._seen[zone]).tolist(), strict=True))
            if self._seen[zone]
            else None
            for zone, sums in self._sums.items()
        }

    def complete(self) -> None:
        """Write what is missing, under an unfinished name."""
        if self.path is not None and self._file is not None:
            self._file.close()
            if self.path.suffix.lower() == ".parquet":
                _write_parquet(self._file.path, _whole(self.path, self._token))

    def commit(self) -> None:
        """Give the completed file its name."""
        self._open = False
        if self.path is not None:
            commit_stats(self.path, self._token)

    def abandon(self) -> None:
        """Remove an unfinished file."""
        if self._open:
            self.leave()
            if self.path is not None:
                remove_unfinished(self.path, self._token)

    def leave(self) -> None:
        """Close the file and leave it as it is, to be taken up again."""
        self._open = False
        if self._file is not None:
            self._file.close()


def check_stats_suffix(path: Path) -> None:
    """Raise :class:`UsageError` for another suffix, or for Parquet without pyarrow."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"a file of stats ends in .csv or .parquet, got '{path}'")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("Parquet is written by pyarrow: pip install 'accel-rt[stats]'")


def commit_stats(path: Path, token: str) -> None:
    """Give a completed file its name; does nothing once it has it."""
    rows = unfinished_path(path, token)
    with output_errors(path), suppress(FileNotFoundError):
        (_whole(path, token) if path.suffix.lower() == ".parquet" else rows).replace(path)
        rows.unlink(missing_ok=True)


def count_frames(path: Path) -> int | None:
    """How many frames a finished file tells of; None if it is missing or not whole."""
    try:
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return len(parquet.read_table(path, columns=["frame"])["frame"].unique())
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n") or not text.startswith(",".join(_LEADING)):
            return None
        return len({row["frame"] for row in csv.DictReader(text.splitlines())})
    except (OSError, ValueError, KeyError):
        return None


def _column(name: str) -> str:
    """The column of a class; no two are the same."""
    taken = re.fullmatch(f"(class )*({'|'.join(_LEADING)})", name)
    return f"class {name}" if taken else name


def _whole(path: Path, token: str) -> Path:
    return unfinished_path(path, f"{token}.whole")


def _line(values: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _write_parquet(rows: Path, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    # Each column has one type, whatever is in it, so that files of several videos go together.
    with rows.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file))
    types = {**dict.fromkeys(names, pa.float64()), "frame": pa.int64(), "zone": pa.string()}
    table = arrow_csv.read_csv(rows, convert_options=arrow_csv.ConvertOptions(column_types=types))
    with replacing(path) as file:
        parquet.write_table(table, file)

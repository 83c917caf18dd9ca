"""How long every frame took, as CSV or JSON."""

from __future__ import annotations

import csv
import json
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.files import new_token, remove_unfinished, replacing, unfinished_path
from accel_rt.video.output import LineFile, output_errors

STAGES = (
    "decode_ms",
    "flow_ms",
    "network_ms",
    "output_ms",
    "render_ms",
    "encode_ms",
    "total_ms",
)
_WORDS = ("kind", "flow")
COLUMNS = ("frame", "pts_s", "kind", *STAGES, "flow")


class TimingLog:
    """Rows of :data:`COLUMNS` for a ``.csv`` or ``.json`` file.

    The JSON is ``{"frames": [rows], "summary": {frames, fps, kinds, settings, machine}}``;
    ``summary["kinds"][kind]`` holds ``count`` and, for each stage, ``mean``, ``p50``, ``p95`` and
    ``p99`` in milliseconds. ``fps`` counts the frames after the first against the time from the
    first row to the last, because stages of several frames overlap. Times are rounded to
    microseconds.

    Until :meth:`close` the rows are in a CSV file with an unfinished name, each on disk once it is
    added. ``keep`` takes such a file up after its first ``keep`` rows; ``fps`` then speaks of the
    rows that follow.

    Raises :class:`UsageError` for another suffix, :class:`OutputError` if it cannot be written.
    """

    def __init__(self, path: Path | str, token: str | None = None, keep: int | None = None) -> None:
        self.path = Path(path)
        self._is_json = check_suffix(self.path) == ".json"
        self._rows = 0
        self._first_s = self._last_s = 0.0
        self._open = True
        self._token = token or new_token()
        self.unfinished = unfinished_path(self.path, self._token)
        self._file = LineFile(self.unfinished, None if keep is None else keep + 1)
        if keep is None:
            self._file.write(",".join(COLUMNS))

    def row(self, values: Mapping[str, Any]) -> None:
        """Add a frame: a value for each of :data:`COLUMNS`, ``kind`` being ``key``,
        ``update`` or ``carry``, and ``flow`` ``codec``, ``dis``, ``flownets`` or ``none``.

        Raises :class:`UsageError` if a column is missing or unknown.
        """
        if set(values) != set(COLUMNS):
            raise UsageError(f"a timing row has the columns {', '.join(COLUMNS)}, got {values}")
        self._last_s = time.perf_counter()
        if self._rows == 0:
            self._first_s = self._last_s
        self._file.write(_line(values))
        self._rows += 1

    def take(self, rows: Path, first: int, elapsed_s: float) -> None:
        """Add the rows that another log left unfinished in ``rows``, its frame 0 as ``first``.

        They were ``elapsed_s`` seconds of work.
        """
        with output_errors(self.path):
            for row in _read_rows(rows):
                self._file.write(_line({**row, "frame": row["frame"] + first}))
                self._rows += 1
        self._last_s += elapsed_s

    def close(
        self, settings: Mapping[str, Any] | None = None, machine: Mapping[str, Any] | None = None
    ) -> None:
        """:meth:`complete` the file and :meth:`commit` it; a second call does nothing."""
        if self._open:
            self.complete(settings, machine)
            self.commit()

    def complete(
        self, settings: Mapping[str, Any] | None = None, machine: Mapping[str, Any] | None = None
    ) -> None:
        """Write what is missing, with the summary (JSON only), under an unfinished name."""
        self._file.close()
        if self._is_json:
            self._write_json(settings or {}, machine or {})

    def commit(self) -> None:
        """Give the completed file its name."""
        self._open = False
        commit_timing(self.path, self._token)

    def abandon(self) -> None:
        """Remove an unfinished file."""
        if self._open:
            self._open = False
            self._file.close()
            remove_unfinished(self.path, self._token)

    def leave(self) -> None:
        """Close the file and leave it as it is, to be taken up again."""
        self._open = False
        self._file.close()

    def __enter__(self) -> TimingLog:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _write_json(self, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        times: dict[str, array[float]] = {}
        frames = 0
        with replacing(_finished_json(self.path, self._token)) as file:
            file.write(b'{"frames": [')
            for row in _read_rows(self.unfinished):
                file.write((",\n" if frames else "\n").encode() + json.dumps(row).encode())
                kind = times.setdefault(str(row["kind"]), array("d"))
                kind.extend(float(row[stage]) for stage in STAGES)
                frames += 1
            elapsed_s = self._last_s - self._first_s
            summary = {
                "frames": frames,
                "fps": round((self._rows - 1) / elapsed_s, 3) if elapsed_s > 0 else None,
                "kinds": {kind: _statistics(values) for kind, values in times.items()},
                "settings": dict(settings),
                "machine": dict(machine),
            }
            text = json.dumps(summary, indent=1, default=str)
            file.write(f'\n],\n"summary": {text}}}\n'.encode())


def commit_timing(path: Path, token: str) -> None:
    """Give a completed timing file its name; does nothing once it has it."""
    rows, whole = unfinished_path(path, token), _finished_json(path, token)
    with output_errors(path), suppress(FileNotFoundError):
        (whole if path.suffix.lower() == ".json" else rows).replace(path)
        rows.unlink(missing_ok=True)


def _finished_json(path: Path, token: str) -> Path:
    return unfinished_path(path, f"{token}.whole")


def check_suffix(path: Path) -> str:
    """``.csv`` or ``.json``; :class:`UsageError` for another suffix of a timing file."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise UsageError(f"a timing file ends in .csv or .json, got '{path}'")
    return suffix


def count_rows(path: Path) -> int | None:
    """How many frames a finished timing file tells of; None if it is missing or not whole."""
    try:
        if path.suffix.lower() == ".json":
            return int(json.loads(path.read_bytes())["summary"]["frames"])
        if not path.read_bytes().endswith(b"\n"):
            return None
        return sum(1 for _ in _read_rows(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a CSV file; :class:`ValueError` for what is none."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError("not the columns of a timing file")
        for row in reader:
            yield {name: row[name] if name in _WORDS else _number(row[name]) for name in COLUMNS}


def _line(values: Mapping[str, Any]) -> str:
    return ",".join(str(_plain(values[name])) for name in COLUMNS)


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)


def _plain(value: Any) -> str | int | float:
    """A number or text that CSV and JSON both take; times (Fractions too) to microseconds."""
    return value if isinstance(value, (str, int)) else round(float(value), 6)


def _statistics(times: array[float]) -> dict[str, Any]:
    table = np.frombuffer(times).reshape(-1, len(STAGES))
    result: dict[str, Any] = {"count": len(table)}
    for stage, column in zip(STAGES, table.T, strict=True):
        p50, p95, p99 = np.percentile(column, (50, 95, 99))
        numbers = {"mean": column.mean(), "p50": p50, "p95": p95, "p99": p99}
        result[stage] = {name: round(float(number), 3) for name, number in numbers.items()}
    return result

"""How long every frame took, as CSV or JSON."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.video.output import PartText

STAGES = (
    "decode_ms",
    "flow_ms",
    "network_ms",
    "output_ms",
    "render_ms",
    "encode_ms",
    "total_ms",
)
COLUMNS = ("frame", "pts_s", "kind", *STAGES)


class TimingLog:
    """Rows of :data:`COLUMNS`, written as they come to a ``.csv`` or ``.json`` file.

    The JSON is ``{"frames": [rows], "summary": {frames, fps, kinds, settings, machine}}``;
    ``summary["kinds"][kind]`` holds ``count`` and, for each stage, ``mean``, ``p50``, ``p95`` and
    ``p99`` in milliseconds. ``fps`` counts the frames after the first against the time from the
    first row to the last, because stages of several frames overlap. Times are rounded to
    microseconds. The file has a temporary name until :meth:`close`.

    Raises :class:`UsageError` for another suffix, :class:`OutputError` if it cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._is_json = self.path.suffix.lower() == ".json"
        if not self._is_json and self.path.suffix.lower() != ".csv":
            raise UsageError(f"a timing file ends in .csv or .json, got '{self.path}'")
        self._rows = 0
        self._first_s = self._last_s = 0.0
        self._times: dict[str, array[float]] = {}
        self._file = PartText(self.path)
        self._file.write('{"frames": [' if self._is_json else ",".join(COLUMNS) + "\n")

    def row(self, values: Mapping[str, Any]) -> None:
        """Add a frame: a value for each of :data:`COLUMNS`, ``kind`` being ``key`` or ``update``.

        Raises :class:`UsageError` if a column is missing or unknown.
        """
        if set(values) != set(COLUMNS):
            raise UsageError(f"a timing row has the columns {', '.join(COLUMNS)}, got {values}")
        row = {name: _plain(values[name]) for name in COLUMNS}
        self._last_s = time.perf_counter()
        if self._rows == 0:
            self._first_s = self._last_s
        if self._is_json:
            self._file.write((",\n" if self._rows else "\n") + json.dumps(row))
            times = self._times.setdefault(str(row["kind"]), array("d"))
            times.extend(float(row[stage]) for stage in STAGES)
        else:
            self._file.write(",".join(map(str, row.values())) + "\n")
        self._rows += 1

    def close(
        self, settings: Mapping[str, Any] | None = None, machine: Mapping[str, Any] | None = None
    ) -> None:
        """Write the summary (JSON only) and give the file its name; a second call does nothing."""
        if self._file.closed:
            return
        if self._is_json:
            summary = self._summary(settings or {}, machine or {})
            text = json.dumps(summary, indent=1, default=str)
            self._file.write(f'\n],\n"summary": {text}}}\n')
        self._file.commit()

    def abandon(self) -> None:
        """Remove an unfinished file."""
        if not self._file.closed:
            self._file.discard()

    def __enter__(self) -> TimingLog:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abandon()

    def _summary(self, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
        elapsed_s = self._last_s - self._first_s
        return {
            "frames": self._rows,
            "fps": round((self._rows - 1) / elapsed_s, 3) if elapsed_s > 0 else None,
            "kinds": {kind: _statistics(times) for kind, times in self._times.items()},
            "settings": dict(settings),
            "machine": dict(machine),
        }


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

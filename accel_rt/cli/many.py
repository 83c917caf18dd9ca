"""What ``accel-rt segment`` can be told of many workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ManyOptions:
    """Who does the work, in what pieces, and how that is shown; none given for one process."""

    workers: int | None = None
    cluster: str | None = None
    cores_per_worker: int | None = None
    chunk_seconds: float | None = None
    json_progress: bool = False

"""What is done: a file of lines, each of them written once what it tells of is there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from accel_rt.redact import redact
from accel_rt.scale.plan import Plan, Video

_FORMAT = "accel-rt manifest 1"


class Manifest:
    """The plans that were made, the chunks that are done, and the videos that were joined.

    ``joined`` says of these, by their keys, whether they could be read whole. A video is no longer
    among them once another one's outputs, or those of other settings, have replaced its own.
    ``lines`` are those that earlier runs gave ``write``; the last may be cut off.
    """

    def __init__(self, lines: Iterable[bytes], write: Any) -> None:
        self.plans: dict[str, Plan] = {}
        self.chunks: dict[str, int] = {}
        self.joined: dict[str, bool] = {}
        self._made_of: dict[str, str] = {}
        self.entries = 0
        self._write = write
        for line in lines:
            try:
                self._read(json.loads(line))
            except (ValueError, KeyError, TypeError):  # cut off when a run was killed
                continue
        if not self.entries:
            self._add({"format": _FORMAT})

    def planned(self, key: str, plan: Plan) -> None:
        """Note how the video with ``key`` is cut."""
        self._add({"plan": key, **plan.to_json()})

    def done(self, chunk: str, frames: int) -> None:
        """Note that a chunk's outputs, of ``frames`` frames, are in their place."""
        self._add({"chunk": chunk, "frames": frames})

    def join(self, video: Video, whole: bool) -> None:
        """Note that all outputs of a video are in their place, and whether it was read whole."""
        outputs = [redact(output) for output in vars(video.outputs).values() if output]
        self._add({"joined": video.key, "outputs": outputs, "whole": whole})

    def _add(self, entry: dict[str, Any]) -> None:
        self._write(json.dumps(entry, separators=(",", ":")))
        self._read(entry)

    def _read(self, entry: dict[str, Any]) -> None:
        if "plan" in entry:
            self.plans[entry["plan"]] = Plan.from_json(entry)
        elif "chunk" in entry:
            self.chunks[entry["chunk"]] = entry["frames"]
        elif "joined" in entry:
            key = entry["joined"]
            for output in entry.get("outputs", ()):
                before = self._made_of.get(output, key)
                if before != key:
                    self.joined.pop(before, None)
                self._made_of[output] = key
            self.joined[key] = entry.get("whole", True)
        self.entries += 1

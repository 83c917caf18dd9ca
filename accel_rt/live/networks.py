"""The segmenter of a live run, exchanged between frames while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from accel_rt.classes import ClassSet
from accel_rt.live.settings import LiveSettings
from accel_rt.runtime.policy import KeyframePolicy
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.settings import MODES, UPDATE_SCALES, SegmenterSettings

LoadSegmenter = Callable[[SegmenterSettings, bool], FrameSegmenter]
"""Makes a segmenter from its settings, with asynchronous keyframes or without."""


class LiveNetworks:
    """Loads segmenters in whichever thread asks for a change; the loop's thread uses them.

    ``classes`` is the current segmenter's, None before the first is loaded.
    """

    def __init__(self, base: SegmenterSettings, load: LoadSegmenter | None) -> None:
        self._base = base
        self._load = load or _default_loader()
        self._lock = threading.Lock()
        self._current: FrameSegmenter | None = None
        self._next: FrameSegmenter | None = None
        self._policy: KeyframePolicy | None = None
        self._description: dict[str, Any] = {}
        self.classes: ClassSet | None = None

    def prepare(self, settings: LiveSettings, before: LiveSettings | None = None) -> None:
        """Get ready what ``settings`` need beyond ``before``; :meth:`use` takes it into use.

        Raises as :func:`accel_rt.runtime.load.load_segmenter`.
        """
        wanted = settings.segmenter(self._base)
        if before is None or self._needs_loading(settings, before):
            fresh = self._load(wanted, settings.async_keyframes)
            with self._lock:
                stale, self._next, self._policy = self._next, fresh, None
                self.classes, self._description = fresh.classes, fresh.describe()
            if stale is not None:
                stale.close()
        elif settings.interval != before.interval:
            from accel_rt.runtime.load import keyframe_policy

            with self._lock:
                self._policy = keyframe_policy(wanted)

    def use(self) -> FrameSegmenter:
        """The segmenter for the next frame; call it from the thread that runs the frames."""
        with self._lock:
            fresh, self._next = self._next, None
            policy, self._policy = self._policy, None
        if fresh is not None:
            if self._current is not None:
                self._current.close()
            self._current = fresh
        assert self._current is not None, "prepare comes first"
        if policy is not None:
            self._current.set_policy(policy)
        return self._current

    def close(self) -> None:
        """Release the networks; call it from the thread that ran the frames, or after its end."""
        for segmenter in (self._current, self._next):
            if segmenter is not None:
                segmenter.close()
        self._current = self._next = None

    def describe(self, settings: LiveSettings) -> dict[str, Any]:
        """What runs, as far as it is loaded."""
        if not self._description:
            return {}
        schedule = settings.segmenter(self._base).schedule
        chosen = {"interval": settings.interval, "schedule": schedule.describe()}
        return {**self._description, **chosen, "delay_frames": schedule.delay}

    def delay(self, settings: LiveSettings) -> int:
        """By how many frames results come late."""
        return settings.segmenter(self._base).schedule.delay

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The values that settings with a choice can take, by the settings' names."""
        from accel_rt.models import store

        names = self.classes.names if self.classes else ()
        updates = [
            entry.name
            for entry in store.installed()
            if entry.kind == "network" and tuple(entry.description["classes"]["names"]) == names
        ]
        return {
            "mode": MODES,
            "update": tuple(updates),
            "update_scale": UPDATE_SCALES,
            "classes": names,
        }

    def _needs_loading(self, settings: LiveSettings, before: LiveSettings) -> bool:
        """Whether more differs than where keyframes are; some intervals need no update network."""

        def what(chosen: LiveSettings) -> tuple[Any, ...]:
            schedule = chosen.segmenter(self._base).schedule
            rest = chosen.mode, chosen.update, chosen.update_scale, chosen.async_keyframes
            return (schedule.interval == 1, schedule.updates, *rest)

        return what(settings) != what(before)


def _default_loader() -> LoadSegmenter:
    import torch

    from accel_rt.runtime.load import load_segmenter

    threads = torch.get_num_threads()  # before any thread takes a share
    return lambda settings, asynchronous: load_segmenter(settings, asynchronous, threads)

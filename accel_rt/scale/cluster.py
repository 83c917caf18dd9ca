"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from accel_rt.errors import InputError, UsageError
from accel_rt.scale.drive import Event
from accel_rt.scale.local import Deaths, Work, attempt
from accel_rt.scale.plan import Task


class _Worker:
    """What runs in an actor."""

    def __init__(self, work: Work, number: int) -> None:
        self._work, self._number = work, number

    def ready(self) -> Event:
        import ray

        return Event("ready", self._number, node=ray.get_runtime_context().get_node_id())

    def do(self, task: Task) -> Event:
        return attempt(self._work, task, self._number)


class RayCrew:
    """Actors that do ``work``, each with ``cores``; a context manager that ends them.

    ``address`` is Ray's: ``auto`` or ``ray://HOST:PORT``. ``count`` None is one for each GPU of the
    cluster if ``gpus`` are wanted, and one for each ``cores`` cores if there is none. An actor that
    dies is replaced, wherever there is room. They end with this process.

    Raises :class:`UsageError` if Ray is missing, :class:`InputError` if there is no cluster.
    """

    def __init__(
        self, work: Work, address: str, count: int | None, cores: int, gpus: bool = True
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError("--cluster needs Ray: pip install 'accel-rt[cluster]'") from error
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                raise InputError(
                    f"cannot connect to a Ray cluster at '{address}' "
                    f"({' '.join(str(error).split())}): 'ray start --head' begins one"
                ) from error
        there = ray.cluster_resources()
        has_gpus = gpus and there.get("GPU", 0) >= 1
        units = there["GPU"] if has_gpus else there.get("CPU", 1) // cores
        self._count = count or max(1, int(units))
        self._actor = ray.remote(_Worker).options(num_cpus=cores, num_gpus=int(has_gpus))
        self._work, self._deaths = ray.put(work), Deaths(self._count)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._next = 0

    def __enter__(self) -> RayCrew:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors.values():
            with suppress(Exception):
                self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()

    def give(self, worker: int, task: Task) -> None:
        """See :class:`~accel_rt.scale.drive.Crew`."""
        self._pending[self._actors[worker].do.remote(task)] = worker

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~accel_rt.scale.drive.Crew`; raises as :class:`Deaths`."""
        if not self._ray.wait(list(self._pending), timeout=timeout_s)[0]:
            return []
        count = len(self._pending)
        ready, _ = self._ray.wait(list(self._pending), num_returns=count, timeout=0)
        events = []
        for reference in ready:
            worker = self._pending.pop(reference, None)
            if worker is not None:  # else it has been told of already that its actor is gone
                events.append(self._event(reference, worker))
        return events

    def _event(self, reference: Any, worker: int) -> Event:
        try:
            event: Event = self._ray.get(reference)
        except self._ray.exceptions.RayActorError:
            return self._bury(worker)
        except self._ray.exceptions.RayError as error:
            return Event("failed", worker, why=" ".join(str(error).split())[-300:])
        if event.kind == "done":
            self._deaths.forget()
        return event

    def _start(self) -> None:
        number, self._next = self._next, self._next + 1
        self._actors[number] = self._actor.remote(self._work, number)
        self._pending[self._actors[number].ready.remote()] = number

    def _bury(self, worker: int) -> Event:
        with suppress(Exception):
            self._ray.kill(self._actors[worker])
        del self._actors[worker]
        self._pending = {each: by for each, by in self._pending.items() if by != worker}
        self._deaths.count("its actor is gone")
        self._start()
        return Event("gone", worker, why="its worker was gone, with its process or machine")

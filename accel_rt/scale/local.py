"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from accel_rt.errors import AccelError, OutputError
from accel_rt.scale.board import Done
from accel_rt.scale.drive import Event
from accel_rt.scale.plan import Task

_CONTEXT = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads, locked
_HOPELESS = 3


class Work(Protocol):
    """Does tasks, anywhere: it travels to the workers as a pickle."""

    def prepare(self) -> None:
        """Load what every task needs; raises :class:`AccelError` if nobody could."""

    def __call__(self, task: Task) -> Done:
        """Do ``task``; raises if that fails."""


def attempt(work: Work, task: Task, worker: int) -> Event:
    """Do ``task``, whatever happens."""
    try:
        if task.kind == "chunk":
            try:
                work.prepare()
            except AccelError as error:
                return Event("unable", worker, error=error)
        return Event("done", worker, work(task))
    except AccelError as error:
        return Event("failed", worker, why=str(error))
    except Exception as error:
        return Event("failed", worker, why=f"unexpected {type(error).__name__}: {error}")


class Deaths:
    """Counts the workers, of ``workers`` at a time, that have died since one did something."""

    def __init__(self, workers: int) -> None:
        self._most, self._deaths = _HOPELESS * workers, 0

    def forget(self) -> None:
        """Note that something was done."""
        self._deaths = 0

    def count(self, how: str) -> None:
        """Note a death; raises :class:`OutputError` if there is no hope."""
        self._deaths += 1
        if self._deaths > self._most:
            raise OutputError(
                f"the workers die before they have done anything ({how}): "
                "try fewer of them, or none"
            )


class LocalCrew:
    """``count`` processes that do ``work``; a context manager that ends them.

    A process that dies is replaced. They end by themselves should this process be killed. Their
    temporary files are in a folder that is removed at the end, whatever became of them.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._work = work
        self._next, self._deaths = 0, Deaths(count)
        self._workers: dict[int, tuple[Any, Any]] = {}
        self._count = count
        self._scratch = tempfile.TemporaryDirectory(prefix="accel-rt-", ignore_cleanup_errors=True)

    def __enter__(self) -> LocalCrew:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._workers.values():
            connection.close()
            process.kill()
        for process, _ in self._workers.values():
            process.join()
        self._scratch.cleanup()

    @property
    def processes(self) -> dict[int, int]:
        """The process of each worker."""
        return {number: process.pid for number, (process, _) in self._workers.items()}

    def give(self, worker: int, task: Task) -> None:
        """See :class:`~accel_rt.scale.drive.Crew`; a worker that is gone will be told of."""
        with suppress(OSError):
            self._workers[worker][1].send(task)

    def wait(self, timeout_s: float) -> list[Event]:
        """See :class:`~accel_rt.scale.drive.Crew`.

        Raises as :class:`Deaths`.
        """
        by_connection = {connection: n for n, (_, connection) in self._workers.items()}
        events = []
        for ready in wait(list(by_connection), timeout_s):
            assert isinstance(ready, Connection)
            worker = by_connection[ready]
            try:
                event = ready.recv()
                if event.kind == "done":
                    self._deaths.forget()
            except (EOFError, OSError):
                event = self._bury(worker)
            events.append(event)
        return events

    def _start(self) -> None:
        ours, theirs = _CONTEXT.Pipe()
        number, self._next = self._next, self._next + 1
        given = theirs, number, self._work, self._scratch.name
        process = _CONTEXT.Process(target=_serve, args=given, daemon=True)
        process.start()
        theirs.close()
        self._workers[number] = process, ours

    def _bury(self, worker: int) -> Event:
        process, connection = self._workers.pop(worker)
        connection.close()
        process.join()
        self._deaths.count(_how(process.exitcode))
        self._start()
        return Event("gone", worker, why=f"its worker was gone ({_how(process.exitcode)})")


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(connection: Connection, number: int, work: Work, scratch: str) -> None:
    """The life of a worker: its tasks, one after the other."""
    tempfile.tempdir = scratch
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN if each == signal.SIGINT else signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        end: Callable[[], object] = lambda: (wait([parent.sentinel]), os._exit(1))  # noqa: E731
        threading.Thread(target=end, daemon=True).start()
    try:
        connection.send(Event("ready", number))
        while True:
            connection.send(attempt(work, connection.recv(), number))
    except (EOFError, OSError):
        return

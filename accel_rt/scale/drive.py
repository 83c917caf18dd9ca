"""Hands tasks to workers until all is done: whoever they are, and however time passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from accel_rt.errors import AccelError
from accel_rt.scale.board import Board, Done
from accel_rt.scale.plan import Task

_WAIT_S = 1.0


@dataclass(frozen=True)
class Event:
    """What a worker has to say: it has come or is gone, or its oldest task is done or has failed.

    ``error`` of a worker that came to nothing (``unable``) is that of every other, too.
    """

    kind: Literal["ready", "done", "failed", "unable", "gone"]
    worker: int
    done: Done | None = None
    why: str = ""
    node: str = ""
    error: AccelError | None = None


class Crew(Protocol):
    """Workers, each of which does its tasks in turn; those that go are replaced."""

    def give(self, worker: int, task: Task) -> None:
        """Let a worker that is ready do ``task`` after those that it has."""

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened, as soon as there is something, within ``timeout_s`` seconds."""


def drive(board: Board, crew: Crew, tell: Callable[[], None] = lambda: None) -> None:
    """Have all of ``board`` done by ``crew``; ``tell`` is called whenever something happened.

    Raises the error of a worker that could not even begin.
    """
    nodes: dict[int, str] = {}
    tasks: dict[int, deque[Task]] = {}
    free: dict[int, None] = {}  # ready, with nothing to do
    room: dict[int, None] = {}  # ready, with one thing to do

    def hand_out() -> None:
        while free and (task := board.take(nodes[next(iter(free))], len(nodes))):
            worker = next(iter(free))
            del free[worker]
            room[worker] = None
            give(worker, task)
        while room and board.waiting > len(nodes):
            worker = next(iter(room))
            del room[worker]
            if task := board.take(nodes[worker], len(nodes)):
                give(worker, task)

    def give(worker: int, task: Task) -> None:
        tasks[worker].append(task)
        crew.give(worker, task)

    while board.waiting or board.running:
        hand_out()
        for event in crew.wait(_WAIT_S):
            worker = event.worker
            if event.error is not None:
                raise event.error
            if event.kind == "ready":
                nodes[worker], tasks[worker] = event.node, deque()
                free[worker] = None
                continue
            if event.kind == "gone":
                for queued in (free, room, nodes):
                    queued.pop(worker, None)
                for number, task in enumerate(tasks.pop(worker, ())):
                    board.failed(task, event.why, counts=number == 0)
                continue
            task = tasks[worker].popleft()
            if event.done is not None:
                board.finished(task, event.done)
            else:
                board.failed(task, event.why)
            room.pop(worker, None)
            (room if tasks[worker] else free)[worker] = None
        tell()

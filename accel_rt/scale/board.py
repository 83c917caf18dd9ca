"""What is to be done next, what is being done, and what became of it: no processes, no files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic

from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Plan, Task, Video

TRIES = 3
"""What has failed so often goes on the list of failures, and the rest goes on."""

_SLOW = 4.0
"""What takes so many times the mean is done once more by whoever has nothing else to do."""

_NEAR = 64


@dataclass(frozen=True)
class Done:
    """The result of a task: ``plan`` of a video, or the ``frames`` of a chunk or a joined video.

    ``whole`` is false for a source that could not be read whole; ``notes`` are for the user.
    """

    plan: Plan | None = None
    frames: int = 0
    whole: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A task that was given up, and what was wrong the last time."""

    task: Task
    why: str


@dataclass
class _State:
    video: Video
    plan: Plan | None = None
    left: set[int] = field(default_factory=set)
    homes: set[str] = field(default_factory=set)


@dataclass
class _Flight:
    """A task that workers have: how many of them, and since when."""

    task: Task
    workers: int
    since_s: float


class Board:
    """Hands out tasks, and keeps the ``manifest``.

    ``there`` names the chunks whose outputs are in their place, ``joined`` the videos (by their
    keys); ``drop`` removes the chunks of one once it is joined. With ``sticky`` a node is given
    chunks of the videos that it has seen, if it can be.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        manifest: Manifest,
        there: Collection[str] = (),
        joined: Collection[str] = (),
        sticky: bool = False,
        drop: Callable[[list[str]], None] = lambda chunks: None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.manifest = manifest
        self.skipped = [video for video in videos if video.key in joined]
        self.joined: list[tuple[Video, Done]] = []
        self.failures: list[Failure] = []
        self.frames = self.earlier_frames = self.chunks = self.done_chunks = 0
        self._sticky, self._now, self._there, self._drop = sticky, now, there, drop
        self._states = {v.key: _State(v) for v in videos if v.key not in joined}
        self._plans: deque[Task] = deque()
        self._chunks: deque[Task] = deque()
        self._joins: deque[Task] = deque()
        self._flights: dict[str, _Flight] = {}
        self._tries: dict[str, int] = {}
        self._chunk_times = [0.0, 0]
        for key, state in self._states.items():
            if key in manifest.plans:
                self._planned(state, manifest.plans[key])
            else:
                self._plans.append(Task("plan", state.video))

    @property
    def waiting(self) -> int:
        """How many tasks nobody has."""
        return len(self._plans) + len(self._chunks) + len(self._joins)

    @property
    def running(self) -> int:
        """How many tasks workers have."""
        return len(self._flights)

    @property
    def total_frames(self) -> int:
        """About how many frames all videos have: those not planned yet count as the mean."""
        planned = [state.plan.frames for state in self._states.values() if state.plan]
        mean = sum(planned) / max(1, len(planned))
        return round(sum(planned) + mean * (len(self._states) - len(planned)))

    def take(self, node: str = "", workers: int = 1) -> Task | None:
        """The next task for one of so many ``workers``, on ``node``; None if it has to wait."""
        if self._joins:
            task = self._joins.popleft()
        elif self._plans and len(self._chunks) < 2 * workers:
            task = self._plans.popleft()
        elif self._chunks:
            task = self._chunk_for(node)
        else:
            return self._once_more()
        self._states[task.video.key].homes.add(node)
        flight = self._flights.setdefault(task.id, _Flight(task, 0, self._now()))
        flight.workers += 1
        return task

    def finished(self, task: Task, done: Done) -> None:
        """A worker has done ``task``; only the first time counts."""
        flight = self._land(task)
        if flight is None:
            return
        state = self._states[task.video.key]
        if task.kind == "plan" and done.plan is not None:
            self.manifest.planned(task.video.key, done.plan)
            self._planned(state, done.plan)
        elif task.kind == "chunk":
            self.manifest.done(task.id, done.frames)
            self.frames += done.frames
            self._chunk_times[0] += self._now() - flight.since_s
            self._chunk_times[1] += 1
            self._chunk_done(state, task.chunk)
        else:
            self.manifest.join(task.video, done.whole)
            self.joined.append((task.video, done))
            self._drop(
                [chunk.id(task.video.key) for chunk in state.plan.chunks] if state.plan else []
            )

    def failed(self, task: Task, why: str, counts: bool = True) -> None:
        """A worker has not done ``task``: it is tried again, unless it failed too often.

        It does not count where the worker had not begun.
        """
        if task.id not in self._flights:
            return
        self._tries[task.id] = self._tries.get(task.id, 0) + counts
        if self._flights[task.id].workers > 1:
            self._flights[task.id].workers -= 1
            return
        del self._flights[task.id]
        if self._tries[task.id] >= TRIES:
            self.failures.append(Failure(task, why))
            return
        queue = {"plan": self._plans, "chunk": self._chunks, "join": self._joins}[task.kind]
        queue.append(task)

    def _land(self, task: Task) -> _Flight | None:
        return self._flights.pop(task.id, None)

    def _planned(self, state: _State, plan: Plan) -> None:
        state.plan, state.left = plan, set(range(len(plan.chunks)))
        self.chunks += len(plan.chunks)
        for number in range(len(plan.chunks)):
            task = Task("chunk", state.video, plan, number)
            if task.id in self.manifest.chunks and task.id in self._there:
                self.earlier_frames += self.manifest.chunks[task.id]
                self._chunk_done(state, number)
            else:
                self._chunks.append(task)

    def _chunk_done(self, state: _State, number: int) -> None:
        self.done_chunks += 1
        state.left.discard(number)
        if not state.left:
            self._joins.append(Task("join", state.video, state.plan))

    def _chunk_for(self, node: str) -> Task:
        """The next chunk; if it matters, of a video that ``node`` has, or else that none has."""
        if self._sticky:
            near = range(min(_NEAR, len(self._chunks)))
            homes = [self._states[self._chunks[n].video.key].homes for n in near]
            for suits in (lambda seen: node in seen, lambda seen: not seen):
                for number in near:
                    if suits(homes[number]):
                        task = self._chunks[number]
                        del self._chunks[number]
                        return task
        return self._chunks.popleft()

    def _once_more(self) -> Task | None:
        """The chunk that one worker has had for much longer than others take, if there is one."""
        total_s, count = self._chunk_times
        alone = [f for f in self._flights.values() if f.workers == 1 and f.task.kind == "chunk"]
        if not count or not alone:
            return None
        oldest = min(alone, key=lambda flight: flight.since_s)
        if self._now() - oldest.since_s < _SLOW * total_s / count:
            return None
        oldest.workers += 1
        return oldest.task

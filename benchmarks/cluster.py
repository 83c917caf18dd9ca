"""A cluster of 1,000 workers on paper: the real planner, board and manifest, and made-up time.

``python benchmarks/cluster.py`` plans 10,000 videos of random length from made-up packet tables,
then lets workers do them: some are slow, some die. It prints what planning costs, how long all
takes against an ideal cluster that is never idle, and how large the manifest gets, how fast.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from accel_rt.scale.board import Board, Done
from accel_rt.scale.drive import Event, drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import CHUNK_S, Outputs, Plan, Task, Video, cut
from accel_rt.video.packets import PacketTable

RATE, TICKS, SIZE = 25, 90_000, (1080, 1920)


@dataclass
class Cluster:
    """Workers that take time by a clock of their own; a :class:`~accel_rt.scale.drive.Crew`.

    A worker does ``frames_per_s`` on average, ``slow`` of them a tenth of that, and one in
    ``deaths`` tasks kills its worker, which is replaced a minute later.
    """

    plans: dict[str, Plan]
    workers: int
    frames_per_s: float
    slow: float
    deaths: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.now = self.work_s = 0.0
        self.died, self._order = 0, itertools.count()
        self._next = self.workers
        self._speeds: dict[int, float] = {}
        self._busy_until: dict[int, float] = defaultdict(float)
        self._gone: set[int] = set()
        self._events: list[tuple[float, int, Event]] = []
        for worker in range(self.workers):
            self._begin(worker, self.rng.uniform(0, 20))

    def _begin(self, worker: int, delay_s: float) -> None:
        speed = self.frames_per_s * self.rng.lognormal(0, 0.2)
        self._speeds[worker] = speed * (0.1 if self.rng.random() < self.slow else 1)
        self._push(self.now + delay_s, Event("ready", worker, node=str(worker // 4)))

    def _push(self, when: float, event: Event) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def give(self, worker: int, task: Task) -> None:
        if worker in self._gone:
            return
        plan = self.plans[task.video.key]
        frames = plan.chunks[task.chunk].frames if task.kind == "chunk" else 25
        took_s = frames / self._speeds[worker] * self.rng.lognormal(0, 0.1) + 0.3
        begin = max(self.now, self._busy_until[worker])
        self._busy_until[worker] = begin + took_s
        if self.rng.random() < self.deaths:
            self._gone.add(worker)
            self.died += 1
            self._push(begin + took_s / 2, Event("gone", worker, why="made up"))
            return
        done = Done(plan=plan if task.kind == "plan" else None, frames=frames)
        self._push(begin + took_s, Event("done", worker, done))
        self.work_s += frames / self.frames_per_s

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._events or self._events[0][0] > self.now + timeout_s:
            self.now += timeout_s
            return []
        when, _, event = heapq.heappop(self._events)
        self.now = max(self.now, when)
        if event.kind == "gone":
            self._events = [each for each in self._events if each[2].worker != event.worker]
            heapq.heapify(self._events)
            self._begin(self._next, 60)
            self._next += 1
        return [event]


def table(seconds: float, rng: np.random.Generator) -> PacketTable:
    """The packets of a video with a keyframe every ten seconds or sooner."""
    frames = max(1, round(seconds * RATE))
    keys = np.zeros(frames, bool)
    keys[np.cumsum(rng.integers(50, 250, 1 + frames // 50)).clip(0, frames - 1)] = True
    keys[0] = True
    return PacketTable(np.arange(frames) * (TICKS // RATE), keys, Fraction(1, TICKS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.02, help="share of workers at a tenth")
    parser.add_argument("--deaths", type=float, default=0.001, help="a worker's death a task")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    lengths = rng.lognormal(np.log(300), 0.8, args.videos)  # five minutes, and some an hour
    videos = [Video(f"{n}.mp4", Outputs(f"{n}_accel.mp4"), f"{n:020d}") for n in range(args.videos)]
    plans, planning_s = {}, 0.0
    for video, seconds in zip(videos, lengths, strict=True):
        packets = table(seconds, rng)
        began = time.process_time()
        plan = Plan(cut(packets, CHUNK_S), Fraction(0), Fraction(0), SIZE, Fraction(RATE))
        tasks = [Task("chunk", video, plan, n).id for n in range(len(plan.chunks))]
        planning_s += time.process_time() - began
        assert len(set(tasks)) == len(tasks)
        plans[video.key] = plan
    chunks = sum(len(plan.chunks) for plan in plans.values())
    print(
        f"{args.videos} videos of {lengths.sum() / 3600:.0f} h: {chunks} chunks, planned in "
        f"{planning_s:.1f} s of processor time"
    )
    written: list[str] = []
    cluster = Cluster(plans, args.workers, 25.0, args.slow, args.deaths, rng)
    board = Board(videos, Manifest([], written.append), now=lambda: cluster.now)
    moments: list[tuple[float, int]] = []
    began = time.process_time()
    drive(board, cluster, lambda: moments.append((cluster.now, len(written))))
    driving_s = time.process_time() - began
    assert not board.failures, board.failures[:3]
    assert len(board.joined) == args.videos
    power = args.workers * (1 - 0.9 * args.slow) * np.exp(0.2**2 / 2)
    ideal_s = sum(plan.frames for plan in plans.values()) / cluster.frames_per_s / power
    size = sum(len(line) + 1 for line in written)
    again = Manifest((line.encode() for line in written), lambda line: None)
    assert again.joined == {video.key: True for video in videos}
    print(
        json.dumps(
            {
                "workers": args.workers,
                "deaths": cluster.died,
                "makespan_s": round(cluster.now),
                "ideal_s": round(float(ideal_s)),
                "of_ideal": round(float(cluster.now / ideal_s), 3),
                "manifest_lines": len(written),
                "manifest_MB": round(size / 1e6, 1),
                "lines_per_s": round(len(written) / cluster.now, 1),
                "most_lines_in_a_second": _most(moments),
                "driver_processor_s": round(driving_s, 1),
            },
            indent=1,
        )
    )


def _most(moments: list[tuple[float, int]]) -> int:
    """The most lines that were written within a second."""
    lines = np.array([count for _, count in moments])
    seconds = np.array([int(when) for when, _ in moments])
    edges = np.flatnonzero(np.diff(seconds)) + 1
    return int(np.diff(np.concatenate([[0], lines[edges - 1], lines[-1:]])).max())


if __name__ == "__main__":
    main()

"""Where videos are cut, who gets which chunk, and what the manifest says of it: no files."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from accel_rt.scale.board import TRIES, Board, Done
from accel_rt.scale.drive import Event, drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Chunk, Outputs, Plan, Video, cut
from accel_rt.video.packets import PacketTable

BASE = Fraction(1, 90_000)
STEP = 3600


def table(frames=1000, every=50, origin=0, **others):
    times = np.arange(frames) * STEP + origin
    return PacketTable(times, np.arange(frames) % every == 0, BASE, origin * BASE, **others)


def frames(chunks):
    return [chunk.frames for chunk in chunks]


def test_cuts_are_the_keyframes_nearest_to_every_chunk():
    chunks = cut(table(1000, 60), 10)  # 250 frames; keyframes every 60
    assert frames(chunks) == [240, 240, 240, 280]
    assert [chunk.start for chunk in chunks] == [
        None,
        240 * STEP * BASE,
        480 * STEP * BASE,
        720 * STEP * BASE,
    ]
    assert [chunk.end for chunk in chunks[:-1]] == [chunk.start for chunk in chunks[1:]]
    assert chunks[-1].end is None


def test_a_long_group_of_pictures_makes_a_long_chunk_and_a_short_rest_none():
    assert frames(cut(table(1000, 400), 10)) == [400, 400, 200]
    assert frames(cut(table(1000, 1000), 10)) == [1000]
    assert frames(cut(table(600, 50), 10)) == [250, 350]
    assert frames(cut(table(0), 10)) == [0]


def test_a_span_is_cut_from_its_own_beginning():
    chunks = cut(table(1000, 50, origin=77 * STEP), 10, 77 * STEP * BASE + 4, end_s=30.0)
    assert frames(chunks) == [250, 250, 150]
    assert chunks[1].start == (77 + 350) * STEP * BASE


def test_nothing_is_cut_before_the_first_frame_that_can_be_decoded():
    chunks = cut(table(1000, 300), 10, 350 * STEP * BASE)
    assert frames(chunks) == [250, 300, 100]  # the first cut is not at 300
    assert [chunk.start for chunk in chunks] == [None, 600 * STEP * BASE, 900 * STEP * BASE]


def test_leading_pictures_belong_to_the_chunk_before():
    times = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8]) * STEP
    keys = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    chunks = cut(PacketTable(times, keys, BASE), 0.2)
    assert frames(chunks) == [6, 4]


@pytest.mark.parametrize("fault", ["set back", "twice", "untimed", "gap"])
def test_where_times_leave_something_open_nothing_is_cut(fault):
    whole = table()
    times, timed = whole.times.copy(), fault != "untimed"
    if fault == "set back":
        times[600:] -= 500 * STEP
    elif fault == "twice":
        times[601] = times[600]
    elif fault == "gap":
        times[600:] += 2 * 3600 * 90_000
    broken = PacketTable(times, whole.keys, BASE, timed=timed)
    assert len(cut(whole, 10)) > 1
    assert frames(cut(broken, 10)) == [1000]


def test_a_plan_survives_the_manifest():
    plan = Plan(cut(table(), 10), Fraction(1, 3), Fraction(2, 7), (96, 160), Fraction(30000, 1001))
    lines: list[str] = []
    manifest = Manifest([], lines.append)
    manifest.planned("a", plan)
    manifest.done(plan.chunks[0].id("a"), 250)
    manifest.join(Video("b.mp4", Outputs("out/b.mp4"), "b"), whole=False)
    text = [line.encode() for line in lines]
    again = Manifest([*text, text[1][:20]], lines.append)  # the last line was cut off
    assert again.plans == {"a": plan}
    assert again.chunks == {plan.chunks[0].id("a"): 250}
    assert again.joined == {"b": False}


def test_what_another_video_was_written_over_is_not_joined_any_more():
    lines: list[str] = []
    manifest = Manifest([], lines.append)
    for key, output in (("a", "x"), ("b", "y"), ("c", "x")):
        manifest.join(Video("in", Outputs(f"out/{output}.mp4"), key), whole=True)
    again = Manifest([line.encode() for line in lines], lines.append)
    assert again.joined == manifest.joined == {"b": True, "c": True}


def test_the_name_of_a_chunk_is_of_input_settings_and_span():
    one, two = cut(table(), 10)[:2]
    names = {chunk.id(key) for chunk in (one, two) for key in ("a", "b")}
    assert len(names) == 4
    assert Chunk(one.start, one.end, 1).id("a") in names  # how many frames there are is no matter


VIDEOS = [Video(f"{name}.mp4", Outputs(f"{name}_accel.mp4"), name) for name in "abc"]
PLAN = Plan(cut(table(), 10), Fraction(0), Fraction(0), (96, 160), Fraction(25))


def planned(**options):
    clock = [0.0]
    board = Board(VIDEOS, Manifest([], [].append), now=lambda: clock[0], **options)
    for _ in VIDEOS:
        task = board.take(workers=99)
        assert task.kind == "plan"
        board.finished(task, Done(plan=PLAN))
    return board, clock


def test_a_video_is_joined_once_all_its_chunks_are_done():
    board, _ = planned()
    kinds = []
    while task := board.take():
        kinds.append(task.kind)
        board.finished(task, Done(plan=PLAN, frames=1))
    assert kinds.count("chunk") == 12
    assert kinds[4] == kinds[9] == kinds[14] == "join"
    assert len(board.joined) == 3


def test_three_failures_are_listed_and_the_rest_goes_on():
    board, _ = planned()
    tries = 0
    while task := board.take():
        if task.kind == "chunk" and task.video.key == "b" and task.chunk == 2:
            tries += 1
            board.failed(task, f"time {tries}")
        else:
            board.finished(task, Done(frames=1))
    assert tries == TRIES
    (failure,) = board.failures
    assert (failure.task.chunk, failure.why) == (2, "time 3")
    assert [video.key for video, _ in board.joined] == ["a", "c"]
    assert not board.waiting
    assert not board.running


def test_what_a_lost_worker_had_not_begun_does_not_count():
    board, _ = planned()
    task = board.take()
    for _ in range(5):
        board.failed(task, "gone", counts=False)
        while board.take() is not None and len(board._flights) < 12:
            pass
    assert not board.failures


def test_a_node_keeps_to_the_videos_it_has():
    board = Board(VIDEOS, Manifest([], [].append), sticky=True)
    for node in "xyz":
        task = board.take(node, workers=99)
        board.finished(task, Done(plan=PLAN))
    taken = {node: [board.take(node) for _ in range(4)] for node in "zyx"}
    assert {node: {t.video.key for t in tasks} for node, tasks in taken.items()} == {
        "x": {"a"},
        "y": {"b"},
        "z": {"c"},
    }


def test_what_takes_far_too_long_is_done_once_more_and_counts_once():
    board, clock = planned()
    slow = board.take()
    while board.waiting:
        task = board.take()
        clock[0] += 1
        board.finished(task, Done(frames=1))
    assert board.take() is not None  # the slow one, again
    assert board.take() is None
    board.finished(slow, Done(frames=1))
    board.finished(slow, Done(frames=1))
    assert board.done_chunks == 12
    assert board.frames == 12


def test_a_worker_is_given_two_tasks_at_most_and_loses_no_others():
    class Crew:
        def __init__(self):
            self.has, self.most, self.round = {0: [], 1: []}, 0, 0

        def give(self, worker, task):
            self.has[worker].append(task)
            self.most = max(self.most, *map(len, self.has.values()))

        def wait(self, timeout_s):
            self.round += 1
            if self.round == 1:
                return [Event("ready", 0), Event("ready", 1)]
            if self.round == 6:  # worker 1 is gone with what it has; worker 2 comes
                self.has[2] = []
                del self.has[1]
                return [Event("gone", 1, why="gone"), Event("ready", 2)]
            return [
                Event("done", worker, Done(plan=PLAN, frames=tasks.pop(0) and 1))
                for worker, tasks in self.has.items()
                if tasks
            ]

    crew, board = Crew(), Board(VIDEOS, Manifest([], [].append))
    drive(board, crew)
    assert crew.most == 2
    assert len(board.joined) == 3
    assert board.frames == 12

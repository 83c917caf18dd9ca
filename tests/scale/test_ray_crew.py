"""How actors are looked after, with a stand-in for Ray whose actors die when they are told to."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.scale.board import Board, Done
from accel_rt.scale.cluster import RayCrew
from accel_rt.scale.drive import drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Outputs, Video
from tests.scale.test_plan import PLAN


class ActorGone(Exception):
    pass


class FakeRay:
    """Runs a call when its result is asked for; ``deaths`` says which calls kill their actor."""

    def __init__(self, resources, deaths=()):
        self.exceptions = SimpleNamespace(RayActorError=ActorGone, RayError=Exception)
        self.resources, self.deaths = resources, set(deaths)
        self.made, self.killed, self.calls = [], [], 0
        self.is_initialized = lambda: True
        self.put = lambda value: value
        self.cluster_resources = lambda: resources
        self.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "node")

    def remote(self, kind):
        ray = self

        class Options:
            def options(self, **options):
                ray.options = options
                return self

            def remote(self, *args):
                ray.made.append(Actor(ray, kind(*args)))
                return ray.made[-1]

        return Options()

    def wait(self, references, num_returns=1, timeout=None):
        assert len(references) >= num_returns
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        actor, call = reference
        self.calls += 1
        if self.calls in self.deaths:
            actor.dead = True
        if actor.dead:
            raise ActorGone
        return call()

    def kill(self, actor):
        self.killed.append(actor)


class Actor:
    def __init__(self, ray, worker):
        self.dead = False
        for name in ("ready", "do"):
            setattr(self, name, SimpleNamespace(remote=self._method(getattr(worker, name))))

    def _method(self, function):
        return lambda *args: (self, lambda: function(*args))


class EasyWork:
    def prepare(self):
        pass

    def __call__(self, task):
        return Done(plan=PLAN, frames=1)


def run(monkeypatch, ray, count=2):
    monkeypatch.setitem(sys.modules, "ray", ray)
    videos = [Video(f"{name}.mp4", Outputs(), name) for name in "abc"]
    board = Board(videos, Manifest([], [].append))
    with RayCrew(EasyWork(), "auto", count, 3) as crew:
        drive(board, crew)
    return board


def test_actors_that_die_are_replaced_and_cost_what_they_had(monkeypatch):
    ray = FakeRay({"CPU": 8}, deaths={5, 6, 11})
    board = run(monkeypatch, ray)
    assert not board.failures
    assert len(board.joined) == 3
    assert board.frames == 12
    assert len(ray.made) == 2 + 3
    assert len(ray.killed) == len(ray.made)  # the dead ones, and those that were left


@pytest.mark.parametrize(
    ("resources", "workers", "options"),
    [
        ({"CPU": 8.0}, 2, {"num_cpus": 3, "num_gpus": 0}),
        ({"CPU": 8.0, "GPU": 4.0}, 4, {"num_cpus": 3, "num_gpus": 1}),
        ({"CPU": 1.0}, 1, {"num_cpus": 3, "num_gpus": 0}),
    ],
)
def test_there_is_a_worker_for_each_gpu_or_each_share_of_cores(
    monkeypatch, resources, workers, options
):
    ray = FakeRay(resources)
    run(monkeypatch, ray, None)
    assert len(ray.made) == workers
    assert ray.options == options


def test_actors_that_die_at_once_are_not_replaced_for_ever(monkeypatch):
    with pytest.raises(OutputError, match="die before they have done anything"):
        run(monkeypatch, FakeRay({"CPU": 8}, deaths=range(100)))


def test_without_ray_or_without_a_cluster_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'accel-rt\[cluster\]'"):
        RayCrew(EasyWork(), "auto", 1, 1)
    ray = FakeRay({})
    ray.is_initialized = lambda: False

    def refuse(address, **options):
        raise ConnectionError("Could not find any\nrunning Ray instance.")

    ray.init = refuse
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(InputError, match="'ray start --head' begins one"):
        RayCrew(EasyWork(), "auto", 1, 1)

"""Who runs when, and what is made of the times: with a clock that moves when told."""

from __future__ import annotations

import pytest

from accel_rt.bench.harness import Effort, Samples, interleave


class Clock:
    """Seconds that pass in runs only."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def run(self, name, seconds):
        """A run that takes ``seconds``; a list takes its items one after the other."""
        durations = iter(seconds if isinstance(seconds, list) else iter(lambda: seconds, None))

        def run():
            self.log.append(name)
            self.now += next(durations)

        return run


def test_competitors_take_turns_after_a_round_to_warm_up():
    clock = Clock()
    runs = {"a": clock.run("a", 1.0), "b": clock.run("b", 2.0)}
    samples = interleave(runs, Effort(0, 3, 9), clock=clock)
    assert clock.log == ["a", "b"] * 4
    assert samples == {"a": Samples((1000.0,) * 3), "b": Samples((2000.0,) * 3)}


def test_the_first_round_is_not_counted():
    clock = Clock()
    samples = interleave({"a": clock.run("a", [50.0, 1.0, 2.0])}, Effort(0, 2, 2), clock=clock)
    assert samples["a"].ms == (1000.0, 2000.0)


def test_more_rounds_warm_up_if_that_is_asked_for():
    clock = Clock()
    run = clock.run("a", [50.0, 40.0, 30.0, 1.0, 2.0])
    samples = interleave({"a": run}, Effort(0, 2, 2, warm_up_s=100.0), clock=clock)
    assert samples["a"].ms == (1000.0, 2000.0)


@pytest.mark.parametrize(
    ("effort", "rounds"),
    [(Effort(10.0, 1, 100), 4), (Effort(10.0, 6, 100), 6), (Effort(10.0, 1, 2), 2)],
)
def test_rounds_go_on_until_the_budget_is_spent(effort, rounds):
    clock = Clock()
    samples = interleave({"a": clock.run("a", 1.0), "b": clock.run("b", 2.0)}, effort, clock=clock)
    assert len(samples["a"].ms) == len(samples["b"].ms) == rounds


def test_waiting_for_the_device_is_part_of_the_run():
    clock = Clock()
    wait = clock.run("wait", 0.5)
    samples = interleave({"a": clock.run("a", 1.0)}, Effort(0, 1, 1), synchronise=wait, clock=clock)
    assert samples["a"].ms == (1500.0,)
    assert clock.log == ["a", "wait", "a", "wait"]


def test_what_a_run_returns_is_freed_outside_its_time():
    clock = Clock()

    class Result:
        def __del__(self):
            clock.now += 7.0

    def run():
        clock.now += 1.0
        return Result()

    assert interleave({"a": run}, Effort(0, 2, 2), clock=clock)["a"].ms == (1000.0, 1000.0)


def test_percentiles():
    samples = Samples(tuple(float(value) for value in range(101)))
    assert (samples.median, samples.p95, samples.percentile(99)) == (50.0, 95.0, 99.0)
    assert Samples((1.0, 2.0)).median == 1.5

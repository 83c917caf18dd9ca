"""The newest frame of a source: what is dropped, what happens when the source goes away."""

import time
from collections.abc import Iterator

import pytest

from accel_rt.errors import InputError
from accel_rt.live.capture import Capture
from tests.live.fake import Openings, ScriptedSource, endless, gate, wait_until
from tests.video.clips import picture, picture_number

BACKOFF_S = (0.01,)


@pytest.fixture
def captures() -> Iterator[list[Capture]]:
    made: list[Capture] = []
    yield made
    for capture in made:
        capture.stop()


def start(captures: list[Capture], *things: ScriptedSource | InputError) -> Capture:
    captures.append(Capture(Openings(*things), BACKOFF_S))
    captures[-1].start()
    return captures[-1]


def number(taken) -> int:
    return picture_number(taken[0].picture())


def test_the_newest_frame_is_taken_and_the_others_are_counted(captures) -> None:
    go, wait = gate()
    arrived, wait_for_arrival = gate()
    done, wait_for_end = gate()
    frames = [picture(n) for n in range(1, 8)]
    script = [picture(0), wait, *frames, arrived.set, wait_for_end]
    capture = start(captures, ScriptedSource(script))
    assert number(capture.take(5)) == 0
    go.set()
    wait_for_arrival()
    assert number(capture.take(5)) == 7
    assert capture.dropped == 6
    assert capture.take(0.01) is None, "no frame is taken twice"
    done.set()


def test_frames_before_the_first_one_taken_do_not_count(captures) -> None:
    arrived, wait = gate()
    done, wait_for_end = gate()
    capture = start(captures, ScriptedSource([picture(0), picture(1), arrived.set, wait_for_end]))
    wait()
    assert number(capture.take(5)) == 1
    assert capture.dropped == 0
    done.set()


def test_a_source_that_breaks_off_is_opened_again(captures) -> None:
    done, wait = gate()
    broken = ScriptedSource([picture(1), InputError("the cable is out")])
    again = ScriptedSource([picture(2), wait])
    gone = InputError("nothing there")
    capture = start(captures, broken, gone, gone, again)
    wait_until(lambda: capture.generation == 2)
    frame, generation = capture.take(5)
    assert generation == 2
    assert picture_number(frame.picture()) == 2
    assert capture.reconnects == 1
    assert capture.trouble == ""
    assert broken.closed
    done.set()


def test_a_recording_that_breaks_off_ends(captures) -> None:
    broken = ScriptedSource([picture(1), InputError("the server is gone")], live=False)
    capture = start(captures, broken, ScriptedSource([picture(2)], live=False))
    capture.take(5)
    wait_until(lambda: capture.ended)
    assert str(capture.failure) == "the server is gone"
    assert capture.generation == 1


def test_it_says_why_a_source_is_away(captures) -> None:
    broken = ScriptedSource([picture(1), InputError("the cable is out")])
    capture = start(captures, broken, InputError("nothing there"))
    wait_until(lambda: capture.trouble == "nothing there")
    assert not capture.ended


def test_attempts_to_reconnect_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    openings = Openings(ScriptedSource([picture(1), InputError("out")]), InputError("away"))
    capture = Capture(openings, (1.0, 2.0, 4.0))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 5:
            capture._stopping.set()
        return False

    monkeypatch.setattr(capture._stopping, "wait", wait)
    capture._run()
    assert waits == [2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_good_connection_is_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    good = ScriptedSource([*[picture(1)] * 30, InputError("out")])
    capture = Capture(Openings(good, InputError("away")), (1.0, 2.0))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        capture._stopping.set()
        return True

    monkeypatch.setattr(capture._stopping, "wait", wait)
    capture._run()
    assert waits == [1.0]


def test_a_live_source_that_cannot_be_opened_at_first_is_an_error(captures) -> None:
    capture = start(captures, InputError("no such host"))
    assert capture.wait_open(5)
    assert str(capture.failure) == "no such host"
    assert capture.ended


def test_a_live_source_without_a_frame_at_first_is_an_error(captures) -> None:
    capture = start(captures, ScriptedSource([]))
    assert capture.wait_open(5)
    assert str(capture.failure) == "scripted ended before a frame came"
    assert capture.ended


def test_a_file_ends(captures) -> None:
    capture = start(captures, ScriptedSource([picture(3)], live=False))
    assert number(capture.take(5)) == 3
    wait_until(lambda: capture.ended)
    assert capture.trouble == ""
    assert capture.silent_s() == 0
    assert capture.take(5) is None
    assert capture.failure is None


def test_a_recording_begins_when_its_first_frame_is_taken(captures) -> None:
    played: list[int] = []
    go, wait = gate()
    script = [picture(1), lambda: played.append(2), wait, picture(2)]
    capture = start(captures, ScriptedSource(script, live=False))
    assert capture.wait_open(5)
    time.sleep(0.1)  # networks are loaded
    assert not played
    before = time.monotonic()
    frame, _ = capture.take(5)
    assert picture_number(frame.picture()) == 1
    assert frame.captured_at >= before
    go.set()
    assert number(capture.take(5)) == 2
    assert capture.dropped == 0


def test_a_recording_that_nobody_takes_from_can_be_stopped() -> None:
    capture = Capture(Openings(ScriptedSource([picture(1)], live=False)), BACKOFF_S)
    capture.start()
    assert capture.wait_open(5)
    capture.stop()
    assert capture.ended


def test_rates_are_measured(captures) -> None:
    capture = start(captures, ScriptedSource(endless(gap_s=0.02)))
    wait_until(lambda: len(capture._arrivals) > 10)
    assert 0 < capture.rate() < 60
    assert 0 <= capture.silent_s() < 20

"""The window: keys, ends, and what is said where none can be opened."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from accel_rt.errors import UsageError
from accel_rt.live import LiveLoop
from accel_rt.live.window import LiveWindow, open_window
from accel_rt.live.window_process import CLOSED, NO_KEY, WindowProcess
from tests.live.fake import FakeSegmenter, Openings, ScriptedSource, endless, wait_until
from tests.need import need
from tests.video.clips import picture


class ScriptedWindow:
    """Presses keys, one a picture, waiting until each has had its effect; keeps the pictures."""

    def __init__(self, *script: object) -> None:
        self.pictures: list[np.ndarray] = []
        self._script = iter(script)
        self._until = None

    def show(self, image_bgr: np.ndarray | None = None) -> int:
        if image_bgr is None:
            return NO_KEY
        self.pictures.append(image_bgr)
        if self._until is not None and not self._until():
            return NO_KEY
        step = next(self._script, CLOSED)
        if step == CLOSED:
            return CLOSED
        key, self._until = step
        return ord(key)


@pytest.fixture
def loop() -> Iterator[LiveLoop]:
    with LiveLoop(
        "it", load=FakeSegmenter, open_source=Openings(ScriptedSource(endless(5)))
    ) as loop:
        yield loop


def run(loop: LiveLoop, folder: Path, *script: object) -> ScriptedWindow:
    window = ScriptedWindow(*script)
    stop = threading.Event()
    timer = threading.Timer(30, stop.set)
    timer.start()
    LiveWindow(loop, window, folder).run(stop)
    timer.cancel()
    assert not stop.is_set(), "the script did not come to its end"
    return window


def test_keys_change_settings(loop: LiveLoop, tmp_path: Path) -> None:
    settings = lambda: loop.settings  # noqa: E731
    run(
        loop,
        tmp_path,
        ("]", lambda: settings().interval == 6),
        ("[", lambda: settings().interval == 5),
        ("+", lambda: settings().alpha == 0.6),
        ("-", lambda: settings().alpha == 0.5),
        ("l", lambda: not settings().legend),
        ("b", lambda: settings().side_by_side),
        ("m", lambda: settings().mode == "dff"),
        ("u", lambda: settings().update_scale == 0.25),
        (" ", lambda: loop.stats().state == "paused"),
        (" ", lambda: loop.stats().state == "running"),
        ("q", None),
    )


def test_snapshot_and_record(loop: LiveLoop, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(
        loop,
        tmp_path,
        ("s", lambda: list(tmp_path.glob("live-*.png"))),
        ("r", lambda: loop._recorder and loop._recorder._writer.frames),
        ("r", lambda: loop.stats().recording is None),
        ("q", None),
    )
    assert len(list(tmp_path.glob("live-*.mp4"))) == 1


def test_numbers_are_drawn_on_a_copy_and_can_be_hidden(loop: LiveLoop, tmp_path: Path) -> None:
    window = run(loop, tmp_path, ("h", None), ("a", None), ("a", None), ("q", None))
    shown = loop.wait_picture(-1, 5).image_bgr
    assert not np.array_equal(window.pictures[0], shown)
    np.testing.assert_array_equal(window.pictures[-1], shown)


def test_an_error_of_a_key_is_shown_not_raised(loop: LiveLoop, tmp_path: Path) -> None:
    loop.change("interval", 1)
    window = LiveWindow(loop, ScriptedWindow(("[", None), *[("a", None)] * 30), tmp_path)
    window.run(threading.Event())
    assert "the interval must be" in window._note[0]


def test_closing_the_window_and_the_end_of_the_source_end_it(tmp_path: Path) -> None:
    ending = ScriptedSource([picture(1)], live=False)
    with LiveLoop("it", load=FakeSegmenter, open_source=Openings(ending)) as loop:
        run(loop, tmp_path, *[("a", None)] * 10_000)
        assert loop.ended


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_no_display(no_display: None) -> None:
    with pytest.raises(UsageError, match="there is no display to open a window on: use --serve"):
        open_window("it")


def test_a_display_that_does_not_answer(no_display: None, monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":98765")
    with pytest.raises(UsageError, match="no window can be opened on the display ':98765'"):
        open_window("it")


def test_opencv_without_windows(no_display, monkeypatch, tmp_path: Path) -> None:
    """A stand-in for the headless wheel, which raises what that raises."""
    (tmp_path / "cv2.py").write_text(
        "WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = 0\n"
        "def namedWindow(*_):\n"
        "    raise Exception('The function is not implemented. Rebuild the library with')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"without windows \(opencv-python-headless\): install"):
        open_window("it")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An X server without a screen."""
    server = need("xvfb")
    numbers, write = os.pipe()
    command = [server, "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(numbers) as file:
        monkeypatch.setenv("DISPLAY", f":{file.readline().strip()}")
    yield os.environ["DISPLAY"]
    process.kill()
    process.wait()


def test_a_real_window_shows_pictures_until_it_dies(display: str) -> None:
    with WindowProcess("it") as window:
        for number in range(3):
            assert window.show(picture(number)) == NO_KEY
        assert window.show() == NO_KEY
        window._process.kill()
        window._process.wait()
        assert window.show(picture(3)) == CLOSED
        assert window.show() == CLOSED


def test_ctrl_c_is_left_to_the_parent(display: str) -> None:
    with WindowProcess("it") as window:
        window._process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert window.show(picture(3)) == NO_KEY


def test_the_command_in_a_real_window_ends_on_sigterm(display: str, reel: Path) -> None:
    command = [sys.executable, "-m", "tests.live.fake", str(reel), "--repeat", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr.readline().startswith(b"opening")
    wait_until(lambda: _children(process.pid))
    time.sleep(1)
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b'"state": "running"' in out
    assert b"Traceback" not in err


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

"""``accel-rt live`` and ``accel-rt cameras`` as a user meets them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from queue import Full, Queue
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import av
import pytest

from accel_rt.errors import OutputError
from accel_rt.live import cameras as found_cameras
from accel_rt.live.cameras import Camera, Mode, find_cameras
from accel_rt.video.writer import VideoWriter
from tests.cli.conftest import Run
from tests.live.fake import FakeSegmenter


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(settings, asynchronous, threads):
        return FakeSegmenter(settings, asynchronous)

    monkeypatch.setattr("accel_rt.runtime.load.load_segmenter", load)


def test_a_file_is_played_to_its_end(accel: Run, fakes: None, clip: Path) -> None:
    result = accel("live", clip, "--no-window", "--json", "--interval", 3, "--classes", "car,road")
    assert result.code == 0
    stats = json.loads(result.out)
    assert stats["state"] == "ended"
    assert 1 <= stats["frames"] <= 20
    assert stats["frames"] + stats["dropped"] <= 20
    assert stats["settings"]["classes"] == ["car", "road"]
    assert stats["settings"]["interval"] == 3


def test_reading_has_the_limits_that_segment_has(accel: Run, fakes: None, clip: Path) -> None:
    result = accel("live", clip, "--no-window", "--max-pixels", 3000, "--timeout", 3)
    assert result.code == 1
    assert "declares pictures of 64x48 pixels, more than the 3,000 that are allowed" in result.error


def test_the_report_names_what_counts(accel: Run, fakes: None, clip: Path) -> None:
    result = accel("live", clip, "--no-window")
    assert result.code == 0
    assert "clip.mp4: " in result.out
    for word in ("frames", "dropped", "age", "frame time"):
        assert word in result.out


def test_looking_ahead_is_so_many_frames_late(accel: Run, fakes: None, clip: Path) -> None:
    result = accel("live", clip, "--no-window", "--json", "--look-ahead", 3)
    assert result.code == 0
    stats = json.loads(result.out)
    assert stats["settings"]["interval"] == 4
    assert stats["networks"]["delay_frames"] == 3
    result = accel("live", clip, "--no-window", "--look-ahead", 3, "--interval", 10)
    assert result.code == 2
    assert "give --look-ahead 9, or --interval 4" in result.error


def test_recording(accel: Run, fakes: None, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    result = accel("live", clip, "--no-window", "--repeat", "--seconds", 1, "--record", path)
    assert result.code == 0
    assert f"recorded {path}" in result.out
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) >= 2
    again = accel("live", clip, "--no-window", "--record", path)
    assert again.code == 2
    assert "exists already" in again.error


def test_a_recording_that_fails_is_no_success(
    accel: Run, fakes: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes nothing any more as the file is completed, after the last picture."""
    path = tmp_path / "out.mp4"

    def fail(writer: VideoWriter) -> bool:
        path.unlink()
        raise OutputError("the disk is full")

    monkeypatch.setattr(VideoWriter, "finish", fail)
    result = accel("live", clip, "--no-window", "--keep-free", 0, "--record", path)
    assert result.code == 1
    assert result.error == "error: the disk is full"
    assert "recorded" not in result.out


def test_a_recording_ends_where_it_was_to_end(
    accel: Run, fakes: None, clip: Path, tmp_path: Path
) -> None:
    """All that may be recorded is recorded: no failure, and what there is is named."""
    path = tmp_path / "out.mp4"
    limits = ("--recording-length", 0.2, "--max-recordings", 2, "--keep-free", 0)
    result = accel("live", clip, "--no-window", "--record", path, *limits)
    assert result.code == 0
    assert f"recorded {path}, {tmp_path / 'out-2.mp4'}\n" in result.out
    assert "note: 2 files were recorded, which is all" in result.err


def test_pictures_that_were_not_recorded_are_told(
    accel: Run, fakes: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Queue):
        def put_nowait(self, item: object) -> None:
            raise Full

    monkeypatch.setattr("accel_rt.live.recorder.Queue", Slow)
    options = ("--no-window", "--json", "--keep-free", 0, "--record", tmp_path / "out.mp4")
    result = accel("live", clip, *options)
    assert result.code == 0
    told = re.search(r"^note: the encoder was too slow for (\d+) pictures", result.err, re.M)
    assert 1 <= int(told[1]) <= json.loads(result.out)["frames"]


def test_ctrl_c_ends_it_cleanly(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "tests.live.fake", str(clip), "--repeat", "--no-window"]
    process = subprocess.Popen(
        [*command, "--record", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for line in process.stderr:
        if line == b"running\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert b"recorded" in out
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) >= 1


def test_the_page_is_served_where_there_is_no_display(clip: Path) -> None:
    command = [sys.executable, "-m", "tests.live.fake", str(clip), "--repeat"]
    process = subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    link = next(line.split()[-1] for line in process.stderr if line.startswith(b"watch at"))
    address, _, token = link.decode().partition("/#token=")
    assert stats(address, token)["source"] == "clip.mp4"
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{address}/stats")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_networks_load_ends_it_at_once(clip: Path, number: int) -> None:
    code = (
        "import sys, time, accel_rt.runtime.load as load\n"
        "load.load_segmenter = lambda *_, **__: (print('loading', flush=True), time.sleep(100))\n"
        "from accel_rt.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "live", str(clip), "--no-window"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == b"interrupted"
    assert b"Traceback" not in err


def stats(address: str, token: str) -> dict:
    bearer = {"Authorization": f"Bearer {token}"}
    with urlopen(Request(f"{address}/stats", headers=bearer)) as reply:
        return json.load(reply)


@pytest.mark.parametrize("kept_in", ["file", "variable"])
def test_a_token_is_kept_out_of_sight_and_changed_by_a_signal(
    clip: Path, tmp_path: Path, kept_in: str
) -> None:
    first, second = "the first token of all", "the second token after"
    first, second = first.replace(" ", "-"), second.replace(" ", "-")
    file = tmp_path / "token"
    file.write_text(first + "\n")
    options = ["--token-file", str(file)] if kept_in == "file" else []
    environment = {**os.environ, "ACCEL_RT_TOKEN": first}
    command = [sys.executable, "-m", "tests.live.fake", str(clip), "--repeat", *options]
    process = subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, env=environment
    )
    said = next(line for line in process.stderr if line.startswith("watch at"))
    address = said.split()[2]
    assert first not in said
    assert stats(address, first)["source"] == "clip.mp4"
    file.write_text(second)
    process.send_signal(signal.SIGUSR1)
    assert next(line for line in process.stderr if "token has changed" in line)
    said = next(line for line in process.stderr if line.startswith("watch at"))
    with pytest.raises(HTTPError, match="401"):
        stats(address, first)
    if kept_in == "file":
        assert stats(address, second)["source"] == "clip.mp4"
        file.write_text("short")
        process.send_signal(signal.SIGUSR1)
        assert next(line for line in process.stderr if "stays as it is: a token needs" in line)
    else:
        assert stats(address, said.strip().partition("#token=")[2])["source"] == "clip.mp4"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_token_may_be_changed_before_the_page_is_up(clip: Path) -> None:
    command = [sys.executable, "-m", "tests.live.fake", str(clip), "--repeat"]
    process = subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("opening")
    process.send_signal(signal.SIGUSR1)
    said = [next(line for line in process.stderr if line.startswith("watch at")) for _ in range(2)]
    (address, before), (_, after) = (line.split()[-1].split("/#token=") for line in said)
    with pytest.raises(HTTPError, match="401"):
        stats(address, before)
    assert stats(address, after)["source"] == "clip.mp4"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("none.mp4", "--no-window"), 1, "there is no file or folder 'none.mp4'"),
        (("97", "--no-window"), 1, "camera 97 cannot be opened: see 'accel-rt cameras'"),
        (("tcp://127.0.0.1:1", "--no-window"), 1, "cannot open 'tcp://127.0.0.1:1'"),
        (("CLIP", "--window"), 2, "there is no display to open a window on: use --serve"),
        (("CLIP", "--serve", "no port here"), 2, "an address is HOST:PORT"),
        (("CLIP", "--no-window", "--classes", "boat"), 2, "unknown class 'boat'"),
        (("CLIP", "--no-window", "--interval", "0"), 2, "0 is not in the range"),
        (("CLIP", "--no-window", "--record", "out.mkv"), 2, "end its name in .mp4"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    accel: Run, fakes: None, clip: Path, monkeypatch, arguments, code: int, sentence: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = accel("live", *(clip if word == "CLIP" else word for word in arguments))
    assert result.code == code
    assert sentence in result.error


class FakeDevice:
    """A camera with two sizes, another that another program uses, and a metadata device."""

    def __init__(self, index: int) -> None:
        self.index, self.size = index, (640, 480)

    def isOpened(self) -> bool:
        return self.index != 2

    def read(self):
        return self.index == 0, None

    def set(self, prop: int, value: float) -> bool:
        width = 1280 if prop == 3 and value >= 1280 else 640
        if prop == 3:
            self.size = (1280, 720) if width == 1280 else (640, 480)
        return True

    def get(self, prop: int) -> float:
        return {3: self.size[0], 4: self.size[1], 5: 30.0}[prop]

    def release(self) -> None:
        pass


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    for index in (0, 1, 2):
        folder = tmp_path / "video4linux" / f"video{index}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"Cam {index}\n")
    return tmp_path / "video4linux"


def test_cameras_and_their_sizes(devices: Path) -> None:
    modes = (Mode(640, 480, 30.0), Mode(1280, 720, 30.0))
    assert find_cameras(FakeDevice, devices) == [Camera(0, "Cam 0", modes)]


def test_cameras_are_listed(accel: Run, devices: Path, monkeypatch) -> None:
    camera = find_cameras(FakeDevice, devices)
    monkeypatch.setattr(found_cameras, "find_cameras", lambda: camera)
    text = accel("cameras").out
    assert "Cam 0" in text
    assert "640x480 at 30, 1280x720 at 30" in text
    listed = json.loads(accel("cameras", "--json").out)
    assert listed[0]["modes"][1] == {"width": 1280, "height": 720, "rate": 30.0}


def test_no_camera_is_said(accel: Run, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(found_cameras, "find_cameras", list)
    result = accel("cameras")
    assert result.code == 0
    assert "no camera can be opened here" in result.err

"""The loop: newest frame first, changes between frames, trouble, and a clean end."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch

import accel_rt
from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.live import LiveLoop, LiveSettings
from accel_rt.live.stats import LivePicture
from accel_rt.palette import recolor
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.video.overlay import render_overlay
from tests.live.fake import (
    CAMVID,
    FakeSegmenter,
    Openings,
    ScriptedSource,
    endless,
    gate,
    wait_until,
)
from tests.runtime import small
from tests.runtime.fake_device import FakeDevice
from tests.video.clips import picture, picture_number, write_clip


class Loops:
    """Starts loops over scripted sources; keeps the segmenters they loaded."""

    def __init__(self) -> None:
        self.loops: list[LiveLoop] = []
        self.segmenters: list[FakeSegmenter] = []
        self.before_step: Callable[[np.ndarray], object] = lambda frame: None

    def load(self, settings: SegmenterSettings, asynchronous: bool) -> FakeSegmenter:
        self.segmenters.append(FakeSegmenter(settings, asynchronous, self.before_step))
        return self.segmenters[-1]

    def start(
        self, *sources: ScriptedSource | InputError, settings: LiveSettings | None = None, **options
    ) -> LiveLoop:
        loop = LiveLoop("it", settings, load=self.load, open_source=Openings(*sources), **options)
        self.loops.append(loop)
        loop._capture._backoff_s = (0.01,)
        loop.start()
        return loop


@pytest.fixture
def loops() -> Iterator[Loops]:
    loops = Loops()
    yield loops
    for loop in loops.loops:
        loop.stop()


def test_pictures_wait_for_the_keyframe_after_them_and_leave_at_the_pace_of_frames(
    loops: Loops,
) -> None:
    """Keyframe every 4: results come in fours, pictures one by one, three frames late."""
    shown: list[tuple[int, int]] = []
    arrived: list[int] = []

    class Late(FakeSegmenter):
        def push(self, frame_bgr: np.ndarray, *more: object) -> list[FrameResult]:
            arrived.append(picture_number(frame_bgr))
            self.late = [*getattr(self, "late", []), self.step(frame_bgr)]
            ready = len(self.late) if self.late[-1].kind == "key" else 0
            ready, self.late = self.late[:ready], self.late[ready:]
            return ready

        def flush(self) -> list[FrameResult]:
            return self.late

    script: list[object] = []
    for number in range(10):
        script += [picture(number), lambda number=number: wait_until(lambda: number in arrived)]
    settings = LiveSettings(interval=4)
    loop = LiveLoop(
        "it",
        settings,
        SegmenterSettings(look_ahead=True),
        load=lambda wanted, asynchronous: Late(wanted, asynchronous),
        open_source=Openings(ScriptedSource(script, live=False)),  # type: ignore[arg-type]
    )
    loops.loops.append(loop)
    publish = loop._publish

    def published(one: LivePicture) -> None:
        shown.append((picture_number(one.frame_bgr), arrived[-1]))
        publish(one)

    loop._publish = published  # type: ignore[method-assign]
    loop.start()
    wait_until(lambda: loop.ended)
    assert [number for number, _ in shown] == list(range(10))
    assert [at - number for number, at in shown[:7]] == [3] * 7
    assert loop.stats().networks["delay_frames"] == 3


def test_where_the_segmenter_draws_its_pictures_are_shown() -> None:
    """On a GPU: what is downloaded is shown as it is, and settings reach it between frames."""
    torch.manual_seed(0)
    shown: list[LivePicture] = []
    done, wait_until_done = gate()

    def load(wanted: SegmenterSettings, asynchronous: bool) -> Segmenter:
        return small.looped(small.accel(), FakeDevice(), flow=small.flownets())

    def frames() -> Iterator[np.ndarray]:
        for number in range(6):
            wait_until(lambda number=number: len(shown) >= number)
            if number == 3:
                loop.change("alpha", 0.7)
            yield picture(number)
        wait_until_done()

    def drawn(one: LivePicture, alpha: float) -> np.ndarray:
        return render_overlay(one.frame_bgr, one.labels, small.CLASSES.palette_bgr(), alpha)

    settings = LiveSettings(alpha=0.2, legend=False)
    opening = Openings(ScriptedSource(frames(), live=False))
    loop = LiveLoop("it", settings, load=load, open_source=opening)
    publish = loop._publish
    loop._publish = lambda one: (shown.append(one), publish(one))  # type: ignore[method-assign]
    with loop:
        wait_until(lambda: len(shown) == 6)
        for number, one in enumerate(shown):
            assert one.image_bgr is one.result.picture
            np.testing.assert_array_equal(one.image_bgr, drawn(one, 0.2 if number < 3 else 0.7))
        loop.change("paused", True)
        loop.change("alpha", 1.0)  # there is no further frame to draw
        wait_until(lambda: np.array_equal(shown[-1].image_bgr, drawn(shown[-1], 1.0)))
        done.set()
    assert loop.failure is None


def test_a_slow_model_gets_the_newest_frame_and_drops_are_counted(loops: Loops) -> None:
    """While a frame is segmented seven more arrive; the last of them comes next."""
    seen: list[int] = []
    busy, wait_until_busy = gate()
    release, wait_for_release = gate()
    arrived, wait_for_arrival = gate()

    def slow(frame_bgr: np.ndarray) -> None:
        seen.append(picture_number(frame_bgr))
        busy.set()
        wait_for_release()

    loops.before_step = slow
    script = [picture(0), wait_until_busy, *[picture(n) for n in range(1, 8)], arrived.set]
    loop = loops.start(ScriptedSource(script, live=False))
    wait_for_arrival()
    release.set()
    wait_until(lambda: loop.ended)
    assert seen == [0, 7]
    stats = loop.stats()
    assert (stats.frames, stats.dropped, stats.state) == (2, 6, "ended")


def test_the_age_counts_from_the_capture(loops: Loops) -> None:
    loops.before_step = lambda frame: time.sleep(0.05)
    loop = loops.start(ScriptedSource(endless()))
    wait_until(lambda: loop.stats().frames >= 4)
    stats = loop.stats()
    assert stats.age_ms.p50 >= 50
    assert stats.frame_ms.p50 < stats.age_ms.p50


def test_stats_are_complete_and_ready_for_json(loops: Loops) -> None:
    loop = loops.start(ScriptedSource(endless()))
    wait_until(lambda: loop.stats().frames >= 6)
    stats = json.loads(json.dumps(asdict(loop.stats())))
    assert stats["state"] == "running"
    assert stats["message"] == ""
    assert (stats["source"], stats["size"]) == ("scripted", [48, 64])
    assert stats["class_share"]["road"] == 0.5
    assert set(stats["class_share"]) == set(CAMVID.names)
    assert set(stats["stage_ms"]) == {"convert", "network", "render"}
    assert stats["fps"] > 0
    assert stats["source_fps"] > 0
    assert stats["age_ms"]["p50"] <= stats["age_ms"]["p95"] <= stats["age_ms"]["p99"]
    assert 1 <= stats["keyframes"] <= stats["frames"] / 5 + 1
    assert stats["memory_mb"] > 1
    assert stats["networks"]["interval"] == stats["settings"]["interval"] == 5


def test_viewers_wait_for_the_newest_picture(loops: Loops) -> None:
    go, wait = gate()
    more, wait_for_more = gate()
    loop = loops.start(ScriptedSource([picture(1), wait, picture(2), wait_for_more], live=False))
    first = loop.wait_picture(-1, 10)
    assert (first.index, first.kind) == (0, "key")
    assert first.labels[0, 0] == CAMVID.names.index("road")
    assert picture_number(first.frame_bgr) == 1
    assert loop.wait_picture(0, 0.05) is None
    found: list[int] = []
    viewers = [
        threading.Thread(target=lambda: found.append(loop.wait_picture(0, 10).index))
        for _ in range(5)
    ]
    for viewer in viewers:
        viewer.start()
    go.set()
    for viewer in viewers:
        viewer.join()
    assert found == [1] * 5
    more.set()
    assert loop.wait_picture(1) is None, "returns at the end"


class TestChanges:
    def test_colours_change_between_frames(self, loops: Loops) -> None:
        loop = loops.start(ScriptedSource(endless(255)), settings=LiveSettings(legend=False))
        loop.wait_picture(-1, 10)
        loop.change("alpha", 1.0)
        loop.change("classes", ["car"])
        last = loop.wait_picture(loop.wait_picture(-1, 10).index + 1, 10)
        image = loop.wait_picture(last.index, 10).image_bgr
        assert tuple(image[24, 60]) == recolor(CAMVID).colors_rgb[CAMVID.names.index("car")][::-1]
        assert abs(int(image[24, 4, 0]) - 210) < 5, "classes that are not chosen stay as they are"
        assert len(loops.segmenters) == 1

    def test_a_palette_and_outlines_are_drawn(self, loops: Loops) -> None:
        settings = LiveSettings(legend=False, alpha=0.0)
        loop = loops.start(ScriptedSource(endless(255)), settings=settings, palette="camvid")
        loop.wait_picture(-1, 10)
        loop.change("outline", True)
        last = loop.wait_picture(loop.wait_picture(-1, 10).index + 1, 10)
        image = loop.wait_picture(last.index, 10).image_bgr
        found = {tuple(color) for color in image.reshape(-1, 3).tolist()}
        assert CAMVID.colors_rgb[CAMVID.names.index("car")][::-1] in found

    def test_networks_are_exchanged(self, loops: Loops) -> None:
        loop = loops.start(ScriptedSource(endless()))
        loop.change("mode", "dff")
        wait_until(lambda: loops.segmenters[0].closed)
        loop.change("async_keyframes", False)
        wait_until(lambda: loops.segmenters[1].closed)
        assert [s.settings.mode for s in loops.segmenters] == ["accel", "dff", "dff"]
        assert [s.asynchronous for s in loops.segmenters] == [True, True, False]
        assert loop.stats().networks["mode"] == "dff"
        assert not loops.segmenters[2].closed
        loop.stop()
        assert loops.segmenters[2].closed

    def test_the_interval_needs_no_new_networks(self, loops: Loops) -> None:
        loop = loops.start(ScriptedSource(endless()))
        loop.change("interval", 2)
        before = loop.stats()
        wait_until(lambda: loop.stats().frames >= before.frames + 20)
        after = loop.stats()
        assert after.keyframes - before.keyframes >= 8
        assert len(loops.segmenters) == 1
        loop.change("interval", 1)
        assert len(loops.segmenters) == 2, "the update network is not needed then"

    def test_an_interval_with_updates_loads_the_update_network(self, loops: Loops) -> None:
        networks = SegmenterSettings(interval=5, update_every=5)
        loop = loops.start(ScriptedSource(endless()), networks=networks)
        assert not loops.segmenters[0].settings.schedule.updates
        loop.change("interval", 10)
        assert loops.segmenters[1].settings.schedule.updates
        assert (
            loop.stats().networks["schedule"] == "keyframe every 10, update every 5, others carried"
        )

    def test_without_settings_it_begins_as_the_networks_say(self, loops: Loops) -> None:
        networks = SegmenterSettings.preset("fast", live=True, mode="dff", update_scale=0.5)
        loop = loops.start(ScriptedSource(endless()), networks=networks)
        assert loops.segmenters[0].settings == networks
        assert loop.stats().settings.interval == 10

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("interval", 0, "the interval must be a whole number from 1 to 1000, got 0"),
            ("interval", 2.5, "got 2.5"),
            ("interval", True, "got True"),
            ("mode", "fast", "unknown mode 'fast': choose from accel, dff, copy, deeplab"),
            ("update_scale", 0.3, "the update scale must be 1, 0.5 or 0.25, got 0.3"),
            ("update", "", "the update network must be a name"),
            ("alpha", 1.5, "alpha must be a number from 0 to 1, got 1.5"),
            ("alpha", "much", "alpha must be a number"),
            ("alpha", float("nan"), "alpha must be a number"),
            ("classes", ["boat"], "unknown class 'boat': choose from sky"),
            ("classes", [3], "classes must be a list of names"),
            ("classes", "car", "classes must be a list of names"),
            ("legend", 1, "legend must be true or false, got 1"),
            ("speed", 1, "there is no setting 'speed': choose from classes, alpha"),
        ],
    )
    def test_bad_values(self, loops: Loops, name: str, value: object, sentence: str) -> None:
        loop = loops.start(ScriptedSource(endless()))
        before = loop.settings
        with pytest.raises(UsageError, match=sentence):
            loop.change(name, value)
        assert loop.settings == before

    def test_classes_may_be_a_list(self) -> None:
        assert LiveSettings(classes=["car"]) == LiveSettings(classes=("car",))

    def test_pause_stands_still_but_takes_new_colours(self, loops: Loops) -> None:
        loop = loops.start(ScriptedSource(endless(255)), settings=LiveSettings(legend=False))
        loop.wait_picture(-1, 10)
        loop.change("paused", True)
        wait_until(lambda: loop.stats().state == "paused")
        still = loop.wait_picture(-1, 10)
        while newer := loop.wait_picture(still.index, 0.3):  # the frame that was in work
            still = newer
        frames = loop.stats().frames
        loop.change("side_by_side", True)
        again = loop.wait_picture(still.index, 10)
        assert again.image_bgr.shape == (48, 128, 3)
        np.testing.assert_array_equal(again.image_bgr[:, :64], again.frame_bgr)
        assert loop.stats().frames == frames
        loop.change("paused", False)
        wait_until(lambda: loop.stats().frames > frames)

    def test_choices(self, loops: Loops) -> None:
        choices = loops.start(ScriptedSource(endless())).choices()
        assert "efficientnet_lite0" in choices["update"]
        assert choices["classes"] == CAMVID.names
        assert choices["mode"] == ("accel", "dff", "copy", "deeplab")


def test_snapshot_is_the_picture_as_png(loops: Loops) -> None:
    loop = loops.start(ScriptedSource([picture(1)], live=False))
    shown = loop.wait_picture(-1, 10).image_bgr
    image = cv2.imdecode(np.frombuffer(loop.snapshot(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, shown)


def test_a_source_that_comes_back_starts_from_a_keyframe(loops: Loops) -> None:
    out = InputError("the cable is out")
    away, wait = gate()
    broken = ScriptedSource([picture(1), lambda: time.sleep(0.2), out])
    back = ScriptedSource([wait, *[picture(2)] * 3, *[picture(3, 96, 64)] * 3, lambda: gate()[1]()])
    loop = loops.start(broken, back)
    wait_until(lambda: loop.stats().state == "reconnecting")
    assert loop.stats().message == "the cable is out"
    away.set()
    wait_until(lambda: loop.stats().size == (64, 96))
    assert loop.stats().reconnects == 1
    assert loop.stats().state == "running"
    assert loops.segmenters[0].resets == 1


def test_black_pictures_are_said_and_light_starts_afresh(
    loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel_rt.live.black._BLACK_LASTS_S", 0.05)
    dark, seen = gate()

    def script():
        yield picture(5)
        while not dark.is_set():
            time.sleep(0.01)
            yield np.full((48, 64, 3), 16, np.uint8)
        yield from endless()

    loop = loops.start(ScriptedSource(script()))
    wait_until(lambda: loop.stats().message == "the picture is black")
    assert loops.segmenters[0].resets == 0
    dark.set()
    seen()
    wait_until(lambda: loop.stats().message == "")
    assert loops.segmenters[0].resets == 1


def test_every_recording_has_its_own_file(loops: Loops, tmp_path: Path) -> None:
    loop = loops.start(ScriptedSource(endless()), recording=tmp_path / "it.mp4")
    for name in ("it.mp4", "it-2.mp4", "it-3.mp4"):
        loop.record(True)
        loop.record(True)
        assert loop.stats().recording == str(tmp_path / name)
        wait_until(lambda: loop._recorder._writer.frames >= 2)
        loop.record(False)
        assert loop.stats().recording is None
        assert (tmp_path / name).stat().st_size > 0


def test_the_picture_that_is_shown_is_the_first_of_a_recording(
    loops: Loops, tmp_path: Path
) -> None:
    """Also where no other one comes any more."""
    recorded, wait = gate()
    source = ScriptedSource([picture(5), wait])
    loop = loops.start(source, recording=tmp_path / "it.mp4")
    loop.record(True)
    loop.record(False)
    recorded.set()
    with av.open(str(tmp_path / "it.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1


def test_a_recording_begins_with_the_first_picture_however_late(
    loops: Loops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel_rt.live.loop._FIRST_PICTURE_S", 0.05)
    loop = loops.start(
        ScriptedSource(endless()),
        settings=LiveSettings(paused=True),
        recording=tmp_path / "it.mp4",
    )
    loop.record(True)
    assert loop.stats().recording is None
    loop.change("paused", False)
    wait_until(lambda: loop.stats().recording == str(tmp_path / "it.mp4"))
    wait_until(lambda: loop.stats().frames >= 3)
    loop.record(False)
    with av.open(str(tmp_path / "it.mp4")) as container:
        assert len(list(container.decode(video=0))) >= 3


def test_a_recording_that_failed_is_none_and_another_can_begin(
    loops: Loops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**12]
    usage = lambda path: SimpleNamespace(free=free[0])  # noqa: E731
    monkeypatch.setattr("accel_rt.live.recorder.shutil.disk_usage", usage)
    loop = loops.start(ScriptedSource(endless()), recording=tmp_path / "it.mp4")
    loop.record(True)
    wait_until(lambda: loop._recorder._writer.frames >= 2)
    free[0] = 5
    wait_until(lambda: loop.stats().recording is None)
    assert "are free where" in loop.stats().message
    free[0] = 10**12
    loop.record(True)
    assert loop.stats().recording == str(tmp_path / "it-2.mp4")
    assert loop.stats().message == ""
    wait_until(lambda: loop._recorder._writer.frames >= 2)
    loop.record(False)
    assert loop.recordings.files == [tmp_path / "it.mp4", tmp_path / "it-2.mp4"]
    assert "are free where" in str(loop.recordings.failure)


def test_a_recording_that_fails_as_it_is_completed_is_known_afterwards(
    loops: Loops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loops.start(ScriptedSource(endless()), recording=tmp_path / "it.mp4")
    loop.record(True)
    wait_until(lambda: loop._recorder._writer.frames >= 2)
    failure = OutputError("the disk is full")

    def fail() -> None:
        raise failure

    monkeypatch.setattr(loop._recorder._writer, "finish", fail)
    loop.stop()
    assert loop.recordings.failure is failure


def test_pictures_that_were_not_recorded_are_counted(loops: Loops, tmp_path: Path) -> None:
    done, wait = gate()
    loop = loops.start(ScriptedSource([picture(5), wait]), recording=tmp_path / "it.mp4")
    for _ in range(2):
        loop.record(True)
        loop._recorder.dropped += 3
        loop.record(False)
    done.set()
    assert loop.recordings.dropped == 6


def test_going_on_after_a_pause_starts_from_a_keyframe(loops: Loops) -> None:
    loop = loops.start(ScriptedSource(endless()))
    loop.wait_picture(-1, 10)
    loop.change("paused", True)
    time.sleep(0.3)
    loop.change("paused", False)
    wait_until(lambda: loops.segmenters[0].resets == 1)


def test_damage_is_said(loops: Loops) -> None:
    source = ScriptedSource(endless())
    loop = loops.start(source)
    loop.wait_picture(-1, 10)
    assert loop.stats().message == ""
    source.damaged = 3
    wait_until(lambda: loop.stats().message == "the stream is damaged: 3 frames skipped so far")
    assert loop.stats().damaged == 3
    assert loop.stats().state == "running"


def test_a_source_that_cannot_be_opened(loops: Loops) -> None:
    with pytest.raises(InputError, match="no such host"):
        loops.start(InputError("no such host"))


def test_an_unknown_class_at_the_start(loops: Loops) -> None:
    with pytest.raises(UsageError, match="unknown class 'boat'"):
        loops.start(ScriptedSource(endless()), settings=LiveSettings(classes=("boat",)))


def test_an_error_of_the_networks_ends_the_run(loops: Loops) -> None:
    def fail(_: np.ndarray) -> None:
        raise RuntimeError("out of memory")

    loops.before_step = fail
    loop = loops.start(ScriptedSource(endless()))
    assert loop.wait_picture(-1, 10) is None
    assert str(loop.failure) == "out of memory"
    assert loop.stats().message == "out of memory"


def test_nothing_is_left_running(loops: Loops) -> None:
    before = threading.active_count()
    loop = loops.start(ScriptedSource(endless()))
    loop.wait_picture(-1, 10)
    loop.stop()
    loop.stop()
    assert threading.active_count() == before
    assert loop.stats().state == "ended"


def test_python_interface(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    numbers = []
    for result in accel_rt.live(clip, load=FakeSegmenter):
        numbers.append(picture_number(result.frame_bgr))
        if len(numbers) == 3:
            break
    assert numbers == sorted(set(numbers))
    with pytest.raises(InputError, match="there is no file"):
        next(iter(accel_rt.live(tmp_path / "none.mp4", load=FakeSegmenter)))

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from accel_rt.live.web import LiveServer
from accel_rt.live.web.viewers import Limits, encode
from tests.live.web.fake import FakeLoop, kind_of

Start = Callable[..., LiveServer]
PATIENCE_S = 30.0


@contextmanager
def watch(server: LiveServer, line: socket.socket | None = None) -> Iterator[ClientConnection]:
    """A viewer that has been let in."""
    address = f"ws://{urlsplit(server.url).netloc}/viewer"
    with connect(address, sock=line, compression=None, close_timeout=1, max_size=None) as viewer:
        assert "hello" in json.loads(viewer.recv(timeout=PATIENCE_S))
        yield viewer


def next_picture(viewer: ClientConnection) -> tuple[int, float, int, np.ndarray]:
    """Index, age in ms, kind and image of the next picture; figures in between are skipped."""
    while isinstance(message := viewer.recv(timeout=PATIENCE_S), str):
        pass
    index, age_ms, kind = struct.unpack("<IfB3x", message[:12])
    image = cv2.imdecode(np.frombuffer(message[12:], np.uint8), cv2.IMREAD_COLOR)
    return index, age_ms, kind, image


def next_stats(viewer: ClientConnection) -> dict:
    while not isinstance(message := viewer.recv(timeout=PATIENCE_S), str):
        pass
    return json.loads(message)


def read_on(viewer: ClientConnection) -> None:
    """Read until the connection ends with an error."""
    while True:
        viewer.recv(timeout=PATIENCE_S)


def drain(line: socket.socket) -> None:
    while line.recv(65536):
        pass


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)


def test_a_viewer_sees_the_newest_pictures_in_order(loop: FakeLoop, server: LiveServer) -> None:
    with watch(server) as viewer:
        last = -1
        for _ in range(12):
            index, age_ms, kind, image = next_picture(viewer)
            assert index > last
            assert age_ms >= 0
            assert ("update", "key", "carry")[kind] == kind_of(index)
            assert abs(int(image[50, 80, 2]) - 16 * (index % 16)) <= 4
            viewer.send(str(index))
            last = index


def test_a_slow_viewer_misses_pictures_and_gets_no_old_ones(
    loop: FakeLoop, server: LiveServer
) -> None:
    with watch(server) as viewer:
        index, *_ = next_picture(viewer)
        next_picture(viewer)
        viewer.send(str(index))  # one of two places is free, and taken at once
        next_picture(viewer)
        wait_until(lambda: loop.index > index + 20)
        behind = loop.index
        viewer.send(str(2**32 - 1))
        index, *_ = next_picture(viewer)
        assert index >= behind


def test_pictures_stop_until_they_are_acknowledged(loop: FakeLoop, server: LiveServer) -> None:
    with watch(server) as viewer:
        shown = [next_picture(viewer)[0] for _ in range(2)]
        wait_until(lambda: loop.index > shown[-1] + 20)
        for _ in range(2):  # figures go on
            assert isinstance(viewer.recv(timeout=PATIENCE_S), str)
        viewer.send(str(shown[-1]))
        assert next_picture(viewer)[0] > shown[-1]


def test_a_picture_is_encoded_once_for_all(loop: FakeLoop, start: Start) -> None:
    server = start()
    with ExitStack() as stack:
        viewers = [stack.enter_context(watch(server)) for _ in range(4)]
        sent = 0
        for _ in range(10):
            for viewer in viewers:
                index, *_ = next_picture(viewer)
                viewer.send(str(index))
                sent += 1
        assert len(loop.handed_out) == len(set(loop.handed_out))
        encoded = server.summary()["encoded"]
    assert server.summary()["served"] == 4
    assert encoded < sent


def test_nothing_is_encoded_while_nobody_watches(loop: FakeLoop, server: LiveServer) -> None:
    wait_until(lambda: loop.index > 10)
    assert loop.handed_out == []
    with watch(server) as viewer:
        next_picture(viewer)
    wait_until(lambda: server.summary()["viewers"] == 0)
    last = loop.handed_out[-1]
    wait_until(lambda: loop.index > last + 30)
    assert len([index for index in loop.handed_out if index > last + 5]) <= 1


def test_too_many_viewers_are_turned_away_with_the_reason(start: Start) -> None:
    server = start(max_viewers=2)
    address = f"ws://{urlsplit(server.url).netloc}/viewer"
    with watch(server), watch(server):
        with connect(address) as third, pytest.raises(ConnectionClosed) as closed:
            third.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert "2 viewers" in closed.value.rcvd.reason
        assert server.summary()["refused"] == 1
    wait_until(lambda: server.summary()["viewers"] == 0)
    with watch(server) as viewer:
        next_picture(viewer)


def test_a_viewer_that_stalls_is_dropped_while_others_go_on(start: Start) -> None:
    server = start(stall_s=1.0)
    line = socket.create_connection(urlsplit(server.url).netloc.split(":"))
    with watch(server, line) as stalled, watch(server) as lively:
        next_picture(stalled)
        while server.summary()["dropped"] == 0:
            index, *_ = next_picture(lively)
            lively.send(str(index))
        assert server.summary()["viewers"] == 1
        last = next_picture(lively)[0]
        lively.send(str(last))
        assert next_picture(lively)[0] > last
        with pytest.raises(ConnectionClosed):
            read_on(stalled)


def test_a_viewer_whose_line_is_full_is_cut(loop: FakeLoop, start: Start) -> None:
    """One that does not even read: its connection goes, though data still waits for it."""
    loop.size = (1080, 1920)
    loop.noise = True
    server = start(stall_s=1.0, in_flight=64, max_side_px=1920, quality=100)
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((host, int(port)))
        line.sendall(
            f"GET /viewer HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        wait_until(lambda: server.summary()["viewers"] == 1)
        wait_until(lambda: server.summary()["dropped"] == 1)
        with pytest.raises(ConnectionResetError):
            drain(line)
    loop.noise = False
    with watch(server) as viewer:
        next_picture(viewer)


@pytest.mark.parametrize("message", ["hello", "-1", "1" * 11, "", '{"name": "alpha"}'])
def test_a_viewer_may_only_acknowledge(server: LiveServer, message: str) -> None:
    with watch(server) as viewer:
        viewer.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            read_on(viewer)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize("message", ["1" * 100_000, b"1" * 100_000, b"1"])
def test_messages_that_are_large_or_bytes_end_the_visit(
    server: LiveServer, message: str | bytes
) -> None:
    with watch(server) as viewer:
        viewer.send(message)
        with pytest.raises(ConnectionClosed):
            read_on(viewer)
    wait_until(lambda: server.summary()["viewers"] == 0)


def test_figures_reach_every_viewer(loop: FakeLoop, server: LiveServer) -> None:
    with watch(server) as viewer:
        for _ in range(10):
            index, *_ = next_picture(viewer)
            viewer.send(str(index))
        first = next_stats(viewer)
        loop.change("alpha", 0.9)
        while (now := next_stats(viewer))["stats"]["settings"]["alpha"] != 0.9:
            pass
        assert now["stats"]["frames"] > first["stats"]["frames"]
        assert now["stats"]["server"]["viewers"] == 1
        assert first["viewer"]["delay_p50_ms"] > 0


def test_a_newcomer_gets_the_past_for_its_charts(loop: FakeLoop, server: LiveServer) -> None:
    with watch(server) as viewer:
        for _ in range(3):
            next_stats(viewer)
    with connect(f"ws://{urlsplit(server.url).netloc}/viewer") as viewer:
        hello = json.loads(viewer.recv(timeout=PATIENCE_S))["hello"]
    assert len(hello["history"]) >= 3
    assert hello["history"][0]["age_ms"]["p95"] == 31.5
    assert hello["classes"][3] == {"name": "road", "color": "#804080"}
    assert hello["choices"]["update"] == ["efficientnet_lite0", "resnet18"]


def test_a_paused_loop_still_shows_its_picture_to_newcomers(
    loop: FakeLoop, server: LiveServer
) -> None:
    wait_until(lambda: loop.index > 3)
    loop.change("paused", True)
    for _ in range(2):
        with watch(server) as viewer:
            assert next_picture(viewer)[0] == loop.index


def test_large_pictures_are_reduced(loop: FakeLoop) -> None:
    loop.size = (480, 640)
    picture = loop.wait_picture(-1, PATIENCE_S)
    jpeg = encode(picture, Limits(max_side_px=320)).jpeg
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)

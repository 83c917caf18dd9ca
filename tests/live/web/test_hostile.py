"""Callers who mean harm: nobody is locked out, nothing is printed, and guessing takes long."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from accel_rt.live.web import LiveServer, access, connections
from accel_rt.live.web.access import Access, TooManyGuesses
from accel_rt.live.web.connections import MAX_CONNECTIONS
from tests.live.fake import wait_until
from tests.live.web.conftest import TOKEN
from tests.live.web.fake import FakeLoop
from tests.live.web.test_requests import get, netloc, post, viewer_status
from tests.live.web.test_viewers import read_on

Start = Callable[..., LiveServer]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def lines() -> Iterator[Callable[[LiveServer, bytes], socket.socket]]:
    """Open a connection that stays, and send something on it."""
    opened: list[socket.socket] = []

    def line(server: LiveServer, data: bytes) -> socket.socket:
        host, port = netloc(server).split(":")
        opened.append(socket.socket())
        # However much the system would hold of an answer that nobody reads: not all of it.
        opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened[-1].settimeout(10)
        opened[-1].connect((host, int(port)))
        opened[-1].sendall(data)
        return opened[-1]

    yield line
    for one in opened:
        one.close()


def request(server: LiveServer, path: str = "/healthz", more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {netloc(server)}\r\n{more}\r\n".encode()


def handshake(server: LiveServer) -> bytes:
    return request(
        server,
        "/viewer",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {TOKEN}\r\n",
    )


def answered(line: socket.socket) -> bytes:
    """The answer to a first request."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += line.recv(65536)
    return answer


def rest(line: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    return b"".join(iter(lambda: line.recv(65536), b""))


# -- many and slow ---------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("kind", ["silent", "half", "kept", "body", "never read"])
def test_connections_that_ask_for_nothing_lock_nobody_out(
    loop: FakeLoop, start: Start, lines: Callable, token: str | None, kind: str
) -> None:
    server = start(token)
    half = b"GET /stats HTTP/1.1\r\nHost: loc"
    with connect(f"ws://{netloc(server)}/viewer", additional_headers=BEARER) as viewer:
        for _ in range(2 * MAX_CONNECTIONS):
            if kind == "silent":
                lines(server, b"")
            elif kind == "half":
                lines(server, half)
            elif kind == "kept":
                line = lines(server, request(server))
                answered(line)
                line.sendall(half)
            elif kind == "body":
                body = "Content-Length: 100\r\nContent-Type: application/json\r\n"
                lines(server, request(server, "/login", body).replace(b"GET", b"POST") + b"token=")
            else:
                ask = request(server, "/snapshot.png", f"Authorization: Bearer {TOKEN}\r\n")
                lines(server, ask * 4)
        for _ in range(3):
            assert get(f"{server.url}/stats", headers=BEARER).status_code == 200
        assert viewer_status(server, **BEARER) == 101
        viewer.recv(timeout=10)


def test_a_request_has_one_time_limit_however_it_drips(
    start: Start, lines: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.3)
    server = start()
    line = lines(server, b"GET / HTTP/1.1\r\n")
    dripping = threading.Event()

    resets = []  # the system reports one once, to whichever of the two calls comes first

    def drip() -> None:
        try:
            while not dripping.wait(0.05):
                line.sendall(b"X: y\r\n")
        except ConnectionError as error:
            resets.append(error)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert line.recv(1) == b""
    except ConnectionError as error:
        resets.append(error)
    dripping.set()
    thread.join()
    assert resets


def test_an_answer_that_is_not_taken_is_cut(
    loop: FakeLoop, start: Start, lines: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 2.0)
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 600.0)
    is_cut = threading.Event()
    cut = connections.Connection.cut

    def cut_and_say(connection: connections.Connection) -> None:
        cut(connection)
        is_cut.set()

    monkeypatch.setattr(connections.Connection, "cut", cut_and_say)
    loop.size = (1080, 1920)
    loop.snapshot_noise = True
    server = start()
    wait_until(lambda: loop.index >= 0)  # there is a picture
    line = lines(server, request(server, "/snapshot.png"))
    assert is_cut.wait(20)
    # A reset that comes while the buffer is full may be dropped; reading brings another one.
    with pytest.raises(ConnectionError):
        rest(line)


def test_an_answer_may_be_taken_slowly(
    loop: FakeLoop, start: Start, lines: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.size = (1080, 1920)
    loop.snapshot_noise = True
    server = start()
    wait_until(lambda: loop.index >= 0)
    line = lines(server, request(server, "/snapshot.png", "Connection: close\r\n"))
    answer = line.recv(65536)
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.3)
    time.sleep(1.5)  # longer than that, and two looks at the clock
    answer += rest(line)
    assert answer.endswith(b"IEND\xaeB`\x82"), "the end of a PNG file"


def test_the_address_with_most_connections_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Transport:
        def __init__(self, address: str) -> None:
            self.address, self.cut = address, False

        def get_extra_info(self, name: str) -> object:
            return (self.address, 1) if name == "peername" else None

        def abort(self) -> None:
            self.cut = True

    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    held = connections.Connections()
    quiet, *greedy = transports = [Transport(address) for address in "abbb"]
    opened = [held.opened(transport) for transport in transports]
    assert [transport.cut for transport in (quiet, *greedy)] == [False, True, False, False]
    opened[2].wait_for("answer")
    held.opened(Transport("b"))
    assert [transport.cut for transport in greedy] == [True, False, True]
    opened[0].wait_for("nothing")
    held.opened(Transport("c"))
    assert not quiet.cut
    assert not greedy[1].cut


def test_pings_that_nobody_reads_the_answers_of_do_not_pile_up(
    start: Start, lines: Callable
) -> None:
    server = start(stall_s=60.0)
    line = lines(server, handshake(server))
    ping = b"\x89\xfd" + bytes(4) + b"x" * 125
    line.settimeout(3)
    pings, sent, most = ping * 10_000, 0, 100_000_000  # TCP alone may hold tens of megabytes
    with suppress(TimeoutError, ConnectionError):  # it stops reading, or hangs up
        while sent < most:
            sent += line.send(pings)
    assert sent < most, "what it had taken by then is bounded"


# -- early ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("abrupt", [False, True])
def test_connections_that_close_early_print_nothing(
    loop: FakeLoop,
    start: Start,
    lines: Callable,
    abrupt: bool,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.WARNING)
    server = start()
    login = request(server, "/login", "Content-Length: 100\r\n").replace(b"GET", b"POST")
    frames = {
        "bytes": b"\x82\x81" + bytes(4) + b"1",
        "bad text": b"\x81\x82" + bytes(4) + b"\xff\xfe",
        "no acknowledgement": b"\x81\x81" + bytes(4) + b"x",
        "unmasked": b"\x81\x01x",
        "reserved": b"\xff" * 20,
        "close": b"\x88\x80" + bytes(4),
        "too large": b"\x81\xff" + b"\xff" * 12,
    }
    for data in (
        b"",
        b"G",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"nonsense\r\n\r\n",
        request(server)[:-2],
        request(server),
        request(server) * 30,
        request(server) + b"nonsense\r\n\r\n",
        request(server, "/snapshot.png") * 10,
        request(server, "/nothing\x01"),
        login,
        login + b"token=",
        login + b"token=" + b"x" * 200,
        login.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"zz\r\n",
        request(server, more="Expect: 100-continue\r\nContent-Length: 5\r\n"),
        handshake(server),
        handshake(server)[:-2],
        handshake(server).replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"no key"),
        handshake(server).replace(b"Version: 13", b"Version: 12"),
        handshake(server).replace(b"/viewer", b"/nothing"),
        handshake(server) + handshake(server),
        *(handshake(server) + frame for frame in frames.values()),
        *(handshake(server) + 3 * frame for frame in frames.values()),
    ):
        for wait_s in (0, 0.05):
            line = lines(server, data)
            if wait_s:
                line.settimeout(wait_s)
                with contextlib.suppress(OSError):
                    line.recv(1000)
            if abrupt:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()
    assert get(f"{server.url}/healthz").status_code == 200
    server.stop()
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_an_error_of_our_own_is_a_sentence(
    loop: FakeLoop, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bytes:
        raise RuntimeError("out of pictures")

    monkeypatch.setattr(loop, "snapshot", broken)
    assert get(f"{start().url}/snapshot.png?token=secret").status_code == 500
    wait_until(lambda: caplog.text)
    assert "unexpected RuntimeError at /snapshot.png: out of pictures" in caplog.text
    assert "Traceback" not in caplog.text
    assert "secret" not in caplog.text


# -- guessing, and changing the token --------------------------------------------------------


def test_guesses_are_few_and_others_are_not_kept_waiting(start: Start) -> None:
    server = start(TOKEN)
    login = post(f"{server.url}/login", data={"token": TOKEN})
    cookie = {"Cookie": login.headers["set-cookie"].split(";")[0]}
    assert get(f"{server.url}/stats", headers=cookie).status_code == 200
    ways = (
        lambda guess: post(f"{server.url}/login", data={"token": guess}),
        lambda guess: get(f"{server.url}/stats", headers={"Authorization": f"Bearer {guess}"}),
        lambda guess: get(f"{server.url}/stats", headers={"Cookie": f"accel_rt_{port}={guess}"}),
    )
    port = urlsplit(server.url).port
    statuses = [ways[n % 3](f"guess-{n}").status_code for n in range(15)]
    assert statuses == [401] * access.MAX_GUESSES + [429] * 5
    for way in ways[:2]:
        refused = way(TOKEN)
        assert refused.status_code == 429
        assert "wait" in refused.text
    assert ways[0]("guess-0").status_code == 401  # nothing new
    assert get(f"{server.url}/stats", headers=cookie).status_code == 200
    page = get(server.url, headers={"Authorization": "Bearer x"})
    assert page.status_code == 429


def test_guesses_are_forgotten_and_counted_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: now[0])
    door = Access(TOKEN, 1)
    for n in range(access.MAX_GUESSES):
        assert not door.is_token(f"guess {n}", "10.0.0.1")
        now[0] += 1
    with pytest.raises(TooManyGuesses, match="wait 50 s"):
        door.is_token(TOKEN, "10.0.0.1")
    assert door.is_token(TOKEN, "10.0.0.2")
    now[0] += 50
    assert door.is_token(TOKEN, "10.0.0.1")


def test_a_changed_token_ends_everything_that_came_by_the_old_one(start: Start) -> None:
    server = start(TOKEN)
    login = post(f"{server.url}/login", data={"token": TOKEN})
    cookie = {"Cookie": login.headers["set-cookie"].split(";")[0]}
    assert get(f"{server.url}/stats", headers=cookie).status_code == 200
    with connect(f"ws://{netloc(server)}/viewer", additional_headers=BEARER) as viewer:
        viewer.recv(timeout=10)
        server.change_token("another token of the tests")
        with pytest.raises(ConnectionClosed):
            read_on(viewer)
    assert get(f"{server.url}/stats", headers=cookie).status_code == 401
    assert get(f"{server.url}/stats", headers=BEARER).status_code == 401
    assert viewer_status(server, **cookie) == 403
    new = {"Authorization": "Bearer another token of the tests"}
    assert get(f"{server.url}/stats", headers=new).status_code == 200
    assert server.link.endswith("/#token=another%20token%20of%20the%20tests")


def test_the_token_is_in_no_request_of_its_link(start: Start) -> None:
    server = start(TOKEN)
    parts = urlsplit(server.link)
    assert parts.fragment == f"token={TOKEN}"
    assert TOKEN not in server.link.partition("#")[0]
    assert get(f"{server.url}/?token={TOKEN}").status_code == 401


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_connection_is_left_open(start: Start, lines: Callable) -> None:
    server = start()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        lines(server, request(server)).close()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from accel_rt.live.web import LiveServer, connections
from accel_rt.live.web.guard import MAX_BODY_BYTES, MAX_HEADER_BYTES
from tests.live.web.conftest import TOKEN
from tests.live.web.fake import FakeLoop

Start = Callable[..., LiveServer]

TLS = ssl.create_default_context()  # made once: it takes longer than a request
get = partial(httpx.get, verify=TLS, timeout=60)
post = partial(httpx.post, verify=TLS, timeout=60)


def netloc(server: LiveServer) -> str:
    return urlsplit(server.url).netloc


def control(server: LiveServer, name: str, value: object, **headers: str) -> httpx.Response:
    return post(f"{server.url}/control", json={"name": name, "value": value}, headers=headers)


def viewer_status(server: LiveServer, **headers: str) -> int:
    """HTTP status of a WebSocket handshake."""
    origin = headers.pop("Origin", None)
    try:
        with connect(
            f"ws://{netloc(server)}/viewer", origin=origin, additional_headers=headers
        ) as viewer:
            viewer.recv(timeout=5)
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def talk(server: LiveServer, request: bytes) -> bytes:
    """Everything that the server answers to raw bytes."""
    host, port = netloc(server).split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := line.recv(65536):
                answer += chunk
        return answer


# -- what is served --------------------------------------------------------------------------


def test_health_follows_the_state(loop: FakeLoop, server: LiveServer) -> None:
    statuses = {}
    for loop.state in ("running", "reconnecting", "ended"):
        answer = get(f"{server.url}/healthz")
        assert answer.json() == {"state": loop.state}
        statuses[loop.state] = answer.status_code
    assert statuses == {"running": 200, "reconnecting": 503, "ended": 503}


def test_stats_are_the_loops(loop: FakeLoop, server: LiveServer) -> None:
    stats = get(f"{server.url}/stats").json()
    assert stats["source"] == "fake camera"
    assert stats["age_ms"] == {"p50": 20.0, "p95": 31.5, "p99": 40.25}
    assert stats["settings"]["alpha"] == 0.5
    assert stats["server"]["viewers"] == 0


def test_metrics_can_be_scraped(loop: FakeLoop, server: LiveServer) -> None:
    loop.state = "reconnecting"
    answer = get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["accel_rt_live_age_seconds", "0.95"] == 0.0315
    assert samples["accel_rt_live_stage_seconds", "network"] == 0.0065
    assert samples["accel_rt_live_state", "reconnecting"] == 1
    assert samples["accel_rt_live_state", "running"] == 0
    assert samples["accel_rt_live_memory_bytes",] == 512.5 * 2**20
    assert samples["accel_rt_live_class_share_ratio", "road"] == pytest.approx(1 / 11)
    assert samples["accel_rt_live_dropped_frames_total",] >= 0


def test_metrics_of_a_loop_without_a_frame_yet(loop: FakeLoop, server: LiveServer) -> None:
    loop.fresh = True
    assert "accel_rt_live_fps " not in get(f"{server.url}/metrics").text
    assert get(f"{server.url}/stats").json()["age_ms"] is None


def test_a_snapshot_is_a_png_to_keep(loop: FakeLoop, server: LiveServer) -> None:
    loop.wait_picture(0, 5)
    answer = get(f"{server.url}/snapshot.png")
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (96, 160, 3)
    assert answer.headers["content-disposition"].startswith('attachment; filename="accel-rt-')


def test_settings_can_be_changed(loop: FakeLoop, server: LiveServer) -> None:
    for name, value, expected in (
        ("interval", 9, 9),
        ("alpha", 0.25, 0.25),
        ("mode", "dff", "dff"),
        ("update", "resnet18", "resnet18"),
        ("classes", ["road", "car"], ("road", "car")),
        ("classes", None, None),
        ("paused", True, True),
    ):
        answer = control(server, name, value)
        assert answer.status_code == 200, answer.text
        assert getattr(loop.settings, name) == expected
    assert answer.json()["settings"]["interval"] == 9


def test_recording_is_switched(loop: FakeLoop, server: LiveServer) -> None:
    control(server, "record", True)
    assert get(f"{server.url}/stats").json()["recording"] == "/videos/live.mp4"
    control(server, "record", False)
    assert loop.recording is None
    loop.fail_record = True
    answer = control(server, "record", True)
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        "cannot write live.mp4: the disk is full",
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("alpha", 3, "alpha must be a number from 0 to 1, got 3"),
        ("alpha", True, "alpha must be"),
        ("interval", 0, "interval"),
        ("mode", "magic", "unknown mode 'magic'"),
        ("classes", ["unicorn"], "unknown class 'unicorn'"),
        ("flow", "dis", "no setting 'flow'"),
        ("__class__", 1, "no setting"),
        ("record", "yes", "record must be true or false"),
        ("update", "/etc/passwd.safetensors", "choose an update network from"),
        ("update", "../weights/x.safetensors", "choose an update network from"),
        ("alpha", {"a": 1}, "not understood"),
        ("x" * 300, 1, "not understood"),
    ],
)
def test_a_bad_change_is_refused_in_a_sentence(
    loop: FakeLoop, server: LiveServer, name: str, value: object, sentence: str
) -> None:
    before = loop.settings
    answer = control(server, name, value)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert loop.settings == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"name": "alpha"}', b"\xff\xfe"])
def test_a_body_that_is_not_a_change_is_refused(server: LiveServer, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = post(f"{server.url}/control", content=body, headers=headers)
    assert answer.status_code == 422
    assert "not understood" in answer.json()["error"]


def test_a_change_must_say_that_it_is_json(loop: FakeLoop, server: LiveServer) -> None:
    """Else a form of another site could send it without the browser asking first."""
    body = json.dumps({"name": "alpha", "value": 0.1})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = post(f"{server.url}/control", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422
    assert loop.settings.alpha == 0.5


@pytest.mark.parametrize(
    "path",
    [
        "/../address.py",
        "/page/app.js",
        "/..%2faddress.py",
        "/%2e%2e/%2e%2e/version.py",
        "//etc/passwd",
        "/style.css/../login.html",
        "/login.html",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_reaches_the_file_system(server: LiveServer, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {netloc(server)}\r\nConnection: close\r\n\r\n"
    assert talk(server, request.encode()).startswith(b"HTTP/1.1 404 ")


def test_every_answer_carries_the_headers_that_protect_it(server: LiveServer) -> None:
    for path in ("/", "/app.js", "/stats", "/metrics", "/nothing"):
        headers = get(f"{server.url}{path}").headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_the_page_asks_for_nothing_from_elsewhere(server: LiveServer) -> None:
    index = get(server.url).text
    files = {"/", "/style.css", "/icon.svg", "/app.js", "/charts.js", "/controls.js", "/link.js"}
    for path in files:
        text = get(f"{server.url}{path}").text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert 'src="/app.js"' in index


# -- who may ask -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8770", "192.168.1.5", ""])
def test_a_name_of_somebody_else_is_refused(loop: FakeLoop, server: LiveServer, host: str) -> None:
    assert get(f"{server.url}/stats", headers={"Host": host}).status_code == 403
    assert get(f"{server.url}/healthz", headers={"Host": host}).status_code == 403
    assert control(server, "alpha", 0.1, Host=host).status_code == 403
    assert loop.settings.alpha == 0.5
    if host:
        request = (
            f"GET /viewer HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert talk(server, request.encode()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:1",
        "null",
        "http://127.0.0.1",
        "SERVER.evil.example",
        "SERVER0",
        "SERVER/",
        "SERVER@evil.example",
        "ftp://HOST",
        "http://evil.example/?SERVER",
        "http://evil.example, SERVER",
    ],
)
def test_another_sites_page_is_refused(loop: FakeLoop, server: LiveServer, origin: str) -> None:
    """Origins are equal or not: neither one begins or ends with the other."""
    origin = origin.replace("SERVER", server.url).replace("HOST", netloc(server))
    assert control(server, "alpha", 0.1, Origin=origin).status_code == 403
    assert get(f"{server.url}/stats", headers={"Origin": origin}).status_code == 403
    assert viewer_status(server, Origin=origin) == 403
    assert loop.settings.alpha == 0.5


def test_its_own_page_and_programs_are_let_in(loop: FakeLoop, server: LiveServer) -> None:
    assert control(server, "alpha", 0.1, Origin=server.url).status_code == 200
    assert viewer_status(server, Origin=server.url) == 101
    assert viewer_status(server) == 101
    assert loop.settings.alpha == 0.1


@pytest.mark.parametrize("path", ["/stats", "/snapshot.png", "/app.js", "/metrics"])
def test_what_another_site_embeds_is_refused(server: LiveServer, path: str) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert get(f"{server.url}{path}", headers=embedded).status_code == 403


def test_a_link_from_another_site_opens_the_page(server: LiveServer) -> None:
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert get(server.url, headers=link).status_code == 200
    frame = {**link, "Sec-Fetch-Dest": "iframe"}
    assert get(server.url, headers=frame).status_code == 403
    assert get(f"{server.url}/snapshot.png", headers=link).status_code == 403


def test_without_the_token_nothing_is_told(loop: FakeLoop, start: Start) -> None:
    server = start(TOKEN)
    for path in ("/stats", "/metrics", "/snapshot.png", "/app.js", "/nothing", "/?token=wrong"):
        answer = get(f"{server.url}{path}")
        assert answer.status_code == 401
        assert "fake camera" not in answer.text
        assert "set-cookie" not in answer.headers
    assert control(server, "alpha", 0.1).status_code == 401
    assert loop.settings.alpha == 0.5
    assert viewer_status(server) == 403
    assert get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer"},
        {"Cookie": "accel_rt_PORT=" + TOKEN},
        {"Cookie": "accel_rt_PORT="},
        {"Cookie": "accel_rt_PORT"},
        {"Cookie": "accel_rt_PORT=\u00e9"},
    ],
)
def test_a_wrong_token_is_refused(start: Start, headers: dict[str, str]) -> None:
    server = start(TOKEN)
    port = str(urlsplit(server.url).port)
    encoded = {
        name: value.replace("PORT", port).encode("latin-1") for name, value in headers.items()
    }
    assert get(f"{server.url}/stats", headers=encoded).status_code == 401


def test_programs_give_the_token_as_bearer(start: Start) -> None:
    server = start(TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert get(f"{server.url}/metrics", headers=bearer).status_code == 200
    assert viewer_status(server, **bearer) == 101


def test_the_token_is_remembered_in_a_cookie(loop: FakeLoop, start: Start) -> None:
    server = start(TOKEN)
    with httpx.Client(base_url=server.url, verify=TLS) as browser:
        first = browser.post("/login", data={"token": TOKEN})
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/stats").status_code == 200
        answer = browser.post("/control", json={"name": "alpha", "value": 0.2})
        assert answer.status_code == 200
        assert 'src="/app.js"' in browser.get("/").text
    name, value = cookie.split(";")[0].split("=")
    assert viewer_status(server, Cookie=f"{name}={value}") == 101


def test_the_form_takes_the_token(start: Start) -> None:
    server = start(TOKEN)
    with httpx.Client(base_url=server.url, verify=TLS) as browser:
        form = browser.get("/")
        assert form.status_code == 401
        assert 'action="/login"' in form.text
        wrong = browser.post("/login", data={"token": "wrong"})
        assert wrong.status_code == 401
        assert "not the token" in wrong.text
        right = browser.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        assert browser.get("/stats").status_code == 200
    foreign = {"Origin": "http://evil.example"}
    refused = post(f"{server.url}/login", data={"token": TOKEN}, headers=foreign)
    assert refused.status_code == 403


def test_a_cookie_of_another_token_is_refused(start: Start) -> None:
    server = start(TOKEN)
    login = post(f"{start(TOKEN + '!').url}/login", data={"token": TOKEN + "!"})
    other = login.headers["set-cookie"].split("=", 1)[1]
    name = f"accel_rt_{urlsplit(server.url).port}"
    cookie = {"Cookie": f"{name}={other.split(';')[0]}"}
    assert get(f"{server.url}/stats", headers=cookie).status_code == 401


# -- how much may be sent --------------------------------------------------------------------


def test_a_large_body_is_refused(loop: FakeLoop, server: LiveServer) -> None:
    large = b'{"name": "alpha", "value": 0.1' + b" " * MAX_BODY_BYTES + b"}"
    json_type = {"Content-Type": "application/json"}
    for content in (large, iter([large[:3000], large[3000:]])):  # with and without a length
        answer = post(f"{server.url}/control", content=content, headers=json_type)
        assert answer.status_code == 413
    assert loop.settings.alpha == 0.5


def test_long_headers_are_refused(server: LiveServer) -> None:
    answer = get(f"{server.url}/stats", headers={"X-Long": "x" * MAX_HEADER_BYTES})
    assert answer.status_code == 431
    endless = b"GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 4_000_000
    with contextlib.suppress(ConnectionError):  # the answer may be lost as the line is cut
        assert talk(server, endless).startswith(b"HTTP/1.1 400 ")
    assert get(f"{server.url}/healthz").status_code == 200


def test_a_line_that_never_asks_is_cut(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.3)
    server = start()
    assert talk(server, b"GET / HTTP/1.1\r\nHost: ") == b""
    asked = f"GET /healthz HTTP/1.1\r\nHost: {netloc(server)}\r\n\r\n".encode()
    answer = talk(server, asked + b"GET / HTTP/1.1\r\nHost: ")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_port_is_free_again_after_stop(loop: FakeLoop, start: Start) -> None:
    server = start()
    host, port = netloc(server).split(":")
    with connect(f"ws://{netloc(server)}/viewer") as viewer:
        viewer.recv(timeout=5)
        server.stop()
        server.stop()
    with pytest.raises(httpx.ConnectError):
        get(f"{server.url}/healthz")
    socket.create_server((host, int(port))).close()

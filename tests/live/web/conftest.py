"""A made-up loop, served for real on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from accel_rt.live.web import LiveServer, serve
from accel_rt.live.web.viewers import Limits
from tests.live.web.fake import FakeLoop

TOKEN = "a-token-for-the-tests"


@pytest.fixture
def loop() -> Iterator[FakeLoop]:
    loop = FakeLoop()
    yield loop
    loop.stop()


@pytest.fixture
def start(loop: FakeLoop) -> Iterator[Callable[..., LiveServer]]:
    """Serve ``loop``; limits by keyword."""
    servers = []

    def start(token: str | None = None, **limits: float) -> LiveServer:
        servers.append(serve(loop, port=0, token=token, limits=Limits(**limits)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start: Callable[..., LiveServer]) -> LiveServer:
    return start()

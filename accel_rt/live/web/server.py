"""Serving a running loop to browsers, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from types import TracebackType
from urllib.parse import urlencode

import uvicorn

from accel_rt.errors import OutputError
from accel_rt.live.web.access import Access
from accel_rt.live.web.address import DEFAULT_HOST, DEFAULT_PORT, HostNames, Listener, listen
from accel_rt.live.web.app import make_app
from accel_rt.live.web.connections import Connections, WebSocketProtocol, http_protocol
from accel_rt.live.web.face import Loop
from accel_rt.live.web.guard import MAX_HEADER_BYTES
from accel_rt.live.web.viewers import Hub, Limits

_MAX_VIEWER_MESSAGE_BYTES = 256
_CONNECTIONS_BESIDE_VIEWERS = 32
_START_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2


class LiveServer:
    """A page that is being served; a context manager that stops it."""

    def __init__(
        self, server: uvicorn.Server, listener: Listener, hub: Hub, token: str | None
    ) -> None:
        self._server = server
        self._hub = hub
        self.url = listener.url
        """Address of the page."""
        self.link = self.url + ("" if token is None else "/?" + urlencode({"token": token}))
        """The same with the token: opened once, the browser remembers."""
        self._thread = threading.Thread(
            target=server.run, args=([listener.socket],), name="accel-rt-server", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise OutputError(f"the server for {self.url} did not start")
            time.sleep(0.01)

    def summary(self) -> dict[str, int]:
        """Viewers now, and counts of those served, dropped and refused."""
        return self._hub.summary()

    def stop(self) -> None:
        """Close all connections and end the thread; may be called more than once."""
        self._server.should_exit = True
        self._thread.join(2 * _CLOSE_TIMEOUT_S + 1)

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def serve(
    loop: Loop,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    token: str | None = None,
    *,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
) -> LiveServer:
    """Serve ``loop`` at ``http://host:port`` (port 0: a free one) until the result is stopped.

    Only this machine can reach the default host; any other needs a ``token``, which viewers give
    once. ``hosts`` are further names by which the machine may be called, beside its addresses and
    its host name.

    Raises :class:`~accel_rt.errors.UsageError` where a token is missing or can be guessed, and
    :class:`~accel_rt.errors.OutputError` where the address cannot be had.
    """
    listener = listen(host, port, token)
    hub = Hub(loop, limits or Limits())
    connections = Connections()
    app = make_app(
        loop,
        hub,
        connections,
        HostNames.of(listener, hosts),
        Access(token, listener.port),
    )
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=http_protocol(connections),
        ws=WebSocketProtocol,
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=hub.limits.max_viewers + _CONNECTIONS_BESIDE_VIEWERS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws_max_size=_MAX_VIEWER_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
    )
    return LiveServer(uvicorn.Server(config), listener, hub, token)

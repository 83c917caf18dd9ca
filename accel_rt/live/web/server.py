"""Serving a running loop to browsers, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp

from accel_rt.errors import OutputError
from accel_rt.live.web.access import Access
from accel_rt.live.web.address import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    HostNames,
    Listener,
    check_token,
    listen,
)
from accel_rt.live.web.app import make_app
from accel_rt.live.web.connections import Connections, WebSocketProtocol, http_protocol
from accel_rt.live.web.guard import MAX_HEADER_BYTES
from accel_rt.live.web.loop_view import LoopView
from accel_rt.live.web.viewers import Hub, Limits

_MAX_VIEWER_MESSAGE_BYTES = 256
_START_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2


class LiveServer:
    """The page of a running ``loop``, served until it is stopped; a context manager.

    ``listener`` comes from :func:`~accel_rt.live.web.address.listen` and is taken over, with the
    ``token`` it was opened for. ``hosts`` are further names by which the machine may be called,
    beside its addresses and its host name; ``limits`` say what viewers may cost.
    """

    def __init__(
        self,
        loop: LoopView,
        listener: Listener,
        token: str | None = None,
        *,
        hosts: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self.url = listener.url
        """Address of the page."""
        self._access = Access(token, listener.port)
        self._token = token
        self._hub = Hub(loop, limits or Limits())
        connections = Connections()
        app = make_app(
            loop,
            self._hub,
            connections,
            HostNames.of(listener, hosts),
            self._access,
        )
        self._server = uvicorn.Server(_config(app, connections))
        self._thread = threading.Thread(
            target=self._server.run,
            args=([listener.socket],),
            name="accel-rt-server",
            daemon=True,
        )
        self._thread.start()
        self._wait_started()

    @property
    def link(self) -> str:
        """The address with the token: opened once, the browser remembers.

        The token stands behind a ``#``, which browsers keep to themselves: it is in no request,
        log or ``Referer``.
        """
        return self.url + ("" if self._token is None else f"/#token={quote(self._token, safe='')}")

    def change_token(self, token: str) -> None:
        """Admit by this token from now on: who came by another one is cut off, and asked for it.

        Raises :class:`~accel_rt.errors.UsageError` for a token that can be guessed.
        """
        check_token(token)
        self._token = token
        self._access.change(token)
        self._hub.cut_all()

    def summary(self) -> dict[str, int]:
        """Viewers now, and counts of those served, dropped and refused."""
        return self._hub.summary()

    def _wait_started(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise OutputError(f"the server for {self.url} did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Close all connections and end the thread; may be called more than once."""
        self._server.should_exit = True
        self._thread.join(2 * _CLOSE_TIMEOUT_S + 1)

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    loop: LoopView,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    token: str | None = None,
    *,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
) -> LiveServer:
    """Serve ``loop`` at ``http://host:port`` (port 0: a free one) until the result is stopped.

    Only this machine can reach the default host; any other needs a ``token``, which viewers give
    once. ``hosts`` and ``limits`` are those of :class:`LiveServer`.

    Raises :class:`~accel_rt.errors.UsageError` where a token is missing or can be guessed, and
    :class:`~accel_rt.errors.OutputError` where the address cannot be had.
    """
    return LiveServer(loop, listen(host, port, token), token, hosts=hosts, limits=limits)


def _config(app: ASGIApp, connections: Connections) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=http_protocol(connections),
        ws=WebSocketProtocol,
        lifespan="on",
        log_config=None,
        log_level="critical",  # the guard says in a sentence what goes wrong
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws_max_size=_MAX_VIEWER_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
    )

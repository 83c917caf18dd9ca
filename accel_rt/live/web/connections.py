"""Network connections: how long each may take, how many there may be, and how to cut one."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections import Counter
from typing import Any, Literal

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

REQUEST_TIMEOUT_S = 10.0
"""A whole request must have come this long after the connection opened or was last answered."""
ANSWER_TIMEOUT_S = 120.0
"""An answer must have been taken within this."""
MAX_CONNECTIONS = 64
"""Connections beside those of viewers."""

_SWEEP_S = 0.5
_LOG = logging.getLogger(__name__)

Waiting = Literal["request", "answer", "nothing"]


class Connection:
    """An open connection from ``address``, and what it waits for: nothing while it is a viewer's.

    ASGI cannot cut a connection, only close it politely, which waits until the peer has read all
    that was written; a peer that reads nothing would hold its connection and buffers for ever.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")  # None where the peer has gone already
        self.address = str(peer[0]) if peer else ""
        self._transport = transport
        self.wait_for("request")

    def wait_for(self, what: Waiting) -> None:
        """It waits for something else from now on."""
        self.waiting, self.since = what, time.monotonic()

    def is_overdue(self) -> bool:
        if self.waiting == "nothing":
            return False
        # An answer is finished once it is handed over, long before it has been taken.
        answers = self.waiting == "answer" or self._transport.get_write_buffer_size() > 0
        limit_s = ANSWER_TIMEOUT_S if answers else REQUEST_TIMEOUT_S
        return time.monotonic() - self.since > limit_s

    def cut(self) -> None:
        """Drop the connection and whatever waits to be sent on it, here and in the system."""
        line = self._transport.get_extra_info("socket")
        if line is not None and line.fileno() >= 0:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


class Connections:
    """The open connections. Nobody can hold so many of them that others get none.

    A newcomer beyond :data:`MAX_CONNECTIONS` takes the place of the connection that has waited
    longest, of those that still owe a request if there are any, and of the address that has most.
    """

    def __init__(self) -> None:
        self._open: set[Connection] = set()

    def opened(self, transport: asyncio.Transport) -> Connection:
        """Take a new connection in."""
        waiting = [connection for connection in self._open if connection.waiting != "nothing"]
        if len(waiting) >= MAX_CONNECTIONS:
            first = _first_to_go(waiting)
            self._open.discard(first)
            first.cut()
        connection = Connection(transport)
        self._open.add(connection)
        return connection

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)

    async def keep_time(self) -> None:
        """Cut connections that take too long, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in list(self._open):
                if connection.is_overdue():
                    connection.cut()


def _first_to_go(waiting: list[Connection]) -> Connection:
    owing = [connection for connection in waiting if connection.waiting == "request"] or waiting
    held = Counter(connection.address for connection in waiting)
    return min(owing, key=lambda connection: (-held[connection.address], connection.since))


def http_protocol(connections: Connections) -> type[H11Protocol]:
    """uvicorn's HTTP protocol with its connections known to ``connections``.

    A request's ``scope["state"]["connection"]`` is the :class:`Connection` it came on.
    """

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connection = connections.opened(transport)
            self.app_state = {"connection": connection, "closed": connections.closed}

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.closed(self.app_state["connection"])

    return TrackedProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol that queues at most one message of a viewer, and no answers to pings."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.app_state["closed"](self.app_state["connection"])

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()


def ignore_broken_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handler of an event loop's errors: what a peer does to its own connection is no news."""
    error, message = context.get("exception"), context.get("message", "")
    if "transport" in context or isinstance(error, ConnectionError):
        _LOG.debug("%s: %s", message, error)
    else:
        _LOG.error("the page's server: %s: %s", message, error)

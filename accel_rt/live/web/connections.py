"""Network connections that can be cut: of viewers that stall, of callers that never ask."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast
from weakref import WeakValueDictionary

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FIRST_REQUEST_TIMEOUT_S = 15.0

Peer = tuple[str, int]


class Connections:
    """The open connections by peer address.

    ASGI cannot cut a connection, only close it politely, which waits until the peer has read all
    that was written; a peer that reads nothing would hold its connection and buffers forever.
    """

    def __init__(self) -> None:
        self._transports: WeakValueDictionary[Peer, asyncio.Transport] = WeakValueDictionary()
        self._silent: set[Peer] = set()

    def opened(self, transport: asyncio.Transport) -> None:
        """Remember a connection, and cut it if it does not ask for anything in good time."""
        peer = _peer(transport)
        self._transports[peer] = transport
        self._silent.add(peer)
        asyncio.get_running_loop().call_later(FIRST_REQUEST_TIMEOUT_S, self._cut_if_silent, peer)

    def asked(self, peer: Peer) -> None:
        """A whole request has come from ``peer``."""
        self._silent.discard(peer)

    def cut(self, peer: Peer) -> None:
        """Drop the connection and whatever waits to be sent on it, here and in the system."""
        transport = self._transports.get(peer)
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()

    def _cut_if_silent(self, peer: Peer) -> None:
        if peer in self._silent:
            self._silent.discard(peer)
            self.cut(peer)


def http_protocol(connections: Connections) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, with its connections known to ``connections``."""

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections.opened(transport)

    return TrackedProtocol


# Named here, not left to uvicorn's choice: it does not queue what a viewer sends without bound.
WebSocketProtocol = WebSocketsSansIOProtocol


def _peer(transport: asyncio.Transport) -> Peer:
    return cast(Peer, tuple(transport.get_extra_info("peername")[:2]))

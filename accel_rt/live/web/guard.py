"""What every request passes first: Host, Origin, token and size, before the application sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from accel_rt.live.web.access import Access, TooManyGuesses
from accel_rt.live.web.address import HostNames
from accel_rt.live.web.connections import Connection

MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 4096
BODY_TIMEOUT_S = 5.0
PUBLIC_PATHS = frozenset({"/healthz", "/login", "/login.js", "/style.css", "/icon.svg"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with "no-referrer" a form would send "Origin: null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

_GONE = (ClientDisconnect, ClientDisconnected, WebSocketDisconnect)
_LOG = logging.getLogger(__name__)


class Guard:
    """ASGI middleware that refuses what must not reach ``app``.

    ``login_page()`` is the page that asks for the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: HostNames,
        access: Access,
        login_page: Callable[[], Response],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._access = access
        self._login_page = login_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection: Connection = scope["state"]["connection"]
        try:
            if scope["type"] == "websocket":
                await self._handle_viewer(scope, receive, send)
            else:
                await self._handle_request(scope, receive, _with_security_headers(send))
        except _GONE:
            pass
        except Exception as error:
            _LOG.error("unexpected %s at %s: %s", type(error).__name__, scope["path"], error)
            connection.cut()
        connection.wait_for("request")

    async def _handle_viewer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._refusal(scope, Headers(scope=scope)) is None:
            await self._app(scope, receive, send)
        else:  # answered before the handshake: HTTP 403
            await send({"type": "websocket.close", "code": 1008})

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            body = await _read_body(scope, receive)
            if isinstance(body, Response):
                refusal = body
            else:
                receive = _replay(body, receive)
        cast(Connection, scope["state"]["connection"]).wait_for("answer")
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that goes no further, None for one that may."""
        if sum(len(part) for pair in scope["headers"] for part in pair) > MAX_HEADER_BYTES:
            return _error(431, f"a request's headers may hold {MAX_HEADER_BYTES} bytes at most")
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._hosts.allows(host):
            return _error(403, "open the page by its address, or allow this name by --allow-host")
        if not _same_origin(scope, headers, host):
            return _error(403, "requests from other sites are refused")
        if self._access.open or scope["path"] in PUBLIC_PATHS:
            return None
        try:
            if self._access.admits(headers, scope["state"]["connection"].address):
                return None
        except TooManyGuesses as error:
            return _error(429, str(error), {"Retry-After": str(error.wait_s)})
        if scope["type"] == "http" and scope["path"] == "/":
            return self._login_page()
        return _error(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})


def _same_origin(scope: Scope, headers: Headers, host: str) -> bool:
    """False for what another site's page made a browser send.

    Programs send neither header. A browser names the origin of every request that changes
    something and of every WebSocket; a link from elsewhere to the page itself is fine.
    """
    origins = headers.getlist("origin")
    if any(origin not in (f"http://{host}", f"https://{host}") for origin in origins):
        return False
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
    return is_link and headers.get("sec-fetch-dest") == "document" and scope["path"] == "/"


async def _read_body(scope: Scope, receive: Receive) -> bytes | Response:
    """The request's body, or the answer to one that is too large or comes too slowly."""
    headers = Headers(scope=scope)
    too_large = _error(413, f"a request may hold {MAX_BODY_BYTES} bytes at most")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return too_large
    if length == "0" and "transfer-encoding" not in headers:
        return b""
    try:
        body = await asyncio.wait_for(_collect(receive), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return _error(408, "the request came too slowly")
    return too_large if body is None else body


async def _collect(receive: Receive) -> bytes | None:
    """A request's whole body; None as soon as it is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return send_with_headers


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)

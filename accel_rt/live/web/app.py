"""The page's routes: what may be asked of a running loop over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from html import escape
from importlib import resources
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from accel_rt.errors import AccelError, UsageError
from accel_rt.live.web import metrics
from accel_rt.live.web.access import Access, TooManyGuesses
from accel_rt.live.web.address import HostNames
from accel_rt.live.web.connections import Connections, ignore_broken_connections
from accel_rt.live.web.guard import Guard
from accel_rt.live.web.loop_view import LoopView
from accel_rt.live.web.viewers import STATS_INTERVAL_S, Hub, Viewer
from accel_rt.version import __version__

TRY_LATER = 1013  # WebSocket close code
_PAGE = resources.files("accel_rt.live.web") / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/app.js": ("app.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/controls.js": ("controls.js", "text/javascript"),
    "/link.js": ("link.js", "text/javascript"),
    "/login.js": ("login.js", "text/javascript"),
}
_Name = Annotated[str, Field(max_length=200)]


class Change(BaseModel):
    """One setting and its new value; the loop itself says whether the value is good."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Name
    value: bool | int | float | _Name | Annotated[list[_Name], Field(max_length=255)] | None


def make_app(
    loop: LoopView,
    hub: Hub,
    connections: Connections,
    hosts: HostNames,
    access: Access,
) -> ASGIApp:
    """The application for one ``loop``."""

    @asynccontextmanager
    async def run_hub(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(ignore_broken_connections)
        keeping_time = asyncio.create_task(connections.keep_time())
        hub.start()
        yield
        keeping_time.cancel()
        await hub.stop()

    app = FastAPI(openapi_url=None, lifespan=run_hub)
    app.add_exception_handler(AccelError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_such)
    _serve_page(app)

    @app.get("/healthz")
    def healthz() -> Response:
        state = loop.stats().state
        return JSONResponse({"state": state}, 200 if state in ("running", "paused") else 503)

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        return {**asdict(loop.stats()), "server": hub.summary()}

    @app.get("/metrics")
    def prometheus() -> Response:
        text = metrics.prometheus_text(loop.stats(), hub.summary())
        return Response(text, media_type=metrics.CONTENT_TYPE)

    @app.get("/snapshot.png")
    def snapshot() -> Response:
        name = f"accel-rt-{datetime.now():%Y%m%d-%H%M%S}.png"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(loop.snapshot(), media_type="image/png", headers=disposition)

    @app.post("/control")
    def control(change: Change) -> Response:
        if change.name == "record":
            if not isinstance(change.value, bool):
                raise UsageError(f"record must be true or false, got {change.value!r}")
            loop.record(change.value)
        else:
            if change.name == "update" and change.value not in updates():
                # The command line may also name a weight file; a request must not.
                raise UsageError(f"choose an update network from {', '.join(updates())}")
            loop.change(change.name, change.value)
        return JSONResponse({"settings": asdict(loop.stats().settings)})

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("latin-1"))
        headers = access.set_cookie()  # first: should the token change now, it is worth nothing
        try:
            right = access.is_token(form.get("token", [""])[0], request.state.connection.address)
        except TooManyGuesses as error:
            return login_page(str(error), 429)
        if right:
            return RedirectResponse("/", 303, headers=headers)
        return login_page("That is not the token.")

    @app.websocket("/viewer")
    async def viewer(socket: WebSocket) -> None:
        connection = socket.state.connection
        viewer = Viewer(hub.limits, connection.cut)
        await socket.accept()
        if not hub.join(viewer):
            most = hub.limits.max_viewers
            await socket.close(TRY_LATER, f"there are {most} viewers already, no more can be shown")
            return
        connection.wait_for("nothing")
        try:
            await socket.send_text(json.dumps({"hello": await run_in_threadpool(hello)}))
            await _attend(socket, hub, viewer)
        finally:
            hub.leave(viewer)

    def updates() -> list[str]:
        """The update networks to choose from: the one in use, and those installed."""
        return list(dict.fromkeys((loop.stats().settings.update, *loop.choices()["update"])))

    def hello() -> dict[str, Any]:
        names, colors = (loop.classes.names, loop.classes.colors_rgb) if loop.classes else ((), ())
        return {
            "version": __version__,
            "classes": [
                {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*rgb)}
                for name, rgb in zip(names, colors, strict=True)
            ],
            "choices": {**loop.choices(), "update": updates()},
            "stats_interval_s": STATS_INTERVAL_S,
            "history_length": hub.history.maxlen,
            "history": list(hub.history),
        }

    return Guard(app, hosts, access, login_page)


async def _attend(socket: WebSocket, hub: Hub, viewer: Viewer) -> None:
    """Send pictures and figures, and take acknowledgements, until one of these ends."""
    duties = [
        asyncio.create_task(duty(socket, hub, viewer))
        for duty in (_send_pictures, _send_stats, _take_acknowledgements)
    ]
    done, others = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        error = task.exception()
        if isinstance(error, asyncio.TimeoutError):
            hub.drop(viewer)
        elif isinstance(error, ValueError):
            await socket.close(1008, str(error))
        elif error is not None and not isinstance(error, WebSocketDisconnect):
            raise error


async def _send_pictures(socket: WebSocket, hub: Hub, viewer: Viewer) -> None:
    index = -1
    while True:
        await viewer.room()
        picture = await hub.next_picture(index)
        index = picture.index
        viewer.sent(picture)
        await socket.send_bytes(picture.message())


async def _send_stats(socket: WebSocket, hub: Hub, viewer: Viewer) -> None:
    while True:
        message = await hub.next_stats(viewer)
        await asyncio.wait_for(socket.send_text(message), hub.limits.stall_s)


async def _take_acknowledgements(socket: WebSocket, _: Hub, viewer: Viewer) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        text = message.get("text") or ""
        if not text.isdecimal() or len(text) > 10:
            raise ValueError("a viewer may only say which picture it has shown")
        viewer.shown(int(text))


def _serve_page(app: FastAPI) -> None:
    """Routes for the page's own files, read once: no path of a request is ever looked up."""
    for path, (name, media_type) in _FILES.items():
        app.get(path)(_constant((_PAGE / name).read_bytes(), media_type))


def _constant(content: bytes, media_type: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=media_type)


def login_page(sentence: str = "", status: int = 401) -> Response:
    """The page that asks for the token, with a ``sentence`` about the one before."""
    html = (_PAGE / "login.html").read_text()
    alert = f'<p class="wrong" role="alert">{escape(sentence)}</p>' if sentence else ""
    return HTMLResponse(html.replace("<!-- wrong -->", alert), status)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422 if isinstance(error, UsageError) else 409)


async def _not_understood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"error": f"not understood: {where} {first['msg']}"}, 422)


async def _no_such(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

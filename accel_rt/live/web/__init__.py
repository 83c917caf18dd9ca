"""The browser page of a live run: pictures, figures and controls, safe to leave open.

Pictures go out as JPEG over a WebSocket, and the page acknowledges each. Beside MJPEG the delay
to the screen is about the same on a fast link, and stays bounded on a slow one, where MJPEG's
grows by seconds as the network's buffers fill.
WebCodecs would be denied to pages that come over plain HTTP from another machine.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from accel_rt.errors import UsageError

if TYPE_CHECKING:
    from accel_rt.live.web.server import LiveServer, serve

__all__ = ["LiveServer", "require_packages", "serve"]

_NEEDED = ("fastapi", "uvicorn", "websockets", "prometheus_client")


def require_packages() -> None:
    """Raise :class:`~accel_rt.errors.UsageError` if what the page is served with is missing."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"the browser page needs {', '.join(missing)}: pip install 'accel-rt[live]'"
        )


def __getattr__(name: str) -> Any:
    if name not in ("LiveServer", "serve"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_packages()
    from accel_rt.live.web import server

    return getattr(server, name)

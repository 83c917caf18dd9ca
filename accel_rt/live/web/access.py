"""Who may look: the token, and the cookie that stands for it after its first use."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers


class Access:
    """Admits requests that carry the token (``Authorization: Bearer``) or its cookie.

    The cookie is derived from the token, so that it survives a restart of the server and does not
    tell the token. It is named after the port: cookies do not tell ports apart. Without a token
    everyone is admitted.
    """

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self._cookie_name = f"accel_rt_{port}"
        key = (token or "").encode()
        self._cookie = hmac.new(key, b"accel-rt live viewer", "sha256").hexdigest()

    @property
    def open(self) -> bool:
        return self._token is None

    def is_token(self, given: str) -> bool:
        """Whether ``given`` is the token, in a time that does not depend on how much is right."""
        return self._token is not None and _same(given, self._token)

    def admits(self, headers: Headers) -> bool:
        if self.open:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, self._cookie)

    def set_cookie(self) -> dict[str, str]:
        """The header that makes a browser remember."""
        year_s = 365 * 24 * 3600
        return {
            "Set-Cookie": f"{self._cookie_name}={self._cookie}; Path=/; Max-Age={year_s}; "
            "HttpOnly; SameSite=Strict"
        }


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())

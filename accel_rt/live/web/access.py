"""Who may look: the token, the cookie that stands for it, and how often one may guess."""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections import OrderedDict, deque

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

MAX_GUESSES = 10
"""Different wrong tokens that an address may send within :data:`GUESS_WINDOW_S`."""
GUESS_WINDOW_S = 60.0

_MAX_ADDRESSES = 1000
_MAX_COOKIES = 1000


class TooManyGuesses(Exception):
    """An address has sent too many wrong tokens: the one it sends now is not looked at.

    ``wait_s`` is how long that lasts.
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = math.ceil(wait_s)
        super().__init__(f"Too many wrong tokens came from your address: wait {self.wait_s} s.")


class Access:
    """Admits requests that carry the token (``Authorization: Bearer``) or a cookie made of it.

    Every browser gets a cookie of its own, signed with the token: it survives a restart of the
    server, does not tell the token, and is worth nothing after :meth:`change`. It is named after
    the port: cookies do not tell ports apart. Without a token everyone is admitted.

    Methods that look at a token or cookie raise :class:`TooManyGuesses`; a cookie that was seen to
    be right is admitted without asking how many wrong ones its address has sent.
    """

    def __init__(self, token: str | None, port: int) -> None:
        self._cookie_name = f"accel_rt_{port}"
        self._guesses = _Guesses()
        self.change(token)

    def change(self, token: str | None) -> None:
        """Admit by this token from now on, and by nothing that was given for the one before."""
        self._token = _Token(token)  # at once: another thread may be looking at a cookie

    @property
    def open(self) -> bool:
        return self._token.text is None

    def is_token(self, given: str, address: str) -> bool:
        """Whether ``given``, which came from ``address``, is the token."""
        self._guesses.check(address, given)
        token = self._token.text
        right = token is not None and _same(given, token)
        if not right:
            self._guesses.add(address, given)
        return right

    def admits(self, headers: Headers, address: str) -> bool:
        """Whether a request with these headers may see what is for viewers."""
        if self.open:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip(), address):
            return True
        cookie = self._cookie_of(headers)
        return bool(cookie) and self._is_cookie(cookie, address)

    def set_cookie(self) -> dict[str, str]:
        """The header that makes a browser remember."""
        cookie = self._token.signed(secrets.token_hex(16))
        year_s = 365 * 24 * 3600
        return {
            "Set-Cookie": f"{self._cookie_name}={cookie}; Path=/; Max-Age={year_s}; "
            "HttpOnly; SameSite=Strict"
        }

    def _cookie_of(self, headers: Headers) -> str:
        # Not by SimpleCookie, which gives up at those of other programs that it cannot read.
        return cookie_parser(headers.get("cookie", "")).get(self._cookie_name, "")

    def _is_cookie(self, cookie: str, address: str) -> bool:
        token = self._token
        if cookie in token.known:
            return True
        self._guesses.check(address, cookie)
        if not _same(cookie, token.signed(cookie.partition(".")[0])):
            self._guesses.add(address, cookie)
            return False
        token.known[cookie] = None
        if len(token.known) > _MAX_COOKIES:
            token.known.popitem(last=False)
        return True


class _Token:
    """A token, and the cookies that were seen to be made of it."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.known: OrderedDict[str, None] = OrderedDict()

    def signed(self, name: str) -> str:
        message = f"accel-rt live viewer {name}".encode()
        return f"{name}.{hmac.new((self.text or '').encode(), message, 'sha256').hexdigest()}"


class _Guesses:
    """The different wrong tokens of each address within the window.

    The same one again is no further guess: it may be a program that was not told of a change.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()

    def check(self, address: str, given: str) -> None:
        """Raise :class:`TooManyGuesses` where ``given`` would be one guess too many."""
        wrong = self._wrong.get(address) or deque()
        if len(wrong) < MAX_GUESSES or _digest(given) in (digest for _, digest in wrong):
            return
        wait_s = wrong[0][0] + GUESS_WINDOW_S - time.monotonic()
        if wait_s > 0:
            raise TooManyGuesses(wait_s)

    def add(self, address: str, given: str) -> None:
        wrong = self._wrong.setdefault(address, deque(maxlen=MAX_GUESSES))
        self._wrong.move_to_end(address)
        digest = _digest(given)
        if digest not in (digest for _, digest in wrong):
            wrong.append((time.monotonic(), digest))
        if len(self._wrong) > _MAX_ADDRESSES:
            self._wrong.popitem(last=False)


def _digest(given: str) -> bytes:
    return hmac.digest(b"", given.encode(), "sha256")


def _same(given: str, right: str) -> bool:
    """Equality, in a time that does not depend on how much is right."""
    return hmac.compare_digest(given.encode(), right.encode())

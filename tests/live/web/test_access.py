"""Which cookies are admitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.datastructures import Headers

from accel_rt.live.web import LiveServer
from accel_rt.live.web import access as module
from accel_rt.live.web.access import Access
from tests.live.web.conftest import TOKEN


def cookie_of(access: Access) -> str:
    return access.set_cookie()["Set-Cookie"].split(";")[0]


def admitted(access: Access, cookies: str) -> bool:
    return access.admits(Headers({"cookie": cookies}), "127.0.0.1")


@pytest.mark.parametrize(
    "other", ['prefs={"theme":"dark"}', "version=1", "x[0]=1", "a=b c", "n=J\xfcrgen", 'q="']
)
def test_cookies_of_other_programs_on_the_host_do_not_matter(other: str) -> None:
    access = Access(TOKEN, 8770)
    own = cookie_of(access)
    assert admitted(access, f"{other}; {own}")
    assert admitted(access, f"{own}; {other}")
    assert not admitted(access, other)


@contextmanager
def changing(access: Access) -> Iterator[None]:
    """The token changes while one that was given, or its cookie, is looked at."""
    same = module._same

    def change_meanwhile(given: str, right: str) -> bool:
        access.change(TOKEN + "!")
        return same(given, right)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_same", change_meanwhile)
        yield


def test_a_cookie_that_is_looked_at_as_the_token_changes_is_worth_nothing_later() -> None:
    access = Access(TOKEN, 8770)
    cookie = cookie_of(access)
    with changing(access):
        admitted(access, cookie)
    assert not admitted(access, cookie)


def test_a_token_that_is_given_as_it_changes_brings_a_cookie_of_no_worth(
    start: Callable[..., LiveServer],
) -> None:
    server = start(TOKEN)
    with httpx.Client(base_url=server.url) as browser:
        with changing(server._access):
            browser.post("/login", data={"token": TOKEN})
        assert browser.get("/stats").status_code == 401

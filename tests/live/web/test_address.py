from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from accel_rt.errors import OutputError, UsageError
from accel_rt.live.web.address import HostNames, listen, parse_address

TOKEN = "sixteen letters!"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 8770)),
        ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("10.0.0.7", ("10.0.0.7", 8770)),
        ("box.local:9000", ("box.local", 9000)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::]", ("::", 8770)),
    ],
)
def test_addresses_are_read_with_their_defaults(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["a:b", "1:2:3", "host:", "host:70000", "http://host:80", "::1"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        listen(host, 0, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_short_token_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="at least 16"):
        listen(host, 0, TOKEN[:-1])


def test_a_token_opens_every_address() -> None:
    listener = listen("0.0.0.0", 0, TOKEN)
    with listener.socket:
        assert not listener.loopback
        assert "0.0.0.0" not in listener.url


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("both", [True, False])
def test_the_address_that_is_told_answers(monkeypatch, both: bool) -> None:
    if not both:
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen("::", 0, TOKEN) as listener:
        told = urlsplit(listener.url)
        socket.create_connection((told.hostname, told.port), 5).close()
        assert (":" in told.hostname) is not both


def test_localhost_is_this_machine_alone() -> None:
    listener = listen("localhost", 0, None)
    with listener.socket:
        assert listener.loopback


def test_an_address_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port, None)


def test_an_unknown_host_is_said() -> None:
    with pytest.raises(OutputError, match=r"no-such-host\.invalid"):
        listen("no-such-host.invalid", 0, TOKEN)
    with pytest.raises(UsageError, match=r"'a\.\.b' cannot be the name of a host"):
        listen("a..b", 0, TOKEN)


@pytest.mark.parametrize(
    ("header", "loopback", "anywhere"),
    [
        ("localhost", True, True),
        ("LOCALHOST:8770", True, True),
        ("127.0.0.1:8770", True, True),
        ("127.8.9.1", True, True),
        ("[::1]:8770", True, True),
        ("192.168.1.5:8770", False, True),
        ("[fe80::1]:8770", False, True),
        ("box:8770", False, True),
        ("evil.example:8770", False, False),
        ("box.evil.example", False, False),
        ("localhost.", False, False),
        ("localhost.evil.example", False, False),
        ("0.0.0.0:8770", False, False),
        ("[::]", False, False),
        ("127.1", False, False),
        ("0x7f.0.0.1", False, False),
        ("evil.example@127.0.0.1", False, False),
        ("127.0.0.1:8770:1", False, False),
        ("127.0.0.1/x", False, False),
        (" 127.0.0.1", False, False),
        ("", False, False),
    ],
)
def test_only_names_that_nobody_else_can_own_are_taken(
    header: str, loopback: bool, anywhere: bool
) -> None:
    assert HostNames(True, frozenset()).allows(header) is loopback
    assert HostNames(False, frozenset({"box"})).allows(header) is anywhere


def test_names_given_on_purpose_are_taken() -> None:
    listener = listen("127.0.0.1", 0, None)
    with listener.socket:
        hosts = HostNames.of(listener, ["Camera.example"])
    assert hosts.allows("camera.example:443")
    assert not hosts.allows("other.example")

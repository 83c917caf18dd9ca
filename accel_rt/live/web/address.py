"""Where the page is served, and which names of this machine a request may use."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass

from accel_rt.errors import OutputError, UsageError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8770
MIN_TOKEN_CHARACTERS = 16

_ADDRESS = re.compile(
    r"(?P<only_port>[0-9]{1,5})|"
    r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))?(:(?P<port>[0-9]{1,5}))?"
)
_HOST_HEADER = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``HOST``, ``:PORT``, ``PORT`` or ``[IPV6]:PORT``.

    What is left out comes from the defaults: this machine alone, port 8770. Raises
    :class:`UsageError` for anything else.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"] or found["only_port"] or 0) > 65535:
        raise UsageError(f"an address is HOST:PORT, for example 127.0.0.1:8770; got '{text}'")
    port = found["port"] or found["only_port"]
    host = found["six"] or found["name"] or DEFAULT_HOST
    return host, DEFAULT_PORT if port is None else int(port)


@dataclass(frozen=True)
class Listener:
    """A bound socket; ``loopback`` says that only this machine can reach it.

    A context manager that closes it.
    """

    socket: socket.socket
    loopback: bool

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """An address that a browser can open, without a trailing slash."""
        host = str(self.socket.getsockname()[0])
        if ipaddress.ip_address(host).is_unspecified:
            host = _outward_address(self.socket)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def new_token() -> str:
    """A token that nobody guesses: 144 random bits."""
    return secrets.token_urlsafe(18)


def check_token(token: str) -> None:
    """Raise :class:`UsageError` for a token that could be guessed."""
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise UsageError(
            f"a token needs at least {MIN_TOKEN_CHARACTERS} characters, got {len(token)}: "
            f"for example {new_token()}"
        )


def listen(host: str, port: int, token: str | None) -> Listener:
    """Bind ``host:port`` (port 0: any free one).

    ``::`` takes calls for IPv4, too, where the system can. Raises :class:`UsageError` where other
    machines could reach it and there is no ``token``, for a token that could be guessed and for
    what can be no host; :class:`OutputError` if the address cannot be had.
    """
    if token is not None:
        check_token(token)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        loopback = ipaddress.ip_address(str(address[0])).is_loopback
        if not loopback and token is None:
            raise UsageError(
                f"{host} can be reached from other machines: give a token that viewers must know, "
                f"for example --token {new_token()}"
            )
        both = str(address[0]) == "::" and socket.has_dualstack_ipv6()
        bound = socket.create_server((str(address[0]), port), family=family, dualstack_ipv6=both)
    except UnicodeError as error:
        raise UsageError(f"'{host}' cannot be the name of a host: check its dots") from error
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot listen on {host}:{port}: {reason}; choose another address"
        ) from error
    return Listener(bound, loopback)


@dataclass(frozen=True)
class HostNames:
    """The names by which a request may call this server.

    A web page elsewhere can point a name of its own at this machine (DNS rebinding), but neither
    an IP address nor ``localhost``; so those are taken, and further ``names`` given on purpose.
    """

    loopback: bool
    names: frozenset[str]

    @classmethod
    def of(cls, listener: Listener, names: Collection[str] = ()) -> HostNames:
        own = set() if listener.loopback else {socket.gethostname()}
        return cls(listener.loopback, frozenset(name.lower() for name in {*own, *names}))

    def allows(self, host_header: str) -> bool:
        """Whether ``host_header`` (``name``, ``name:port``) is one of them."""
        found = _HOST_HEADER.fullmatch(host_header)
        if found is None:
            return False
        name = found["name"].strip("[]").lower()
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback if self.loopback else not address.is_unspecified


def _outward_address(bound: socket.socket) -> str:
    """This machine's address on its network, of a kind that ``bound`` takes calls for.

    Connecting a datagram socket sends nothing.
    """
    family, there, here = socket.AF_INET, "192.0.2.1", DEFAULT_HOST
    if bound.family == socket.AF_INET6 and bound.getsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    ):
        family, there, here = socket.AF_INET6, "2001:db8::1", "::1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((there, 9))
        except OSError:
            return here
        return str(probe.getsockname()[0])

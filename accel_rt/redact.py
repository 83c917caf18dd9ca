"""Passwords and tokens in the URLs of cameras: masked before anybody is shown or sent them."""

from __future__ import annotations

import re

MASK = "***"

_SECRETS = (
    "pass|passw|passwd|password|passphrase|pwd|pw|psw|token|secret|auth|key|sig|signature|session"
    "|credentials?"
)
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#]+@")
# A password with "/", "?" or "#" as they are; a host with a port before a path with "@" looks the
# same, and is masked too.
_UNESCAPED = re.compile(r"(?<=://)(?!(?:\[[^\s\]]*\](?::\d*)?|[^\s/?#:]*)(?:[/?#\s]|$))\S+@")
# In a query or, as some cameras have it, in the path: also ``api_key=`` and ``userPwd=``.
_PARAMETER = re.compile(
    rf"(?<=[?&;/_,#])((?:[\w.%-]*[_.-])?(?:user)?(?:{_SECRETS})=)[^\s&;'\"#]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """``text`` with the credentials of every URL in it masked: ``rtsp://***@host/...``.

    Masked are a user and password before the host, and parameters that are called like secrets.
    Text outside of URLs stays as it is.
    """
    return _URL.sub(lambda url: _redact_url(url[0]), text)


def _redact_url(url: str) -> str:
    masked = _CREDENTIALS.sub(f"{MASK}@", url)
    if masked == url:
        masked = _UNESCAPED.sub(f"{MASK}@", url)
    return _PARAMETER.sub(rf"\g<1>{MASK}", masked)

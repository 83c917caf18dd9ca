"""What docstrings mark for Sphinx (``:class:`~a.B```) as plain code."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>~?\.*([^<]+)</code>")


def on_page_content(html: str, **context: Any) -> str:
    """The page with the last part of each such name."""
    return _ROLE.sub(lambda match: f"<code>{match[1].split('.')[-1]}</code>", html)

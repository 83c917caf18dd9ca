"""JSON that people edit and disks damage: read whole, and checked field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_REQUIRED: Any = object()
_SHOWN = 40  # characters of a wrong value in a message


def parse_json(text: str | bytes) -> Any:
    """The value that ``text`` holds; raises ``ValueError`` saying why there is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises ``ValueError`` saying why there is none, or ``OSError``."""
    return parse_json(path.read_bytes())


def member(record: Any, name: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
    """The value called ``name`` of the object ``record``, if it is of a ``kind``.

    ``float`` takes whole numbers too. Raises ``ValueError`` naming what is missing or wrong;
    ``default`` stands for a value that is not there.
    """
    if name not in typed(record, dict, "the content") and default is not _REQUIRED:
        return default
    if name not in record:
        raise ValueError(f"no key '{name}'")
    return typed(record[name], kind, f"'{name}'")


def typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """``value`` if it is of a ``kind``, else ``ValueError`` about ``what`` it is."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool):  # Python counts them as whole numbers
        fits = bool in kinds
    else:
        fits = isinstance(value, (*kinds, int) if float in kinds else kinds)
    if not fits:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise ValueError(f"{what} must be {' or '.join(_NAMES[k] for k in kinds)}, got {shown}")
    return value

"""Packages that networks of other libraries need, and what they say when they fail."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from accel_rt.errors import UsageError


def package(name: str, extra: str, prefix: str) -> Any:
    """An optional package; raises :class:`~accel_rt.errors.UsageError` if it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"'{prefix}:' networks need {name.partition('.')[0]} ({error}): pip install "
            f"'accel-rt[{extra}]'"
        ) from error


def reason(error: Exception) -> str:
    """The first line of what a library's error says, or its name if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__

"""Settings told once: a dataclass's fields carry their help, bounds and choices.

:func:`check` holds values against them, and the command line makes its options of them
(:mod:`accel_rt.cli.options`). Imports nothing slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from accel_rt.errors import UsageError

Kind = Literal["value", "folder", "size", "names", "shares", "choice or file"]


@dataclass(frozen=True)
class Option:
    """What is known of a setting beside its default.

    ``kind`` says how it is written where its default does not: ``folder`` is a path, ``names`` a
    list, ``shares`` pairs of a folder and a number, ``choice or file`` also takes the path of a
    ``.safetensors`` file. ``low`` and ``high`` bound a number, and every
    one of a list of ``count``; ``above`` and ``below`` leave the bound itself out.
    """

    help: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    count: int | None = None
    kind: Kind = "value"
    metavar: str | None = None
    shown_default: str | None = None


def option(help: str, default: Any = MISSING, **details: Any) -> Any:
    """A dataclass field with an :class:`Option`; one without a default is required."""
    return field(default=default, metadata={"option": Option(help, **details)})


def inherited(settings: type, name: str, default: Any, **details: Any) -> Any:
    """The field ``name`` of ``settings`` with another default and other ``details``."""
    (known,) = (f for f in fields(settings) if f.name == name)
    metadata = {"option": replace(known.metadata["option"], **details)}
    return field(default=default, metadata=metadata, kw_only=known.kw_only)


def options(settings: type) -> Iterator[tuple[Field, Option]]:
    """The fields that have an :class:`Option`, those that only ``settings`` has first."""
    classes = [each for each in settings.__mro__ if is_dataclass(each)]
    depth = {f.name: number for number, each in enumerate(classes) for f in fields(each)}
    for f in sorted(fields(settings), key=lambda f: depth[f.name]):
        if "option" in f.metadata:
            yield f, f.metadata["option"]


def flag(name: str) -> str:
    """How the setting ``name`` is written on the command line."""
    return "--" + name.replace("_", "-")


def check(settings: Any) -> None:
    """Raise :class:`~accel_rt.errors.UsageError` for a value of another kind than its field's
    annotation, or outside its choices or bounds."""
    for f, told in options(type(settings)):
        value = getattr(settings, f.name)
        kind, _, optional = str(f.type).partition(" | ")
        if value is None and optional:
            continue
        wanted, fits = _KINDS.get("size" if told.kind == "size" else kind, ("", None))
        if fits is not None and not fits(value):
            raise UsageError(f"{flag(f.name)} must be {wanted}, got {value!r}")
        values = value if isinstance(value, tuple) else (value,)
        if told.count is not None and len(values) != told.count:
            raise UsageError(f"{flag(f.name)} takes {told.count} numbers, got {len(values)}")
        for one in values:
            if told.kind == "choice or file" and str(one).endswith(".safetensors"):
                continue
            if told.choices and one not in told.choices:
                listed = ", ".join(map(str, told.choices))
                raise UsageError(f"{flag(f.name)} must be one of {listed}, got {one}")
            if isinstance(one, float) and not math.isfinite(one):
                raise UsageError(f"{flag(f.name)} must be a finite number, got {one}")
            if not _within(one, told):
                raise UsageError(f"{flag(f.name)} must be {_range(told)}, got {one}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_whole, value))


_KINDS: dict[str, tuple[str, Callable[[Any], bool] | None]] = {
    "int": ("a whole number", _is_whole),
    "float": ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str)),
    "Path": ("a path", lambda value: isinstance(value, Path)),
    "size": ("a tuple of two whole numbers, height and width", _is_size),
}
"""How kinds of fields are called, and what tells their values."""


def _within(value: Any, told: Option) -> bool:
    low = told.low is None or (value > told.low if told.above else value >= told.low)
    return low and (told.high is None or (value < told.high if told.below else value <= told.high))


def _range(told: Option) -> str:
    low = f"{'above' if told.above else 'at least'} {told.low:g}" if told.low is not None else ""
    high = f"{'below' if told.below else 'at most'} {told.high:g}" if told.high is not None else ""
    return " and ".join(part for part in (low, high) if part)

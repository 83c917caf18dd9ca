"""Options of the command line made of settings: see :mod:`accel_rt.option`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from accel_rt.errors import UsageError
from accel_rt.option import Option, flag, options
from accel_rt.size import wxh

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
THREADS = click.IntRange(1, 1024)
"""Numbers of CPU threads: the system refuses to start many thousands of them."""


class Size(click.ParamType):
    """``640x360`` as the height and width ``(360, 640)``."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", value.lower())
        if not match:
            self.fail(f"'{value}' is not a width and a height, such as 640x360", param, ctx)
        return int(match[2]), int(match[1])


class CommaList(click.ParamType):
    """``a,b`` as ``("a", "b")``, each item converted by ``item``."""

    def __init__(self, item: Callable[[str], Any] = str, name: str = "a,b") -> None:
        self.name = name
        self._item = item

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._item(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            self.fail(f"'{value}' is not a list such as {self.name}", param, ctx)


class Number(click.FloatRange):
    """A finite number in a range; click's own takes ``nan`` for a number in any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class NameOrFile(click.Choice):
    """One of some names, or the path of a weight file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and value.endswith(".safetensors"):
            return value
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}, nor a .safetensors file.", param, ctx)


class FolderShare(click.ParamType):
    """``DIR=0.3`` as ``(Path("DIR"), 0.3)``."""

    name = "DIR=SHARE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, float]:
        if isinstance(value, tuple):
            return value
        folder, _, share = value.rpartition("=")
        try:
            parsed = float(share)
        except ValueError:
            parsed = -1.0
        if not folder or not 0 <= parsed <= 1:
            self.fail(f"'{value}' is not a folder and a share, such as city=0.3", param, ctx)
        return Path(folder), parsed


def output_option(help: str, name: str = "--output") -> Callable[[F], F]:
    """``-o``: the one file that a command writes, into a folder that is there."""
    return click.option(
        "-o", name, required=True, type=_FILE, metavar="FILE", help=help, callback=_in_a_folder
    )


def written_option(flag: str, metavar: str, help: str, name: str | None = None) -> Callable[[F], F]:
    """A file that a command writes beside, into a folder that is there; the command gets it as
    ``name``, else as the flag."""
    names = (flag,) if name is None else (flag, name)
    return click.option(*names, type=_FILE, metavar=metavar, help=help, callback=_in_a_folder)


def plot_option(ending: str, help: str) -> Callable[[F], F]:
    """``--plot``: a picture that is written beside; its name ends in ``ending``, such as ".svg"."""

    def checked(context: click.Context, parameter: click.Parameter, path: Path | None) -> Any:
        if path is not None and path.suffix.lower() != ending:
            kind = ending[1:].upper()
            raise UsageError(f"--plot writes {kind}, got {path}: name the file something{ending}")
        return _in_a_folder(context, parameter, path)

    return click.option("--plot", type=_FILE, metavar=f"FILE{ending}", help=help, callback=checked)


def _in_a_folder(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    if path is None:
        return None
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder '{path.parent}': make it first")
    files = [other.absolute() for other in context.params.values() if isinstance(other, Path)]
    if path.absolute() in files:
        raise UsageError(f"'{path}' is given twice: name two files")
    return path


def threads_option(help: str = "CPU threads.") -> Callable[[F], F]:
    """``--threads N``."""
    return click.option("--threads", type=THREADS, metavar="N", help=help)


def field_options(settings: type, *names: str) -> Callable[[F], F]:
    """Add an option for every field of ``settings`` that tells of itself, or those of ``names``.

    The command gets their values by the fields' names; None is what :func:`from_values` leaves
    out, so that the field's own default stands.
    """

    def add(command: F) -> F:
        for field, told in reversed(list(options(settings))):
            if not names or field.name in names:
                number = _number(field.type)
                command = _option(field.name, field.default, number, told)(command)
        return command

    return add


def from_values(settings: type, values: dict[str, Any]) -> Any:
    """``settings`` of those of the ``values`` that are its fields' and not None."""
    names = [field.name for field in fields(settings)]
    return settings(**{name: values[name] for name in names if values.get(name) is not None})


def _number(annotation: Any) -> type[int | float] | None:
    """The kind of number that a field holds, or that it holds unless it is None.

    A field's annotation is text where its module postpones annotations, as those of settings do.
    """
    kind = str(annotation).removesuffix(" | None")
    return int if kind == "int" else float if kind == "float" else None


def _option(
    name: str, default: Any, number: type[int | float] | None, told: Option
) -> Callable[[F], F]:
    written, help = flag(name), told.help
    details: dict[str, Any] = {}
    if isinstance(default, bool):
        written = f"{written}/--no-{name.replace('_', '-')}"
    else:
        details = {"type": _type(default, number, told), "metavar": told.metavar}
        if told.kind == "folder":
            details["metavar"] = told.metavar or "DIR"
    if default is MISSING:
        details["required"] = True
    elif told.shown_default:
        help += f"  [default: {told.shown_default}]"
    elif told.kind == "shares":
        details["multiple"] = True
    else:
        details |= {
            "default": _as_written(default, told),
            "show_default": default not in (None, ()),
        }
    return click.option(written, name, help=help, **details)


def _type(default: Any, number: type[int | float] | None, told: Option) -> Any:
    if told.kind == "folder":
        return click.Path(path_type=Path, exists=True, file_okay=False)
    if told.kind == "shares":
        return FolderShare()
    if told.kind == "size":
        return Size()
    if told.kind == "names":
        return CommaList()
    if isinstance(default, tuple):
        return CommaList(float, _as_written(default, told))
    if told.kind == "choice or file":
        return NameOrFile(told.choices)
    if told.choices:
        return click.Choice(told.choices) if number is None else number
    bounds: dict[str, Any] = {
        "min": told.low,
        "max": told.high,
        "min_open": told.above,
        "max_open": told.below,
    }
    if number is None:
        return str
    return click.IntRange(**bounds) if number is int else Number(**bounds)


def _as_written(default: Any, told: Option) -> Any:
    """A default as the user would write it, so that help shows it so."""
    if isinstance(default, tuple) and default:
        return wxh(default) if told.kind == "size" else ",".join(f"{part:g}" for part in default)
    return default

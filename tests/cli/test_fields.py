"""Options of the command line made of settings: types, bounds, defaults and their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from accel_rt.cli.fields import field_options, from_values
from accel_rt.errors import UsageError
from accel_rt.option import check, inherited, option


@dataclass(frozen=True, kw_only=True)
class Base:
    steps: int = option("Steps.", 10, low=1)
    loud: bool = option("Loud.", True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Own(Base):
    name: str = option("Name.")
    kind: str = option("Kind.", "a", choices=("a", "b"))
    size: tuple[int, int] = option("Size.", (48, 64), kind="size", low=16)
    rates: tuple[float, ...] = option("Rates.", (0.5,), low=0, above=True)
    share: float = option("Share.", 0.5, low=0, high=1, below=True)
    where: Path | None = option("Where.", None, kind="folder")  # noqa: RUF009
    also: tuple[tuple[Path, float], ...] = option("Also.", (), kind="shares")
    shorter: int | None = option("Shorter.", None, low=16)
    street: float | None = option("Street.", None, low=0, high=1)
    gain: float = option("Gain.", 1.0, low=0)
    untold: int = 3
    steps: int = inherited(Base, "steps", 20)


def settings(*args: object) -> Any:
    made = []

    @click.command()
    @field_options(Own)
    def command(**values: Any) -> None:
        made.append(from_values(Own, values))

    done = CliRunner().invoke(command, [str(arg) for arg in args], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return made[0] if made else done.output


def test_defaults_are_those_of_the_settings() -> None:
    assert settings("--name", "x") == Own("x")


def test_values_arrive_as_what_they_are(tmp_path: Path) -> None:
    args = ["--name", "x", "--kind", "b", "--size", "32x16", "--rates", "1,2", "--share", 0]
    args += ["--shorter", 300, "--street", 0.1]
    args += ["--where", tmp_path, "--also", "c=0.5", "--also", "d=1", "--steps", 5, "--no-loud"]
    assert settings(*args) == Own(
        "x", "b", (16, 32), (1.0, 2.0), 0.0, tmp_path, ((Path("c"), 0.5), (Path("d"), 1.0)),
        shorter=300, street=0.1, steps=5, loud=False,
    )  # fmt: skip


def test_own_options_come_before_those_that_are_shared() -> None:
    text = settings("--help")
    order = [text.index(word) for word in ("--name", "--kind", "--also", "--steps", "--loud")]
    assert order == sorted(order)
    assert "--untold" not in text
    assert "[default: 64x48]" in text
    assert "[default: 20; x>=1]" in text


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--name", "x", "--kind", "c"),
        ("--name", "x", "--steps", 0),
        ("--name", "x", "--share", 1),
        ("--name", "x", "--shorter", 8),
        ("--name", "x", "--street", "some"),
        ("--name", "x", "--gain", "inf"),
        ("--name", "x", "--size", "big"),
        ("--name", "x", "--where", "/no/where"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(args: tuple[object, ...]) -> None:
    with pytest.raises(click.UsageError):
        settings(*args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "c"}, "--kind must be one of a, b, got c"),
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"share": 1.0}, "--share must be at least 0 and below 1, got 1.0"),
        ({"share": float("nan")}, "--share must be a finite number, got nan"),
        ({"gain": float("inf")}, "--gain must be a finite number, got inf"),
        ({"rates": (1.0, 0.0)}, "--rates must be above 0, got 0.0"),
        ({"size": (8, 64)}, "--size must be at least 16, got 8"),
        ({"size": [48, 64]}, r"--size must be a tuple of two whole numbers, .*, got \[48, 64\]"),
        ({"size": (48,)}, "--size must be a tuple of two whole numbers"),
        ({"steps": 2.5}, "--steps must be a whole number, got 2.5"),
        ({"steps": True}, "--steps must be a whole number, got True"),
        ({"steps": None}, "--steps must be a whole number, got None"),
        ({"shorter": "300"}, "--shorter must be a whole number, got '300'"),
        ({"share": "half"}, "--share must be a number, got 'half'"),
        ({"loud": "no"}, "--loud must be True or False, got 'no'"),
        ({"kind": 3}, "--kind must be text, got 3"),
        ({"where": "here"}, "--where must be a path, got 'here'"),
    ],
)
def test_settings_made_in_python_are_held_against_the_same(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Own("x", **change)

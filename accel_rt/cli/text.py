"""Plain text for the terminal: results go to stdout, messages to stderr."""

from __future__ import annotations

from collections.abc import Sequence

import click

from accel_rt.redact import redact


def plain(text: str) -> str:
    """``text`` for a terminal: characters that are not shown but obeyed become escapes.

    Names of files and metadata may hold anything: ``ESC[2J`` would clear the screen, a mark of
    direction would turn a name round.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text
    )


def say(message: str) -> None:
    """Write a message to stderr, passwords in URLs masked."""
    click.echo(plain(redact(message)), err=True)


def show(result: object) -> None:
    """Write a result to stdout, passwords in URLs masked."""
    click.echo(plain(redact(str(result))))


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """``rows`` as lines of aligned columns; the columns in ``right`` are aligned on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)

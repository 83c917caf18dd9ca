"""Plain text for the terminal: results go to stdout, messages to stderr."""

from __future__ import annotations

from collections.abc import Sequence

import click

from accel_rt.redact import redact


def say(message: str) -> None:
    """Write one line of message to stderr, passwords in URLs masked."""
    click.echo(redact(message), err=True)


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

"""Every command in the documentation works: it is run, or says why not and is parsed at least."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from accel_rt.cli.main import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?:<!-- not run: ([^>]+) -->\n)?```(\w*)\n(.*?)^```", re.S | re.M)
_COMMANDS = ("|", "&&", ";")


@dataclass(frozen=True)
class Block:
    """Lines of a page in a language; ``excuse`` says why they are not run."""

    page: Path
    language: str
    text: str
    excuse: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.text.splitlines()[0][:50]}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each call of accel-rt."""
        for line in self.text.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = next((n for n, word in enumerate(words) if word in _COMMANDS), len(words))
                command, words = words[:end], words[end + 1 :]
                while command and re.fullmatch(r"\w+=.*", command[0]):
                    del command[0]
                if command and command[0] == "accel-rt":
                    yield command[1:]


BLOCKS = [
    Block(page, language, text, excuse)
    for page in PAGES
    for excuse, language, text in _BLOCK.findall(page.read_text())
]
SHELL = [block for block in BLOCKS if block.language == "bash"]
RUN = [block for block in BLOCKS if block.language in ("bash", "python") and not block.excuse]
PARSED = [(str(block), words) for block in SHELL for words in block.commands()]


def parse(words: list[str]) -> None:
    """Click's own reading of a command; files that are not there do not count."""
    context = click.Context(cli, info_name="accel-rt")
    command: click.Command = cli
    try:
        while isinstance(command, click.Group):
            context = command.make_context(context.info_name, words, parent=context)
            words = [*context._protected_args, *context.args]
            _, command, words = command.resolve_command(context, words)
        command.make_context(command.name, words, parent=context)
    except click.BadParameter as error:
        if "does not exist" not in error.format_message():
            raise
    except click.exceptions.Exit:
        pass  # --help


@pytest.mark.parametrize(("where", "words"), PARSED)
def test_commands_are_understood(where: str, words: list[str]) -> None:
    parse(words)


def test_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        parse(["segment", "drive.mp4", "--no-such"])


def test_shell_blocks_are_marked_as_such() -> None:
    for block in BLOCKS:
        if block.language != "bash":
            assert not re.search(r"^\s*(accel-rt|make|pip) ", block.text, re.M), block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short clip, and commands of this Python first."""
    root = tmp_path_factory.mktemp("docs")
    script = root / "bin" / "accel-rt"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m accel_rt "$@"\n')
    script.chmod(0o755)
    run("accel-rt street drive.mp4 --seconds 0.4 --size 160x120 --rate 15", root)
    return root


def run(text: str, folder: Path, program: tuple[str, ...] = ("bash", "-euo", "pipefail")) -> None:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [*program, "-c", text], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_blocks_run(block: Block, folder: Path) -> None:
    python = (sys.executable,)
    run(block.text, folder, *((python,) if block.language == "python" else ()))

"""The examples run as their first lines say, on a short clip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("examples")
    arguments = ["street", "drive.mp4", "--seconds", "0.4", "--size", "160x120", "--rate", "15"]
    python("-m", "accel_rt", *arguments, folder=root)
    return root


def python(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_scripts_run(path: Path, folder: Path) -> None:
    assert python(str(path), "drive.mp4", folder=folder)


def test_the_notebook_runs(folder: Path) -> None:
    cells = json.loads((EXAMPLES / "first_look.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    python("-c", "\n".join(code), folder=folder)


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    names = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")]
    assert len(names) == 6
    assert all(f"`{name}`" in listed for name in names)

"""What runs elsewhere is checked as far as it can be here: it names what the tree holds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.need import need

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github").rglob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def read(path: Path) -> Any:
    return need("yaml").safe_load(path.read_text())


def commands(workflow: dict[str, Any]) -> list[str]:
    steps = (step for job in workflow["jobs"].values() for step in job["steps"])
    return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path) -> None:
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "workflows"])
def test_commands_of_workflows_are_there(path: Path) -> None:
    for command in commands(read(path)):
        for script in re.findall(r"\.ci/[\w-]+", command):
            assert (ROOT / script).is_file(), command
        for target in re.findall(r"\bmake (\w+)", command):
            assert target in TARGETS, command


def test_what_clean_removes_is_built_again(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.py", "pyproject.toml", "csrc", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def make(*arguments: str) -> str:
        command = ["make", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "pip" not in make("-n", "demo")
    make("clean")
    assert "pip" in make("-n", "demo")


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_images_install_extras_that_there_are(name: str) -> None:
    extras = re.search(r"\.\[([\w,]+)\]", (ROOT / name).read_text())
    assert extras is not None
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(extras[1].split(",")) <= set(declared)

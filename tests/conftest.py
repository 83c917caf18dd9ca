"""What every test relies on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from accel_rt.runtime import backends


@pytest.fixture(scope="session", autouse=True)
def _floats_run() -> Iterator[None]:
    """``auto`` runs the weights in PyTorch, whatever is installed and lies beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "integers_are_faster", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _same_inputs() -> None:
    """Random inputs do not depend on which tests ran before; operators get fresh ones instead."""
    torch.manual_seed(0)


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may not be listed or looked into, by root neither."""
    folder = tmp_path / "locked"
    folder.mkdir()
    stat, listdir = os.stat, os.listdir

    def refuse(refused: bool, path: object) -> None:
        if refused:
            raise PermissionError(13, "Permission denied", str(path))

    def guarded_stat(path, **options):
        refuse(str(path).startswith(f"{folder}/"), path)
        return stat(path, **options)

    def guarded_listdir(path="."):
        refuse(str(path) == str(folder), path)
        return listdir(path)

    monkeypatch.setattr(os, "stat", guarded_stat)
    monkeypatch.setattr(os, "listdir", guarded_listdir)
    return folder

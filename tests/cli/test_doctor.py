"""What ``doctor`` says of machines of other kinds than this one."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from accel_rt import device, ops, threads
from accel_rt.cli.doctor import _backends, _cuda, _load, examine
from accel_rt.models import exported

PROPERTIES = SimpleNamespace(name="A GPU", major=9, minor=0, total_memory=80 << 30)


@pytest.mark.parametrize(("built", "status"), [(True, "ok"), (False, "slow")])
def test_a_device(monkeypatch: pytest.MonkeyPatch, built: bool, status: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: PROPERTIES)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    extension = replace(ops.extension_status(), cuda_built=built)
    monkeypatch.setattr(ops, "extension_status", lambda: extension)
    check = _cuda()
    assert (check.status, bool(check.advice)) == (status, not built)
    assert check.found == "A GPU, compute capability 9.0, 80 GiB, CUDA 13.0"


@pytest.mark.parametrize(
    ("version", "why"), [(None, "torch is CPU-only"), ("13.0", "torch is built for CUDA 13.0")]
)
def test_no_device(monkeypatch: pytest.MonkeyPatch, version: str | None, why: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    check = _cuda()
    assert check.status == "note"
    assert why in check.found


@pytest.mark.parametrize(
    ("bf16", "version", "status"),
    [(False, None, "slow"), (True, None, "note"), (False, "2026.4", "ok")],
)
def test_openvino_is_advised_where_integers_need_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, version: str | None, status: str
) -> None:
    monkeypatch.setattr(device, "has_fast_bf16", lambda _: bf16)
    monkeypatch.setattr(exported, "engine_version", lambda _: version)
    (check,) = (check for check in _backends() if check.name == "backend openvino")
    assert check.status == status
    assert bool(check.advice) == (status == "slow")


@pytest.mark.parametrize(
    ("load", "throttled", "status", "words"),
    [
        (0.2, 0.0, "ok", "load average 0.2 on 2 cores"),
        (3.5, 0.0, "note", "busy: load average 3.5 on 2 cores"),
        (0.2, 0.3, "note", "stopped by the CPU quota in 30% of its periods"),
    ],
)
def test_a_busy_machine_is_said(
    monkeypatch: pytest.MonkeyPatch, load: float, throttled: float, status: str, words: str
) -> None:
    monkeypatch.setattr(threads, "crowding", lambda: threads.Crowding(2, load, throttled))
    (check,) = _load()
    assert check.status == status
    assert words in check.found
    assert bool(check.advice) == (status == "note")
    assert ("larger CPU quota" in check.advice) == (throttled > 0)


def test_a_torch_that_breaks_when_imported_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.import_module

    def broken(name: str) -> object:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return plain(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    last = {check.name: check for check in examine()}["torch"]
    assert last.status == "broken"
    assert "libcudart.so.13" in last.found

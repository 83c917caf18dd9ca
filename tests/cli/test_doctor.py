"""What ``doctor`` says about CUDA, on machines that have it and on those that do not."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from accel_rt import ops, threads
from accel_rt.cli.doctor import _cuda, _load

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

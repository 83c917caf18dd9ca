"""Peak memory, of this process and of one that runs a model."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from accel_rt.bench import memory
from accel_rt.bench.models import MODELS, Model
from accel_rt.errors import AccelError


def test_own_peak_covers_what_is_resident():
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        pytest.skip("needs /proc")
    resident_mb = int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    assert 0.95 * resident_mb < memory.own_peak_mb() < 20 * resident_mb


def test_own_peak_without_proc(monkeypatch):
    expected = memory.own_peak_mb()
    monkeypatch.setattr(memory, "Path", lambda _: Path("/nowhere/status"))
    assert expected / 2 < memory.own_peak_mb() < expected * 2


def test_a_model_in_a_process_of_its_own():
    light = next(model for model in MODELS if model.name == "Accel light")
    peak = memory.peak_memory_mb([light], "cpu", "fp32", 1)
    assert list(peak) == ["Accel light"]
    assert 100 < peak["Accel light"] < 4000


def test_a_model_that_does_not_run(monkeypatch):
    monkeypatch.setattr(memory.sys, "executable", "false")
    with pytest.raises(AccelError, match="memory of some could not be measured: exit code 1"):
        memory.peak_memory_mb([Model("some")], "cpu", "fp32", 1)

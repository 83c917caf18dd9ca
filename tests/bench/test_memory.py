"""Peak memory, of this process and of one that runs a model."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from accel_rt.bench import memory
from accel_rt.bench.models import BASELINE, Model
from accel_rt.errors import AccelError
from accel_rt.runtime.settings import SegmenterSettings

SMALL = SegmenterSettings(interval=2, size=(48, 64), precision="fp32", scene_cuts=False)


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
    said = []
    plain = Model("plain", replace(SMALL, mode="deeplab"), plain=True)
    peak = memory.peak_memory_mb([Model("light", SMALL), plain], (48, 64), 1, said.append)
    assert list(peak) == ["light", "plain"]
    assert all(50 < megabytes < 5000 for megabytes in peak.values())
    assert sorted(said) == ["measured the memory of light", "measured the memory of plain"]


def test_a_model_that_does_not_run_says_why():
    missing = Model("x", replace(SMALL, reference="nothing"))
    why = "the memory of x could not be measured: .*no installed network weights 'nothing'"
    with pytest.raises(AccelError, match=why):
        memory.peak_memory_mb([missing], (48, 64), 1)


def test_a_process_that_says_nothing(monkeypatch):
    monkeypatch.setattr(memory.sys, "executable", "false")
    with pytest.raises(AccelError, match="could not be measured: exit code 1"):
        memory.peak_memory_mb([BASELINE], (48, 64), 1)

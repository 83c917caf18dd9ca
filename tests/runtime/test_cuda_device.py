"""The calls into torch.cuda, on stand-ins that check arguments against torch's own signatures."""

import inspect
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from accel_rt.runtime.cuda_device import CudaDevice

DEVICE = torch.device("cuda:1")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list:
    """What was called, in order; every call must fit the real one's signature."""
    entries: list = []
    replaced = ("stream", "CUDAGraph", "graph", "synchronize")
    signatures = {name: inspect.signature(getattr(torch.cuda, name)) for name in replaced}
    signatures["Stream"] = inspect.signature(torch.cuda.Stream.__new__)
    signatures["Event"] = inspect.signature(torch.cuda.Event.__new__)

    def called(name: str, *arguments, **options) -> None:
        hidden = (None,) if name in ("Stream", "Event") else ()
        signatures[name].bind(*hidden, *arguments, **options)
        entries.append((name, *arguments, options) if options else (name, *arguments))

    @contextmanager
    def inside(name: str, *arguments, **options):
        called(name, *arguments, **options)
        entries.append(("benchmark", torch.backends.cudnn.benchmark))
        try:
            yield
        finally:
            entries.append(("leave", name))

    def graph_object():
        called("CUDAGraph")
        return SimpleNamespace(replay=lambda: entries.append("replay"))

    def stream_object(*arguments, **options):
        called("Stream", *arguments, **options)
        return "a stream"

    monkeypatch.setattr(torch.cuda, "Stream", stream_object)
    monkeypatch.setattr(torch.cuda, "Event", lambda *a, **o: called("Event", *a, **o))
    monkeypatch.setattr(torch.cuda, "stream", lambda *a: inside("stream", *a))
    monkeypatch.setattr(torch.cuda, "graph", lambda *a, **o: inside("graph", *a, **o))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph_object)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *a: called("synchronize", *a))
    return entries


def names(log: list) -> list[str]:
    return [entry if isinstance(entry, str) else entry[0] for entry in log]


def test_streams_and_events(log: list) -> None:
    device = CudaDevice(DEVICE)
    device.stream()
    device.event()
    device.synchronize()
    assert log == [
        ("Stream", DEVICE),
        ("Event", {"enable_timing": True, "blocking": True}),
        ("synchronize", DEVICE),
    ]


@pytest.mark.parametrize("tune", [False, True])
def test_work_runs_on_its_stream(log: list, tune: bool) -> None:
    before = torch.backends.cudnn.benchmark
    seen: list[bool] = []

    def work() -> None:
        log.append("work")
        seen.append(torch.backends.cudnn.benchmark)

    CudaDevice(DEVICE).run("a stream", work, tune=tune)
    assert log[0] == ("stream", "a stream")
    assert names(log) == ["stream", "benchmark", "work", "leave"]
    assert seen == [tune]
    assert torch.backends.cudnn.benchmark == before


def test_capture_records_on_the_stream_and_replays(log: list) -> None:
    replay = CudaDevice(DEVICE).capture("a stream", lambda: log.append("work"))
    assert names(log) == [
        "CUDAGraph", "stream", "benchmark", "graph", "benchmark", "work", "leave", "leave"
    ]  # fmt: skip
    graph = log[3]
    assert graph[2] == {"stream": "a stream", "capture_error_mode": "thread_local"}
    assert log[4] == ("benchmark", True)  # finds the algorithms that were timed before
    log.clear()
    replay()
    assert log == ["replay"]


def test_a_failed_capture_leaves_the_callers_stream(log: list) -> None:
    def work() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    before = torch.backends.cudnn.benchmark
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaDevice(DEVICE).capture("a stream", work)
    assert log[-1] == ("leave", "stream")
    assert torch.backends.cudnn.benchmark == before

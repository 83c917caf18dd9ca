"""The calls into torch.cuda, on stand-ins that check arguments against torch's own signatures."""

import inspect
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from accel_rt.runtime.cuda_device import CudaDevice, wake

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


def test_work_runs_on_its_stream(log: list) -> None:
    CudaDevice(DEVICE).run("a stream", lambda: log.append("work"))
    assert log == [("stream", "a stream"), "work", ("leave", "stream")]


def test_capture_records_on_the_stream_and_replays(log: list) -> None:
    replay = CudaDevice(DEVICE).capture("a stream", lambda: log.append("work"))
    assert names(log) == ["CUDAGraph", "stream", "graph", "work", "leave", "leave"]
    assert log[2][2] == {"stream": "a stream", "capture_error_mode": "thread_local"}
    log.clear()
    replay()
    assert log == ["replay"]


def test_a_failed_capture_leaves_the_callers_stream(log: list) -> None:
    def work() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaDevice(DEVICE).capture("a stream", work)
    assert log[-1] == ("leave", "stream")


def test_libraries_are_loaded_beside_what_the_host_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device what goes wrong is left to whoever uses it."""
    done = threading.Event()
    began: list[torch.device] = []

    def zeros(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        began.append(device)
        done.wait(20)
        raise RuntimeError("no device")

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(threading, "excepthook", lambda problem: began.append(problem))
    wake(DEVICE)
    (thread,) = (t for t in threading.enumerate() if t.name == "wake")
    done.set()
    thread.join(20)
    assert began == [DEVICE]

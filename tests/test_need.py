"""Where a tool is promised, its tests cannot pass by being skipped."""

import pytest
import torch

from tests.need import TOOLS, VARIABLE, need
from tests.ops.executors import select


@pytest.fixture(autouse=True)
def _nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_promised_tool_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "xvfb,chromium")
    with pytest.raises(pytest.fail.Exception, match="promises chromium, but no Chromium"):
        need("chromium")


def test_else_its_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "xvfb")
    with pytest.raises(pytest.skip.Exception, match="no Chromium to open the page with"):
        need("chromium")


def test_what_is_there_is_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOOLS, "chromium", (lambda: "/usr/bin/chromium", "none"))
    assert need("chromium") == "/usr/bin/chromium"


def test_a_misspelt_promise_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "chrome")
    with pytest.raises(pytest.fail.Exception, match=r"names no tool of tests\.need: chrome"):
        need("chromium")


def test_a_promised_device_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(pytest.fail.Exception, match="no CUDA device"), select("cuda", 0):
        pass


def test_else_the_devices_tests_are_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match="no CUDA device"), select("cuda", 0):
        pass

"""Tools of the machine that some tests need.

Without its tool a test is skipped, unless the environment variable ``ACCEL_RT_REQUIRE`` promises
the tool (names separated by commas): then the test fails, so that a run that is meant to cover
everything cannot pass by skipping.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from accel_rt.ops import extension_status

VARIABLE = "ACCEL_RT_REQUIRE"
SYSTEM_PYTHON = "/usr/bin/python3"


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next(filter(None, map(shutil.which, names)), None)


def _package(name: str) -> Callable[[], Any]:
    def find() -> Any:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            return None

    return find


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available() and extension_status().cuda_built


def _rtsp_server() -> str | None:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    python = shutil.which(SYSTEM_PYTHON)
    if python is None:
        return None
    found = subprocess.run([python, "-c", probe], stderr=subprocess.DEVNULL).returncode == 0
    return python if found else None


# of each tool: how it is found (anything true), and what is said where it is not
TOOLS: dict[str, tuple[Callable[[], Any], str]] = {
    "chromium": (
        _program("chromium", "chromium-browser", "google-chrome"),
        "no Chromium to open the page with",
    ),
    "cuda": (_cuda, "no CUDA device, or an extension without CUDA kernels"),
    "datumaro": (_package("datumaro"), "datumaro is not installed"),
    "label-studio-sdk": (
        _package("label_studio_sdk.converter.brush"),
        "label-studio-sdk is not installed",
    ),
    "onnxruntime": (_package("onnxruntime"), "onnxruntime is not installed"),
    "nncf": (_package("nncf"), "nncf is not installed"),
    "onnxscript": (_package("onnxscript"), "onnxscript is not installed"),
    "openvino": (_package("openvino"), "OpenVINO is not installed"),
    "transformers": (_package("transformers"), "transformers is not installed"),
    "nm": (_program("nm"), "nm of binutils is not installed"),
    "fsspec": (_package("fsspec"), "fsspec is not installed"),
    "playwright": (_package("playwright.sync_api"), "playwright is not installed"),
    "ray": (_package("ray"), "ray is not installed"),
    "scikit-image": (_package("skimage.color"), "scikit-image is not installed"),
    "root": (lambda: os.geteuid() == 0, "only root can mount a small disk"),
    "rtsp-server": (_rtsp_server, "GStreamer's RTSP server is not installed"),
    "tensorboard": (_package("tensorboard"), "tensorboard is not installed"),
    "timm": (_package("timm"), "timm, or torchvision that it needs, is not installed"),
    "torchvision": (_package("torchvision.ops"), "torchvision is not installed"),
    "yaml": (_package("yaml"), "PyYAML is not installed"),
    "xvfb": (_program("Xvfb"), "Xvfb is not installed"),
}


def need(tool: str) -> Any:
    """What `tool` of ``TOOLS`` was found as: a program's path, a module, or True.

    Usable in a test, in a fixture and at the top of a module of tests; skips it, or fails it where
    the tool was promised.
    """
    find, reason = TOOLS[tool]
    found = find()
    if not found:
        missing(tool, reason)
    return found


def missing(tool: str, reason: str) -> None:
    """Ends the test for the want of `tool`: fails where it was promised, skips elsewhere."""
    promised = set(filter(None, os.environ.get(VARIABLE, "").split(",")))
    unknown = ", ".join(sorted(promised - TOOLS.keys()))
    if unknown:
        pytest.fail(f"{VARIABLE} names no tool of {__name__}: {unknown}")
    if tool in promised:
        pytest.fail(f"{VARIABLE} promises {tool}, but {reason}")
    pytest.skip(reason, allow_module_level=True)

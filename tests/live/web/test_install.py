from __future__ import annotations

from importlib import resources

import pytest

from accel_rt.errors import UsageError
from accel_rt.live import web


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "websockets", "prometheus_client"])
def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = web.find_spec
    monkeypatch.setattr(web, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'accel-rt\[live\]'"):
        web.require_packages()
    with pytest.raises(UsageError, match=package):
        _ = web.serve


def test_the_page_is_part_of_the_package() -> None:
    page = resources.files("accel_rt.live.web") / "page"
    names = {file.name for file in page.iterdir()}
    assert {"index.html", "login.html", "style.css", "icon.svg", "app.js"} <= names

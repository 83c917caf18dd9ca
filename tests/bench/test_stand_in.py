"""Random weights in place of those that were left behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from accel_rt.models import store
from benchmarks.stand_in import main


def test_what_is_missing_gets_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(tmp_path))
    names = "efficientnet_lite0", "efficientnet_lite1"
    result = CliRunner().invoke(main, [str(tmp_path), *names], catch_exceptions=False)
    assert result.output == "efficientnet_lite1: random weights\n"
    assert store.find("efficientnet_lite1") == tmp_path / "efficientnet_lite1.safetensors"

"""The weights that ship, and what their model card says of them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import accel_rt
from accel_rt.cli.main import cli

WEIGHTS = Path(accel_rt.__file__).parent / "weights"
_ROW = re.compile(r"\| `(\w+)`(?: \(default (\w+)\))?.* \| ([\d.]+) \| .* \| ([\d.]+) \| [\d.]+ \|")


def test_the_model_card_says_what_the_files_and_accel_rt_models_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACCEL_RT_WEIGHTS", raising=False)
    listed = json.loads(CliRunner().invoke(cli, ["models", "--json"]).stdout)
    shipped = {
        row["name"]: (row["role"], f"{row['size_mb']:.2f}", f"{row['miou']:.1f}")
        for row in listed
        if row["kind"] == "network" and Path(row["path"]).parent == WEIGHTS
    }
    table = (WEIGHTS / "README.md").read_text().split("\n\n")[1]
    card = {name: (role, mb, miou) for name, role, mb, miou in _ROW.findall(table)}
    assert card == shipped

"""The weights that ship, and what their model card says of them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import accel_rt
from accel_rt.cli.main import cli

WEIGHTS = Path(accel_rt.__file__).parent / "weights"
DATA_PACKAGE = Path(__file__).parents[2] / "weights-paper"
_ROW = re.compile(
    r"\| `([\w-]+)`(?: \(default (\w+)\))?.* \| ([\d.]+) \| "
    r".* \| ([\d.]+) \| [\d.]+ \| (-|[\d.]+) \|"
)


@pytest.mark.parametrize(
    ("folder", "card"),
    [
        (WEIGHTS, WEIGHTS / "README.md"),
        (DATA_PACKAGE / "accel_rt_weights_paper", DATA_PACKAGE / "README.md"),
    ],
    ids=["package", "data package"],
)
def test_the_model_card_says_what_the_files_and_accel_rt_models_say(
    folder: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(folder))
    listed = json.loads(CliRunner().invoke(cli, ["models", "--json"]).stdout)
    shipped = {
        row["name"]: (row["role"], f"{row['size_mb']:.2f}", f"{row['miou']:.1f}", row["int8"])
        for row in listed
        if row["kind"] == "network" and Path(row["path"]).parent == folder
    }
    table = next(part for part in card.read_text().split("\n\n") if part.startswith("| file |"))
    rows = _ROW.findall(table)
    told = {name: (role, mb, miou, int8 != "-") for name, role, mb, miou, int8 in rows}
    assert told == shipped
    assert told


def test_all_that_ships_stays_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 80e6

"""Packing writes the same network in fewer bytes."""

from pathlib import Path

from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from tests.cli.conftest import Run
from tests.models.test_weights import INFO


def test_packs_a_file(accel: Run, tmp_path: Path) -> None:
    given, packed = tmp_path / "given.safetensors", tmp_path / "packed.safetensors"
    save_network(given, build_network("efficientnet_lite0", 11), INFO)
    done = accel("pack", given, "-o", packed)
    assert done.code == 0
    assert done.out.strip() == str(packed)
    assert packed.stat().st_size < 0.75 * given.stat().st_size
    info = load_network(packed)[1]
    assert info.network == INFO.network
    assert info.evaluated_on == "nowhere, before packing in 4 bits"


def test_unknown_weights(accel: Run, tmp_path: Path) -> None:
    done = accel("pack", "nothing", "-o", tmp_path / "x.safetensors")
    assert done.code == 2
    assert "choose from" in done.error

"""Packing writes the same network in fewer bytes."""

from pathlib import Path

import pytest

from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.load import load_model
from accel_rt.runtime.settings import SegmenterSettings
from tests.cli.conftest import Run
from tests.models.test_model_file import write_model
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


@pytest.mark.parametrize("int8", [(), ("--int8", "--calibrate", "frames")])
def test_what_is_packed_is_never_written_over(accel: Run, tmp_path: Path, int8: tuple) -> None:
    given = tmp_path / "given.safetensors"
    save_network(given, build_network("efficientnet_lite0", 11), INFO)
    before = given.read_bytes()
    done = accel("pack", given, "-o", given, *int8)
    assert done.code == 2
    assert "is what is packed: name another file" in done.error
    assert given.read_bytes() == before
    done = accel("pack", given, "-o", "x.onnx", *int8)
    assert done.code == 2
    assert "end its name in .safetensors" in done.error


def test_what_goes_by_another_name_is_not_packed(accel: Run, tmp_path: Path) -> None:
    given = tmp_path / "given.safetensors"
    save_network(given, build_network("efficientnet_lite0", 11), INFO)
    done = accel("pack", given, "-o", "x.foo")
    assert (done.code, "end its name in .safetensors" in done.error) == (2, True)
    twice = ("pack", given, "-o", "x.safetensors", "--int8", "--calibrate", "v", "--bits", "4")
    done = accel(*twice)
    assert (done.code, "--int8 leaves the weights as they are" in done.error) == (2, True)
    assert accel("pack", given, "-o", "x.safetensors").code == 0
    assert accel("pack", "x.safetensors", "-o", "y.safetensors").code == 0
    assert load_network(Path("y.safetensors"))[1].evaluated_on.count("before packing") == 1


def test_unknown_weights(accel: Run, tmp_path: Path) -> None:
    done = accel("pack", "nothing", "-o", tmp_path / "x.safetensors")
    assert done.code == 2
    assert "choose from" in done.error


def test_a_model_is_packed_whole_and_listed(
    accel: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, packed = tmp_path / "no#1" / "whole.safetensors", tmp_path / "packed.safetensors"
    write_model(model)
    assert accel("pack", model, "-o", packed, "--bits", "8").code == 0
    assert packed.stat().st_size < 0.4 * model.stat().st_size
    assert load_model(SegmenterSettings(reference=str(packed))).description["fusion"] == "packed"
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", f"{tmp_path}:{model.parent}")
    assert {"whole", "packed"} <= set(accel("models").out.split())

"""The features of one network written into another: a command that ends with a weight file."""

from dataclasses import replace
from pathlib import Path

import pytest

from accel_rt.errors import UsageError
from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.train.settings import TransplantSettings
from accel_rt.train.transplant import train_transplant
from tests.data.test_samples import write_camvid
from tests.models.test_weights import INFO


def _quiet(message: str) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> TransplantSettings:
    donor = tmp_path / "donor.safetensors"
    network = build_network("efficientnet_lite2", 11)
    save_network(donor, network, replace(INFO, network="efficientnet_lite2"))
    data = write_camvid(tmp_path / "data")
    return TransplantSettings(
        donor=str(donor), data=data, crop=(48, 48), steps=50, batch=2, frames=1
    )


def test_a_network_with_the_donors_features_is_written(
    settings: TransplantSettings, tmp_path: Path
) -> None:
    lines: list[str] = []
    path = train_transplant(settings, tmp_path, lines.append)
    assert path == tmp_path / "resnet101.safetensors"
    network, info = load_network(path)
    assert (info.network, info.task, network.stride) == ("resnet101", "skip", 4)
    assert "efficientnet_lite2 (nothing)" in info.trained_on
    assert lines[0].startswith("stem: step 50 of 50, error ")
    assert lines[-1].startswith("layer4.2 explains ")


def test_other_networks_are_refused_before_anything_is_trained(
    settings: TransplantSettings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="choose two of these"):
        train_transplant(replace(settings, network="resnet34"), tmp_path, _quiet)

"""Weight soups: the mean of networks, as a weight file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from accel_rt.cli.main import cli
from accel_rt.errors import UsageError
from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.train.soup import mean_network
from tests.models.test_weights import INFO


def _write(folder: Path, seed: int, network: str = "plainnet") -> str:
    torch.manual_seed(seed)
    path = folder / f"{network}-{seed}.safetensors"
    built = build_network(network, 11)
    for tensor in built.buffers():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    save_network(path, built, replace(INFO, network=network, miou=50.0))
    return str(path)


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    names = [_write(tmp_path, seed) for seed in range(3)]
    out = tmp_path / "soup.safetensors"
    result = CliRunner().invoke(cli, ["train", "soup", *names, "--out", str(out)])
    assert (result.exit_code, result.stdout.strip()) == (0, str(out)), result.stderr
    mean, info = load_network(out)
    parts = [load_network(Path(name))[0].state_dict() for name in names]
    for key, tensor in mean.state_dict().items():
        expected = torch.stack([part[key].float() for part in parts]).mean(0)
        steps = 0.02 if tensor.ndim == 4 else 1e-4  # convolutions are stored in 8 bits
        assert float((tensor - expected).abs().max()) <= steps * float(expected.abs().max() + 1)
    assert info.trained_on.endswith("; the mean of 3 such")
    assert info.miou is None


def test_other_networks_do_not_mix(tmp_path: Path) -> None:
    names = [_write(tmp_path, 0), _write(tmp_path, 1, "efficientnet_lite0")]
    with pytest.raises(UsageError, match=r"efficientnet_lite0, 11 classes\) is built or fed"):
        mean_network(names, tmp_path / "soup.safetensors")
    assert not (tmp_path / "soup.safetensors").exists()

"""Training FlowNetS: it learns, resumes exactly, and writes what the runtime loads."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from accel_rt.cli.train import train
from accel_rt.data.street_samples import StreetPairs
from accel_rt.errors import UsageError, WeightsError
from accel_rt.flow.flownets import load_flownet, save_flownet
from accel_rt.models.flownet import FlowNetS
from accel_rt.train.flow import train_flow
from accel_rt.train.losses import multiscale_epe_sums
from accel_rt.train.settings import FlowSettings
from tests.data.test_flow_data import smooth_picture
from tests.train.torchrun import train as train_processes

SIZES = ((1, 1), (2, 2), (4, 4), (8, 8), (16, 16))


class TestLoss:
    def flows(self, dx: float) -> list[torch.Tensor]:
        flows = [torch.zeros(2, 2, *size) for size in SIZES]
        for flow in flows:
            flow[:, 0] = dx
        return flows

    def test_is_the_mean_error_in_twentieths(self) -> None:
        truth = torch.zeros(2, 2, 64, 64)
        truth[:, 1] = 4
        loss, weight = multiscale_epe_sums(self.flows(3.0), truth, torch.ones(2, 64, 64) > 0)
        assert float(loss / weight) == pytest.approx(5 / 20, rel=1e-4)
        assert float(weight) == 2

    def test_invalid_pixels_do_not_count(self) -> None:
        truth = torch.zeros(2, 2, 64, 64)
        truth[:, :, :30] = 1000
        valid = torch.ones(2, 64, 64) > 0
        valid[:, :30] = False
        loss, weight = multiscale_epe_sums(self.flows(0.0), truth, valid)
        assert float(loss / weight) < 1e-3
        nothing, _ = multiscale_epe_sums(self.flows(1.0), truth, torch.zeros_like(valid))
        assert float(nothing) == 0

    def test_gradient_is_finite_where_flow_is_exact(self) -> None:
        flows = [flow.requires_grad_() for flow in self.flows(0.0)]
        valid = torch.ones(2, 64, 64) > 0
        multiscale_epe_sums(flows, torch.zeros(2, 2, 64, 64), valid)[0].backward()
        assert all(torch.isfinite(flow.grad).all() for flow in flows)  # type: ignore[arg-type]

    def test_parts_add_up(self) -> None:
        generator = torch.Generator().manual_seed(0)
        truth = torch.randn(2, 2, 64, 64, generator=generator)
        valid = torch.rand(2, 64, 64, generator=generator) > 0.4
        flows = [torch.randn(2, 2, *size, generator=generator) for size in SIZES]
        whole, _ = multiscale_epe_sums(flows, truth, valid)
        parts = [
            multiscale_epe_sums([f[i : i + 1] for f in flows], truth[i : i + 1], valid[i : i + 1])
            for i in range(2)
        ]
        torch.testing.assert_close(sum(loss for loss, _ in parts), whole)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CamVid-like folder of pictures with something to follow everywhere."""
    root = tmp_path_factory.mktemp("pictures")
    for folder in ("train", "trainannot"):
        (root / folder).mkdir()
    for i in range(3):
        cv2.imwrite(str(root / "train" / f"{i}.png"), smooth_picture(160, 128, seed=i))
        cv2.imwrite(str(root / "trainannot" / f"{i}.png"), np.zeros((128, 160), np.uint8))
    return root


@pytest.fixture
def settings(pictures: Path) -> FlowSettings:
    return FlowSettings(
        width=0.125,
        data=pictures,
        street=0,
        steps=30,
        batch=2,
        crop=(64, 64),
        rate=2e-3,
        warmup=3,
        ema=0.8,
        precision="fp32",
        workers=0,
        log_every=10,
        tensorboard=False,
    )


@pytest.fixture(autouse=True)
def few_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel_rt.train.flow._VALIDATION_PAIRS", 1)
    monkeypatch.setattr("accel_rt.train.flow.StreetPairs", partial(StreetPairs, size=(48, 64)))


def test_loss_falls_and_weights_load(settings: FlowSettings, tmp_path: Path) -> None:
    path = train_flow(replace(settings, steps=40), tmp_path / "run", lambda _: None)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    first, last = (np.mean([float(row["loss"]) for row in part]) for part in (rows[:2], rows[-2:]))
    assert last < 0.95 * first
    assert float(rows[-1]["epe"]) > 0
    assert cv2.imread(str(tmp_path / "run" / "samples.png")).shape == (2 * 64, 4 * 64, 3)
    network = load_flownet(path)
    assert network.width == 0.125
    assert not network.training


def test_resuming_takes_the_very_same_steps(settings: FlowSettings, tmp_path: Path) -> None:
    stops = iter([False] * 14 + [True])
    train_flow(settings, tmp_path / "whole", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train_flow(settings, tmp_path / "parts", lambda _: None, stop=lambda: next(stops))
    train_flow(settings, tmp_path / "parts", lambda _: None)
    whole, parts = (
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)
        for run in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 30
    for part in ("network", "average"):
        for name, tensor in whole[part].items():
            torch.testing.assert_close(parts[part][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_goes_on_with_the_same_pictures_alone(
    settings: FlowSettings, pictures: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(pictures, tmp_path / "moved"))
    train_flow(replace(settings, steps=1), tmp_path / "run", lambda _: None)
    train_flow(replace(settings, steps=1, data=data), tmp_path / "run", lambda _: None)
    changed = data / "train" / "0.png"
    changed.write_bytes(changed.read_bytes() + b"more")
    with pytest.raises(UsageError, match=r"the training data = 3 pictures \("):
        train_flow(replace(settings, steps=1, data=data), tmp_path / "run", lambda _: None)


def test_starts_from_weights_of_the_same_width(settings: FlowSettings, tmp_path: Path) -> None:
    save_flownet(tmp_path / "wide.safetensors", FlowNetS(0.25), "nothing")
    chosen = replace(settings, init=str(tmp_path / "wide.safetensors"))
    with pytest.raises(WeightsError, match="is a FlowNetS of width 0.25: give --width 0.25"):
        train_flow(chosen, tmp_path / "run", lambda _: None)


def test_impossible_settings(settings: FlowSettings) -> None:
    with pytest.raises(UsageError, match="crops of multiples of 64 pixels, got 100x64"):
        replace(settings, crop=(64, 100))
    with pytest.raises(UsageError, match="give --pairs too"):
        replace(settings, files=0.5)
    with pytest.raises(UsageError, match="together at most 1"):
        replace(settings, street=0.7, files=0.5, pairs=Path("."))


def test_command(pictures: Path, tmp_path: Path) -> None:
    """Two steps as a user starts them; the weights serve as a flow source by their path."""
    options = f"--width 0.125 --data {pictures} --out {tmp_path} --street 0 --steps 2 --batch 1 "
    options += "--crop 64x64 --workers 0 --no-tensorboard"
    result = CliRunner().invoke(train, ["flow", *options.split()])
    assert result.exit_code == 0, result.output
    written = Path(result.stdout.strip().splitlines()[-1])
    assert written == tmp_path / "flownets.safetensors"
    assert load_flownet(written).width == 0.125


def test_two_processes_take_the_steps_of_one(pictures: Path, tmp_path: Path) -> None:
    """torchrun with two CPU processes of two pairs each against one of four."""
    command = [
        "flow", "--width", "0.125", "--data", str(pictures), "--street", "0", "--steps", "4",
        "--batch", "4", "--crop", "64x64", "--precision", "fp32", "--optimiser", "sgd", "--rate",
        "1e-3", "--warmup", "0", "--log-every", "1", "--workers", "0", "--threads", "1",
        "--validate-first", "4", "--no-tensorboard",
    ]  # fmt: skip
    _, one = train_processes(command, tmp_path / "one")
    shared, two = train_processes(command, tmp_path / "two", processes=2)
    assert shared == [tmp_path / "two" / "flownets.safetensors"]
    assert load_flownet(shared[0]).width == 0.125
    assert [float(row["loss"]) for row in two] == pytest.approx(
        [float(row["loss"]) for row in one], rel=1e-3
    )
    assert float(two[-1]["epe"]) == pytest.approx(float(one[-1]["epe"]), rel=1e-2)

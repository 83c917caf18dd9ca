"""Weight files: exact where they must be, small, and clear about what is wrong with them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from accel_rt.classes import CAMVID
from accel_rt.errors import OutputError, UsageError, WeightsError
from accel_rt.models import store
from accel_rt.models.accel import Gate, ScoreFusion
from accel_rt.models.quantise import dequantise, quantise
from accel_rt.models.weights import (
    ModelInfo,
    content_hash,
    load_network,
    load_tensors,
    read_description,
    save_network,
)
from accel_rt.models.zoo import build_network

INFO = ModelInfo("efficientnet_lite0", CAMVID, (360, 480), "nothing", 12.5, "nowhere")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_network(path, build_network("efficientnet_lite0", 11), INFO)
    return path


def test_what_is_described_comes_back(saved: Path) -> None:
    network, info = load_network(saved)
    assert info == INFO
    assert not network.training
    assert [p.name for p in saved.parent.iterdir()] == ["net.safetensors"]


def test_files_have_the_width_first(saved: Path) -> None:
    assert read_description(saved)["size"] == [480, 360]


def test_the_task_network_is_described_too(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network = build_network("resnet18", 11, "skip").eval()
    save_network(path, network, replace(INFO, network="resnet18", task="skip"))
    loaded, info = load_network(path)
    assert (loaded.stride, info.task) == (4, "skip")


def test_scores_survive_quantisation(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network("resnet18", 11).eval()
    torch.nn.init.normal_(network.task.scoring.weight, std=0.1)
    path = tmp_path / "net.safetensors"
    save_network(path, network, replace(INFO, network="resnet18"))
    loaded, _ = load_network(path)
    frame = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        exact, stored = network(frame), loaded(frame)
    error = (stored - exact).norm() / exact.norm()
    assert 0 < error < 0.03  # int8: some 0.4% of a weight, averaged over many weights and layers


@pytest.mark.parametrize("shape", [(64, 33, 3, 3), (128, 256, 1, 1), (40, 27), (3, 2051)], ids=str)
def test_eight_bits_are_within_half_a_step(shape: tuple[int, ...]) -> None:
    """Of the largest weight of a channel, or of 256 in a row where a channel has more."""
    weight = torch.randn(shape)
    stored = quantise("w", weight, 8)
    assert sum(t.numel() * t.element_size() for t in stored.values()) < 1.2 * weight.numel()
    rows, padding = weight.flatten(1), 0
    if rows.shape[1] > 256:
        padding = -weight.numel() % 256
        rows = F.pad(weight.flatten(), (0, padding)).view(-1, 256)
    step = rows.abs().amax(1, keepdim=True) / 127
    error = F.pad((dequantise(stored)["w"] - weight).flatten(), (0, padding)).view(rows.shape).abs()
    assert torch.all(error <= 0.57 * step)  # a group's scale is a half float


def test_a_large_weight_coarsens_its_group_alone() -> None:
    weight = torch.randn(4, 2048)
    weight[0, 0] = 100.0
    error = (dequantise(quantise("w", weight, 8))["w"] - weight).abs()
    assert error[0, :256].max() > 0.1
    assert error[0, 256:].max() < 0.03


def test_eight_bits_with_a_scale_for_each_channel_are_read_too() -> None:
    """As versions before 256 weights had a scale of their own wrote them."""
    values = torch.randint(-127, 128, (4, 2048), dtype=torch.int8)
    scale = torch.rand(4)
    restored = dequantise({"w": values, "w|scale": scale})["w"]
    torch.testing.assert_close(restored, values.float() * scale[:, None])


@pytest.mark.parametrize("scales", [3, 31, 33])
def test_scales_that_do_not_go_with_their_weights_are_refused(scales: int) -> None:
    with pytest.raises(ValueError, match="does not go with its scales"):
        dequantise({"w": torch.ones(4, 2048, dtype=torch.int8), "w|scale": torch.ones(scales)})


def test_small_tensors_are_stored_as_they_are(tmp_path: Path) -> None:
    network = build_network("resnet18", 11)
    path = tmp_path / "net.safetensors"
    save_network(path, network, replace(INFO, network="resnet18"))
    tensors, _ = load_tensors(path)
    assert torch.equal(tensors["task.scoring.bias"], network.task.scoring.bias.detach())


def test_files_take_little_over_a_byte_per_weight(saved: Path) -> None:
    weights = sum(p.numel() for p in build_network("efficientnet_lite0", 11).parameters())
    assert saved.stat().st_size < 1.5 * weights


@pytest.mark.parametrize("shape", [(64, 33, 3, 3), (40, 27), (1, 2048)])
def test_four_bits_are_within_their_step(shape: tuple[int, ...]) -> None:
    """A weight is off by half a step at most, or by what clipping a group's largest costs."""
    weight = torch.randn(shape)
    stored = quantise("w", weight, 4)
    assert sum(t.numel() * t.element_size() for t in stored.values()) < 0.55 * weight.numel() + 100
    restored = dequantise(stored)["w"]
    padding = (0, -weight.numel() % 64)
    groups = F.pad(weight.flatten(), padding).view(-1, 64)
    largest = groups.abs().amax(1, keepdim=True)
    clipped = (groups.abs() - 0.7 * largest).clamp(min=0)
    error = F.pad((restored - weight).flatten(), padding).view(-1, 64).abs()
    assert torch.all(error <= 0.501 * largest / 7 + clipped)
    assert (restored - weight).norm() < 0.15 * weight.norm()


def test_what_four_bits_hold_comes_back_exactly() -> None:
    weight = torch.randint(-7, 8, (16, 256)).float() / 4
    weight[:, ::64] = 7 / 4  # every group reaches its largest value
    torch.testing.assert_close(dequantise(quantise("w", weight, 4))["w"], weight)


def test_network_in_four_bits(tmp_path: Path) -> None:
    network = build_network("resnet18", 11)
    path = tmp_path / "net.safetensors"
    save_network(path, network, replace(INFO, network="resnet18"), bits=4)
    loaded, info = load_network(path)
    assert info.network == "resnet18"
    weights = sum(p.numel() for p in network.parameters())
    assert path.stat().st_size < 0.7 * weights
    weight = network.feature.layer3[0].conv1.weight
    restored = loaded.feature.layer3[0].conv1.weight
    assert 0 < (restored - weight).norm() / weight.norm() < 0.15


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weight file .*: see 'accel-rt models'"):
        load_network(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        load_network(saved)


def test_a_foreign_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="has no accel-rt description"):
        load_network(path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network = build_network("efficientnet_lite0", 11)
    save_network(path, network, replace(INFO, network="efficientnet_lite2"))
    with pytest.raises(WeightsError, match=r"does not fit: 'feature\._blocks"):
        load_network(path)


def test_a_fusion_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "fusion.safetensors"
    store.save_fusion(path, ScoreFusion(11), {})
    with pytest.raises(WeightsError, match="does not hold a network"):
        load_network(path)
    with pytest.raises(WeightsError, match=r"'conv.weight' is \(11, 22, 1, 1\) there"):
        store.load_fusion(path, 5)


def test_fusion_comes_back_exactly(tmp_path: Path) -> None:
    path, fusion = tmp_path / "fusion.safetensors", ScoreFusion(11)
    torch.nn.init.normal_(fusion.conv.weight)
    store.save_fusion(path, fusion, {"reference": "a", "update": "b"})
    loaded = store.load_fusion(path, 11)
    assert torch.equal(loaded.conv.weight, fusion.conv.weight)


def test_a_fusions_gate_is_part_of_its_contents(tmp_path: Path) -> None:
    fusion, hashes = ScoreFusion(11), []
    for number, gate in enumerate((Gate(), Gate(0.5), Gate(0.5, 1.0))):
        fusion.gate, path = gate, tmp_path / f"{number}.safetensors"
        store.save_fusion(path, fusion, {"reference": "a", "update": "b"})
        hashes.append(content_hash(path))
    assert len(set(hashes)) == 3


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_network(tmp_path / "file" / "x.safetensors", build_network("resnet18", 2), INFO)


class TestStore:
    def test_finds_by_name_and_by_path(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(saved.parent))
        assert store.find("net") == saved
        assert store.find(str(saved)) == saved

    def test_unknown_name_lists_what_there_is(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(saved.parent))
        with pytest.raises(UsageError, match="network weights 'nett': choose from net, "):
            store.find("nett")

    def test_missing_path(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="no weight file"):
            store.find(str(tmp_path / "net.safetensors"))

    def test_a_run_that_has_no_fusion_yet_is_told_so(self, saved: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        for role in ("reference", "update"):
            shutil.copy(saved, run / f"net-{role}.safetensors")
        with pytest.raises(WeightsError, match="holds 2 network weights and no fusion that says"):
            store.find(str(run))

    def test_a_package_with_weights_is_found_by_its_entry_point(
        self, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = tmp_path / "site"
        for name, text in (
            ("more_weights/__init__.py", "raise RuntimeError('its code is not run')"),
            ("more_weights-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: more-weights\n"),
            (
                "more_weights-1.dist-info/entry_points.txt",
                "[accel_rt.weights]\nmore = more_weights\ngone = no_such_package.weights\n",
            ),
        ):
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
        shutil.copy(saved, site / "more_weights" / "of-a-package.safetensors")
        monkeypatch.syspath_prepend(site)
        store._data_packages.cache_clear()
        try:
            assert "of-a-package" in [entry.name for entry in store.installed()]
            assert store.find("of-a-package").parent.name == "more_weights"
        finally:
            store._data_packages.cache_clear()

    def test_broken_files_are_not_listed(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (saved.parent / "broken.safetensors").write_bytes(b"nothing")
        monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(saved.parent))
        names = [entry.name for entry in store.installed()]
        assert "net" in names
        assert "broken" not in names

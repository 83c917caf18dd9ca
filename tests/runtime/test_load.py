"""From settings to a segmenter: names, pairs, modes and what is wrong with them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from accel_rt import ops
from accel_rt.classes import CAMVID, ClassSet
from accel_rt.device import resolve_device, resolve_precision
from accel_rt.errors import UsageError, WeightsError
from accel_rt.flow.flownets import save_flownet
from accel_rt.models import store
from accel_rt.models.accel import FeatureFusion, ScoreFusion
from accel_rt.models.flownet import FlowNetS
from accel_rt.models.weights import (
    ModelInfo,
    load_network,
    load_tensors,
    save_network,
    save_tensors,
)
from accel_rt.models.zoo import build_network
from accel_rt.normalise import IMAGENET, Normalisation
from accel_rt.runtime import load
from accel_rt.runtime.load import load_segmenter, weights_digests
from accel_rt.runtime.settings import SegmenterSettings

REFERENCE, UPDATE = "efficientnet_lite1", "efficientnet_lite0"
SETTINGS = SegmenterSettings(REFERENCE, UPDATE, interval=3, size=(64, 64), precision="fp32")


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (REFERENCE, UPDATE):
        info = ModelInfo(name, CAMVID, (360, 480), "nothing")
        save_network(tmp_path / f"{name}.safetensors", build_network(name, 11), info)
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("flow", "device", "expected"),
    [
        ("auto", "cpu", "CodecFlow"),
        ("dis", "cpu", "DISFlow"),
        ("auto", "cuda", "DeviceDIS on cuda"),
        ("dis", "cuda", "DeviceDIS on cuda"),
        ("codec", "cuda", "CodecFlow"),
    ],
)
def test_flow_is_computed_where_the_networks_are(
    flow: str, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "DeviceDIS", lambda on: f"DeviceDIS on {on}")
    source = load.load_flow(replace(SETTINGS, flow=flow), torch.device(device), torch.float16)
    assert (source if isinstance(source, str) else type(source).__name__) == expected


def kinds(settings: SegmenterSettings, frames: int = 4) -> list[str]:
    segmenter = load_segmenter(settings)
    frame = np.zeros((48, 64, 3), np.uint8)
    return [segmenter.step(frame).kind for _ in range(frames)]


@pytest.mark.parametrize("mode", ["accel", "dff", "copy"])
@pytest.mark.parametrize("warp", ["composed", "incremental"])
def test_modes_with_keyframes(mode: str, warp: str) -> None:
    settings = replace(SETTINGS, mode=mode, warp=warp)
    assert kinds(settings) == ["key", "update", "update", "key"]


def test_a_schedule_that_looks_ahead_gives_results_with_the_next_keyframe() -> None:
    segmenter = load_segmenter(replace(SETTINGS, look_ahead=True))
    frame = np.zeros((48, 64, 3), np.uint8)
    ready = [[result.index for result in segmenter.push(frame)] for _ in range(4)]
    assert ready == [[0], [], [], [1, 2, 3]]
    assert segmenter.describe()["precision"] == "float32"


def test_deeplab_has_keyframes_only() -> None:
    assert kinds(replace(SETTINGS, mode="deeplab")) == ["key"] * 4


def save_pair(
    folder: Path,
    reference: str,
    update: str,
    fusion: ScoreFusion | FeatureFusion | None = None,
    kind: str = "score",
) -> Path:
    """Write a fusion of two networks in ``folder``."""
    path = folder / f"{store.fusion_name(reference, update, kind)}.safetensors"
    files = (folder / f"{name}.safetensors" for name in (reference, update))
    store.save_fusion(path, fusion or ScoreFusion(11), {**store.pair(*files), "trained_on": ""})
    return path


def test_a_pair_without_fusion_says_that_it_averages(weights: Path) -> None:
    described = load_segmenter(SETTINGS).describe()
    assert described["fusion"] == "mean of both branches"
    assert f"no fusion is trained for the weights of '{REFERENCE}' and" in described["note"]
    path = save_pair(weights, REFERENCE, UPDATE)
    described = load_segmenter(SETTINGS).describe()
    assert (described["fusion"], "note" in described) == (path.stem, False)


def test_a_fusion_belongs_to_contents_not_to_names(weights: Path, tmp_path: Path) -> None:
    path = save_pair(weights, REFERENCE, UPDATE)
    other = shutil.copy(weights / f"{UPDATE}.safetensors", tmp_path / "another_name.safetensors")
    settings = replace(SETTINGS, update=str(other))
    assert load_segmenter(settings).describe()["fusion"] == path.stem
    info = ModelInfo(UPDATE, CAMVID, (360, 480), "something else")
    save_network(weights / f"{UPDATE}.safetensors", build_network(UPDATE, 11), info)
    described = load_segmenter(SETTINGS).describe()
    assert described["fusion"] == "mean of both branches"


def test_own_networks_called_like_shipped_ones_do_not_get_the_shipped_fusion(weights: Path) -> None:
    """Also with other classes, which the shipped fusion would not fit."""
    shipped = Path(store.__file__).parent.parent / "weights"
    for path in shipped.glob("fusion-*.safetensors"):
        shutil.copy(path, weights)
    three = ClassSet(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    for classes in (CAMVID, three):
        for name in (REFERENCE, UPDATE):
            info = ModelInfo(name, classes, (360, 480), "nothing")
            save_network(weights / f"{name}.safetensors", build_network(name, len(classes)), info)
        assert load_segmenter(SETTINGS).describe()["fusion"] == "mean of both branches"


def test_the_shipped_fusions_belong_to_the_shipped_networks(monkeypatch) -> None:
    data_package = Path(__file__).parents[2] / "weights-paper" / "accel_rt_weights_paper"
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(data_package))
    entries = store.installed()
    networks = {store.content_hash(one.path): one.path for one in entries if one.kind == "network"}
    fusions = [entry for entry in entries if entry.kind in ("fusion", "feature-fusion")]
    assert len(fusions) >= 7
    for fusion in fusions:
        pair = (networks[fusion.description[f"{role}_sha256"]] for role in ("reference", "update"))
        kind = "score" if fusion.kind == "fusion" else "feature"
        assert store.find_fusion(*pair, kind) == fusion.path


def test_fusion_of_scores_features_or_the_mean(weights: Path) -> None:
    """The kind is chosen among those installed; features need networks that have them."""
    save_pair(weights, REFERENCE, UPDATE)
    mean = load_segmenter(replace(SETTINGS, fusion="mean")).describe()["fusion"]
    assert mean == "mean of both branches"
    with pytest.raises(UsageError, match="no feature fusion of .* train joint --fusion feature"):
        load_segmenter(replace(SETTINGS, fusion="feature"))
    reference, update = build_network("resnet18", 11), build_network("resnet18", 11)
    info = ModelInfo("resnet18", CAMVID, (48, 64), "nothing")
    save_network(weights / "resnet18.safetensors", reference, info)
    fusion = FeatureFusion(reference, update)
    pair = save_pair(weights, "resnet18", "resnet18", fusion, "feature").stem
    settings = replace(SETTINGS, reference="resnet18", update="resnet18", fusion="feature")
    assert load_segmenter(settings).describe()["fusion"] == pair
    assert kinds(settings) == ["key", "update", "update", "key"]


def test_description_complete_pictures() -> None:
    description = load_segmenter(SETTINGS).describe()
    assert description["reference"] == REFERENCE
    assert description["update"] == UPDATE
    assert description["precision"] == "float32"
    assert description["flow"] == "codec where the video has usable vectors, else dis"
    assert description["threads"] == torch.get_num_threads()


def test_networks_of_different_classes(weights: Path) -> None:
    other = ClassSet(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    info = ModelInfo(UPDATE, other, (360, 480), "nothing")
    save_network(weights / f"{UPDATE}.safetensors", build_network(UPDATE, 2), info)
    with pytest.raises(UsageError, match="were trained for different classes"):
        load_segmenter(SETTINGS)


def test_unknown_network() -> None:
    with pytest.raises(UsageError, match="no installed network weights 'resnet19': choose from"):
        load_segmenter(replace(SETTINGS, update="resnet19"))


def test_flownets_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_data_packages", lambda: ())  # one of them brings such weights
    with pytest.raises(UsageError, match=r"no 'flownets' weights .* or choose --flow dis"):
        load_segmenter(replace(SETTINGS, flow="flownets"))


@pytest.mark.parametrize("installed", [True, False])
def test_flownets_installed_or_by_path(weights: Path, tmp_path: Path, installed: bool) -> None:
    path = weights / "flownets.safetensors" if installed else tmp_path / "own" / "a.safetensors"
    save_flownet(path, FlowNetS(0.125), "nothing")
    settings = replace(SETTINGS, flow="flownets" if installed else str(path))
    assert load_segmenter(settings).describe()["flow"] == "flownets"
    assert kinds(settings) == ["key", "update", "update", "key"]


def test_flownets_file_that_is_missing() -> None:
    with pytest.raises(WeightsError, match="no weight file .*own.safetensors"):
        load_segmenter(replace(SETTINGS, flow="runs/own.safetensors"))


def test_a_fusion_of_other_classes(weights: Path) -> None:
    path = weights / "other.safetensors"
    store.save_fusion(path, ScoreFusion(3), {})
    for given in (path, str(path)):
        with pytest.raises(WeightsError, match="does not fit"):
            load_segmenter(replace(SETTINGS, fusion_weights=given))


def test_digests_tell_the_weights_that_place_keyframes(weights: Path) -> None:
    """Of a policy that has none they stay the same."""
    settings = [replace(SETTINGS, policy=policy) for policy in ("budget", "fixed")]
    before = [weights_digests(each) for each in settings]
    tensors, description = load_tensors(store.find("policy", "policy"))
    changed = {name: tensor + 0.5 for name, tensor in tensors.items()}
    save_tensors(weights / "policy.safetensors", changed, description)
    after = [weights_digests(each) for each in settings]
    assert [one == two for one, two in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0}, "interval must be at least 1, got 0"),
        ({"mode": "fast"}, "--mode must be one of accel, dff, copy, deeplab, got fast"),
        ({"flow": "farneback"}, "--flow must be one of auto, codec, dis, flownets, got farneback"),
        ({"update_scale": 2.0}, "--update-scale must be one of 0.25, 0.5, 1.0, got 2.0"),
        ({"size": (8, 64)}, "--size must be at least 16 and at most 8192, got 8"),
    ],
)
def test_settings_out_of_range(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SETTINGS, **change)


class TestDevice:
    def test_unknown(self) -> None:
        with pytest.raises(UsageError, match="unknown device 'tpu': choose auto, cpu"):
            resolve_device("tpu")

    def test_missing_cuda_device(self) -> None:
        with pytest.raises(UsageError, match="no device 'cuda:99': this machine has"):
            resolve_device("cuda:99")

    def test_half_precision_needs_cuda(self) -> None:
        with pytest.raises(UsageError, match="fp16 runs on CUDA only: choose bf16 or fp32"):
            resolve_precision("fp16", torch.device("cpu"))

    def test_auto_follows_the_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
            monkeypatch.setattr("accel_rt.device.has_fast_bf16", lambda device, has=has: has)
            assert resolve_precision("auto", torch.device("cpu")) == expected


def test_a_weight_files_own_normalisation_is_obeyed(weights: Path) -> None:
    """A network that was trained on other means gives the labels that it gives by itself."""
    torch.manual_seed(3)
    own = Normalisation((0.5, 0.25, 0.75), (0.5, 0.4, 0.3))
    network = build_network(UPDATE, 11)
    torch.nn.init.normal_(network.task.scoring.weight, std=0.5)
    info = ModelInfo(UPDATE, CAMVID, (360, 480), "nothing", None, "", own.mean_rgb, own.std_rgb)
    path = weights / "own.safetensors"
    save_network(path, network, info)
    frame = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    network, _ = load_network(path)
    assert network.normalisation == own
    expected = []
    with torch.inference_mode():
        for normalisation in (own, IMAGENET):
            scores = network(normalisation(torch.from_numpy(frame)[None]))
            expected.append(ops.upsample_argmax(scores, (64, 64))[0].numpy())
    settings = replace(SETTINGS, reference=str(path), mode="deeplab")
    labels = load_segmenter(settings).step(frame).labels
    assert np.mean(labels == expected[0]) > 0.999
    assert np.mean(labels == expected[1]) < 0.99
    # as the update branch, too, beside a reference of another normalisation
    settings = replace(SETTINGS, update=str(path), fusion="mean", scene_cuts=False)
    segmenter, plain = load_segmenter(settings), load_segmenter(settings)
    plain._executor.program.model.update.normalisation = IMAGENET
    for _ in range(2):
        labels, others = segmenter.step(frame).labels, plain.step(frame).labels
    assert np.mean(labels == others) < 0.99

"""timm's networks as feature networks: their own maps, trained, stored and run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from accel_rt.cli.main import run
from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.timm import TimmFeatures
from accel_rt.models.weights import load_network
from accel_rt.models.zoo import build_network
from accel_rt.train.start import start_network
from tests.data.test_samples import write_camvid
from tests.models.test_weights import INFO
from tests.need import need

timm = need("timm")
SMALL = "test_resnet"


@pytest.mark.parametrize("name", [SMALL, "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("size", [(64, 96), (48, 80)])
def test_maps_are_timms_own(name: str, size: tuple[int, int]) -> None:
    """At sides that are no multiples of 32, too, which its last map's are."""
    feature = TimmFeatures(name).eval()
    frame = torch.randn(1, 3, *size)
    padded = torch.zeros(1, 3, *(side + -side % 32 for side in size))
    padded[..., : size[0], : size[1]] = frame
    with torch.no_grad():
        found, wanted = feature(frame), feature.network(padded)[-4:]
    assert [tuple(one.shape[1:]) for one in found] == [
        (channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(feature.channels, (4, 8, 16), strict=True)
    ]
    for one, own in zip(found, wanted, strict=False):
        if one is not found[-1]:
            torch.testing.assert_close(one, own[..., : one.shape[-2], : one.shape[-1]])
    assert found[-1].shape[1] == wanted[-1].shape[1]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", [SMALL, "test_convnext"])
def test_a_checkpoint_of_the_whole_network_is_started_from(
    tmp_path: Path, name: str, suffix: str
) -> None:
    torch.manual_seed(5)
    whole = timm.create_model(name).eval()
    file = tmp_path / f"whole{suffix}"
    (torch.save if suffix == ".pth" else save_file)(whole.state_dict(), file)
    network = start_network(f"timm:{name}@{file}", INFO.classes, "none", 0).eval()
    frame = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = whole.forward_intermediates(frame, intermediates_only=True)[-1]
        torch.testing.assert_close(network.feature.network(frame)[-1], wanted)
    assert network.normalisation.mean_rgb == (0.5, 0.5, 0.5)


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    feature, file = TimmFeatures(SMALL), tmp_path / "a.pth"
    with pytest.raises(WeightsError, match="no checkpoint"):
        feature.load_checkpoint(file)
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    with pytest.raises(WeightsError, match="holds no weights of timm's test_resnet .it has no '"):
        feature.load_checkpoint(file)
    file.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="holds no weights of timm's test_resnet"):
        feature.load_checkpoint(file)
    with pytest.raises(UsageError, match="leave --init imagenet out"):
        start_network(f"timm:{SMALL}@{file}", INFO.classes, "imagenet", 0)


@pytest.mark.parametrize("name", ["nothing", "resnet18.nothing", "test_vit", "test_maxvit"])
def test_what_gives_no_such_maps_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UsageError, match=f"timm's '{name}' cannot be used .*name a network with"):
        build_network(f"timm:{name}", 5)


def test_weights_that_are_not_there_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="timm's weights of 'test_resnet' cannot be had"):
        start_network(f"timm:{SMALL}", INFO.classes, "imagenet", 0)


def test_a_trained_one_is_stored_and_segments(tmp_path: Path) -> None:
    data, out = write_camvid(tmp_path / "data", "train", 3), tmp_path / "run"
    write_camvid(data, "val", 1)

    def accel(*arguments: object) -> int:
        return run([str(argument) for argument in arguments])

    few = ["--steps", 2, "--batch", 2, "--crop", "48x48", "--workers", 0, "--no-tensorboard"]
    network = ["--network", f"timm:{SMALL}", "--data", data, "--street", 0]
    assert accel("train", "deeplab", "--out", out, *network, *few) == 0
    file = out / f"timm-{SMALL}.safetensors"
    loaded, info = load_network(file)
    assert (info.network, info.mean_rgb) == (f"timm:{SMALL}", (0.5, 0.5, 0.5))
    assert isinstance(loaded.feature, TimmFeatures)
    picture, masks = next(data.glob("train/*.png")), tmp_path / "masks"
    segment = ["segment", picture, "--mode", "deeplab", "--masks", masks, "--no-video"]
    assert accel(*segment, "--reference", out) == 0
    assert list(masks.glob("*.png"))

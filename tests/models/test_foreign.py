"""Networks of other libraries as branches: the same labels as the library gives by itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import accel_rt
from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.accel import probabilities
from accel_rt.models.foreign.network import on_cells
from accel_rt.models.foreign.open import absolute, foreign_digest
from accel_rt.models.foreign.place import Place
from accel_rt.models.zoo import build_network
from accel_rt.normalise import IMAGENET, normalise
from accel_rt.runtime.settings import SegmenterSettings
from tests.need import need

SIZE = (96, 128)
FRAMES = np.random.default_rng(1).integers(0, 256, (4, *SIZE, 3), np.uint8)


class Small(nn.Module):
    """Some network: scores of five classes at a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 8, 5, 4, 2), nn.Conv2d(8, 5, 3, 1, 1)

    def forward(self, frame: Tensor) -> Tensor:
        return self.second(F.relu(self.first(frame)))


class Labels(nn.Module):
    """The same network, from bytes with channels last to labels at full size."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Small()

    def forward(self, frame: Tensor) -> Tensor:
        mean, std = torch.tensor(IMAGENET.mean_rgb), torch.tensor(IMAGENET.std_rgb)
        scores = self.network(((frame / 255 - mean) / std).permute(0, 3, 1, 2))
        size = frame.shape[1], frame.shape[2]
        return F.interpolate(scores, size, mode="bilinear").argmax(1)


class LabelsLast(Labels):
    """Its labels with an axis of one channel at the end."""

    def forward(self, frame: Tensor) -> Tensor:
        return super().forward(frame)[..., None]


def expected(frame_bgr: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        scores = Small()(normalise(torch.from_numpy(frame_bgr)[None]))
        full = F.interpolate(scores, frame_bgr.shape[:2], mode="bilinear", align_corners=False)
    return full.argmax(1)[0].numpy()


def every_frame(name: str, **options: object) -> tuple[list[np.ndarray], accel_rt.Segmenter]:
    """What the network gives as a reference that runs on every frame, in float32."""
    settings = {"mode": "deeplab", "device": "cpu", "precision": "fp32", **options}
    segmenter = accel_rt.load_segmenter(SegmenterSettings(reference=name, **settings))
    return [segmenter.step(frame).labels for frame in FRAMES], segmenter


def agreement(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    return float(np.mean([np.mean(a == b) for a, b in zip(found, wanted, strict=True)]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``scores.onnx``, ``any.onnx`` of any size, ``labels.onnx``, ``last.onnx``, ``two.onnx``."""
    need("onnxruntime")
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("onnx")
    frame = torch.zeros(1, 3, *SIZE)
    old = {"dynamo": False, "input_names": ["picture"]}
    torch.onnx.export(Small(), (frame,), folder / "scores.onnx", output_names=["logits"], **old)
    axes = {"picture": {2: "height", 3: "width"}}
    torch.onnx.export(Small(), (frame,), folder / "any.onnx", dynamic_axes=axes, **old)
    bytes_last = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    torch.onnx.export(Labels(), (bytes_last,), folder / "labels.onnx", **old)
    torch.onnx.export(LabelsLast(), (bytes_last,), folder / "last.onnx", **old)

    class Two(Small):
        def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
            return F.relu(self.first(frame)), super().forward(frame)

    torch.onnx.export(Two(), (frame,), folder / "two.onnx", output_names=["a", "b"], **old)
    named = onnx.load(folder / "scores.onnx")
    named.metadata_props.add(key="names", value="{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e'}")
    onnx.save(named, folder / "named.onnx")
    return folder


RUNTIMES = pytest.mark.parametrize("runtime", ["onnx", "openvino"])


class TestRuntimes:
    @RUNTIMES
    @pytest.mark.parametrize("file", ["scores.onnx", "any.onnx", "two.onnx?output=b"])
    def test_scores_give_the_networks_own_labels(
        self, files: Path, runtime: str, file: str
    ) -> None:
        need({"onnx": "onnxruntime"}.get(runtime, runtime))
        found, segmenter = every_frame(f"{runtime}:{files / file}")
        assert agreement(found, [expected(frame) for frame in FRAMES]) > 0.999
        assert len(segmenter.classes) == 5

    @RUNTIMES
    @pytest.mark.parametrize("file", ["labels.onnx", "last.onnx"])
    def test_labels_are_taken_where_there_are_no_scores(
        self, files: Path, runtime: str, file: str
    ) -> None:
        need({"onnx": "onnxruntime"}.get(runtime, runtime))
        name = f"{runtime}:{files}/{file}?classes=a,b,c,d,e"
        network, info = load(name)
        wanted = torch.from_numpy(np.stack([expected(frame) for frame in FRAMES]))
        frames = torch.from_numpy(FRAMES).flip(-1).permute(0, 3, 1, 2).float()
        assert (network.answer(frames) == wanted).float().mean() > 0.999
        assert info.classes.names == ("a", "b", "c", "d", "e")

    @RUNTIMES
    def test_names_in_the_file_are_the_classes(self, files: Path, runtime: str) -> None:
        need({"onnx": "onnxruntime"}.get(runtime, runtime))
        _, info = load(f"{runtime}:{files}/named.onnx")
        assert info.classes.names == ("a", "b", "c", "d", "e")

    def test_a_size_of_its_own_is_kept_to(self, files: Path) -> None:
        frame = np.zeros((60, 90, 3), np.uint8)
        _, segmenter = every_frame(f"onnx:{files}/scores.onnx")
        assert segmenter.step(frame).labels.shape == (60, 90)

    def test_a_session_in_memory_is_taken(self, files: Path) -> None:
        session = need("onnxruntime").InferenceSession(files / "scores.onnx")
        fast = accel_rt.accelerate(session, 2, classes=list("vwxyz"), device="cpu")
        frame, result = next(fast.stream(FRAMES))
        assert np.mean(result.labels == expected(frame)) > 0.99
        assert result.classes.names == tuple("vwxyz")

    def test_classes_are_told_beside_a_name(self, files: Path) -> None:
        for file in ("labels.onnx", "scores.onnx"):
            fast = accel_rt.accelerate(f"onnx:{files / file}", device="cpu", classes=list("vwxyz"))
            assert fast.step(FRAMES[0]).classes.names == tuple("vwxyz")
        with pytest.raises(UsageError, match="scores 5 classes, and 2 are named"):
            accel_rt.accelerate(f"onnx:{files}/scores.onnx", classes=["a", "b"])

    @pytest.mark.parametrize(
        ("file", "says"),
        [
            ("two.onnx", "which output of .*two.onnx is meant"),
            ("scores.onnx?input=x", "which input of"),
            ("labels.onnx", "does not say of which classes"),
            ("scores.onnx?classes=a,b", "scores 5 classes, and 2 are named"),
            ("scores.onnx?colour=red", "unknown option 'colour'"),
            ("scores.onnx?normalise=no", "unknown normalisation 'no'"),
        ],
    )
    def test_what_cannot_be_told_is_asked_for(self, files: Path, file: str, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            load(f"onnx:{files / file}")

    @RUNTIMES
    def test_damaged_and_missing_files_are_named(self, tmp_path: Path, runtime: str) -> None:
        need({"onnx": "onnxruntime"}.get(runtime, runtime))
        with pytest.raises(WeightsError, match="there is no network file"):
            load(f"{runtime}:{tmp_path}/none.onnx")
        (tmp_path / "bad.onnx").write_bytes(b"\x08\x07 not a model")
        with pytest.raises(WeightsError, match=r"bad\.onnx is not a readable"):
            load(f"{runtime}:{tmp_path}/bad.onnx")


def load(name: str) -> tuple:
    from accel_rt.models.foreign.open import load_placed

    return load_placed(name)


def segformer(folder: Path, size: object, **options: object) -> nn.Module:
    """A small SegFormer with random weights, saved with its processor."""
    transformers = need("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        **{"num_labels": 19, **options},
    )
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    kind = getattr(transformers, "SegformerImageProcessorPil", None)
    kind = kind or transformers.SegformerImageProcessor
    processor = kind(size=size, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4])
    processor.save_pretrained(folder)
    return model, processor


class TestHuggingFace:
    def test_a_folder_gives_the_masks_that_transformers_gives(self, tmp_path: Path) -> None:
        model, processor = segformer(tmp_path, {"height": SIZE[0], "width": SIZE[1]})
        wanted = []
        for frame in FRAMES:
            pixels = processor(images=frame[..., ::-1].copy(), return_tensors="pt")
            with torch.inference_mode():
                output = model(**pixels)
            maps = processor.post_process_semantic_segmentation(output, target_sizes=[SIZE])
            wanted.append(maps[0].numpy())
        assert len(np.unique(wanted)) > 2
        found, segmenter = every_frame(f"hf:{tmp_path}")
        assert agreement(found, wanted) > 0.999
        assert segmenter.classes.names[:2] == ("road", "sidewalk")

    def test_its_own_names_and_size_come_with_it(self, tmp_path: Path) -> None:
        names = {n: f"organ {n}" for n in range(4)}
        segformer(tmp_path, {"shortest_edge": 64}, num_labels=4, id2label=names)
        network, info = load(f"hf:{tmp_path}")
        assert info.classes.names == tuple(names.values())
        assert (network.size, network.fixed_size) == ((64, 64), None)

    def test_masks_and_their_classes_become_scores(self, tmp_path: Path) -> None:
        transformers = need("transformers")
        from accel_rt.models.foreign.huggingface import HuggingFaceNetwork

        modeling = transformers.models.maskformer.modeling_maskformer
        output = modeling.MaskFormerForInstanceSegmentationOutput(
            class_queries_logits=torch.tensor([[[5.0, 0, 0], [0, 5.0, 0]]]),
            masks_queries_logits=torch.tensor([[[[9.0, -9]], [[-9.0, 9]]]]),
        )
        network = HuggingFaceNetwork(nn.Conv2d(3, 2, 1), 2)
        assert network.scores(output).argmax(1).tolist() == [[[0, 1]]]

    @pytest.mark.parametrize("told", [{}, {"do_flip_channel_order": False}])
    def test_what_a_processor_does_by_default_is_done(self, tmp_path: Path, told: dict) -> None:
        """MobileViT's colours are BGR in 0..1, and its files need not say so."""
        transformers = need("transformers")
        torch.manual_seed(0)
        config = transformers.MobileViTConfig(
            image_size=64,
            hidden_sizes=[16, 16, 16],
            neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
            num_labels=4,
            num_attention_heads=2,
            aspp_out_channels=16,
        )
        model = transformers.MobileViTForSemanticSegmentation(config)
        model.save_pretrained(tmp_path)
        size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
        described = {"image_processor_type": "MobileViTImageProcessor", **size, **told}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
        frame = FRAMES[0, :64, :64]
        rgb = frame[..., ::-1].astype(np.float32) / 255
        wanted = rgb if told else rgb[..., ::-1]
        network, _ = load(f"hf:{tmp_path}?classes=a,b,c,d")
        fed: list[np.ndarray] = []

        def note(module: nn.Module, args: tuple, named: dict) -> None:
            fed.append(named["pixel_values"][0].permute(1, 2, 0).numpy())

        network.module.register_forward_pre_hook(note, with_kwargs=True)
        network.answer(torch.from_numpy(255 * rgb).permute(2, 0, 1)[None])
        np.testing.assert_allclose(fed[0], wanted, atol=1e-6)

    def test_a_folder_may_have_no_processor_but_no_unknown_one(self, tmp_path: Path) -> None:
        segformer(tmp_path, {"height": SIZE[0], "width": SIZE[1]})
        for file in tmp_path.glob("*processor_config.json"):
            file.unlink()
        network, _ = load(f"hf:{tmp_path}")
        assert (network.fixed_size, network.size) == (None, None)
        unknown = '{"image_processor_type": "NoSuchProcessor"}'
        (tmp_path / "preprocessor_config.json").write_text(unknown)
        with pytest.raises(WeightsError, match=r"image processor of .* cannot be used \([^,]*\):"):
            load(f"hf:{tmp_path}")

    def test_a_model_in_memory_is_fed_by_its_processor(self, tmp_path: Path) -> None:
        model, processor = segformer(tmp_path, {"height": SIZE[0], "width": SIZE[1]})
        wanted, _ = every_frame(f"hf:{tmp_path}")
        fast = accel_rt.accelerate(model, 1, device="cpu", processor=processor)
        found = [result.labels for _, result in fast.stream(FRAMES)]
        assert agreement(found, wanted) == 1

    def test_a_model_in_memory_is_accelerated(self, tmp_path: Path) -> None:
        model, _ = segformer(tmp_path, {"height": SIZE[0], "width": SIZE[1]})
        results = [r for _, r in accel_rt.accelerate(model, 2, device="cpu").stream(FRAMES)]
        assert [result.kind for result in results] == ["key", "update", "key", "update"]

    def test_what_is_not_in_the_cache_is_said_in_a_sentence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        need("transformers")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(WeightsError, match=r"hf:nobody/nothing cannot be used \("):
            load("hf:nobody/nothing")
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(WeightsError, match="bert does not segment pictures"):
            load(f"hf:{tmp_path}")


class TestTorchvision:
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_a_state_dict_gives_the_masks_that_torchvision_gives(
        self, tmp_path: Path, suffix: str
    ) -> None:
        need("torchvision")
        from safetensors.torch import save_file
        from torchvision.models import get_model

        torch.manual_seed(0)
        model = get_model(
            "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=7
        ).eval()
        file = tmp_path / f"weights{suffix}"
        save = torch.save if suffix == ".pth" else save_file
        save(model.state_dict(), file)
        wanted = []
        with torch.inference_mode():
            for frame in FRAMES:
                scores = model(normalise(torch.from_numpy(frame)[None]))["out"]
                wanted.append(scores.argmax(1)[0].numpy())
        name = f"torchvision:lraspp_mobilenet_v3_large@{file}"
        found, segmenter = every_frame(name, size=SIZE)
        assert agreement(found, wanted) > 0.97  # on a grid of stride 4
        assert len(segmenter.classes) == 7

    def test_unknown_names_and_files_are_said(self, tmp_path: Path) -> None:
        need("torchvision")
        with pytest.raises(UsageError, match="choose from .*lraspp_mobilenet_v3_large"):
            load("torchvision:nothing")
        with pytest.raises(UsageError, match="has no weights 'NO'"):
            load("torchvision:lraspp_mobilenet_v3_large@NO")
        (tmp_path / "bad.pth").write_bytes(b"nothing")
        with pytest.raises(WeightsError, match="holds no weights of lraspp"):
            load(f"torchvision:lraspp_mobilenet_v3_large@{tmp_path}/bad.pth")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_rt.models import optional

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(optional, "import_module", missing)
    extras = {"hf": "hub", **{name: name for name in ("onnx", "openvino", "torchvision")}}
    for prefix, extra in extras.items():
        with pytest.raises(UsageError, match=rf"'{prefix}:' networks .*accel-rt\[{extra}\]"):
            load(f"{prefix}:something")
    with pytest.raises(UsageError, match=r"'timm:' networks .*accel-rt\[timm\]"):
        build_network("timm:resnet18", 3)


def test_upsampled_scores_are_found_again() -> None:
    """A network's own grid, from what its library made of it; means would miss by 0.37."""
    scores = torch.randn(1, 5, 24, 32, generator=torch.Generator().manual_seed(0))
    upsampled = F.interpolate(scores, (96, 128), mode="bilinear")
    assert (on_cells(upsampled, (24, 32)) - scores).abs().mean() < 0.08
    assert torch.equal(on_cells(scores, (24, 32)), scores)


def test_probabilities_stay_such_along_edges() -> None:
    planes = torch.zeros(1, 3, 64, 64)
    planes[:, 0, :, :30], planes[:, 1, :, 30:] = 1, 1
    found = on_cells(planes, (16, 16))
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(1), torch.ones(1, 16, 16))
    torch.testing.assert_close(probabilities(found), found)
    assert (found - F.avg_pool2d(planes, 4)).abs().max() < 0.1


@pytest.mark.parametrize("cells", [(24, 32), (96, 128), (100, 140)])
def test_a_class_that_is_switched_off_does_not_disturb_the_others(cells: tuple[int, int]) -> None:
    scores = torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    scores = F.interpolate(10 * scores, (96, 128), mode="bilinear")
    without, off = scores.clone(), -torch.inf
    without[:, 2] = off
    found = on_cells(without, cells)
    torch.testing.assert_close(found[:, :2], on_cells(scores[:, :2], cells))
    assert found.isfinite().all()
    assert found[:, 2].max() < scores.min() - 10


@pytest.mark.parametrize("cells", [(24, 32), (96, 128)])
def test_a_class_that_is_switched_off_in_a_part_stays_there(cells: tuple[int, int]) -> None:
    scores = torch.zeros(1, 2, 96, 128)
    scores[:, 1] = 50
    scores[:, 1, :, :62] = -torch.inf
    found = on_cells(scores, cells)
    wins, edge = found.argmax(1), 62 * cells[1] / 128
    assert found.isfinite().all()
    assert found.max() <= 50
    assert not wins[..., : math.ceil(edge)].any()
    assert wins[..., math.ceil(edge) :].all()


def test_options_follow_a_question_mark() -> None:
    place = Place.parse("me@there/b.onnx?input=x&classes=a,b", ("input", "classes"))
    assert place.name == "me@there/b.onnx"
    assert place.options == {"input": "x", "classes": "a,b"}


def test_a_digest_tells_the_files_that_a_name_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    (tmp_path / "folder").mkdir()
    files = ("n.onnx", "n.xml", "n.bin", "mine.py", "package/mine.py", "folder/weights")
    names = ("onnx:n.onnx?classes=voc", "openvino:n.xml", "openvino:n.xml", "python:mine:f")
    names += ("python:package.mine:f", "hf:folder")
    for file in files:
        (tmp_path / file).write_text("one")
    for file, name in zip(files, names, strict=True):
        told = foreign_digest(name)
        assert foreign_digest(name) == told
        (tmp_path / file).write_text("two")
        assert foreign_digest(name) != told
    assert foreign_digest("hf:ORG/NAME") == foreign_digest("hf:ORG/NAME")


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("efficientnet_lite2", "efficientnet_lite2"),
        ("there/a.safetensors#update", "{here}/there/a.safetensors#update"),
        ("there", "{here}/there"),
        ("onnx:n.onnx?classes=n.onnx", "onnx:{here}/n.onnx?classes=n.onnx"),
        ("torchvision:there@n.onnx", "torchvision:there@{here}/n.onnx"),
        ("torchvision:fcn_resnet50@DEFAULT", "torchvision:fcn_resnet50@DEFAULT"),
        ("hf:ORG/NAME", "hf:ORG/NAME"),
        ("python:there:f", "python:there:f"),
    ],
)
def test_files_in_names_are_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, whole: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("there", "efficientnet_lite2"):
        (tmp_path / folder).mkdir()
    for file in ("n.onnx", "there/a.safetensors"):
        (tmp_path / file).touch()
    assert absolute(name) == whole.format(here=tmp_path)

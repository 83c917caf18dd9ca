"""Joint training: gradients reach every part, the fast form equals the plain one, files load."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from accel_rt import ops
from accel_rt.classes import CAMVID, CITYSCAPES
from accel_rt.data.augment import Augmentation
from accel_rt.data.open import open_dataset
from accel_rt.data.synthetic_motion import Snippet
from accel_rt.errors import UsageError
from accel_rt.evaluate.stream import StreamScore, score_stream
from accel_rt.models.accel import Accel, FeatureFusion, ScoreFusion
from accel_rt.models.flownet import FlowNetS, MXNetFlowNetS
from accel_rt.models.layers import Features
from accel_rt.models.network import DeconvTaskNetwork, Network, TaskNetwork
from accel_rt.models.store import find_fusion, load_fusion, load_pair_fusion, save_fusion
from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.normalise import normalise
from accel_rt.ops import eager
from accel_rt.runtime.program import FrameProgram, State, inverse_flow
from accel_rt.train.distil import Teacher, distillation_loss
from accel_rt.train.joint import _INPUTS, Joint, train_joint
from accel_rt.train.joint_data import DataSetSnippets, JointSamples
from accel_rt.train.joint_model import JointModel, JointScores
from accel_rt.train.losses import disagreement, segmentation_loss
from accel_rt.train.pair_settings import JointSettings
from accel_rt.train.processes import joined
from tests.data.test_layouts import write_picture
from tests.data.test_samples import write_camvid
from tests.models.test_weights import INFO

CLASSES = 3


class TinyFeature(nn.Module):
    """Features at strides 4, 8 and 16 that cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.four = nn.Conv2d(3, 3, 4, 4)
        self.eight = nn.Conv2d(3, 4, 2, 2)
        self.sixteen = nn.Conv2d(4, 6, 2, 2)

    def forward(self, frame: torch.Tensor) -> Features:
        four = self.four(frame)
        eight = self.eight(four.relu())
        return four, eight, self.sixteen(eight.relu())


def paper_network() -> Network:
    return Network(TinyFeature(), TaskNetwork(6, CLASSES, 5))


def batch(stride: int, frames: int = 2, distance: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, frames, 64, 96, 3), generator=generator).to(torch.uint8)
    flows = torch.randn(2, distance, 2, 64 // stride, 96 // stride, generator=generator)
    moves = torch.ones(2, distance, dtype=torch.bool)
    return pictures, flows, moves, torch.tensor([1.0, 0.5]), torch.zeros(2)


LABELS = torch.arange(64 * 96).reshape(1, 64, 96).remainder(CLASSES).to(torch.uint8).repeat(2, 1, 1)


class TestModel:
    @pytest.mark.parametrize("incremental", [False, True])
    @pytest.mark.parametrize("fusion", ["score", "feature"])
    def test_gradients_reach_every_part_and_equal_the_twins(
        self, fusion: str, incremental: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(0)
        reference, update = paper_network(), paper_network()
        joined = ScoreFusion(CLASSES) if fusion == "score" else FeatureFusion(reference, update)
        flow = FlowNetS(1 / 16)
        model = JointModel(Accel(reference, update, joined), flow, incremental).train()
        with torch.no_grad():  # an untrained flow network moves nothing
            flow.predictors[-1].get_parameter("bias").fill_(0.4)
        pictures, flows, moves, scales, shares = batch(16, frames=3, distance=2)
        moves[0, 0] = False  # the first snippet is shorter

        def gradients() -> dict[str, torch.Tensor]:
            model.zero_grad(set_to_none=True)
            scores = model(pictures, flows, moves, scales, shares).fused
            segmentation_loss(scores, LABELS).backward()
            named = dict(model.named_parameters())
            return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}

        ours = gradients()
        unused = {name for name, _ in model.named_parameters()} - ours.keys()
        assert all(name.startswith("accel.update.task") for name in unused)
        assert bool(unused) == (fusion == "feature")
        assert all(gradient.abs().sum() > 0 for gradient in ours.values())
        monkeypatch.setattr(ops, "flow_warp", eager.flow_warp)
        for name, gradient in gradients().items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6, msg=name)

    @pytest.mark.parametrize("fusion", ["score", "feature"])
    def test_the_authors_networks_learn(self, fusion: str) -> None:
        torch.manual_seed(0)
        branches = [Network(TinyFeature(), DeconvTaskNetwork(6, CLASSES, 5)) for _ in range(2)]
        joined = ScoreFusion(CLASSES) if fusion == "score" else FeatureFusion(*branches)
        flow = MXNetFlowNetS(1 / 16)
        model = JointModel(Accel(*branches, joined), flow, incremental=True).train()
        with torch.no_grad():
            flow.predictors[-1].get_parameter("bias").fill_(0.4)
        pictures, flows, moves, scales, shares = batch(16, frames=3, distance=2)
        scores = model(pictures, flows, moves, scales, shares).fused
        assert scores.shape == (2, CLASSES, 64, 96)
        segmentation_loss(scores, LABELS).backward()
        still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        assert all(name.startswith("accel.update.task") for name in still)
        assert bool(still) == (fusion == "feature")

    def test_deep_feature_flow_trains_reference_and_flow(self) -> None:
        torch.manual_seed(0)
        model = JointModel(Accel(paper_network()), FlowNetS(1 / 16)).train()
        pictures, flows, moves, scales, shares = batch(16, frames=3, distance=2)
        scores, branches, _ = model(pictures, flows, moves, scales, shares)
        assert not branches
        segmentation_loss(scores, LABELS).backward()
        assert all(p.grad is not None and p.grad.any() for p in model.accel.parameters())
        assert any(p.grad.any() for p in model.flow.parameters() if p.grad is not None)

    def test_each_sample_has_its_own_update_scale(self) -> None:
        torch.manual_seed(0)
        model = JointModel(Accel(paper_network(), paper_network(), ScoreFusion(CLASSES)), None)
        pictures, flows, moves, scales, shares = batch(16)
        with torch.no_grad():
            together = model(pictures, flows, moves, scales, shares).fused
            for i in (0, 1):
                one = slice(i, i + 1)
                inputs = pictures[one], flows[one], moves[one], scales[one], shares[one]
                alone = model(*inputs).fused
                torch.testing.assert_close(together[one], alone)
            other = model(pictures, flows, moves, scales.flip(0), shares).fused
        assert (together - other).abs().max() > 1e-4

    def test_is_what_the_runtime_computes(self) -> None:
        """Two frames of known flow: composed by the model, and by hand for the branches."""
        torch.manual_seed(0)
        accel = Accel(paper_network(), paper_network(), ScoreFusion(CLASSES))
        pictures, flows, moves, _, shares = batch(16, distance=2)
        flows[:, 0] = torch.tensor([1.0, 0])[:, None, None]
        flows[:, 1] = torch.tensor([0, -1.0])[:, None, None]
        composed = torch.tensor([1.0, -1.0])[None, :, None, None].expand(2, 2, 4, 6).contiguous()
        with torch.no_grad():
            scores = JointModel(accel, None)(pictures, flows, moves, torch.ones(2), shares).fused
            program = FrameProgram(accel, torch.device("cpu"), torch.float32)
            state = program.advance(program.key(normalise(pictures[:, 0]))[0], composed)
            expected = program.merge(state, program.refresh(normalise(pictures[:, -1])))
        torch.testing.assert_close(scores, expected)

    @pytest.mark.parametrize("learnt_flow", [False, True])
    @pytest.mark.parametrize("gate", [False, True])
    def test_is_what_the_runtime_computes_from_both_sides(
        self, gate: bool, learnt_flow: bool
    ) -> None:
        """The first snippet has a keyframe ahead, the second has none and trains as without."""
        torch.manual_seed(0)
        accel = Accel(paper_network(), paper_network(), ScoreFusion(CLASSES))
        flow = FlowNetS(1 / 16) if learnt_flow else None
        model = JointModel(accel, flow, gate=gate)
        pictures, flows, moves, *_ = batch(16, frames=4 if flow else 3, distance=3)
        moves[1, 2] = False
        flows[1, 2] = 0
        shares = torch.tensor([2 / 3, 0])
        if flow is not None:
            with torch.no_grad():
                flow.predictors[-1].get_parameter("bias").fill_(0.4)
        program = FrameProgram(accel, torch.device("cpu"), torch.float32)
        here = 2 if flow else 1
        with torch.no_grad():
            scores = model(pictures, flows, moves, torch.ones(2), shares, ahead=1).fused
            found = flows if flow is None else model._flows(pictures, moves)
            geometry = program.plan((64, 96), None, (64, 96))

            def picture(sample: int, place: int) -> torch.Tensor:
                return program.picture(pictures[sample, place].numpy(), geometry)

            def state(sample: int, place: int, *steps: torch.Tensor) -> State:
                frame = normalise(pictures[sample, place][None])
                state = replace(program.key(frame)[0], picture=picture(sample, place))
                for step in steps:
                    state = program.advance(state, step[None])
                return state

            for sample, ahead in enumerate((True, False)):
                fresh = program.refresh(normalise(pictures[sample, here][None]))
                before = state(sample, 0, *found[sample, :2])
                if ahead:
                    after = state(sample, -1, inverse_flow(found[sample, 2:])[0])
                    share: float | torch.Tensor = 2 / 3
                if gate:
                    residual = program.residual(before, picture(sample, here))
                    if ahead:
                        other = program.residual(after, picture(sample, here))
                        share = program.share_after(2 / 3, residual, other)
                        residual = torch.lerp(residual, other, share)
                if ahead:
                    expected = program.merge_sides(before, after, share, fresh)
                else:
                    expected = program.merge(before, fresh)
                if gate:
                    expected = program.gated(expected, fresh, residual)
                # the runtime's pictures are of whole numbers
                torch.testing.assert_close(scores[sample : sample + 1], expected, atol=1e-3, rtol=0)

    def test_both_sides_and_both_branches_learn(self) -> None:
        torch.manual_seed(0)
        accel = Accel(paper_network(), paper_network(), ScoreFusion(CLASSES))
        model = JointModel(accel, None, gate=True)
        pictures, flows, moves, scales, _ = batch(16, frames=3)
        pictures.zero_()
        pictures[:, 2] = 200  # the keyframe ahead alone has features to learn from
        pictures[:, 1] = 200
        segmentation_loss(
            model(pictures, flows, moves, scales, torch.full((2,), 0.5), ahead=1).fused, LABELS
        ).backward()
        assert accel.reference.feature.four.weight.grad.abs().sum() > 0
        assert accel.update.feature.four.weight.grad.abs().sum() > 0

    def test_reduced_frames_come_with_what_is_said_of_them_whole(self) -> None:
        torch.manual_seed(0)
        accel = Accel(paper_network(), paper_network(), ScoreFusion(CLASSES))
        pictures, flows, moves, scales, shares = batch(16)  # the second frame is reduced
        inputs = pictures, flows, moves
        found = JointModel(accel, None, compare=True)(*inputs, scales, shares)
        whole = JointModel(accel, None)(*inputs, torch.ones(2), shares)
        reduced, said = found.sizes
        torch.testing.assert_close(reduced, found.branches[1][1:])
        torch.testing.assert_close(said, whole.branches[1][1:])
        assert reduced.requires_grad
        assert not said.requires_grad
        assert not whole.sizes


class TestSamples:
    def samples(
        self,
        source: object,
        every_frame: bool = False,
        robust: float = 0.0,
        distances: dict[int, int] | None = None,
    ) -> JointSamples:
        augmentation = Augmentation((48, 64), (1.0, 1.0), colour=0.0)
        return JointSamples(
            source,  # type: ignore[arg-type]
            augmentation,
            distances or {1: 0, 2: 0, 3: 0},
            (1.0, 0.5),
            16,
            every_frame,
            100,
            seed=1,
            robust=robust,
        )

    class Counting:
        """Frame ``i`` of a snippet of ``length`` is grey level ``10 * (i + 1)``."""

        def draw(self, length: int, rng: np.random.Generator, after: int = 0) -> Snippet:
            frames = [np.full((48, 64, 3), 10 * (i + 1), np.uint8) for i in range(length + after)]
            return Snippet(frames, np.full((48, 64), length, np.uint8), after=after)

    @pytest.mark.parametrize("every_frame", [False, True])
    def test_a_fused_keyframe_is_its_own_keyframe(self, every_frame: bool) -> None:
        samples = self.samples(self.Counting(), every_frame, distances={0: 0, 3: 0})
        items = [samples[i] for i in range(12)]
        alone = [item for item in items if not item["moves"].any()]
        assert 0 < len(alone) < len(items)
        for item in alone:
            assert (item["frames"] == item["frames"][-1]).all()
            assert item["flows"].shape[0] == 3
            assert not item["flows"].any()

    def test_short_snippets_begin_with_their_keyframe(self) -> None:
        samples = self.samples(self.Counting(), every_frame=True)
        distances = set()
        for i in range(30):
            item = samples[i]
            distance = int(item["moves"].sum())
            distances.add(distance)
            assert item["labels"].unique().tolist() == [distance + 1]
            levels = [int(frame.float().mean()) // 10 for frame in item["frames"]]
            assert levels == [1] * (3 - distance) + list(range(1, distance + 2))
            assert item["moves"].tolist() == [False] * (3 - distance) + [True] * distance
        assert distances == {1, 2, 3}

    @pytest.mark.parametrize("every_frame", [False, True])
    def test_the_next_keyframe_comes_last(self, every_frame: bool) -> None:
        samples = self.samples(self.Counting(), every_frame, distances={0: 0, 1: 3, 2: 2})
        seen = set()
        for i in range(30):
            item = samples[i]
            level = int(item["labels"].unique())
            distance = level - 1
            ahead = {0: 0, 1: 3, 2: 2}[distance]
            seen.add(distance)
            assert item["flows"].shape[0] == len(item["moves"]) == 5
            assert item["moves"].tolist() == [
                2 - distance <= place < 2 + ahead for place in range(5)
            ]
            levels = [int(frame.float().mean()) // 10 for frame in item["frames"]]
            if every_frame:
                assert levels == [
                    max(1, min(level + place, level + ahead)) for place in range(-2, 4)
                ]
            else:
                assert levels == [1, level, level + ahead]
            assert float(item["shares"]) == pytest.approx(distance / 4)
        assert seen == {0, 1, 2}

    def test_every_frame_of_a_share_of_snippets_is_corrupted(self, tmp_path: Path) -> None:
        data = open_dataset(write_camvid(tmp_path, count=2), "train")
        plain, robust = (
            self.samples(DataSetSnippets(data), robust=share)[90] for share in (0.0, 1.0)
        )
        for before, after in zip(plain["frames"], robust["frames"], strict=True):
            assert not torch.equal(before, after)
        for same in ("labels", "moves", "scales"):
            assert torch.equal(plain[same], robust[same])

    def test_fixed_flow_comes_last(self, tmp_path: Path) -> None:
        data = open_dataset(write_camvid(tmp_path, count=2), "train")
        for i in range(10):
            item = self.samples(DataSetSnippets(data))[i]
            again = self.samples(DataSetSnippets(data))[i]
            assert all(torch.equal(item[name], again[name]) for name in item)
            assert item["frames"].shape == (2, 48, 64, 3)
            assert item["flows"].shape == (3, 2, 3, 4)
            assert not item["flows"][~item["moves"]].any()
        scales = [float(self.samples(DataSetSnippets(data))[i]["scales"]) for i in range(10)]
        assert set(scales) == {0.5, 1.0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = build_network("efficientnet_lite0", 11)
    save_network(folder / "a.safetensors", network, replace(INFO, network="efficientnet_lite0"))
    return folder


class TestTraining:
    def settings(self, weights: Path, data: Path, **changes: object) -> JointSettings:
        own = str(weights / "a.safetensors")
        defaults = JointSettings(
            own,
            own,
            data=data,
            street=0,
            interval=3,
            crop=(32, 64),
            scale=(1.0, 1.0),
            steps=6,
            fusion_steps=2,
            batch=2,
            warmup=0,
            rate=1e-3,
            ema=0.5,
            precision="fp32",
            workers=0,
            validate_every=100,
            validate_first=1,
            validate_interval=2,
            log_every=2,
            tensorboard=False,
        )
        return replace(defaults, **changes)  # type: ignore[arg-type]

    def test_end_to_end_and_resumed(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        messages: list[str] = []
        settings = self.settings(weights, data)
        whole = train_joint(settings, tmp_path / "whole", messages.append)
        note, first = messages[:2]
        assert "no label map" in note, note
        assert "update_alone" in first
        assert [path.name for path in whole] == [
            "efficientnet_lite0.safetensors",
            "efficientnet_lite0-update.safetensors",
            "fusion-efficientnet_lite0-efficientnet_lite0.safetensors",
        ]
        before, _ = load_network(weights / "a.safetensors")
        reference, info = load_network(whole[0])
        assert "jointly up to 2 frames after the keyframe, 6 steps of 2" in info.trained_on
        assert not torch.equal(reference.task.scoring.weight, before.task.scoring.weight)
        load_fusion(whole[2], 11)
        monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(tmp_path / "whole"))
        assert find_fusion(whole[0], whole[1]) == whole[2]
        monkeypatch.delenv("ACCEL_RT_WEIGHTS")

        stops = iter([False, True])  # the end of phase 1
        with pytest.raises(KeyboardInterrupt):
            train_joint(settings, tmp_path / "parts", _quiet, stop=lambda: next(stops))
        first, full = (
            torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)
            for run in ("parts", "whole")
        )
        for name, tensor in before.state_dict().items():  # phase 1 leaves the branches alone
            torch.testing.assert_close(first["network"][f"accel.reference.{name}"], tensor)
        train_joint(settings, tmp_path / "parts", _quiet)
        parts = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
        for name, tensor in full["network"].items():
            torch.testing.assert_close(parts["network"][name], tensor, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("schedule", ["balanced", "live-balanced"])
    def test_a_schedule_is_trained_for_and_validated(
        self, weights: Path, tmp_path: Path, schedule: str
    ) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 3)
        settings = self.settings(weights, data, steps=2, fusion_steps=1, schedule=schedule)
        train_joint(settings, tmp_path / "run", _quiet)
        rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
        assert 0 <= float(rows[-1]["miou_schedule"]) <= 100

    def test_a_scale_that_is_named_twice_is_validated_once(
        self, weights: Path, tmp_path: Path
    ) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        settings = self.settings(
            weights, data, steps=1, fusion_steps=0, update_scales=(1.0, 0.5, 0.5)
        )
        train_joint(settings, tmp_path / "run", _quiet)
        (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
        assert [name for name in row if "update_" in name] == ["miou_update_0.5", "update_alone"]

    def test_reduced_frames_are_held_to_whole_ones(self, weights: Path, tmp_path: Path) -> None:
        data = write_camvid(tmp_path / "data", "train", 2)
        batch = {name: torch.zeros(1) for name in _INPUTS}
        batch["labels"] = torch.zeros(2, 8, 8, dtype=torch.uint8)
        fused, reduced, whole = torch.randn(3, 2, 11, 2, 2)
        with joined("cpu") as processes:
            found = {}
            for weight in (0.0, 0.5):
                settings = self.settings(
                    weights, data, fusion_steps=1, balance=0, same_at_half=weight
                )
                stage = Joint(settings, processes)
                for step in (0, 1):
                    stage.begin(step)
                    loss, _ = stage.loss(_Returning(fused, [], [reduced, whole]), batch)
                    found[weight, step] = float(loss)
        assert found[0.5, 0] == found[0.0, 0]
        apart = float(distillation_loss(reduced, whole.softmax(1))) * 2 * 8 * 8
        assert found[0.5, 1] - found[0.0, 1] == pytest.approx(0.5 * apart, rel=1e-4)

    def test_sparse_labels_train_and_validate(self, tmp_path: Path) -> None:
        """Cityscapes' layout: snippets of three frames whose last one is labelled."""
        for split, snippets in (("train", 1), ("val", 2)):
            for snippet in range(snippets):
                for frame in range(3):
                    name = f"ulm_{snippet:06}_{frame:06}"
                    folder = tmp_path / "data" / "leftImg8bit_sequence" / split / "ulm"
                    write_picture(folder / f"{name}_leftImg8bit.png", value=60 * frame)
                name = f"ulm_{snippet:06}_000002_gtFine_labelIds.png"
                path = write_picture(tmp_path / "data" / "gtFine" / split / "ulm" / name, 1, 7)
                labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                labels[: len(labels) // 2] = 8  # a second class, or there is nothing to tell apart
                assert cv2.imwrite(str(path), labels)
        own = tmp_path / "a.safetensors"
        info = replace(INFO, classes=CITYSCAPES)
        save_network(own, build_network("efficientnet_lite0", len(CITYSCAPES)), info)
        settings = self.settings(own.parent, tmp_path / "data", steps=2, fusion_steps=1)
        files = train_joint(settings, tmp_path / "run", _quiet)
        assert load_network(files[0])[1].classes == CITYSCAPES
        rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
        assert 0 <= float(rows[-1]["miou"]) <= 100
        assert 0 <= float(rows[-1]["update_alone"]) <= 100

    def test_the_runtime_validates_in_its_own_precision(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Autocast is for the networks as they are trained, not for folded and cast ones."""
        contexts = []

        def scored(*args: object) -> StreamScore:
            contexts.append(torch.is_autocast_enabled("cpu"))
            return score_stream(*args)  # type: ignore[arg-type]

        monkeypatch.setattr("accel_rt.train.joint.score_stream", scored)
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        settings = self.settings(weights, data, steps=1, fusion_steps=0, precision="bf16")
        train_joint(settings, tmp_path / "run", _quiet)
        assert contexts
        assert not any(contexts)

    @pytest.mark.parametrize("batch_norms", ["frozen", "learning"])
    def test_batch_norms_learn_in_phase_2_if_told_to(
        self, weights: Path, tmp_path: Path, batch_norms: str
    ) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        settings = self.settings(weights, data, steps=3, fusion_steps=2, batch_norms=batch_norms)
        before = load_network(weights / "a.safetensors")[0].state_dict()
        stops = iter([False, True, False])  # the end of phase 1
        with pytest.raises(KeyboardInterrupt):
            train_joint(settings, tmp_path / "run", _quiet, stop=lambda: next(stops))
        for learning in (False, batch_norms == "learning"):
            saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["network"]
            for branch in ("reference", "update"):
                moved = [
                    not torch.equal(saved[f"accel.{branch}.{name}"], statistic)
                    for name, statistic in before.items()
                    if name.endswith("running_mean")
                ]
                assert any(moved) == learning
            train_joint(settings, tmp_path / "run", _quiet)

    def test_a_kept_reference_stays_as_it_is(self, weights: Path, tmp_path: Path) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        settings = self.settings(weights, data, keep_reference=True, batch_norms="learning")
        files = train_joint(settings, tmp_path / "run", _quiet)
        assert [path.name for path in files] == [
            "efficientnet_lite0.safetensors",
            "fusion-efficientnet_lite0-efficientnet_lite0.safetensors",
        ]
        start = load_network(weights / "a.safetensors")[0].state_dict()
        trained = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["network"]
        for name, tensor in start.items():
            torch.testing.assert_close(trained[f"accel.reference.{name}"], tensor, rtol=0, atol=0)
        assert not torch.equal(
            trained["accel.update.task.scoring.weight"], start["task.scoring.weight"]
        )

    def test_a_share_of_the_start_stays_in_what_is_written(
        self, weights: Path, tmp_path: Path
    ) -> None:
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        settings = self.settings(
            weights, data, steps=3, fusion_steps=1, batch_norms="learning", validate_interval=3
        )  # more than there are frames: the last weights are written
        start = load_network(weights / "a.safetensors")[0].state_dict()
        run = tmp_path / "run"
        files = train_joint(replace(settings, start_share=0.25), run, _quiet)
        average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
        for branch, file in zip(("reference", "update"), files[:2], strict=True):
            network, info = load_network(file)
            assert info.trained_on.endswith("3 steps of 2, a share of 0.25 as before")
            distances = []
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point() and tensor.ndim == 1:  # matrices are stored in 8 bits
                    moved = average[f"accel.{branch}.{name}"]
                    distances.append(float((moved - start[name]).abs().max()))
                    expected = torch.lerp(moved, start[name], 0.25)
                    torch.testing.assert_close(tensor, expected)
            assert max(distances) > 1e-2

    def test_a_teacher_teaches_the_branches_too(self, weights: Path, tmp_path: Path) -> None:
        """With nothing to learn from labels, only the teacher moves the branches."""
        write_camvid(tmp_path / "data", "train", 2)
        data = write_camvid(tmp_path / "data", "val", 2)
        own = str(weights / "a.safetensors")
        settings = self.settings(
            weights, data, batch=2, teacher=(own,), distil=1.0, branch_loss=0.5
        )
        with joined("cpu") as processes:
            stage = Joint(settings, processes)
            stage.begin(settings.fusion_steps)
            batch = default_collate([stage.samples()[i] for i in range(2)])
            fused, branches = (torch.randn(2, 11, 4, 8) for _ in range(2))
            alone, weight = stage.loss(_Returning(fused, []), batch)
            both, _ = stage.loss(_Returning(fused, [branches]), batch)
            lesson = Teacher.load([own], CAMVID, processes.device)(batch["frames"][:, -1])
        taught = distillation_loss(branches, lesson.probabilities)
        torch.testing.assert_close(both - alone, 0.5 * weight * taught, rtol=1e-3, atol=1e-3)

    def test_feature_fusion_is_stored_without_what_it_shares(self, tmp_path: Path) -> None:
        reference, update = paper_network(), paper_network()
        fusion = FeatureFusion(reference, update)
        save_fusion(tmp_path / "f.safetensors", fusion, {})
        loaded = load_pair_fusion(tmp_path / "f.safetensors", reference, update)
        assert isinstance(loaded, FeatureFusion)
        torch.testing.assert_close(loaded.update_half.weight, fusion.update_half.weight)
        features = torch.randn(1, 6, 4, 4)
        torch.testing.assert_close(
            loaded.reference_state(features), fusion.reference_state(features)
        )

    def test_fused_and_fresh_scores_are_held_to_the_carried_ones(
        self, weights: Path, tmp_path: Path
    ) -> None:
        """In phase 2: by the weight of the labels, as often as the one or the other differs."""
        data = write_camvid(tmp_path / "data", "train", 2)
        batch = {name: torch.zeros(1) for name in _INPUTS}
        batch["labels"] = torch.zeros(2, 8, 8, dtype=torch.uint8)
        carried = torch.zeros(2, 11, 2, 2)
        carried[:, 0] = 5  # right everywhere
        other = torch.zeros_like(carried)
        with joined("cpu") as processes:
            found = {}
            for agree in (0.0, 0.5):
                settings = self.settings(weights, data, fusion_steps=1, balance=0, agree=agree)
                stage = Joint(settings, processes)
                for step in (0, 1):
                    stage.begin(step)
                    for fresh in (carried, other):
                        loss, _ = stage.loss(_Returning(other, [carried, fresh]), batch)
                        found[agree, step, fresh is other] = float(loss)
        apart = float(disagreement(other, carried, batch["labels"])) * 2 * 8 * 8
        for step, differs, times in ((0, True, 0), (1, False, 0.5), (1, True, 1)):
            added = found[0.5, step, differs] - found[0.0, step, differs]
            assert added == pytest.approx(times * apart, rel=1e-4)

    def test_settings_that_cannot_be(self, weights: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="multiple of 32 pixels"):
            self.settings(weights, tmp_path, crop=(48, 48))
        with pytest.raises(UsageError, match="--interval must be at least 2, got 1"):
            self.settings(weights, tmp_path, interval=1)
        with pytest.raises(UsageError, match="nothing is left to train"):
            self.settings(weights, tmp_path, update=None, keep_reference=True)
        with pytest.raises(UsageError, match="--agree compares both branches"):
            self.settings(weights, tmp_path, update=None, flow="own", agree=0.5)
        with pytest.raises(UsageError, match="--start-share must be at least 0 and below 1, got 1"):
            self.settings(weights, tmp_path, start_share=1)


class _Returning(nn.Module):
    """Stands for a model of which only the scores matter."""

    def __init__(
        self,
        fused: torch.Tensor,
        branches: list[torch.Tensor],
        sizes: Sequence[torch.Tensor] = (),
    ) -> None:
        super().__init__()
        self._scores = JointScores(fused, branches, sizes)

    def forward(self, *inputs: torch.Tensor) -> JointScores:
        return self._scores


def _quiet(message: str) -> None: ...

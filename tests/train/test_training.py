"""Training: it learns, resumes exactly, and writes what the runtime loads."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pytest
import torch

from accel_rt.data.open import open_dataset
from accel_rt.data.synthetic_motion import Snippet
from accel_rt.errors import InputError, OutputError, UsageError
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.models.accel import Accel, Gate, ScoreFusion
from accel_rt.models.store import load_fusion
from accel_rt.models.weights import load_network, save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.program import FrameProgram
from accel_rt.train.deeplab import DeepLabSettings, confusion, train_deeplab
from accel_rt.train.ema import WeightAverage
from accel_rt.train.fusion import (
    FusionSettings,
    Sample,
    branch_scores,
    fit_fusion,
    fit_gate,
    train_fusion,
)
from accel_rt.train.losses import class_weights, label_weights, segmentation_loss
from accel_rt.train.optimiser import cosine_rate
from accel_rt.train.run import RunFolder
from tests.data.test_samples import write_camvid
from tests.models.test_weights import INFO
from tests.runtime.test_segmenter import colour_network


def _quiet(message: str) -> None: ...


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    write_camvid(root, "train", 4)
    return write_camvid(root, "val", 2)


@pytest.fixture
def settings(camvid: Path) -> DeepLabSettings:
    return DeepLabSettings(
        network="resnet18",
        data=camvid,
        street=0,
        steps=40,
        batch=2,
        crop=(48, 48),
        scale=(0.8, 1.2),
        rate=1e-3,
        warmup=5,
        ema=0.9,
        validate_every=20,
        workers=0,
        precision="fp32",
    )


def test_loss_falls_and_weights_load(settings: DeepLabSettings, tmp_path: Path) -> None:
    """A border between two colours is learnt within seconds, deformable layers included."""
    path = train_deeplab(settings, tmp_path / "run", _quiet)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [row["step"] for row in rows] == ["20", "40"]
    assert float(rows[1]["loss"]) < 0.8 * float(rows[0]["loss"])
    network, info = load_network(path)
    assert info.network == "resnet18"
    assert info.miou == pytest.approx(max(float(row["miou"]) for row in rows), abs=0.01)
    assert not network.training


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validates_in_the_precision_of_training(
    settings: DeepLabSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    contexts = []

    def counted(*args: object) -> ConfusionMatrix:
        contexts.append(torch.is_autocast_enabled("cpu"))
        return confusion(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("accel_rt.train.deeplab.confusion", counted)
    train_deeplab(replace(settings, steps=1, precision=precision), tmp_path / "run", _quiet)
    assert contexts == [precision == "bf16"]


def test_another_task_network_is_trained_and_described(
    settings: DeepLabSettings, tmp_path: Path
) -> None:
    init = tmp_path / "init.safetensors"
    save_network(init, build_network("resnet18", 11), replace(INFO, network="resnet18"))
    settings = replace(settings, steps=2, task="skip", init=str(init))
    path = train_deeplab(settings, tmp_path / "run", _quiet)
    network, info = load_network(path)
    assert (network.stride, info.network, info.task) == (4, "resnet18", "skip")
    trained = replace(settings, task=None, init=str(path), rate=1e-9, ema=0.0)
    again, info = load_network(train_deeplab(trained, tmp_path / "again", _quiet))
    assert (again.stride, info.task) == (4, "skip")
    for name, tensor in network.task.state_dict().items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(again.task.state_dict()[name], tensor, rtol=0.02, atol=0.02)


def test_frozen_features_stay_as_they_were(settings: DeepLabSettings, tmp_path: Path) -> None:
    """Batch-norm statistics among them; the task network learns."""
    init = tmp_path / "init.safetensors"
    save_network(init, build_network("resnet18", 11), replace(INFO, network="resnet18"))
    start = load_network(init)[0]
    settings = replace(settings, steps=3, init=str(init), freeze_features=True, ema=0.0)
    trained = load_network(train_deeplab(settings, tmp_path / "run", _quiet))[0]
    changed = {
        name.partition(".")[0]
        for name, tensor in trained.state_dict().items()
        if not torch.equal(tensor, start.state_dict()[name])
    }
    assert changed == {"task"}
    with pytest.raises(UsageError, match="start with --init"):
        replace(settings, init="none")
    with pytest.raises(UsageError, match="leave out these"):
        replace(settings, teacher=(str(init),), hints=1.0)


def test_teachers_can_see_whole_frames_once(settings: DeepLabSettings, tmp_path: Path) -> None:
    """Beside procedural streets, of which they say nothing; they can be interrupted."""
    teacher = tmp_path / "teacher.safetensors"
    save_network(teacher, build_network("efficientnet_lite0", 11), INFO)
    settings = replace(settings, street=0.5, steps=4, teacher=(str(teacher),), teacher_frames=True)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train_deeplab(settings, tmp_path / "run", said.append, stop=lambda: True)
    assert any("frames before training starts" in line for line in said)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert train_deeplab(settings, tmp_path / "run", _quiet).exists()
    (folder,) = (tmp_path / "run").glob("taught-*")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 4
    train_deeplab(settings, tmp_path / "run", _quiet)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(list((tmp_path / "run").glob("taught-*"))) == 1
    with pytest.raises(UsageError, match="name one with --teacher"):
        replace(settings, teacher=())
    with pytest.raises(UsageError, match="leave out these"):
        replace(settings, hints=1.0)


def test_hints_are_learnt_and_left_out_of_the_weights(
    settings: DeepLabSettings, tmp_path: Path
) -> None:
    """A teacher of another family: its features are guessed better with time."""
    teacher = tmp_path / "teacher.safetensors"
    save_network(teacher, build_network("efficientnet_lite0", 11), INFO)
    settings = replace(
        settings, steps=20, validate_every=10, log_every=5, teacher=(str(teacher),), hints=5.0
    )
    stops = iter([False] * 9 + [True])
    with pytest.raises(KeyboardInterrupt):
        train_deeplab(settings, tmp_path / "run", _quiet, stop=lambda: next(stops))
    path = train_deeplab(settings, tmp_path / "run", _quiet)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    assert (
        load_network(path)[0].state_dict().keys()
        == build_network("resnet18", 11).state_dict().keys()
    )
    with pytest.raises(UsageError, match="hints = 5.0, not 0"):
        train_deeplab(replace(settings, hints=0.0), tmp_path / "run", _quiet)
    with pytest.raises(UsageError, match="name one with --teacher"):
        replace(settings, teacher=())


def test_calibrating_takes_the_class_weights_out(settings: DeepLabSettings, tmp_path: Path) -> None:
    """Only the scoring bias differs, by the weights' logarithms: less for the rarer class."""
    settings = replace(settings, steps=2, validate_every=2, balance=1.0)
    biases = []
    for calibrate in (False, True):
        run = tmp_path / str(calibrate)
        path = train_deeplab(replace(settings, calibrate=calibrate), run, lambda _: None)
        biases.append(load_network(path)[0].task.scoring.bias.detach())
    taken = biases[0] - biases[1]
    assert taken[8] != taken[3]
    assert taken[0] == taken.max()  # a class that no pixel has weighs most


def test_resuming_takes_the_very_same_steps(settings: DeepLabSettings, tmp_path: Path) -> None:
    """Stopped after 6 of 12 steps and resumed: the same weights as in one go."""
    settings = replace(settings, steps=12, validate_every=100)
    stops = iter([False] * 5 + [True])
    torch.use_deterministic_algorithms(True)
    try:
        train_deeplab(settings, tmp_path / "whole", _quiet)
        with pytest.raises(KeyboardInterrupt):
            train_deeplab(settings, tmp_path / "parts", _quiet, stop=lambda: next(stops))
        messages: list[str] = []
        train_deeplab(settings, tmp_path / "parts", messages.append)
    finally:
        torch.use_deterministic_algorithms(False)
    assert "at step 6 of 12" in messages[0]
    whole, parts = (
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)
        for run in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 12
    for part in ("network", "average"):
        for name, tensor in whole[part].items():
            torch.testing.assert_close(parts[part][name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [{"balance": 0.1}, {"scale": (0.7, 1.0)}, {"ema": 0.5}, {"street": 0.3}, {"robust": 0.5}],
)
def test_a_run_goes_on_with_its_own_settings(
    settings: DeepLabSettings, tmp_path: Path, other: dict[str, Any]
) -> None:
    stops = iter([True])
    with pytest.raises(KeyboardInterrupt):
        train_deeplab(settings, tmp_path, _quiet, stop=lambda: next(stops))
    with pytest.raises(UsageError, match=f"holds a run with {next(iter(other))} = "):
        train_deeplab(replace(settings, **other), tmp_path, _quiet)
    train_deeplab(replace(settings, log_every=7, save_every_s=1.0), tmp_path, _quiet)


def test_other_settings_do_not_resume(settings: DeepLabSettings, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save({"settings": {"batch": 2}, "step": 1})
    with pytest.raises(UsageError, match="holds a run with batch = 2, not 4: use the same"):
        folder.load({"batch": 4})


def test_a_checkpoint_whose_settings_are_damaged_is_told(tmp_path: Path) -> None:
    """A tensor in the place of a number cannot be compared with one."""
    folder = RunFolder(tmp_path)
    folder.save({"settings": {"batch": torch.zeros(3)}, "step": 1})
    with pytest.raises(InputError, match="cannot go on from .*remove it to start again"):
        folder.load({"batch": 4})


def test_a_second_run_into_one_folder_is_told(settings: DeepLabSettings, tmp_path: Path) -> None:
    """Two would overwrite each other's checkpoints, and mix their rows."""
    run = tmp_path / "run"
    told = pytest.raises(OutputError, match="run' is being written by another run")
    with RunFolder(run).claimed(), told:
        train_deeplab(settings, run, _quiet)
    assert list(run.iterdir()) == []


def test_an_interrupted_save_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.save({"settings": {}, "step": 1})

    def dies_half_way(state: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", dies_half_way)
    with pytest.raises(OutputError, match="the disk is full"):
        folder.save({"settings": {}, "step": 2})
    state = folder.load({})
    assert state is not None
    assert state["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_loss_ignores_unlabelled_pixels() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[:, 1, :, 1] = 50
    labels = torch.tensor([[[0, 1], [255, 1]]], dtype=torch.uint8)
    expected = torch.log(torch.tensor(2.0)) / 3  # one even chance, two sure hits
    torch.testing.assert_close(segmentation_loss(scores, labels), expected)
    assert segmentation_loss(scores, torch.full_like(labels, 255)) == 0


def test_class_weights_of_a_handful_are_of_all_of_them(tmp_path: Path) -> None:
    """One class is in the second picture alone."""
    for number, value in enumerate((0, 1, 0)):
        for kind, picture in (("images", np.zeros((8, 8, 3))), ("labels", np.full((8, 8), value))):
            path = tmp_path / kind / "train" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture.astype(np.uint8))
    (tmp_path / "classes.json").write_text('{"classes": ["road", "car"]}')
    found = label_weights([open_dataset(tmp_path, "train")], 1)
    torch.testing.assert_close(found, class_weights(np.array([2, 1]), 1))


def test_class_weights_without_a_labelled_pixel(tmp_path: Path) -> None:
    data = write_camvid(tmp_path, count=2)
    for path in (data / "trainannot").iterdir():
        cv2.imwrite(str(path), np.full(cv2.imread(str(path), 0).shape, 11, np.uint8))
    assert label_weights([open_dataset(data, "train")], 0.5) is None


def test_class_weights() -> None:
    counts = np.array([8100, 1800, 100])
    assert class_weights(counts, 0).tolist() == pytest.approx([1, 1, 1])
    even = class_weights(counts, 1).numpy() * counts
    assert even.tolist() == pytest.approx([float(even[0])] * 3)
    half = class_weights(counts, 0.5)
    assert float(half[2] / half[0]) == pytest.approx(9)
    assert float((half.numpy() * counts).sum() / counts.sum()) == pytest.approx(1)
    assert torch.isfinite(class_weights(np.array([5, 0]), 1)).all()


def test_learning_rate() -> None:
    rates = [cosine_rate(step, 100, 2.0, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[10] == rates[9] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)


def test_weight_average_follows() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.5)
    torch.nn.init.ones_(model.weight)
    average.update(model, step=0)  # early decay is 1/10
    assert float(average.model.weight) == pytest.approx(0.9)
    average.update(model, step=100)
    assert float(average.model.weight) == pytest.approx(0.95)


class TestFusion:
    def settings(self, **changes: object) -> FusionSettings:
        defaults = FusionSettings("resnet18", "efficientnet_lite0", Path("none"))
        return replace(defaults, **changes)  # type: ignore[arg-type]

    def test_learns_which_branch_to_trust(self) -> None:
        """The update branch alone knows class 1; the reference alone knows class 2. Samples are of
        two sizes, as those of pictures are."""
        rng = np.random.default_rng(0)
        samples = []
        for number in range(20):
            size = 4 + number % 2, 5
            truth = torch.from_numpy(rng.integers(0, 3, size))
            onehot = torch.nn.functional.one_hot(truth, 3).permute(2, 0, 1).float()
            noise = 2 * torch.randn(2, 3, *size)
            reference = (
                onehot * torch.tensor([1.0, 0, 3])[:, None, None]
                + noise[0] * torch.tensor([0.1, 1, 0.1])[:, None, None]
            )
            update = (
                onehot * torch.tensor([1.0, 3, 0])[:, None, None]
                + noise[1] * torch.tensor([0.1, 0.1, 1])[:, None, None]
            )
            labels = truth.repeat_interleave(16, 0).repeat_interleave(16, 1).to(torch.uint8)
            error = torch.zeros(1, *size)
            samples.append(Sample(reference, update, labels, error, error))
        fusion = fit_fusion(samples, 3, self.settings(steps=150), _quiet)
        weight = fusion.conv.weight.detach()[:, :, 0, 0]
        assert weight[2, 2] > weight[2, 3 + 2]
        assert weight[1, 3 + 1] > weight[1, 1]

    def test_end_to_end(self, camvid: Path, tmp_path: Path) -> None:
        for name in ("resnet18", "efficientnet_lite0"):
            info = replace(INFO, network=name)
            save_network(tmp_path / f"{name}.safetensors", build_network(name, 11), info)
        settings = self.settings(
            reference=str(tmp_path / "resnet18.safetensors"),
            update=str(tmp_path / "efficientnet_lite0.safetensors"),
            data=camvid,
            snippets=4,
            street=0.0,
            steps=5,
            batch=2,
            schedule="live-balanced",
        )
        path = train_fusion(settings, tmp_path, _quiet)
        assert path.name == "fusion-resnet18-efficientnet_lite0.safetensors"
        fusion = load_fusion(path, 11)
        assert fusion.conv.weight.shape == (11, 22, 1, 1)
        assert fusion.gate != Gate()  # learnt, and kept in the file

    @pytest.mark.parametrize("out", ["file", "folder.safetensors"])
    def test_where_no_file_can_be_is_said_before_anything_is_learnt(
        self, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
    ) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "folder.safetensors").mkdir()
        path = tmp_path / "plainnet.safetensors"
        save_network(path, build_network("plainnet", 11), replace(INFO, network="plainnet"))
        settings = self.settings(reference=str(path), update=str(path), data=camvid, street=0.0)
        monkeypatch.setattr("accel_rt.train.fusion.branch_scores", None)
        with pytest.raises(OutputError, match=f"cannot write .*{out}"):
            train_fusion(settings, tmp_path / out, _quiet)

    def test_the_keyframe_ahead_counts_where_it_fits_better(self) -> None:
        """Two frames of a blue and a red scene, the second one with a keyframe ahead or without."""
        model = Accel(colour_network(), colour_network(), ScoreFusion(3))
        program = FrameProgram(model, torch.device("cpu"), torch.float32)
        blue, red = (
            np.full((64, 96, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255))
        )
        labels = np.zeros((64, 96), np.uint8)
        alone = branch_scores(program, Snippet([blue, red], labels))
        ahead = branch_scores(program, Snippet([blue, red, red], labels, after=1))
        torch.testing.assert_close(ahead.fresh, alone.fresh)
        seen = alone.fresh.argmax(0)
        assert (ahead.warped.argmax(0) == seen).all()
        assert (alone.warped.argmax(0) != seen).all()
        assert (ahead.residual < alone.residual).all()

    def test_schedules_that_look_ahead_have_frames_after_the_labelled_one(self) -> None:
        plain, ahead = self.settings(), self.settings(schedule="balanced")
        assert plain.places == dict.fromkeys(range(1, 10), 0)
        assert ahead.places == {0: 0, 4: 4}
        assert (plain.longest, ahead.longest) == (10, 9)

    def test_the_gate_learns_which_error_tells_and_leaves_the_fusion_alone(self) -> None:
        """The reference is wrong where the flow is inconsistent, the update network elsewhere; the
        residual says nothing."""
        samples = []
        for seed in range(12):
            random = torch.Generator().manual_seed(seed)
            truth = torch.randint(0, 3, (6, 8), generator=random)
            onehot = 6 * torch.nn.functional.one_hot(truth, 3).permute(2, 0, 1).float()
            wrong = torch.rand(1, 6, 8, generator=random) < 0.5
            other = onehot.roll(1, 0)
            warped, fresh = (
                torch.where(wrong, 2 * other, 2 * onehot),
                torch.where(wrong, onehot, other),
            )
            labels = truth.repeat_interleave(16, 0).repeat_interleave(16, 1).to(torch.uint8)
            residual = 30 * torch.rand(1, 6, 8, generator=random)
            samples.append(Sample(warped, fresh, labels, residual, 10.0 * wrong))
        fusion = ScoreFusion(3)
        before = fusion.conv.weight.clone()
        gate = fit_gate(samples, fusion.requires_grad_(False), self.settings(steps=100, rate=0.05))
        assert gate.inconsistency > 0.1
        assert gate.residual < Gate().residual
        torch.testing.assert_close(fusion.conv.weight, before)

    def test_a_schedule_says_how_far_back_keyframes_are(self) -> None:
        assert self.settings(interval=4).distances == (1, 2, 3)
        assert self.settings(schedule="fast").distances == (5,)
        assert self.settings(schedule="live-balanced").distances == (0, 3)
        with pytest.raises(UsageError, match="--schedule fastest never runs the update network"):
            self.settings(schedule="fastest")

    def test_interval_one_has_nothing_to_fuse(self) -> None:
        with pytest.raises(UsageError, match="--interval must be at least 2, got 1"):
            self.settings(interval=1)

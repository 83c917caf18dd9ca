"""The shared loop: parts of a batch and several processes add up, and a bad run says so."""

import csv
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import Dataset

from accel_rt.errors import AccelError, InputError, UsageError
from accel_rt.train.input import StepSampler
from accel_rt.train.log import MISSING_TENSORBOARD
from accel_rt.train.losses import (
    disagreement,
    lovasz_softmax,
    near_edges,
    segmentation_loss,
    segmentation_sums,
)
from accel_rt.train.processes import Processes
from accel_rt.train.settings import TrainingSettings
from accel_rt.train.task import TrainingTask
from accel_rt.train.trainer import Trainer
from tests.data.test_samples import write_camvid
from tests.need import need
from tests.train.torchrun import train

ALONE = Processes(torch.device("cpu"))
SETTINGS = TrainingSettings(
    steps=6,
    batch=4,
    rate=0.05,
    warmup=0,
    ema=0.5,
    precision="fp32",
    log_every=1,
    workers=0,
    weight_decay=0.0,
    tensorboard=False,
)


class Points(Dataset):
    """``y = 2 x`` with as many weights as the sample's number."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return x, torch.tensor(float(index % 3))

    def __len__(self) -> int:
        return 1000


class Line(TrainingTask):
    """A linear fit; its samples weigh differently, as images with few labels do."""

    def __init__(self, broken_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(3, 3)
        self._broken_at, self._step = broken_at, 0

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "rate_factor": 1.0}]

    def samples(self) -> Dataset:
        return Points()

    def begin(self, step: int) -> bool:
        self._step = step
        return super().begin(step)

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        x, weight = batch
        loss = ((model(x) - 2 * x).square().sum(1) * weight).sum()
        return (loss * float("nan") if self._step == self._broken_at else loss), weight.sum()

    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        torch.save(model.state_dict(), folder / "line.pt")
        return [folder / "line.pt"]


class Judged(Line):
    """A line whose validations give set scores; its file says which of them it was written at."""

    scores = ("score",)

    def __init__(self, values: list[float], least_is_best: bool = False) -> None:
        super().__init__()
        self.least_is_best = least_is_best
        self._values = iter(values)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"score": next(self._values)}

    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        (folder / "judged").write_text(f"step {step} of score {scores.get('score')}")
        return [folder / "judged"]


def run(out: Path, settings: TrainingSettings = SETTINGS, **changes: Any) -> list[str]:
    messages: list[str] = []
    Trainer(Line(**changes), settings, out, ALONE, messages.append).run()
    return messages


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader((out / "log.csv").open())]


class TestLoop:
    def test_a_batch_in_parts_is_the_same_batch(self, tmp_path: Path) -> None:
        run(tmp_path / "whole")
        run(tmp_path / "parts", replace(SETTINGS, accumulate=2))
        assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "parts"), rel=1e-4)
        whole, parts = (torch.load(tmp_path / name / "line.pt") for name in ("whole", "parts"))
        torch.testing.assert_close(whole, parts)

    def test_the_loss_falls(self, tmp_path: Path) -> None:
        run(tmp_path, replace(SETTINGS, steps=60, rate=0.1))
        assert sum(losses(tmp_path)[-5:]) < 0.1 * sum(losses(tmp_path)[:5])

    def test_a_broken_loss_ends_the_run_and_keeps_the_last_good_state(self, tmp_path: Path) -> None:
        settings = replace(SETTINGS, save_every_s=0)
        with pytest.raises(AccelError, match="the loss is nan at step 3: a lower --rate"):
            run(tmp_path, settings, broken_at=3)
        assert torch.load(tmp_path / "checkpoint.pt")["step"] == 3
        assert "at step 3 of 6" in run(tmp_path, settings)[0]

    def test_a_loss_broken_from_the_start_is_not_put_down_to_the_rate(self, tmp_path: Path) -> None:
        with pytest.raises(
            AccelError, match="is nan at the first step, before anything was learnt"
        ):
            Trainer(Line(broken_at=0), SETTINGS, tmp_path, ALONE, lambda line: None).run()

    def test_a_broken_gradient_ends_the_run_before_it_reaches_the_weights(
        self, tmp_path: Path
    ) -> None:
        class Steep(Line):
            def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
                loss, weight = super().loss(model, batch)
                if self._step == 2:
                    zero = model.weight.sum() * 0
                    loss = loss + zero.sqrt()  # its slope is infinite there
                return loss, weight

        task = Steep()
        with pytest.raises(AccelError, match="the gradient is nan at step 2"):
            Trainer(task, SETTINGS, tmp_path, ALONE, lambda line: None).run()
        assert all(torch.isfinite(p).all() for p in task.model.parameters())

    def test_a_run_goes_on_with_the_same_pictures_alone(self, tmp_path: Path) -> None:
        for pictures, refused in (("3 pictures", False), ("3 pictures", False), ("4", True)):
            task = Line()
            task.drawn_from = pictures
            run = Trainer(task, SETTINGS, tmp_path, ALONE, lambda line: None).run
            if refused:
                with pytest.raises(UsageError, match="the training data = 3 pictures, not 4"):
                    run()
            else:
                run()

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (OSError(), "there"),
            (InputError(), "there, but labels that are changed need another --out"),
        ],
    )
    def test_a_sample_that_cannot_be_made_is_no_loss_of_steps(
        self, tmp_path: Path, error: Exception, told: str
    ) -> None:
        class Broken(Points):
            def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
                if index == 2 * SETTINGS.batch:
                    raise error
                return super().__getitem__(index)

        task, messages = Line(), []
        task.samples = Broken
        with pytest.raises(type(error)):
            Trainer(task, SETTINGS, tmp_path, ALONE, messages.append).run()
        assert messages[-1] == f"saved at step 2; the same command goes on from {told}"

    def test_a_validation_that_fails_is_no_loss_of_steps_and_is_made_up_for(
        self, tmp_path: Path
    ) -> None:
        class Unreadable(Judged):
            def validate(self, model: nn.Module) -> dict[str, float]:
                try:
                    return super().validate(model)
                except StopIteration:
                    raise InputError("cannot read the label map") from None

        settings, messages = replace(SETTINGS, validate_every=3, validate_first=1), []
        with pytest.raises(InputError):
            Trainer(Unreadable([1.0, 7.0]), settings, tmp_path, ALONE, messages.append).run()
        assert messages[-1] == "saved at step 6; the same command goes on from there"
        (written,) = Trainer(Judged([9.0]), settings, tmp_path, ALONE).run()
        assert written.read_text() == "step 6 of score 9.0"
        assert [row["step"] for row in csv.DictReader((tmp_path / "log.csv").open())][-1] == "6"
        assert Trainer(Judged([]), settings, tmp_path, ALONE).run() == [written]

    def test_a_seed_may_be_long(self, tmp_path: Path) -> None:
        settings = replace(SETTINGS, seed=20260101123000)
        Trainer(Line(), settings, tmp_path, ALONE, lambda line: None).run()
        with pytest.raises(UsageError, match="--seed must be at least 0"):
            replace(SETTINGS, seed=-1)

    def test_a_finished_run_is_not_trained_again(self, tmp_path: Path) -> None:
        run(tmp_path)
        before = (tmp_path / "log.csv").read_text()
        (tmp_path / "line.pt").unlink()
        assert run(tmp_path) == [f"resumed {tmp_path} at step 6 of 6"]
        assert (tmp_path / "log.csv").read_text() == before
        assert (tmp_path / "line.pt").is_file()

    @pytest.mark.parametrize("least_is_best", [False, True])
    def test_the_best_weights_are_kept(self, tmp_path: Path, least_is_best: bool) -> None:
        """Also when the run is interrupted after them and goes on."""
        sign = -1 if least_is_best else 1
        settings = replace(SETTINGS, validate_every=2, validate_first=1, save_every_s=0)
        asked = iter([False] * 4 + [True])
        first = Judged([sign * 1.0, sign * 7.0, sign * 5.0], least_is_best)
        with pytest.raises(KeyboardInterrupt):
            Trainer(first, settings, tmp_path, ALONE, print, stop=lambda: next(asked)).run()
        written = Trainer(Judged([sign * 6.0], least_is_best), settings, tmp_path, ALONE).run()
        assert written == [tmp_path / "judged"]
        assert written[0].read_text() == f"step 2 of score {sign * 7.0}"

    @pytest.mark.parametrize("goes_on", [False, True])
    def test_weights_that_are_gone_are_written_again(self, tmp_path: Path, goes_on: bool) -> None:
        """Those of the best step no longer are: the last ones, or the best from then on."""
        settings = replace(SETTINGS, validate_every=2, validate_first=2, save_every_s=0)
        asked, values = iter([False] * 3 + [goes_on] * 3), [7.0, 5.0, 4.0]
        with pytest.raises(KeyboardInterrupt) if goes_on else nullcontext():
            Trainer(
                Judged(values), settings, tmp_path, ALONE, print, stop=lambda: next(asked)
            ).run()
        (tmp_path / "judged").unlink()
        (written,) = Trainer(Judged([3.0]), settings, tmp_path, ALONE).run()
        assert written.read_text() == f"step 6 of score {3.0 if goes_on else None}"

    def test_a_finished_run_without_a_best_score_still_has_weights(self, tmp_path: Path) -> None:
        """As checkpoints are that were written before the best weights were kept."""
        values = [1.0, 2.0]
        Trainer(Judged(values), SETTINGS, tmp_path, ALONE).run()
        saved = torch.load(tmp_path / "checkpoint.pt")
        torch.save(
            {k: v for k, v in saved.items() if k not in ("best", "files")},
            tmp_path / "checkpoint.pt",
        )
        written = Trainer(Judged(values), SETTINGS, tmp_path, ALONE).run()
        assert written[0].read_text() == "step 6 of score None"

    @pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
    @pytest.mark.parametrize("damage", ["a number less", "another shape", "more parameters"])
    def test_a_damaged_optimisers_state_is_said(
        self, tmp_path: Path, optimiser: str, damage: str
    ) -> None:
        settings, asked = replace(SETTINGS, optimiser=optimiser), iter([False, False, True])
        with pytest.raises(KeyboardInterrupt):
            Trainer(Line(), settings, tmp_path, ALONE, print, stop=lambda: next(asked)).run()
        saved = torch.load(tmp_path / "checkpoint.pt")
        moments = saved["optimiser"]["state"]
        name = next(name for name in moments[0] if name != "step")
        if damage == "a number less":
            del moments[0][name]
        elif damage == "another shape":
            moments[0][name] = torch.zeros(7)
        else:
            moments[7] = moments[0]
        torch.save(saved, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match="cannot go on from .*its optimiser's state"):
            run(tmp_path, settings)

    def test_an_optimisers_rates_are_those_of_the_settings(self, tmp_path: Path) -> None:
        """Also where the checkpoint lacks one of them."""
        asked = iter([False, False, True])
        with pytest.raises(KeyboardInterrupt):
            Trainer(Line(), SETTINGS, tmp_path, ALONE, print, stop=lambda: next(asked)).run()
        saved = torch.load(tmp_path / "checkpoint.pt")
        del saved["optimiser"]["param_groups"][0]["eps"]
        torch.save(saved, tmp_path / "checkpoint.pt")
        run(tmp_path)
        run(tmp_path / "undisturbed")
        assert losses(tmp_path) == losses(tmp_path / "undisturbed")

    def test_batches_that_do_not_divide(self) -> None:
        with pytest.raises(UsageError, match="does not divide into 3 parts"):
            TrainingSettings(batch=8, accumulate=3)
        with pytest.raises(UsageError, match="2 processes in 3 parts each: choose a multiple of 6"):
            StepSampler(0, 1, 9, 3, 0, 2)

    def test_processes_share_every_step(self) -> None:
        """Whatever the split, step 1 takes samples 8 to 15."""
        for world, accumulate in ((1, 1), (2, 1), (2, 2), (4, 2)):
            taken = []
            for rank in range(world):
                sampler = StepSampler(1, 3, 8, accumulate, rank, world)
                parts = list(sampler)
                assert len(parts) == len(sampler) == 2 * accumulate
                taken += [i for part in parts[:accumulate] for i in part]
            assert sorted(taken) == list(range(8, 16))

    def test_without_tensorboard_it_says_so_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        messages = run(tmp_path, replace(SETTINGS, tensorboard=True))
        assert messages.count(MISSING_TENSORBOARD) == 1
        assert len(losses(tmp_path)) == 6

    def test_tensorboard_events(self, tmp_path: Path) -> None:
        need("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        run(tmp_path, replace(SETTINGS, tensorboard=True))
        events = EventAccumulator(str(tmp_path))
        events.Reload()
        written = [event.value for event in events.Scalars("loss")]
        assert written == pytest.approx(losses(tmp_path))


class TestHardPixels:
    SCORES = torch.tensor([[[[3.0, 0.0, -3.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    LABELS = torch.tensor([[[0, 0, 0, 255]]], dtype=torch.uint8)

    def test_all_of_them_is_the_plain_loss(self) -> None:
        """A share just below 1 keeps every labelled pixel, by the other way."""
        weights = torch.tensor([2.0, 1.0])
        plain = segmentation_sums(self.SCORES, self.LABELS, weights)
        kept = segmentation_sums(self.SCORES, self.LABELS, weights, hardest=0.999)
        torch.testing.assert_close(plain, kept)
        assert float(plain[1]) == 6.0

    def test_the_hardest_third_is_the_worst_pixel(self) -> None:
        loss = segmentation_loss(self.SCORES, self.LABELS, hardest=1 / 3)
        torch.testing.assert_close(loss, torch.tensor(3.0).exp().add(1).log())


class TestLovasz:
    def test_is_jaccards_loss_of_scores_that_are_certain(self) -> None:
        labels = torch.randint(0, 3, (2, 12, 10))
        found = torch.randint(0, 3, (2, 12, 10))
        scores = 200.0 * one_hot(found, 4).movedim(-1, 1)
        both = [((labels == c) & (found == c)).sum() for c in range(3)]
        either = [((labels == c) | (found == c)).sum() for c in range(3)]
        expected = 1 - torch.stack([b / e for b, e in zip(both, either, strict=True)]).mean()
        torch.testing.assert_close(lovasz_softmax(scores, labels), expected)

    def test_follows_its_definition_between(self) -> None:
        """The integral over t of Jaccard's loss when errors of more than t are mistakes."""
        scores, labels = torch.randn(2, 3, 5, 7).double(), torch.randint(0, 3, (2, 5, 7))
        labels[0, :2] = 255
        probabilities, labelled = scores.softmax(1), labels != 255
        losses = []
        for c in range(3):
            true = (labels == c)[labelled]
            errors = (true.double() - probabilities[:, c][labelled]).abs()
            loss, edge = 0.0, 0.0
            for t in errors.sort().values.tolist():
                wrong = errors > (edge + t) / 2
                union = true.sum() + (~true & wrong).sum()
                loss += (t - edge) * float(1 - (true & ~wrong).sum() / union)
                edge = t
            losses.append(loss)
        assert lovasz_softmax(scores, labels).item() == pytest.approx(np.mean(losses), abs=1e-6)

    def test_its_slope_is_that_of_its_values(self) -> None:
        labels = torch.randint(0, 3, (2, 5, 7))
        labels[1, :3] = 255
        scores = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda s: lovasz_softmax(s, labels), scores, eps=1e-7)

    def test_leads_downhill_and_is_none_without_labels(self) -> None:
        scores = torch.randn(2, 3, 8, 8, requires_grad=True)
        labels = torch.randint(0, 3, (2, 8, 8))
        before, weight = segmentation_sums(scores, labels, lovasz=1.0)
        (before / weight).backward()
        after, _ = segmentation_sums(scores - 50 * scores.grad, labels, lovasz=1.0)
        assert after < before
        assert lovasz_softmax(scores, torch.full((2, 8, 8), 255)).item() == 0


class TestEdges:
    LABELS = torch.zeros(1, 12, 30, dtype=torch.uint8)
    LABELS[:, :, 10:12] = 1  # a pole
    LABELS[:, :, 25:] = 255

    def test_a_thin_thing_and_three_pixels_around_it_are_near_an_edge(self) -> None:
        columns = near_edges(self.LABELS.long())[0].all(0).nonzero().flatten().tolist()
        assert columns == list(range(7, 15))
        assert near_edges(self.LABELS.long()).sum() == 12 * len(columns)

    def test_they_weigh_more(self) -> None:
        scores = torch.randn(1, 2, 12, 30, generator=torch.Generator().manual_seed(0))
        near = near_edges(self.LABELS.long())
        plain = segmentation_sums(scores, self.LABELS)
        inside = segmentation_sums(scores, self.LABELS.where(near, 255))
        weighted = segmentation_sums(scores, self.LABELS, edges=2.0)
        for total, once, twice in zip(weighted, plain, inside, strict=True):
            torch.testing.assert_close(total, once + 2 * twice)


def test_scores_disagree_only_where_what_was_carried_is_right() -> None:
    labels = torch.tensor([[[0, 1, 0, 255]]], dtype=torch.uint8)
    carried = torch.tensor([[[[4.0, 4.0, 4.0, 4.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    other = -carried
    assert float(disagreement(carried, carried, labels)) == 0
    for changed, counts in ((0, True), (1, False), (2, True), (3, False)):
        scores = carried.clone()
        scores[..., changed] = other[..., changed]
        assert (float(disagreement(scores, carried, labels)) > 1) == counts
    assert float(disagreement(other, carried, labels * 0 + 255)) == 0


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """torchrun with two CPU processes of four samples against one of eight, batch norm and all."""
    data = write_camvid(tmp_path / "data", "train", 4)
    write_camvid(data, "val", 3)
    rng = np.random.default_rng(0)
    for path in (data / "train").iterdir():  # flat pictures would make batch norm ill-conditioned
        cv2.imwrite(str(path), rng.integers(0, 256, (48, 64, 3), np.uint8))
    command = [
        "deeplab", "--network", "resnet18", "--data", str(data), "--street", "0",
        "--steps", "3", "--batch", "8", "--crop", "48x48", "--scale", "1,1", "--precision", "fp32",
        "--optimiser", "sgd", "--rate", "1e-2", "--warmup", "0", "--log-every", "1", "--workers",
        "0", "--threads", "1", "--no-tensorboard", "--sync-bn",
    ]  # fmt: skip
    files, one = train(command, tmp_path / "one")
    shared, two = train(command, tmp_path / "two", processes=2)
    assert files == [tmp_path / "one" / "resnet18.safetensors"]
    assert shared == [tmp_path / "two" / "resnet18.safetensors"]
    assert [float(row["loss"]) for row in two] == pytest.approx(
        [float(row["loss"]) for row in one], rel=1e-3
    )
    assert float(two[-1]["miou"]) == pytest.approx(float(one[-1]["miou"]), abs=1)
    first, second = (
        torch.load(tmp_path / name / "checkpoint.pt")["network"] for name in ("one", "two")
    )
    running = "feature.layer4.1.bn2.running_mean"
    torch.testing.assert_close(second[running], first[running], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", [("--hints", "1"), ("--teacher-frames",)])
def test_two_processes_learn_from_a_teacher(tmp_path: Path, how: tuple[str, ...]) -> None:
    """Each asks it about its share of the frames; guesses of features have batch norms, too."""
    data = write_camvid(tmp_path / "data", "train", 4)
    write_camvid(data, "val", 1)
    command = [
        "deeplab", "--network", "plainnet", "--data", str(data), "--street", "0", "--steps", "2",
        "--batch", "4", "--crop", "64x64", "--teacher", "plainnet", "--log-every", "1",
        "--workers", "0", "--threads", "1", "--no-tensorboard", "--sync-bn", *how,
    ]  # fmt: skip
    _, rows = train(command, tmp_path / "run", processes=2)
    assert len(rows) == 2
    assert len(list((tmp_path / "run").glob("taught-*/*.npz"))) == 4 * ("hints" not in how[0])

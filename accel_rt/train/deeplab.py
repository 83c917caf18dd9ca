"""Stage 1: fine-tune one network alone on labelled single frames (DeepLab-x, paper 4.2)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from accel_rt.data.augment import Augmentation
from accel_rt.data.dataset import DataSet, DatasetFrame
from accel_rt.data.open import check_validation, open_dataset
from accel_rt.data.sampling import DataSetSource, FrameSource, Mixture
from accel_rt.data.street_samples import StreetFrames
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.models import store
from accel_rt.models.network import Network
from accel_rt.models.weights import ModelInfo, save_network
from accel_rt.models.zoo import split_checkpoint
from accel_rt.normalise import pad_to
from accel_rt.size import wxh
from accel_rt.train.distil import HintedNetwork, Teacher, distillation_loss, hint_loss
from accel_rt.train.losses import label_weights, segmentation_sums
from accel_rt.train.optimiser import parameter_groups
from accel_rt.train.pictures import comparison
from accel_rt.train.precision import autocast
from accel_rt.train.processes import Processes, joined
from accel_rt.train.settings import DeepLabSettings
from accel_rt.train.sources import training_data
from accel_rt.train.start import initial_task, start_network
from accel_rt.train.task import TrainingTask
from accel_rt.train.taught import TaughtFrames
from accel_rt.train.trainer import Progress, Report, Stop, Trainer, never


def train_deeplab(
    settings: DeepLabSettings,
    out: Path,
    report: Report = print,
    progress: Progress | None = None,
    stop: Stop = never,
) -> Path:
    """Train, or go on with, the run in folder ``out``; return the weight file it ends with.

    See :class:`~accel_rt.train.trainer.Trainer` for what the folder holds and how a run stops.
    """
    with joined(settings.device) as processes:
        task = DeepLab(settings, processes, out, stop)
        return Trainer(task, settings, out, processes, report, progress, stop).run()[0]


class DeepLab(TrainingTask):
    """One network on single frames."""

    def __init__(
        self, settings: DeepLabSettings, processes: Processes, out: Path, stop: Stop
    ) -> None:
        self._settings, self._processes, self._out, self._stop = settings, processes, out, stop
        self.sample_device = None if processes.device.type == "cpu" else processes.device
        data = training_data(
            settings.data, settings.layout, settings.also, settings.street, settings.shorter
        )
        self._data, self._classes, self.notes = data, data.classes, data.notes()
        self.drawn_from = data.identity()
        self._validation: list[DatasetFrame] = []
        if settings.data:
            validation = open_dataset(settings.data, "val", settings.layout, settings.shorter)
            self._validation = check_validation(data.classes, validation).labelled()
        self.scores = ("miou",) if self._validation else ()
        self._task = settings.task or initial_task(settings.init)
        network = start_network(
            settings.network, self._classes, settings.init, settings.seed, self._task
        )
        network.feature.requires_grad_(not settings.freeze_features)
        self.model: nn.Module = network
        weights = label_weights([dataset for dataset, _ in data.sets], settings.balance)
        self._weights = None if weights is None else weights.to(processes.device)
        self._teacher: Teacher | None = None
        if settings.teacher:
            self._teacher = Teacher.load(
                settings.teacher, data.classes, processes.device, settings.teacher_scales
            )
            if settings.hints:
                self.model = HintedNetwork(network, self._teacher.channels)
            if settings.teacher_frames:
                frames = sum(len(dataset.labelled()) for dataset, share in data.sets if share)
                self.notes += (f"the teachers see {frames} frames before training starts",)

    def groups(self) -> list[dict[str, Any]]:
        trained = _network(self.model).task if self._settings.freeze_features else self.model
        return parameter_groups([trained], self._settings.weight_decay)

    def begin(self, step: int) -> bool:
        self.model.train()
        if self._settings.freeze_features:
            _network(self.model).feature.eval()
        return False

    def samples(self) -> Dataset:
        settings = self._settings
        device = self.sample_device
        sources: list[tuple[FrameSource, float]] = [
            (DataSetSource(dataset, device, self._taught(dataset, share)), share)
            for dataset, share in self._data.sets
        ]
        if settings.street:
            sources.append((StreetFrames(), settings.street))
        augmentation = Augmentation(settings.crop, settings.scale, whole=settings.whole)
        length = settings.steps * settings.batch
        return Mixture(
            sources,
            augmentation,
            length,
            settings.seed,
            settings.mix,
            settings.mix_with,
            settings.robust,
            device,
            len(self._classes) if settings.teacher_frames else 0,
        )

    def _taught(self, dataset: DataSet, share: float) -> TaughtFrames | None:
        """What the teachers say of each labelled frame, with ``teacher_frames``."""
        if self._teacher is None or not self._settings.teacher_frames or not share:
            return None
        taught = TaughtFrames(self._out, dataset.labelled(), self._settings)
        taught.ask(self._teacher, self._processes, self._stop)
        return taught

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        images, labels, *probabilities = batch
        frames = _network(self.model).normalisation(images)
        settings = self._settings
        scores, guesses = model(frames) if settings.hints else (model(frames), [])
        scores = scores.float()
        loss, weight = segmentation_sums(
            scores, labels, self._weights, settings.hardest, settings.edges, settings.lovasz
        )
        if self._teacher is not None:
            target, features = (probabilities[0], None) if probabilities else self._teacher(images)
            loss = torch.lerp(loss, distillation_loss(scores, target) * weight, settings.distil)
            if guesses and features:
                loss = loss + settings.hints * weight * hint_loss(guesses, features)
        return loss, weight

    def validate(self, model: nn.Module) -> dict[str, float]:
        processes, model = self._processes, self._calibrated(model)
        own = self._validation[processes.rank :: processes.world]
        matrix = ConfusionMatrix(len(self._classes))
        with autocast(self._settings, processes.device):
            counts = torch.from_numpy(confusion(model, own, len(self._classes)).counts)
        matrix.counts += processes.total(counts.to(processes.device)).cpu().numpy()
        return {"miou": matrix.miou()}

    def pictures(self, model: nn.Module, batch: Any) -> np.ndarray | None:
        images, labels, *_ = batch
        return comparison(images, labels, _scores(_network(model), images), self._classes)

    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        settings = self._settings
        size, evaluated = (360, 480), ""
        if self._validation:
            size = self._validation[0].read()[1].shape
            evaluated = (
                f"{self._data.sets[0][0].name} val, {len(self._validation)} frames at "
                f"{wxh(size)}, single scale"
            )
        normalisation = _network(model).normalisation
        name, _ = split_checkpoint(settings.network)
        info = ModelInfo(
            name,
            self._classes,
            size,
            f"{self._data.describe()}, {step} steps of {settings.batch}",
            scores.get("miou"),
            evaluated,
            normalisation.mean_rgb,
            normalisation.std_rgb,
            self._task,
        )
        path = folder / f"{store.file_stem(name)}.safetensors"
        save_network(path, self._calibrated(model), info)
        return [path]

    def _calibrated(self, model: nn.Module) -> Network:
        """With ``calibrate``, a copy whose scores the class weights have been taken out of."""
        network = _network(model)
        if not self._settings.calibrate or self._weights is None:
            return network
        calibrated = copy.deepcopy(network)
        assert calibrated.task.scoring.bias is not None
        calibrated.task.scoring.bias.data -= self._weights.log()
        return calibrated


def _network(model: nn.Module) -> Network:
    """Without what is there for training only."""
    network = model.network if isinstance(model, HintedNetwork) else model
    assert isinstance(network, Network)
    return network


def _scores(network: Network, images: Tensor) -> Tensor:
    """Scores ``[N, C, h, w]`` of frames uint8 BGR ``[N, H, W, 3]``."""
    return network(network.normalisation(images))


def confusion(model: Network, frames: list[DatasetFrame], classes: int) -> ConfusionMatrix:
    """Counts of a network on whole frames, one at a time, in its own precision."""
    device = next(model.parameters()).device
    matrix = ConfusionMatrix(classes)
    for frame in frames:
        frame_bgr, labels = frame.read()
        height, width = labels.shape
        padded = height + -height % model.cell, width + -width % model.cell
        image = pad_to(frame_bgr, padded, model.normalisation.padding_bgr)
        scores = _scores(model, torch.from_numpy(image)[None].to(device))
        full = F.interpolate(scores, image.shape[:2], mode="bilinear", align_corners=False)
        predicted = full[0].argmax(0)[:height, :width]
        matrix.add(labels, predicted.cpu().numpy().astype(np.uint8))
    return matrix

"""Stage 2: FlowNetS on image pairs with known flow (Dosovitskiy et al. 2015, section 4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel_rt.data.augment import Augmentation
from accel_rt.data.flow_files import FlowFiles, FlowPair, flow_files
from accel_rt.data.flow_pairs import (
    FilePairs,
    MovingPairs,
    PairMixture,
    PairSource,
    Pictures,
)
from accel_rt.data.open import open_dataset
from accel_rt.data.street_samples import StreetPairs, StreetPictures
from accel_rt.errors import UsageError, WeightsError
from accel_rt.evaluate.flow import endpoint_error, flow_colours, network_flow
from accel_rt.flow.flownets import load_flownet, save_flownet
from accel_rt.models.flownet import FlowNetS
from accel_rt.normalise import normalise
from accel_rt.train.losses import multiscale_epe_sums
from accel_rt.train.optimiser import parameter_groups
from accel_rt.train.processes import Processes, joined
from accel_rt.train.settings import FlowSettings
from accel_rt.train.task import TrainingTask
from accel_rt.train.trainer import Progress, Report, Stop, Trainer, never

_HELD_OUT = 4_000_000  # first seed of the drives that validate; training uses far lower ones
_VALIDATION_PAIRS = 24
_TURN = 5.0  # degrees
_NOTHING = 1e-6  # as a share that others leave


def train_flow(
    settings: FlowSettings,
    out: Path,
    report: Report = print,
    progress: Progress | None = None,
    stop: Stop = never,
) -> Path:
    """Train, or go on with, the run in folder ``out``; return the weight file it ends with."""
    with joined(settings.device) as processes:
        task = Flow(settings, processes)
        return Trainer(task, settings, out, processes, report, progress, stop).run()[0]


class Flow(TrainingTask):
    """FlowNetS on pairs; its score is the end-point error on held-out drives, in pixels."""

    scores = ("epe",)
    least_is_best = True

    def __init__(self, settings: FlowSettings, processes: Processes) -> None:
        self._settings, self._processes = settings, processes
        torch.manual_seed(settings.seed)
        self.model: nn.Module = _FlowPyramid(_start(settings))
        self._validation: list[FlowPair] = []
        self._pairs: list[FlowFiles] = []
        self._pictures: list[Path] = []
        self._moved = 1 - settings.street - settings.files
        drawn = []
        if settings.pairs is not None and settings.files:
            self._pairs = flow_files(settings.pairs, split="train")
            drawn.append(_told("pairs", [(pair.name, pair.flow_path) for pair in self._pairs]))
        if settings.data is not None and self._moved > _NOTHING:
            sequences = open_dataset(settings.data, "train").sequences
            self._pictures = [f.image_path for sequence in sequences for f in sequence.frames]
            drawn.append(_told("pictures", [(path.name, path) for path in self._pictures]))
        self.drawn_from = " and ".join(drawn)

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups([self.model], self._settings.weight_decay)

    def samples(self) -> Dataset:
        settings = self._settings
        sources: list[tuple[PairSource, float]] = []
        if settings.street:
            sources.append((StreetPairs(), settings.street))
        if settings.pairs is not None and settings.files:
            sources.append((FilePairs(self._pairs), settings.files))
        if self._moved > _NOTHING:
            # A little larger than the crop, whose place is random.
            size = settings.crop[0] * 5 // 4, settings.crop[1] * 5 // 4
            pictures = Pictures(self._pictures) if self._pictures else StreetPictures()
            sources.append((MovingPairs(pictures, size), self._moved))
        augmentation = Augmentation(settings.crop, settings.scale, turn=_TURN)
        return PairMixture(sources, augmentation, settings.steps * settings.batch, settings.seed)

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        previous, current, flow, valid = batch
        return multiscale_epe_sums(model(normalise(previous), normalise(current)), flow, valid)

    def validate(self, model: nn.Module) -> dict[str, float]:
        processes = self._processes
        if not self._validation:
            source = StreetPairs(pool=_VALIDATION_PAIRS, first_seed=_HELD_OUT)
            own = range(processes.rank, _VALIDATION_PAIRS, processes.world)
            self._validation = [source.pair(index) for index in own]
        errors = torch.zeros(2, dtype=torch.float64, device=processes.device)
        for pair in self._validation:
            found = network_flow(_network(model), pair.previous_bgr, pair.current_bgr)
            error = endpoint_error(found, pair.flow)[pair.valid]
            errors += torch.tensor([error.sum(), error.size], device=processes.device)
        total, count = processes.total(errors).tolist()
        return {"epe": total / count}

    def pictures(self, model: nn.Module, batch: Any) -> np.ndarray | None:
        previous, current, flow, _ = batch
        rows = []
        for before, after, true in zip(previous, current, flow, strict=True):
            frames = before.cpu().numpy(), after.cpu().numpy()
            found = network_flow(_network(model), *frames)
            colours = (flow_colours(f) for f in (true.permute(1, 2, 0).cpu().numpy(), found))
            rows.append(np.hstack([*frames, *colours]))
        return np.vstack(rows)

    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        settings = self._settings
        moved = "moved pictures" if settings.data is None else f"moved {settings.data.name} images"
        used = (
            (moved, self._moved > _NOTHING),
            ("procedural drives", settings.street),
            (f"{settings.pairs and settings.pairs.name} pairs", settings.files),
        )
        sources = " and ".join(name for name, given in used if given)
        path = folder / "flownets.safetensors"
        save_flownet(path, _network(model), f"{sources}, {step} steps of {settings.batch}")
        return [path]


def _told(kind: str, files: Sequence[tuple[str, Path]]) -> str:
    """What tells the ``files`` of these names from others, wherever their folders are."""
    sizes = (f"{name} {path.stat().st_size}" for name, path in files)
    mark = hashlib.sha256("\n".join(sizes).encode()).hexdigest()[:8]
    return f"{len(files)} {kind} ({mark})"


class _FlowPyramid(nn.Module):
    """FlowNetS whose ``forward`` gives flow at every scale, as training wants it."""

    def __init__(self, network: FlowNetS) -> None:
        super().__init__()
        self.network = network

    def forward(self, previous: Tensor, current: Tensor) -> list[Tensor]:
        return self.network.pyramid(previous, current)


def _network(model: nn.Module) -> FlowNetS:
    assert isinstance(model, _FlowPyramid)
    return model.network


def _start(settings: FlowSettings) -> FlowNetS:
    if settings.init == "none":
        return FlowNetS(settings.width)
    network = load_flownet(Path(settings.init))
    if type(network) is not FlowNetS:
        raise UsageError(
            f"{settings.init} is a flow network of the paper's authors, which predicts flow at "
            f"stride 16 alone: train it with the networks ('accel-rt train joint')"
        )
    if network.width != settings.width:
        raise WeightsError(
            f"{settings.init} is a FlowNetS of width {network.width}: give --width {network.width}"
        )
    return network

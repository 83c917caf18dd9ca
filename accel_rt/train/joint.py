"""Stage 3: both branches, flow and fusion trained together through time (paper section 3.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from accel_rt.data.augment import Augmentation
from accel_rt.data.dataset import DatasetFrame, FrameSequence
from accel_rt.data.open import check_validation, open_dataset
from accel_rt.device import resolve_precision
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.evaluate.stream import (
    StreamScore,
    predictions,
    score_snippets,
    score_stream,
    selected_in_snippets,
)
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.flownets import FlowNetSFlow, save_flownet
from accel_rt.flow.source import FlowSource
from accel_rt.models import store
from accel_rt.models.accel import Accel, FeatureFusion, ProbabilityFusion
from accel_rt.models.weights import save_network
from accel_rt.runtime.load import build_segmenter
from accel_rt.runtime.policy import FixedInterval
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.schedule import NAMED, Schedule
from accel_rt.train.distil import Teacher, distillation_loss
from accel_rt.train.ema import blended
from accel_rt.train.joint_data import JointSamples, SnippetMixture
from accel_rt.train.joint_model import JointModel, JointScores
from accel_rt.train.joint_start import start_joint
from accel_rt.train.losses import disagreement, label_weights, segmentation_sums
from accel_rt.train.optimiser import parameter_groups
from accel_rt.train.pair_settings import JointSettings
from accel_rt.train.pictures import comparison
from accel_rt.train.processes import Processes, joined
from accel_rt.train.sources import training_data
from accel_rt.train.task import TrainingTask
from accel_rt.train.trainer import Progress, Report, Stop, Trainer, never

_INPUTS = ("frames", "flows", "moves", "scales", "shares")


def train_joint(
    settings: JointSettings,
    out: Path,
    report: Report = print,
    progress: Progress | None = None,
    stop: Stop = never,
) -> list[Path]:
    """Train, or go on with, the run in folder ``out``; return the weight files it ends with.

    They have the names the runtime looks for, so that ``$ACCEL_RT_WEIGHTS`` can be ``out``. See
    :class:`~accel_rt.train.trainer.Trainer` for what else the folder holds and how a run stops.
    """
    with joined(settings.device) as processes:
        task = Joint(settings, processes)
        return Trainer(task, settings, out, processes, report, progress, stop).run()


class Joint(TrainingTask):
    """Reference, update, flow and fusion: first the fusion alone, then everything."""

    model: JointModel

    def __init__(self, settings: JointSettings, processes: Processes) -> None:
        self._settings, self._processes = settings, processes
        self._data = training_data(settings.data, settings.layout, settings.also, settings.street)
        sequences: Sequence[FrameSequence] = ()
        if settings.data:
            validation = open_dataset(settings.data, "val", settings.layout)
            sequences = check_validation(self._data.classes, validation).sequences
        self._video = _densely_labelled(sequences)
        self._validation = _validation(settings, self._video, sequences)
        self.notes, self.drawn_from = self._data.notes(), self._data.identity()
        start = start_joint(settings, self._data.classes)
        self.model, self._info, self._update_info = start.model, start.reference, start.update
        self._start: JointModel | None = None
        if settings.start_share:
            self._start = copy.deepcopy(start.model).to(processes.device)
        self.scores = self._score_names() if self._validation else ()
        self._phase = 0
        weights = label_weights([dataset for dataset, _ in self._data.sets], settings.balance)
        self._weights = None if weights is None else weights.to(processes.device)
        self._teacher = (
            Teacher.load(
                settings.teacher, self._data.classes, processes.device, settings.teacher_scales
            )
            if settings.teacher
            else None
        )

    def groups(self) -> list[dict[str, Any]]:
        settings, accel = self._settings, self.model.accel
        learning = [] if settings.keep_reference else [accel.reference]
        learning += [] if accel.update is None else [accel.update]
        groups = parameter_groups(learning, settings.weight_decay)
        if isinstance(accel.fusion, FeatureFusion):
            halves = [accel.fusion.reference_half, accel.fusion.update_half]
            groups += parameter_groups(halves, 0.0)
        elif accel.fusion is not None:
            groups += parameter_groups([accel.fusion], 0.0, settings.fusion_rate / settings.rate)
        if self.model.flow is not None:
            groups += parameter_groups([self.model.flow], 0.0)
        return groups

    def samples(self) -> Dataset:
        settings, places = self._settings, self._settings.places
        return JointSamples(
            SnippetMixture(self._data, max(n + ahead for n, ahead in places.items()) + 1),
            Augmentation(settings.crop, settings.scale, whole=settings.whole),
            places,
            settings.update_scales,
            self.model.accel.reference.stride,
            self.model.flow is not None,
            settings.steps * settings.batch,
            settings.seed,
            settings.robust,
        )

    def begin(self, step: int) -> bool:
        """Phase 1 trains the fusion alone, phase 2 everything but what is to be kept."""
        accel = self.model.accel
        phase = 1 if step < self._settings.fusion_steps and accel.fusion is not None else 2
        if phase == self._phase:
            return False
        self._phase = phase
        self.model.train(phase == 2).requires_grad_(phase == 2)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.train(phase == 2 and self._settings.batch_norms == "learning")
        if phase == 1:
            assert accel.fusion is not None
            accel.fusion.requires_grad_(True)
        if isinstance(accel.fusion, FeatureFusion):
            assert accel.update is not None
            accel.update.task.requires_grad_(False)  # its features go into the reference's task
            accel.reference.task.requires_grad_(phase == 2)
        if self._settings.keep_reference:
            accel.reference.eval().requires_grad_(False)
        return True

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The fused scores' loss on the last frame, and a share of the branches' own."""
        settings, labels = self._settings, batch["labels"]
        fused, branches, sizes = self._scores(model, batch)
        lesson = None
        if self._teacher is not None:
            lesson = self._teacher(self._labelled(batch))

        def sums(scores: Tensor) -> tuple[Tensor, Tensor]:
            scores = scores.float()
            loss, weight = segmentation_sums(
                scores, labels, self._weights, settings.hardest, settings.edges, settings.lovasz
            )
            if lesson is not None:
                taught = distillation_loss(scores, lesson.probabilities)
                loss = torch.lerp(loss, taught * weight, settings.distil)
            return loss, weight

        loss, weight = sums(fused)
        if self._phase == 2 and settings.branch_loss:
            for scores in branches:
                loss = loss + settings.branch_loss * sums(scores)[0]
        if self._phase == 2 and settings.agree:
            carried, fresh = (scores.float() for scores in branches)
            for scores in (fused.float(), fresh):
                loss = loss + settings.agree * weight * disagreement(scores, carried, labels)
        if self._phase == 2 and sizes:
            reduced, whole = (scores.float() for scores in sizes)
            taught = distillation_loss(reduced, whole.softmax(1))
            loss = loss + settings.same_at_half * weight * taught
        return loss, weight

    def _scores(self, model: nn.Module, batch: Any) -> JointScores:
        ahead = max(self._settings.places.values())
        return model(*(batch[name] for name in _INPUTS), ahead)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """mIoU on the validation frames at ``validate_interval``, each branch's own among them.

        The first process computes; the others wait.
        """
        values = torch.zeros(len(self.scores), dtype=torch.float64, device=self._processes.device)
        if self._processes.leads:
            measured = self._measure(self._result(model))
            values += torch.tensor(list(measured.values()), device=values.device)
        total = self._processes.total(values).tolist()
        return dict(zip(self.scores, total, strict=True))

    def _score_names(self) -> tuple[str, ...]:
        names = ["miou", "miou_key", "miou_last"]
        if self.model.accel.update is not None:
            names += [f"miou_update_{scale:g}" for scale in self._other_scales()]
            names.append("update_alone")
        if self._settings.schedule is not None and self._video:
            names.append("miou_schedule")
        return tuple(names)

    def _other_scales(self) -> list[float]:
        """Update scales but the first, once each: one named twice is drawn more often."""
        return list(dict.fromkeys(self._settings.update_scales[1:]))

    def _measure(self, model: JointModel) -> dict[str, float]:
        """By :meth:`_score_names`: at the first update scale, at the others, the update alone, and
        once through the video by the schedule trained for."""
        assert self._validation is not None
        interval = self._settings.validate_interval
        first = self._settings.update_scales[0]
        score = self._validation(self._segmenter(model, Schedule(interval), first), interval)
        values = [score.miou(), score.by_offset[0].miou(), score.by_offset[-1].miou()]
        if model.accel.update is not None:
            for scale in self._other_scales():
                segmenter = self._segmenter(model, Schedule(interval), scale)
                values.append(self._validation(segmenter, interval).miou())
            alone = build_segmenter(
                Accel(copy.deepcopy(model.accel.update)),
                self._info.classes,
                policy=FixedInterval(1),
                **self._segmenter_options(),
            )
            values.append(self._validation(alone, 1).miou())
        if "miou_schedule" in self._score_names():
            schedule = NAMED[str(self._settings.schedule)]
            matrix = ConfusionMatrix(len(self._info.classes))
            for frame, found in predictions(self._segmenter(model, schedule, first), self._video):
                matrix.add(frame.labels(), found)
            values.append(matrix.miou())
        return dict(zip(self._score_names(), values, strict=True))

    def _result(self, model: nn.Module) -> JointModel:
        """What counts as trained: the averaged model, or that on its way back to the start."""
        assert isinstance(model, JointModel)
        if self._start is None:
            return model
        return blended(model, self._start, self._settings.start_share)

    def _segmenter(self, model: JointModel, schedule: Schedule, scale: float) -> FrameSegmenter:
        """The runtime on copies of the networks, which it folds and casts."""
        options = self._segmenter_options()
        flow: FlowSource = DISFlow()
        if model.flow is not None:
            flow = FlowNetSFlow(copy.deepcopy(model.flow), options["device"], options["dtype"])
        return build_segmenter(
            copy.deepcopy(model.accel),
            self._info.classes,
            flow=flow,
            schedule=schedule,
            incremental=self._settings.warp == "incremental",
            update_scale=scale,
            **options,
        )

    def _segmenter_options(self) -> dict[str, Any]:
        device = self._processes.device
        return {
            "trained": self._info.size,
            "device": device,
            "dtype": resolve_precision("auto", device),
        }

    def _labelled(self, batch: Any) -> Tensor:
        """The frames that have labels."""
        here = max(self._settings.places) if self.model.flow is not None else 1
        return batch["frames"][:, here]

    def pictures(self, model: nn.Module, batch: Any) -> np.ndarray | None:
        fused = self._scores(model, batch).fused
        return comparison(self._labelled(batch), batch["labels"], fused, self._info.classes)

    def write(
        self, model: nn.Module, folder: Path, step: int, scores: dict[str, float]
    ) -> list[Path]:
        """Reference, update, their fusion and the flow network, as far as they were trained."""
        model = self._result(model)
        accel, settings = model.accel, self._settings
        how = (
            f"jointly up to {max(settings.distances)} frames after the keyframe, {step} steps of "
            f"{settings.batch}"
        )
        if settings.start_share:
            how += f", a share of {settings.start_share:g} as before"
        written: list[Path] = []
        pair: list[Path] = []
        for network, info, score in (
            (accel.reference, self._info, scores.get("miou_key")),
            (accel.update, self._update_info, scores.get("update_alone")),
        ):
            if settings.keep_reference and network is accel.reference:
                pair.append(store.find(settings.reference))
            elif network is not None and info is not None:
                stem = store.file_stem(info.network)
                path = folder / f"{stem}.safetensors"
                if path in written:
                    path = folder / f"{stem}-update.safetensors"
                trained_on = f"{info.trained_on}; then {how}"
                save_network(path, network, replace(info, trained_on=trained_on, miou=score))
                written.append(path)
                pair.append(path)
        if accel.fusion is not None:
            assert self._update_info is not None
            assert not isinstance(accel.fusion, ProbabilityFusion)
            names = self._info.network, self._update_info.network
            path = folder / f"{store.fusion_name(*names, settings.fusion)}.safetensors"
            description = {**store.pair(pair[0], pair[1]), "trained_on": how}
            store.save_fusion(path, accel.fusion, description)
            written.append(path)
        if model.flow is not None:
            path = folder / "flownets.safetensors"
            save_flownet(path, model.flow, f"jointly with {self._info.network}, {step} steps")
            written.append(path)
        return written


def _densely_labelled(sequences: Sequence[FrameSequence]) -> Sequence[DatasetFrame]:
    """The longest of ``sequences`` whose frames are all labelled, if there is one."""
    dense = [s.frames for s in sequences if len(list(s.labelled())) == len(s.frames)]
    return max(dense, key=len, default=())


def _validation(
    settings: JointSettings, video: Sequence[DatasetFrame], sequences: Sequence[FrameSequence]
) -> Callable[[FrameSegmenter, int], StreamScore] | None:
    """What scores a segmenter at an interval: on ``video``, or else on the sparsely labelled
    validation sequences; None if there are too few frames for either."""
    interval = settings.validate_interval
    if len(video) >= interval:
        return lambda segmenter, interval: score_stream(segmenter, video, interval)
    if len(selected_in_snippets(sequences, interval)) >= interval:
        return lambda segmenter, interval: score_snippets(segmenter, sequences, interval)
    return None

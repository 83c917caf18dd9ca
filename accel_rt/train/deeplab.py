"""Stage 1: fine-tune one network alone on labelled single frames (DeepLab-x, paper 4.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from accel_rt.data.augment import Augmentation
from accel_rt.data.camvid import LabelledFrame, camvid_frames
from accel_rt.data.classes import CAMVID, IGNORE_LABEL
from accel_rt.data.mixture import CamVidSource, FrameSource, Mixture, StreetSource
from accel_rt.data.normalise import normalise, pad_to
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.models.grow import grow
from accel_rt.models.init import imagenet_file, load_feature_weights
from accel_rt.models.layers import to_fast_layout
from accel_rt.models.network import Network
from accel_rt.models.resnet import ResNet
from accel_rt.models.weights import ModelInfo, fit, load_tensors, save_network
from accel_rt.models.zoo import build_network
from accel_rt.train.distil import Teacher, distillation_loss
from accel_rt.train.ema import WeightAverage
from accel_rt.train.run import RunFolder, cosine_rate

Report = Callable[[str], None]


@dataclass(frozen=True)
class DeepLabSettings:
    """One run. ``init`` is ``none``, ``imagenet``, or a file (ImageNet checkpoint or weights).

    ``balance`` weighs classes by their frequency in the training labels to the power of minus
    ``balance``: 0 counts every pixel alike, 1 every class. ``mix`` is the share of samples that
    get classes of another one pasted in. ``teacher`` names trained networks whose averaged
    predictions are learned too, with a share ``distil`` of the loss.
    """

    network: str
    data: Path | None
    street: float = 0.2
    steps: int = 2000
    batch: int = 8
    crop: tuple[int, int] = (320, 240)
    scale: tuple[float, float] = (0.5, 1.75)
    optimiser: str = "adamw"
    rate: float = 5e-4
    balance: float = 0.5
    mix: float = 0.0
    teacher: tuple[str, ...] = ()
    distil: float = 0.5
    weight_decay: float = 0.02
    warmup: int = 100
    ema: float = 0.998
    init: str = "none"
    precision: str = "bf16"
    seed: int = 0
    validate_every: int = 500
    save_every_s: float = 120.0
    workers: int = 1


_RESUMABLE = ("network", "steps", "batch", "optimiser", "rate", "seed")


def train_deeplab(settings: DeepLabSettings, out: Path, report: Report = print) -> Path:
    """Train, or go on with, the run in folder ``out``; return the weight file it ends with.

    ``out/checkpoint.pt`` is replaced every ``save_every_s`` seconds and on Ctrl-C; the same call
    resumes it at the same sample. ``out/log.csv`` has a row per 20 steps.
    """
    folder = RunFolder(out)
    network = to_fast_layout(_start(settings))
    optimiser = _optimiser(settings, network)
    average = WeightAverage(network, settings.ema)
    described = {**asdict(settings), "data": str(settings.data)}
    described = {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}
    step = 0
    saved = folder.load({name: described[name] for name in _RESUMABLE})
    if saved:
        step = saved["step"]
        network.load_state_dict(saved["network"])
        average.model.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        report(f"resumed {out} at step {step} of {settings.steps}")

    weights = _class_weights(settings)
    teacher = Teacher.load(settings.teacher) if settings.teacher else None
    validation = camvid_frames(settings.data, "val") if settings.data else []
    weights_path = out / f"{settings.network}.safetensors"

    def checkpoint() -> None:
        state: dict[str, Any] = {
            "settings": described,
            "step": step,
            "network": network.state_dict(),
            "average": average.model.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        folder.save(state)

    def finish(miou: float | None) -> None:
        sources = [
            name
            for name, used in (
                ("CamVid train", settings.data),
                ("procedural street", settings.street),
            )
            if used
        ]
        info = ModelInfo(
            settings.network,
            CAMVID,
            (480, 360),
            f"{' and '.join(sources)}, {step} steps of {settings.batch}",
            miou,
            "CamVid validation video, 101 frames at 480x360, single scale" if validation else "",
        )
        save_network(weights_path, average.model, info)

    try:
        started, waited = time.monotonic(), 0.0
        losses: list[float] = []
        batches = _batches(settings, step)
        while step < settings.steps:
            before = time.monotonic()
            images, labels = next(batches)
            waited += time.monotonic() - before
            rate = cosine_rate(step, settings.steps, settings.rate, settings.warmup)
            losses.append(
                _train_step(network, optimiser, images, labels, rate, weights, teacher, settings)
            )
            average.update(network, step)
            step += 1
            if step % 20 == 0:
                elapsed = time.monotonic() - started
                row = {
                    "step": step,
                    "loss": round(float(np.mean(losses)), 4),
                    "rate": f"{rate:.3e}",
                    "images_per_s": round(20 * settings.batch / elapsed, 2),
                    "waited": round(waited / elapsed, 3),
                    "miou": "",
                }
                if validation and (step % settings.validate_every == 0 or step == settings.steps):
                    miou = validate(average.model, validation)
                    row["miou"] = round(miou, 2)
                    finish(miou)
                folder.log(row)
                report(" ".join(f"{k} {v}" for k, v in row.items() if v != ""))
                started, waited, losses = time.monotonic(), 0.0, []
            if folder.save_is_due(settings.save_every_s):
                checkpoint()
        checkpoint()
        if not validation:
            finish(None)
    except KeyboardInterrupt:
        checkpoint()
        report(f"interrupted: saved at step {step}; the same command goes on from there")
        raise
    return weights_path


def _start(settings: DeepLabSettings) -> Network:
    torch.manual_seed(settings.seed)
    network = build_network(settings.network, len(CAMVID))
    if settings.init == "imagenet":
        load_feature_weights(network.feature, imagenet_file(settings.network))
    elif settings.init.endswith(".safetensors"):
        path = Path(settings.init)
        tensors, description = load_tensors(path)
        if description["network"] != settings.network and isinstance(network.feature, ResNet):
            tensors = grow(network, tensors)
        fit(network, tensors, path)
    elif settings.init != "none":
        load_feature_weights(network.feature, Path(settings.init))
    return network


def _class_weights(settings: DeepLabSettings) -> Tensor | None:
    """Weights ``[C]`` with mean 1 over the pixels; None without labels to count or balance."""
    if not settings.data or not settings.balance:
        return None
    counts = np.zeros(len(CAMVID))
    for frame in camvid_frames(settings.data, "train")[::4]:
        counts += np.bincount(frame.labels().ravel(), minlength=256)[: len(CAMVID)]
    return class_weights(counts, settings.balance)


def class_weights(counts: np.ndarray, balance: float) -> Tensor:
    """Weights ``[C]`` from pixel counts, ``frequency ** -balance`` with mean 1 over the pixels.

    A class without pixels weighs as much as one with a ten-thousandth of them.
    """
    frequency = np.maximum(counts / counts.sum(), 1e-4)
    weights = frequency**-balance
    return torch.tensor(weights / (weights * frequency).sum(), dtype=torch.float32)


def _optimiser(settings: DeepLabSettings, network: Network) -> torch.optim.Optimizer:
    """Weight decay on convolution weights only; offsets learn at a tenth of the rate."""
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    offsets: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if ".offset." in name:
            offsets.append(parameter)
        else:
            (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay, "rate_factor": 1.0},
        {"params": plain, "weight_decay": 0.0, "rate_factor": 1.0},
        {"params": offsets, "weight_decay": 0.0, "rate_factor": 0.1},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.rate)


def _batches(settings: DeepLabSettings, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    sources: list[tuple[FrameSource, float]] = []
    if settings.data:
        sources.append((CamVidSource(settings.data), 1 - settings.street))
    if settings.street:
        sources.append((StreetSource(), settings.street))
    length = settings.steps * settings.batch
    augmentation = Augmentation(settings.crop, settings.scale)
    mixture = Mixture(sources, augmentation, length, settings.seed, settings.mix)
    loader = DataLoader(
        Subset(mixture, range(first_step * settings.batch, length)),
        settings.batch,
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
    )
    yield from loader


def _train_step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    rate: float,
    weights: Tensor | None,
    teacher: Teacher | None,
    settings: DeepLabSettings,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_factor"]
    network.train()
    frames = normalise(images)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        scores = network(frames).float()
    loss = segmentation_loss(scores, labels, weights)
    if teacher is not None:
        loss = torch.lerp(loss, distillation_loss(scores, teacher(frames)), settings.distil)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def segmentation_loss(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pixel-wise cross-entropy of scores ``[N, C, h, w]`` upsampled to labels ``[N, H, W]``.

    ``weights`` are the classes' ``[C]``.
    """
    upsampled = F.interpolate(scores, labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(upsampled, labels.long(), weights, ignore_index=IGNORE_LABEL)


@torch.inference_mode()
def validate(network: Network, frames: list[LabelledFrame]) -> float:
    """mIoU in percent of ``network`` on whole frames, one at a time, in float32."""
    network.eval()
    matrix = ConfusionMatrix(network.classes)
    for frame in frames:
        labels = frame.labels()
        height, width = labels.shape
        image = pad_to(frame.image_bgr(), (height + -height % 32, width + -width % 32))
        scores = network(normalise(torch.from_numpy(image)[None]))
        full = F.interpolate(scores, image.shape[:2], mode="bilinear", align_corners=False)
        predicted = full[0].argmax(0)[:height, :width]
        matrix.add(labels, predicted.numpy().astype(np.uint8))
    return matrix.miou()

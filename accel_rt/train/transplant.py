"""Start a ResNet-50 or -101 with a trained EfficientNet-Lite2's features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from accel_rt.data.augment import Augmentation
from accel_rt.data.mixture import DataSetSource, Mixture
from accel_rt.data.open import open_dataset
from accel_rt.device import has_fast_bf16
from accel_rt.models import store
from accel_rt.models.efficientnet_lite import EfficientNetLite
from accel_rt.models.layers import to_fast_layout
from accel_rt.models.resnet import ResNet
from accel_rt.models.transplant import Stem, check_pair, donor_features, transplant
from accel_rt.models.weights import ModelInfo, load_network, save_network
from accel_rt.models.zoo import Task, build_network
from accel_rt.normalise import normalise
from accel_rt.train.optimiser import cosine_rate
from accel_rt.train.settings import TransplantSettings


def train_transplant(
    settings: TransplantSettings, out: Path, report: Callable[[str], None] = print
) -> Path:
    """Train the stem, fit all bottlenecks, and write the network to ``out`` (a file or a folder).

    Returns the file written. Raises :class:`~accel_rt.errors.UsageError` for networks that this
    is not made for, and as :func:`~accel_rt.data.open.open_dataset` and
    :func:`~accel_rt.models.weights.load_network`.
    """
    donor, info = load_network(store.find(settings.donor))
    torch.manual_seed(settings.seed)
    task: Task = "skip"
    student = build_network(settings.network, len(info.classes), task)
    check_pair(student.feature, donor.feature)
    assert isinstance(student.feature, ResNet)
    assert isinstance(donor.feature, EfficientNetLite)
    dataset = open_dataset(settings.data, "train", settings.layout)
    source = [(DataSetSource(dataset), 1.0)]
    crops = Augmentation(settings.crop, (0.5, 1.75))
    whole = Augmentation((480, 352), (1.0, 1.0), colour=0.1)
    stem = to_fast_layout(Stem(student.feature, donor.feature))
    samples = Mixture(source, crops, settings.steps * settings.batch, settings.seed)
    _train_stem(stem, donor.feature, samples, settings, report)
    samples = Mixture(source, whole, settings.frames, settings.seed + 1)
    frames = torch.stack([samples[i][0] for i in range(settings.frames)])
    quality = transplant(student.eval(), donor, stem.eval(), normalise(frames))
    for name, explained in quality:
        report(f"{name} explains {100 * explained:.1f}% of its goal")
    if out.suffix != ".safetensors":
        out = out / f"{settings.network}.safetensors"
    described = f"the features of {info.network} ({info.trained_on})"
    save_network(
        out, student, ModelInfo(settings.network, info.classes, info.size, described, task=task)
    )
    return out


def _train_stem(
    stem: Stem,
    donor: EfficientNetLite,
    samples: Mixture,
    settings: TransplantSettings,
    report: Callable[[str], None],
) -> None:
    """Teach the stem the donor's features at stride 4: a small task, as they see little of it."""
    stem.train()
    bf16 = has_fast_bf16(torch.device("cpu"))
    optimiser = torch.optim.AdamW(stem.parameters(), settings.rate)
    for step in range(settings.steps):
        numbers = range(step * settings.batch, (step + 1) * settings.batch)
        frames = normalise(torch.stack([samples[i][0] for i in numbers]))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            wanted = donor_features(donor, frames, 4)[-1]
            loss = _error(stem(frames).float(), wanted.float())
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, settings.steps, settings.rate, 20)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(stem.parameters(), 5.0)
        optimiser.step()
        if (step + 1) % 50 == 0:
            report(f"stem: step {step + 1} of {settings.steps}, error {float(loss.detach()):.4f}")


def _error(guess: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error, in each channel's variance."""
    variance = wanted.var((0, 2, 3), keepdim=True) + 1e-6
    return ((guess - wanted).square() / variance).mean()

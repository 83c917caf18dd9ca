"""Joint training, phase 1: score fusion alone, both branches fixed (paper section 3.3).

The branches never change, so their scores are computed once per snippet: the reference's from a
keyframe 1 to ``interval - 1`` frames back, warped by composed flow, and the update's from the
labelled frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.synthetic_motion import Snippet
from accel_rt.device import resolve_precision
from accel_rt.errors import UsageError
from accel_rt.flow.dis import DISFlow
from accel_rt.models import store
from accel_rt.models.accel import Accel, ScoreFusion
from accel_rt.models.foreign.open import load_placed, place
from accel_rt.models.fuse import for_inference
from accel_rt.models.layers import resize_grid
from accel_rt.runtime.geometry import plan
from accel_rt.runtime.program import FrameProgram
from accel_rt.train.joint_data import SnippetMixture
from accel_rt.train.losses import segmentation_loss
from accel_rt.train.optimiser import cosine_rate
from accel_rt.train.settings import FusionSettings
from accel_rt.train.sources import training_data


def train_fusion(
    settings: FusionSettings, out: Path, report: Callable[[str], None] = print
) -> Path:
    """Train the fusion of a pair and write it to ``out`` (a ``.safetensors`` file or a folder).

    Returns the file written; in a folder it has the name the runtime looks for.
    """
    data = training_data(settings.data, settings.layout, (), settings.street, settings.shorter)
    places = place(settings.reference), place(settings.update, "update")
    (reference, info), (update, update_info) = map(load_placed, places)
    if not info.classes == update_info.classes == data.classes:
        raise UsageError(
            f"'{settings.reference}', '{settings.update}' and {data.describe()} are of different "
            f"classes: choose those of one class set"
        )
    for note in data.notes():
        report(f"note: {note}")
    cpu = torch.device("cpu")
    dtype = resolve_precision(settings.precision, cpu)
    model = for_inference(Accel(reference, update, ScoreFusion(len(info.classes))), cpu, dtype)
    programs = [
        FrameProgram(model, cpu, dtype, update_scale=scale) for scale in settings.update_scales
    ]
    snippets = SnippetMixture(data, settings.interval)
    rng = np.random.default_rng(settings.seed)
    samples = []
    for index in range(settings.snippets):
        snippet = snippets.draw(int(rng.integers(2, settings.interval + 1)), rng)
        program = programs[index % len(programs)]
        samples.append(_branch_scores(program, snippet))
        if (index + 1) % 50 == 0:
            report(f"scored {index + 1} of {settings.snippets} snippets")
    fusion = fit_fusion(samples, len(info.classes), settings, report)
    if out.suffix != ".safetensors":
        out = out / f"{store.fusion_name(info.network, update_info.network)}.safetensors"
    store.save_fusion(
        out,
        fusion,
        {
            **store.pair(*places),
            "trained_on": f"{settings.snippets} snippets of up to {settings.interval} frames: "
            f"{data.describe()}",
        },
    )
    return out


_FINEST_STRIDE = 4  # pixels; finer scores would fill the memory
Sample = tuple[Tensor, Tensor, Tensor]
"""Reference scores and update scores ``[C, h, w]`` on one grid, and labels ``[H, W]``."""


@torch.inference_mode()
def _branch_scores(program: FrameProgram, snippet: Snippet) -> Sample:
    """Both branches' scores of the snippet's last frame, its first being the keyframe."""
    scale, model = min(0.5, program.update_scale), program.model
    frames, labels = snippet.frames, snippet.labels
    if model.foreign:
        height, width = (side - side % round(model.cell / scale) for side in labels.shape)
        frames, labels = [frame[:height, :width] for frame in frames], labels[:height, :width]
    height, width = labels.shape
    geometry = plan((height, width), None, (height, width), scale, model.cell)
    flow = DISFlow()
    state, _ = program.key(program.prepare(frames[0], geometry))
    views = [flow.view(frame) for frame in frames]
    for before, after in itertools.pairwise(views):
        state = program.advance(state, flow.between(before, after, geometry.grid(program.stride)))
    warped = program.reference_scores(state).float()
    fresh = program.refresh(program.prepare(frames[-1], geometry, "update")).float()
    finer = max(_FINEST_STRIDE, program.finest_stride)
    cells = geometry.grid(finer).cells
    padded = np.full(geometry.padded, IGNORE_LABEL, np.uint8)
    padded[:height, :width] = labels
    return resize_grid(warped, cells)[0], resize_grid(fresh, cells)[0], torch.from_numpy(padded)


def fit_fusion(
    samples: list[Sample],
    classes: int,
    settings: FusionSettings,
    report: Callable[[str], None] = print,
) -> ScoreFusion:
    """Minimise the fused scores' cross-entropy over ``samples``, anchored at the mean."""
    torch.manual_seed(settings.seed)
    fusion = ScoreFusion(classes)
    mean = fusion.conv.weight.detach().clone()
    optimiser = torch.optim.Adam(fusion.parameters(), settings.rate)
    for step in range(settings.steps):
        chosen = torch.randint(len(samples), (settings.batch,)).tolist()
        drawn = zip(*(samples[i] for i in chosen), strict=True)
        warped, fresh, labels = (torch.stack(tensors) for tensors in drawn)
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, settings.steps, settings.rate, 10)
        labels = labels[:, 1::2, 1::2]  # every other pixel; the scores are far coarser
        loss = segmentation_loss(fusion(warped, fresh), labels)
        drift = (fusion.conv.weight - mean).square().sum()
        optimiser.zero_grad()
        (loss + settings.anchor * drift).backward()
        optimiser.step()
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {settings.steps}, loss {float(loss.detach()):.4f}")
    return fusion.eval()

"""Joint training, phase 1: score fusion alone, both branches fixed (paper section 3.3).

The branches never change, so their scores are computed once per snippet: the reference's from a
keyframe some frames back, warped by composed flow (and from one ahead where the schedule looks
ahead), and the update's from the labelled frame.

The fusion learnt, its gate is: how far the update branch alone is trusted where the flow from the
keyframe is wrong. The fusion itself stays what it is without a gate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.synthetic_motion import Snippet
from accel_rt.device import resolve_precision
from accel_rt.errors import UsageError
from accel_rt.flow.dis import DISFlow
from accel_rt.models import store
from accel_rt.models.accel import Accel, Gate, ScoreFusion
from accel_rt.models.foreign.open import load_placed, place
from accel_rt.models.fuse import for_inference
from accel_rt.models.layers import resize_grid
from accel_rt.redact import redact
from accel_rt.runtime.geometry import Geometry, plan
from accel_rt.runtime.program import FrameProgram, State, blend
from accel_rt.train.joint_data import SnippetMixture
from accel_rt.train.losses import segmentation_loss
from accel_rt.train.optimiser import cosine_rate
from accel_rt.train.own_labels import own_snippets
from accel_rt.train.pair_settings import FusionSettings
from accel_rt.train.run import weight_file
from accel_rt.train.sources import TrainingData, training_data


def train_fusion(
    settings: FusionSettings, out: Path, report: Callable[[str], None] = print
) -> Path:
    """Train the fusion of a pair and write it to ``out`` (a ``.safetensors`` file or a folder).

    Returns the file written; in a folder it has the name the runtime looks for.
    """
    data = _data(settings)
    places = place(settings.reference), place(settings.update, "update")
    (reference, info), (update, update_info) = map(load_placed, places)
    known = [update_info.classes.names, *([] if data is None else [data.classes.names])]
    if any(names != info.classes.names for names in known):
        named = "" if data is None else f" and {data.describe()}"
        raise UsageError(
            f"'{settings.reference}', '{settings.update}'{named} are of different classes: choose "
            f"those of one class set"
        )
    out = weight_file(out, store.fusion_name(info.network, update_info.network))
    model = Accel(reference, update, ScoreFusion(len(info.classes)))
    samples = _samples(settings, model, data, info.size, report)
    fusion = fit_fusion(samples, len(info.classes), settings, report)
    if settings.gate:
        gate = fusion.gate = fit_gate(samples, fusion, settings)
        report(
            f"the update network alone is trusted by sigmoid({gate.residual:.3g} * difference of "
            f"colours after warping + {gate.inconsistency:.3g} * flow's inconsistency "
            f"{gate.bias:+.3g})"
        )
    source = f"{settings.video}, as the reference labels it" if data is None else data.describe()
    frames = f"up to {settings.longest} frames"
    told = f"{settings.snippets} snippets of {frames}: {redact(source)}"
    store.save_fusion(out, fusion, {**store.pair(*places), "trained_on": told})
    return out


def _data(settings: FusionSettings) -> TrainingData | None:
    """What labelled snippets are drawn from; None for a video without labels."""
    if settings.video is not None:
        return None
    street = 0.25 if settings.street is None else settings.street
    return training_data(settings.data, settings.layout, (), street, settings.shorter)


def _samples(
    settings: FusionSettings,
    model: Accel,
    data: TrainingData | None,
    trained: tuple[int, int] | None,
    report: Callable[[str], None],
) -> list[Sample]:
    """Both branches' scores of snippets of ``data``, or of a video that the reference labels."""
    cpu = torch.device("cpu")
    dtype = resolve_precision(settings.precision, cpu)
    assert isinstance(model.fusion, ScoreFusion)
    model.fusion.gate = _EVERY_INPUT
    model = for_inference(model, cpu, dtype)
    programs = [
        FrameProgram(model, cpu, dtype, update_scale=scale) for scale in settings.update_scales
    ]
    rng = np.random.default_rng(settings.seed)
    if data is None:
        assert settings.video is not None
        smallest = min(programs, key=lambda program: program.update_scale)
        drawn = rng.choice(settings.distances, settings.snippets).tolist()
        spans = [(distance, settings.places[distance]) for distance in drawn]
        snippets = own_snippets(settings.video, smallest, trained, spans, rng)
    else:
        for note in data.notes():
            report(f"note: {note}")
        snippets = _labelled(SnippetMixture(data, settings.longest), settings, rng)
    samples = []
    for index, snippet in enumerate(snippets):
        samples.append(branch_scores(programs[index % len(programs)], snippet))
        if (index + 1) % 50 == 0:
            report(f"scored {index + 1} of {settings.snippets} snippets")
    return samples


def _labelled(
    mixture: SnippetMixture, settings: FusionSettings, rng: np.random.Generator
) -> Iterator[Snippet]:
    for _ in range(settings.snippets):
        distance = int(rng.choice(settings.distances))
        yield mixture.draw(distance + 1, rng, settings.places[distance])


# Finer scores, or those of more classes on such a grid, would fill the memory.
_FINEST_STRIDE, _MANY_CLASSES = 4, 32
_EVERY_INPUT = Gate(inconsistency=1.0)  # makes programs compute all that a gate can ask for


class Sample(NamedTuple):
    """Reference and update scores ``[C, h, w]`` on one grid, labels ``[H, W]``, and the flow's
    errors ``[1, h, w]``, see :class:`~accel_rt.models.accel.Gate`."""

    warped: Tensor
    fresh: Tensor
    labels: Tensor
    residual: Tensor
    inconsistency: Tensor


@torch.inference_mode()
def branch_scores(program: FrameProgram, snippet: Snippet) -> Sample:
    """Both branches' scores of the snippet's labelled frame, its first being the keyframe, and its
    last one the next keyframe if there are frames after the labelled one."""
    scale, model = min(0.5, program.update_scale), program.model
    frames, labels = snippet.frames, snippet.labels
    if model.foreign:
        height, width = (side - side % round(model.cell / scale) for side in labels.shape)
        frames, labels = [frame[:height, :width] for frame in frames], labels[:height, :width]
    height, width = labels.shape
    geometry = plan((height, width), None, (height, width), scale, model.cell)
    here = len(frames) - 1 - snippet.after
    picture = program.picture(frames[here], geometry)
    before, after = _moved(program, frames[: here + 1], geometry), None
    if snippet.after:
        after = _moved(program, frames[here:][::-1], geometry)
    way = here / max(1, len(frames) - 1)
    share, residual, inconsistency = program.errors(before, after, picture, way)
    warped = program.reference_scores(before).float()
    if after is not None:
        warped = blend(warped, program.reference_scores(after).float(), share)
    if inconsistency is None:  # a keyframe, which nothing has moved
        inconsistency = torch.zeros_like(residual)
    fresh = program.refresh(program.prepare(frames[here], geometry, "update")).float()
    finest = _FINEST_STRIDE if model.reference.classes <= _MANY_CLASSES else 2 * _FINEST_STRIDE
    finer = max(finest, program.finest_stride)
    cells = geometry.grid(finer).cells
    padded = np.full(geometry.padded, IGNORE_LABEL, np.uint8)
    padded[:height, :width] = labels
    return Sample(
        resize_grid(warped, cells)[0],
        resize_grid(fresh, cells)[0],
        torch.from_numpy(padded),
        resize_grid(residual, cells)[0],
        resize_grid(inconsistency, cells)[0],
    )


def _moved(program: FrameProgram, frames: list[np.ndarray], geometry: Geometry) -> State:
    """The state of a keyframe, the first of ``frames``, moved to the last of them."""
    flow, grid = DISFlow(), geometry.grid(program.stride)
    state, _ = program.key(program.prepare(frames[0], geometry))
    state = replace(state, picture=program.picture(frames[0], geometry))
    views = [flow.view(frame) for frame in frames]
    for before, after in itertools.pairwise(views):
        state = program.advance(state, flow.between(before, after, grid))
    return state


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

    def loss(drawn: Sample) -> Tensor:
        drift = (fusion.conv.weight - mean).square().sum()
        fused = fusion(drawn.warped, drawn.fresh)
        return segmentation_loss(fused, drawn.labels) + settings.anchor * drift

    _descend(list(fusion.parameters()), loss, samples, settings, report)
    return fusion.eval().requires_grad_(False)


def fit_gate(samples: list[Sample], fusion: ScoreFusion, settings: FusionSettings) -> Gate:
    """The gate that makes the cross-entropy of gated scores least over ``samples``."""
    torch.manual_seed(settings.seed)
    start = torch.tensor(astuple(fusion.gate))
    steps = torch.zeros(3, requires_grad=True)
    units = torch.tensor([0.1, 0.1, 1.0])  # of what is learnt: all then move at one rate

    def loss(drawn: Sample) -> Tensor:
        fused = fusion(drawn.warped, drawn.fresh)
        gate = Gate(*(start + units * steps))
        share = gate.share(drawn.residual, drawn.inconsistency)
        return segmentation_loss(torch.lerp(fused, drawn.fresh, share), drawn.labels)

    _descend([steps], loss, samples, settings)
    return Gate(*(start + units * steps).tolist())


def _descend(
    parameters: list[torch.nn.Parameter] | list[Tensor],
    loss: Callable[[Sample], Tensor],
    samples: list[Sample],
    settings: FusionSettings,
    report: Callable[[str], None] = lambda text: None,
) -> None:
    """Minimise ``loss`` of batches of ``samples``."""
    optimiser = torch.optim.Adam(parameters, settings.rate)
    for step in range(settings.steps):
        chosen = torch.randint(len(samples), (settings.batch,)).tolist()
        alike: dict[torch.Size, list[Sample]] = {}
        for sample in map(samples.__getitem__, chosen):
            alike.setdefault(sample.labels.shape, []).append(sample)
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, settings.steps, settings.rate, 10)
        found = torch.zeros(())
        for some in alike.values():
            drawn = Sample(*map(torch.stack, zip(*some, strict=True)))
            # Every other pixel; the scores are far coarser.
            thinned = drawn._replace(labels=drawn.labels[:, 1::2, 1::2])
            found = found + len(some) / len(chosen) * loss(thinned)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        if (step + 1) % 50 == 0:
            report(f"step {step + 1} of {settings.steps}, loss {float(found.detach()):.4f}")

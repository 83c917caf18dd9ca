"""Learning where keyframes help most, from videos without labels.

What a keyframe is worth is measured once: for every frame of a video, and every age that its
keyframe can have, the share of labels that differ from what the reference network finds in the
frame itself. With that, what a policy costs can be computed exactly and differentiated: not by
trying one way of placing keyframes after another, but by the probability of each age from frame to
frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from accel_rt.errors import UsageError
from accel_rt.flow.dis import DISFlow
from accel_rt.models import store
from accel_rt.models.accel import Accel
from accel_rt.models.foreign.open import load_placed, place
from accel_rt.models.fuse import for_inference
from accel_rt.models.keyframe_gru import KeyframeGRU
from accel_rt.models.weights import save_tensors
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram, State
from accel_rt.runtime.watching import LONGEST, Signs, Thumbnails
from accel_rt.size import wxh
from accel_rt.train.optimiser import cosine_rate
from accel_rt.train.run import weight_file
from accel_rt.train.settings import PolicySettings
from accel_rt.video.reader import open_source

_INTERVALS = (4, 6, 10)
_WINDOW = 96  # frames
_STRICT = 10.0  # weight of the squared relative error of the number of keyframes
_LEAST_LOST = 1e-3  # percent a frame; less is nothing to be relative to
_VARIETY = 0.4  # standard deviation of the logarithm of factors on brightness and motion
_SHARPEST = 4.0  # odds become so much sharper, as they are taken for yes or no in the end


def train_policy(
    videos: Sequence[Path],
    settings: PolicySettings,
    out: Path,
    report: Callable[[str], None] = print,
) -> Path:
    """Learn from ``videos`` and write to ``out`` (a ``.safetensors`` file or a folder), which is
    returned; in a folder it has the name that the runtime looks for.

    Raises :class:`~accel_rt.errors.UsageError` for a video that is too short, or whose frames
    differ in size.
    """
    network, info = load_placed(place(settings.reference))
    out = weight_file(out, store.POLICY_WEIGHTS)
    cpu = torch.device("cpu")
    program = FrameProgram(for_inference(Accel(network), cpu, torch.float32), cpu, torch.float32)
    worths = []
    for video in videos:
        with open_source(video) as source:
            images = _of_one_size((frame.image_bgr for frame in source), video)
            worths.append(measure(images, program, info.size, LONGEST * max(_INTERVALS)))
        if len(worths[-1].changed) < _WINDOW:
            raise UsageError(f"{video} has fewer than {_WINDOW + 1} frames: name longer videos")
        report(f"{video}: {len(worths[-1].changed) + 1} frames")
    learnt = fit(worths, settings, report)
    frames = sum(len(worth.changed) + 1 for worth in worths)
    trained_on = f"{len(worths)} videos, {frames} frames, with {info.network}"
    save_tensors(out, learnt.state_dict(), {"kind": store.POLICY_WEIGHTS, "trained_on": trained_on})
    return out


def _of_one_size(images: Iterable[np.ndarray], video: Path) -> Iterator[np.ndarray]:
    """``images``; raises :class:`~accel_rt.errors.UsageError` for one of another size."""
    size = None
    for image in images:
        size = size or image.shape
        if image.shape != size:
            raise UsageError(
                f"{video} changes from {wxh(size[:2])} to {wxh(image.shape[:2])}: name videos "
                f"whose frames keep their size"
            )
        yield image


@dataclass(frozen=True)
class Worth:
    """What a video's keyframes do, ``[T, A]``: for frame ``t + 1``, carried from ``a + 1`` frames
    before; NaN where that is before the first.

    ``residual`` is as in :class:`~accel_rt.runtime.watching.Signs`, ``loss`` the percentage of
    labels that are not the reference's own; ``changed`` and ``moved`` are ``[T]``.
    """

    residual: Tensor
    loss: Tensor
    changed: Tensor
    moved: Tensor

    def rows(self, start: int, brightness: float = 1.0, motion: float = 1.0) -> Worth:
        """A window, as if it were so much brighter and faster."""
        part = slice(start, start + _WINDOW)
        residual, changed = self.residual[part] * brightness, self.changed[part] * brightness
        return Worth(residual, self.loss[part], changed, self.moved[part] * motion)


@torch.inference_mode()
def measure(
    frames: Iterable[np.ndarray],
    program: FrameProgram,
    trained: tuple[int, int] | None,
    oldest: int,
) -> Worth:
    """What the keyframes of a video do, up to an age; frames are uint8 BGR ``[H, W, 3]``."""
    flow, view = DISFlow(), None
    kept: deque[tuple[State, Thumbnails]] = deque(maxlen=oldest)
    signs: list[list[Signs]] = []
    losses: list[list[float]] = []
    for frame in frames:
        geometry = program.plan((frame.shape[0], frame.shape[1]), trained, None)
        image, thinned = resize_frame(frame, geometry.processed), geometry.thinned(frame)
        state, scores = program.key(program.prepare(image, geometry))
        own, before, view = scores.argmax(1), view, flow.view(image)
        if before is not None:
            step = flow.between(before, view, geometry.grid(program.stride))
            kept = deque(((program.advance(old, step), seen) for old, seen in kept), oldest)
            signs.append([seen.see(thinned, age) for age, (_, seen) in enumerate(kept, 1)])
            carried = (program.reference_scores(old).argmax(1) for old, _ in kept)
            losses.append([100 * float((labels != own).float().mean()) for labels in carried])
        thumbnails = Thumbnails()
        thumbnails.see(thinned, 0)
        kept.appendleft((state, thumbnails))

    def table(rows: Iterable[list[float]]) -> Tensor:
        return torch.tensor([[*row, *[torch.nan] * (oldest - len(row))] for row in rows])

    return Worth(
        table([sign.residual for sign in row] for row in signs),
        table(losses),
        torch.tensor([row[0].changed for row in signs]),
        torch.tensor([row[0].moved for row in signs]),
    )


def fit(
    videos: Sequence[Worth], settings: PolicySettings, report: Callable[[str], None] = print
) -> KeyframeGRU:
    """Minimise the loss of windows of ``videos`` at several intervals, each with its keyframes."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = KeyframeGRU()
    optimiser = torch.optim.Adam(network.parameters(), settings.rate)
    for step in range(settings.steps):
        interval = int(rng.choice(_INTERVALS))
        drawn = []
        for number in rng.integers(len(videos), size=settings.batch):
            start = int(rng.integers(len(videos[number].changed) - _WINDOW + 1))
            drawn.append(videos[number].rows(start, *np.exp(rng.normal(0, _VARIETY, 2))))
        sharper = 1 + (_SHARPEST - 1) * step / settings.steps
        lost, keys = expected(network, drawn, interval, sharper)
        fixed = mean(at_fixed_interval(video, interval) for video in drawn)
        wrong = _STRICT * (keys * interval - 1).square().mean()
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, settings.steps, settings.rate, 10)
        optimiser.zero_grad()
        (lost / max(fixed, _LEAST_LOST) + wrong).backward()
        optimiser.step()
        if (step + 1) % 20 == 0:
            found = (
                f"{float(lost.detach()):.2f}% lost, {fixed:.2f}% at the fixed interval {interval}"
            )
            report(f"step {step + 1} of {settings.steps}: {found}")
    return network.eval().requires_grad_(False)


def expected(
    network: KeyframeGRU, videos: Sequence[Worth], interval: int, sharper: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A frame's mean loss over ``videos`` of one length, each after a keyframe, and the further
    keyframes a frame of each of them, ``[N]``.

    A keyframe is spent with the probability that ``network`` gives, its odds ``sharper`` to some
    power; what is spent already is the mean over all ages.
    """
    residual, loss, changed, moved = (
        torch.stack([getattr(video, field.name) for video in videos]).nan_to_num()
        for field in fields(Worth)
    )
    count, length, oldest = residual.shape
    oldest = min(oldest, LONGEST * interval)
    age, each = torch.arange(1.0, oldest + 1), torch.tensor(float(interval))
    state = network.start(count)
    chance = F.one_hot(torch.zeros(count, dtype=torch.long), oldest).float()
    lost, spent = torch.zeros(()), torch.zeros(count, 1)
    for t in range(length):
        state = network.follow(state, changed[:, t], moved[:, t])
        over = spent - (t + 1) / interval
        odds = network(state[:, None], residual[:, t, :oldest], age, over, each)
        key = chance * torch.where(age < oldest, (sharper * odds).sigmoid(), 1.0)
        rest = chance - key
        lost = lost + (rest * loss[:, t, :oldest]).sum()
        fresh = key.sum(1, keepdim=True)
        spent = spent + fresh
        chance = torch.cat([fresh, rest[:, :-1]], 1)
    return lost / (length * count), spent[:, 0] / length


def at_fixed_interval(video: Worth, interval: int) -> float:
    """A frame's mean loss where every ``interval``-th is a keyframe."""
    frame = torch.arange(len(video.changed))
    age = (frame + 1) % interval
    losses = video.loss[frame, age - 1]
    return float(losses[age > 0].sum()) / len(frame)

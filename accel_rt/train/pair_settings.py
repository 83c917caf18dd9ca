"""What the stages that train two networks together can be told. Imports nothing slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from accel_rt.data.layouts import Layout
from accel_rt.errors import UsageError
from accel_rt.option import check, inherited, option
from accel_rt.runtime.schedule import NAMED
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE
from accel_rt.size import wxh
from accel_rt.train.settings import (
    ABOVE_ZERO,
    SHARE,
    LabelledSettings,
    TrainingSettings,
    layout,
    shorter,
)


@dataclass(frozen=True, kw_only=True)
class KeyframeSettings:
    """Where the keyframes of a sample are."""

    interval: int = option("Keyframes are 1 to N-1 frames back.", 10, low=2, metavar="N")
    schedule: str | None = option(
        "Keyframes are as far back as where this preset fuses, instead; live-* are 'live's own.",
        None,
        choices=tuple(NAMED),
        metavar="PRESET",
    )

    @property
    def distances(self) -> tuple[int, ...]:
        """How many frames back a sample's keyframe may be."""
        if self.schedule is None:
            return tuple(range(1, self.interval))
        distances = NAMED[self.schedule].fused_after
        if not distances:
            raise UsageError(
                f"--schedule {self.schedule} never runs the update network, so that nothing is "
                f"fused: choose another one"
            )
        return distances

    @property
    def places(self) -> dict[int, int]:
        """For each of the distances, how many frames ahead the next keyframe is, 0 for none."""
        schedule = None if self.schedule is None else NAMED[self.schedule]
        ahead = 0 if schedule is None or not schedule.look_ahead else schedule.interval
        return {d: ahead - d if ahead and d else 0 for d in self.distances}


@dataclass(frozen=True)
class JointSettings(KeyframeSettings, LabelledSettings):
    """One joint run.

    - ``update_scales`` are drawn from for each sample; validation's main score is measured at the
      first one.
    - ``fusion_steps`` train the fusion alone (phase 1), the others everything (phase 2).
    - ``branch_loss`` keeps each branch good alone (score fusion; 0 as in the paper), and
      ``keep_reference`` the reference as it is, so that several updates can share one.
    - ``batch_norms`` ``frozen`` keeps their statistics, for small batches of networks that are
      nearly done: few snippets make poor ones, and two input scales share them.
    - ``start_share``: both ends of training have learned, and what lies between them is often
      better than either (Wortsman et al., Robust fine-tuning of zero-shot models, 2022).
    - The teacher teaches the branches, too.
    - ``same_at_half`` makes a reduced input worth taking: what the update network says of it is to
      be what it says of the whole one.
    """

    reference: str = option("Reference weights.", metavar="NAME|PATH")
    update: str | None = option(
        "Update weights; without them, Deep Feature Flow.", None, metavar="NAME|PATH"
    )
    update_scales: tuple[float, ...] = option(
        "Sizes of the update network's input to draw from.",
        (1.0, 0.5),
        choices=(1, 0.5, 0.25),
        metavar="S[,S]",
    )
    flow: str = option(
        "Fixed DIS flow, or FlowNetS weights to train too.", "dis", metavar="dis|NAME|PATH"
    )
    warp: str = option(
        "Warp once by composed flow, or frame by frame.",
        "composed",
        choices=("composed", "incremental"),
    )
    fusion: str = option("What is fused.", "score", choices=("score", "feature"))
    fusion_steps: int = option("Steps of phase 1, which trains the fusion alone.", 100, low=0)
    fusion_rate: float = option("Peak learning rate of the score fusion.", 5e-3, **ABOVE_ZERO)
    branch_loss: float = option(
        "Weight of each branch's own loss beside the fused one.", 0.25, low=0
    )
    keep_reference: bool = option("Train all but the reference.", False)
    agree: float = option(
        "Weight of fused and update's scores agreeing with those carried along the flow, where "
        "these are right: less flicker (score fusion).",
        0.0,
        low=0,
    )
    same_at_half: float = option(
        "Weight of the update's scores at reduced sizes being those at full size (score fusion).",
        0.0,
        low=0,
    )
    batch_norms: str = option(
        "Keep their statistics, or take them from the batch in phase 2.",
        "frozen",
        choices=("frozen", "learning"),
    )
    start_share: float = option(
        "Share of the weights it started from in what is validated and written.",
        0.0,
        low=0,
        high=1,
        below=True,
    )
    validate_interval: int = option("Keyframe interval of the validation.", 5, low=2)
    street: float = inherited(
        LabelledSettings, "street", 0.25, shown_default="0.25; 1 without --data"
    )
    crop: tuple[int, int] = inherited(LabelledSettings, "crop", (256, 320))
    scale: tuple[float, float] = inherited(LabelledSettings, "scale", (0.6, 1.6))
    rate: float = inherited(TrainingSettings, "rate", 1e-4)
    steps: int = inherited(TrainingSettings, "steps", 600)
    warmup: int = inherited(TrainingSettings, "warmup", 50)
    validate_every: int = inherited(TrainingSettings, "validate_every", 200)
    validate_first: int = inherited(TrainingSettings, "validate_first", 0)

    @property
    def gate(self) -> bool:
        """Whether the schedule trusts the other side, or the update, where the flow is wrong."""
        return self.schedule is not None and NAMED[self.schedule].gate

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.distances
        if self.keep_reference and self.update is None and self.flow == "dis":
            raise UsageError(
                "with --keep-reference, fixed flow and no --update nothing is left to train: name "
                "an --update or FlowNetS weights"
            )
        if self.agree and (self.fusion != "score" or self.update is None):
            raise UsageError("--agree compares both branches: it needs --update and score fusion")
        if self.same_at_half and (self.fusion != "score" or self.update is None):
            raise UsageError(
                "--same-at-half compares the update's scores: it needs --update and score fusion"
            )
        if not self.update_scales:
            raise UsageError("--update-scales must be of 1, 0.5 and 0.25, got none")
        cell = round(16 / min(self.update_scales))
        if any(side % cell for side in self.crop):
            raise UsageError(
                f"the crop must be a multiple of {cell} pixels (16 at the smallest update scale), "
                f"got {wxh(self.crop)}"
            )


@dataclass(frozen=True)
class FusionSettings(KeyframeSettings):
    """One score fusion; ``update_scales`` are drawn from for each snippet.

    ``anchor`` is the weight of the squared distance from the plain mean that fusion starts as.
    """

    reference: str = option("Reference weights.", metavar="NAME|PATH")
    update: str = option("Update weights.", metavar="NAME|PATH")
    data: Path | None = option("Data set.", None, kind="folder")
    video: str | None = option(
        "A video without labels in place of a data set: what the reference says of a frame itself "
        "is what the pair learns to say.",
        None,
        metavar="FILE",
    )
    layout: Layout = layout()
    shorter: int | None = shorter()
    snippets: int = option("Snippets to learn from.", 400, low=1)
    street: float | None = option(
        "Share of procedural streets beside --data.", None, shown_default="0.25", **SHARE
    )
    update_scales: tuple[float, ...] = (0.5, 1.0)
    steps: int = option("Optimiser steps.", 300, low=1)
    batch: int = option("Snippets of a step.", 8, low=1)
    rate: float = option("Peak learning rate.", 1e-2, **ABOVE_ZERO)
    gate: bool = option("Learn where to trust the update network alone, too.", True)
    anchor: float = 1e-3
    precision: str = "auto"
    seed: int = option("Of the snippets.", 0, low=0)

    @property
    def longest(self) -> int:
        """Frames of the longest snippet."""
        return max(back + 1 + ahead for back, ahead in self.places.items())

    def __post_init__(self) -> None:
        check(self)
        _ = self.distances
        if (self.data is None) == (self.video is None):
            raise UsageError(
                "a fusion learns from --data, a labelled data set, or from --video, a video that "
                "the reference labels itself: give one of them"
            )
        if self.video is not None and (self.street is not None or self.shorter is not None):
            raise UsageError("--street and --shorter are for labelled pictures: leave them out")


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A pair for somebody's own classes; ``steps`` are each network's."""

    data: Path
    layout: Layout = layout()
    init: str = option(
        "What to start from: the networks' installed weights, ImageNet's, nothing, or a run.",
        "installed",
        metavar="installed|imagenet|none|RUN",
    )
    reference: str = option("Network of the keyframes.", DEFAULT_REFERENCE, metavar="NAME")
    update: str = option("Network of the frames between them.", DEFAULT_UPDATE, metavar="NAME")
    shorter: int = shorter(480)
    crop: tuple[int, int] = inherited(LabelledSettings, "crop", (240, 320))
    steps: int = inherited(TrainingSettings, "steps", 400)
    batch: int = inherited(TrainingSettings, "batch", 8)
    rate: float = inherited(TrainingSettings, "rate", 5e-4)
    precision: str = inherited(TrainingSettings, "precision", "auto")
    device: str = inherited(TrainingSettings, "device", "auto")
    seed: int = inherited(TrainingSettings, "seed", 0)
    workers: int = inherited(TrainingSettings, "workers", 1)

    def __post_init__(self) -> None:
        check(self)

"""What the stages of training can be told. Imports nothing slow: the command line reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_rt.data.layouts import LAYOUTS, Layout
from accel_rt.errors import UsageError
from accel_rt.option import check, inherited, option
from accel_rt.runtime.settings import DEFAULT_REFERENCE
from accel_rt.size import wxh

if TYPE_CHECKING:
    from accel_rt.models.zoo import Task

SHARE = {"low": 0, "high": 1}
ABOVE_ZERO = {"low": 0, "above": True}
_TWO = {"count": 2, "low": 0, "above": True, "metavar": "A,B"}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of the shared loop; a stage's own settings extend them.

    The rate is reached after ``warmup`` steps and then lowered to zero along half a cosine. The
    weight average is what is validated and written. ``precision`` ``auto`` is bf16 (autocast)
    where that is fast. ``validate_first`` is early, so that what is wrong shows at once.
    """

    steps: int = option("Optimiser steps.", 2000, low=1)
    batch: int = option("Samples of a step, over all processes.", 8, low=1)
    accumulate: int = option("Parts that a batch is taken in.", 1, low=1)
    optimiser: str = option("How to step.", "adamw", choices=("adamw", "sgd"))
    rate: float = option("Peak learning rate.", 5e-4, **ABOVE_ZERO)
    weight_decay: float = option("On convolution weights.", 0.02, low=0)
    warmup: int = option("Steps to the peak rate.", 100, low=0)
    clip: float = option("Largest norm of the gradient.", 5.0, **ABOVE_ZERO)
    ema: float = option("Decay of the weight average.", 0.998, **SHARE)
    precision: str = option("Of the networks.", "auto", choices=("auto", "bf16", "fp32"))
    device: str = option("Where to train.", "auto", metavar="auto|cpu|cuda[:N]")
    seed: int = option("Of weights and samples.", 0, low=0)
    validate_every: int = option("Steps between validations.", 500, low=1)
    validate_first: int = option(
        "Step of an early first validation; 0 is before training.", 100, low=0
    )
    log_every: int = option("Steps between rows of log.csv.", 20, low=1)
    save_every_s: float = option("Seconds between checkpoints.", 120.0, low=0)
    workers: int = option("Processes that make samples.", 1, low=0)
    sync_bn: bool = option("Batch norms see the samples of all processes.", False)
    tensorboard: bool = option("Log to TensorBoard too, if it is installed.", True)

    def __post_init__(self) -> None:
        check(self)
        if self.batch % self.accumulate:
            raise UsageError(
                f"a batch of {self.batch} does not divide into {self.accumulate} parts: choose an "
                f"--accumulate that divides --batch"
            )

    def described(self) -> dict[str, Any]:
        """The settings as plain values, as a checkpoint keeps them."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def layout() -> Any:
    return option("Of the data set; auto tells by its folders.", "auto", choices=LAYOUTS)


def shorter(default: int | None = None) -> Any:
    help = "Reduce pictures of more pixels on their shorter side."
    return option(help, default, low=16, metavar="PX")


@dataclass(frozen=True, kw_only=True)
class LabelledSettings(TrainingSettings):
    """Training on labelled pictures. ``data`` gets the samples that ``also`` and ``street`` leave.

    ``balance`` weighs classes by their frequency in the training labels to the power of minus
    ``balance``.
    """

    data: Path | None = option(
        "Data set; without it, procedural streets only.", None, kind="folder"
    )
    layout: Layout = layout()
    also: tuple[tuple[Path, float], ...] = option(
        "A further data set and its share of the samples; can be repeated.", (), kind="shares"
    )
    street: float = option(
        "Share of procedural streets.",
        0.2,
        shown_default="0.2; 1 without --data",
        **SHARE,
    )
    crop: tuple[int, int] = option("Size of the training crops.", (240, 320), kind="size", low=1)
    scale: tuple[float, float] = option("Random scaling, from A to B.", (0.5, 1.75), **_TWO)
    balance: float = option(
        "How much rare classes weigh: 0 no more than others, 1 in inverse proportion.",
        0.5,
        **SHARE,
    )
    hardest: float = option(
        "Share of each image's pixels that counts, the hardest ones.",
        1.0,
        low=0,
        above=True,
        high=1,
    )
    edges: float = option(
        "How much more pixels near another class weigh; all of a thin thing is near one.",
        0.0,
        low=0,
    )
    lovasz: float = option("Lovasz-softmax's share of the labels' loss, for mIoU.", 0.0, **SHARE)
    whole: float = option("Share of crops that show whole frames, scaled to fit.", 0.0, **SHARE)
    robust: float = option(
        "Share of samples that noise, blur, weather, light or compression harms.", 0.0, **SHARE
    )
    teacher: tuple[str, ...] = option(
        "Also learn what these networks predict on average (names or files).",
        (),
        kind="names",
        metavar="NAME[,NAME]",
    )
    teacher_scales: tuple[float, ...] = option(
        "Sizes at which they see the samples, and their mirror images.",
        (1.0,),
        metavar="S[,S]",
        **ABOVE_ZERO,
    )
    distil: float = option("The teachers' share of the loss.", 0.5, **SHARE)


@dataclass(frozen=True)
class DeepLabSettings(LabelledSettings):
    """One run of one network.

    ``calibrate`` takes the weights of ``balance`` out of the finished network's scores again, so
    that it no longer finds rare classes too often (Menon et al., logit adjustment, 2021).
    """

    network: str = option(
        "Such as resnet18, or timm:NAME, a feature network of timm's (from a checkpoint of its: "
        "timm:NAME@FILE).",
        metavar="NAME",
    )
    task: Task | None = option(
        "Its task network, if not its own or that of --init: the paper's, one with skips from "
        "strides 8 and 4, or such a one of few plain convolutions.",
        None,
        choices=("paper", "skip", "plain"),
    )
    shorter: int | None = shorter()
    calibrate: bool = option("Take the weights of --balance out of the result again.", False)
    mix: float = option("Share of samples with part of another one pasted in.", 0.0, **SHARE)
    mix_with: str = option(
        "What of it: some of its classes (ClassMix) or a box (CutMix).",
        "class",
        choices=("class", "box"),
    )
    teacher_frames: bool = option(
        "Ask the teachers once about every whole frame, as it is, instead of about each sample: "
        "faster, and nothing that is harmed or pasted misleads them.",
        False,
    )
    hints: float = option("Weight of also guessing the first teacher's features.", 0.0, low=0)
    init: str = option(
        "Start from nothing, from installed ImageNet weights (for timm's networks its own), from "
        "an ImageNet checkpoint, or from weights of this network, or of a ResNet of another depth "
        "or with another task network.",
        "none",
        metavar="none|imagenet|NAME|FILE",
    )
    freeze_features: bool = option("Train the task network alone.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hints and not self.teacher:
            raise UsageError("--hints are a teacher's: name one with --teacher")
        if self.teacher_frames and not self.teacher:
            raise UsageError("--teacher-frames are a teacher's: name one with --teacher")
        if self.teacher_frames and self.hints:
            raise UsageError(
                "--hints are a teacher's features of the samples: leave out these, or "
                "--teacher-frames"
            )
        if self.freeze_features and self.init == "none" and "@" not in self.network:
            raise UsageError("--freeze-features keeps features that there are: start with --init")
        if self.freeze_features and self.hints:
            raise UsageError("--hints train the features: leave out these, or --freeze-features")


@dataclass(frozen=True)
class FlowSettings(TrainingSettings):
    """One run of FlowNetS; what ``street`` and ``files`` leave of the samples is moved pictures."""

    width: float = option(
        "Channels of every layer, of the paper's: 1, or 0.25 for the slim network.",
        1.0,
        low=0,
        above=True,
        high=2,
    )
    data: Path | None = option(
        "A data set whose training images are moved; without it, rendered streets are.",
        None,
        kind="folder",
    )
    pairs: Path | None = option(
        "Pairs with flow on disk: FlyingChairs, Sintel or Middlebury.", None, kind="folder"
    )
    street: float = option("Share of procedural drives.", 0.4, metavar="RATIO", **SHARE)
    files: float = option("Share of --pairs.", 0.0, metavar="RATIO", **SHARE)
    crop: tuple[int, int] = inherited(LabelledSettings, "crop", (192, 256))
    scale: tuple[float, float] = inherited(LabelledSettings, "scale", (0.8, 1.6))
    init: str = option("Start from a FlowNetS weight file.", "none", metavar="none|FILE")
    rate: float = inherited(TrainingSettings, "rate", 1e-4)
    weight_decay: float = inherited(TrainingSettings, "weight_decay", 4e-4)
    steps: int = inherited(TrainingSettings, "steps", 20000)
    validate_every: int = inherited(TrainingSettings, "validate_every", 1000)
    log_every: int = inherited(TrainingSettings, "log_every", 50)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.files and self.pairs is None:
            raise UsageError("a --files ratio above 0 mixes in pairs on disk: give --pairs too")
        if self.street + self.files > 1:
            raise UsageError(
                f"--street {self.street} and --files {self.files} are shares of the samples: "
                f"together at most 1"
            )
        if any(side % 64 for side in self.crop):
            raise UsageError(
                f"FlowNetS trains on crops of multiples of 64 pixels, got {wxh(self.crop)}"
            )


@dataclass(frozen=True)
class PolicySettings:
    """A keyframe policy of :mod:`accel_rt.train.policy`."""

    reference: str = option("Reference weights.", DEFAULT_REFERENCE, metavar="NAME|PATH")
    steps: int = option("Optimiser steps.", 220, low=1)
    batch: int = option("Windows of a step.", 8, low=1)
    rate: float = option("Peak learning rate.", 1e-2, **ABOVE_ZERO)
    seed: int = option("Of the windows.", 0, low=0)

    def __post_init__(self) -> None:
        check(self)


FREE = (
    *("data", "also", "layout", "pairs", "device", "precision", "accumulate", "workers", "sync_bn"),
    *("tensorboard", "log_every", "save_every_s", "validate_every", "validate_first"),
)
"""Settings that may be others when a run goes on: how it runs, and where its pictures are."""


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value

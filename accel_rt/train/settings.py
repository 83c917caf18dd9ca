"""What the stages of training can be told. Imports nothing slow: the command line reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_rt.data.layouts import LAYOUTS, Layout
from accel_rt.errors import UsageError
from accel_rt.option import check, inherited, option
from accel_rt.runtime.schedule import NAMED
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE
from accel_rt.size import wxh

if TYPE_CHECKING:
    from accel_rt.models.zoo import Task

_SHARE = {"low": 0, "high": 1}
_SIZES = {"low": 0, "above": True}
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
    rate: float = option("Peak learning rate.", 5e-4, **_SIZES)
    weight_decay: float = option("On convolution weights.", 0.02, low=0)
    warmup: int = option("Steps to the peak rate.", 100, low=0)
    clip: float = option("Largest norm of the gradient.", 5.0, **_SIZES)
    ema: float = option("Decay of the weight average.", 0.998, **_SHARE)
    precision: str = option("Of the networks.", "auto", choices=("auto", "bf16", "fp32"))
    device: str = option("Where to train.", "auto", metavar="auto|cpu|cuda[:N]")
    seed: int = option("Of weights and samples.", 0)
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


def _data() -> Any:
    return option("Data set; without it, procedural streets only.", None, kind="folder")


def _layout() -> Any:
    return option("Of the data set; auto tells by its folders.", "auto", choices=LAYOUTS)


def _shorter(default: int | None = None) -> Any:
    help = "Reduce pictures of more pixels on their shorter side."
    return option(help, default, low=16, metavar="PX")


def _also() -> Any:
    help = "A further data set and its share of the samples; can be repeated."
    return option(help, (), kind="shares")


def _street(default: float) -> Any:
    shown = f"{default:g}; 1 without --data"
    return option("Share of procedural streets.", default, shown_default=shown, **_SHARE)


def _interval() -> Any:
    return option("Keyframes are 1 to N-1 frames back.", 10, low=2, metavar="N")


def _schedule() -> Any:
    help = "Keyframes are as far back as where this preset fuses, instead; live-* are 'live's own."
    return option(help, None, choices=tuple(NAMED), metavar="PRESET")


def _distances(settings: JointSettings | FusionSettings) -> tuple[int, ...]:
    """How many frames back the keyframe of a sample may be."""
    if settings.schedule is None:
        return tuple(range(1, settings.interval))
    distances = NAMED[settings.schedule].fused_after
    if not distances:
        raise UsageError(
            f"--schedule {settings.schedule} never runs the update network, so that nothing is "
            f"fused: choose another one"
        )
    return distances


def _after(settings: JointSettings | FusionSettings, distance: int) -> int:
    """How many frames ahead the next keyframe is; 0 where a schedule does not look ahead."""
    schedule = None if settings.schedule is None else NAMED[settings.schedule]
    if schedule is None or not schedule.look_ahead or not distance:
        return 0
    return schedule.interval - distance


def _crop(height: int, width: int) -> Any:
    return option("Size of the training crops.", (height, width), kind="size", low=1)


def _scale(low: float, high: float) -> Any:
    return option("Random scaling, from A to B.", (low, high), **_TWO)


def _robust() -> Any:
    help = "Share of samples that noise, blur, weather, light or compression harms."
    return option(help, 0.0, **_SHARE)


def _whole() -> Any:
    return option("Share of crops that show whole frames, scaled to fit.", 0.0, **_SHARE)


def _edges() -> Any:
    help = "How much more pixels near another class weigh; all of a thin thing is near one."
    return option(help, 0.0, low=0)


def _balance() -> Any:
    help = "How much rare classes weigh: 0 no more than others, 1 in inverse proportion."
    return option(help, 0.5, **_SHARE)


def _hardest() -> Any:
    help = "Share of each image's pixels that counts, the hardest ones."
    return option(help, 1.0, low=0, above=True, high=1)


def _teacher() -> Any:
    help = "Also learn what these networks predict on average (names or files)."
    return option(help, (), kind="names", metavar="NAME[,NAME]")


def _teacher_scales() -> Any:
    help = "Sizes at which they see the samples, and their mirror images."
    return option(help, (1.0,), metavar="S[,S]", **_SIZES)


def _distil() -> Any:
    return option("The teachers' share of the loss.", 0.5, **_SHARE)


@dataclass(frozen=True)
class DeepLabSettings(TrainingSettings):
    """One run of one network. ``data`` gets the samples that ``also`` and ``street`` leave.

    ``balance`` weighs classes by their frequency in the training labels to the power of minus
    ``balance``; ``calibrate`` takes these weights out of the finished network's scores again, so
    that it no longer finds rare classes too often (Menon et al., logit adjustment, 2021).
    """

    network: str = option(
        "Such as resnet18, or timm:NAME, a feature network of timm's (from a checkpoint of its: "
        "timm:NAME@FILE).",
        metavar="NAME",
    )
    data: Path | None = _data()
    task: Task | None = option(
        "Its task network, if not its own: the paper's, one with skips from strides 8 and 4, or "
        "such a one of few plain convolutions.",
        None,
        choices=("paper", "skip", "plain"),
    )
    street: float = _street(0.2)
    layout: Layout = _layout()
    also: tuple[tuple[Path, float], ...] = _also()
    shorter: int | None = _shorter()
    crop: tuple[int, int] = _crop(240, 320)
    scale: tuple[float, float] = _scale(0.5, 1.75)
    balance: float = _balance()
    calibrate: bool = option("Take the weights of --balance out of the result again.", False)
    hardest: float = _hardest()
    mix: float = option("Share of samples with part of another one pasted in.", 0.0, **_SHARE)
    mix_with: str = option(
        "What of it: some of its classes (ClassMix) or a box (CutMix).",
        "class",
        choices=("class", "box"),
    )
    edges: float = _edges()
    whole: float = _whole()
    robust: float = _robust()
    teacher: tuple[str, ...] = _teacher()
    teacher_scales: tuple[float, ...] = _teacher_scales()
    distil: float = _distil()
    hints: float = option("Weight of also guessing the first teacher's features.", 0.0, low=0)
    init: str = option(
        "Start from nothing, from installed ImageNet weights (for timm's networks its own), from "
        "an ImageNet checkpoint, or from weights of this network, of a shallower ResNet, or of a "
        "ResNet with another task network.",
        "none",
        metavar="none|imagenet|NAME|FILE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hints and not self.teacher:
            raise UsageError("--hints are a teacher's: name one with --teacher")


@dataclass(frozen=True)
class JointSettings(TrainingSettings):
    """One joint run. ``data``, ``also`` and ``street`` are as in :class:`DeepLabSettings`.

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
    data: Path | None = _data()
    layout: Layout = _layout()
    also: tuple[tuple[Path, float], ...] = _also()
    street: float = _street(0.25)
    interval: int = _interval()
    schedule: str | None = _schedule()
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
    fusion_rate: float = option("Peak learning rate of the score fusion.", 5e-3, **_SIZES)
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
    crop: tuple[int, int] = _crop(256, 320)
    scale: tuple[float, float] = _scale(0.6, 1.6)
    balance: float = _balance()
    hardest: float = _hardest()
    edges: float = _edges()
    whole: float = _whole()
    robust: float = _robust()
    teacher: tuple[str, ...] = _teacher()
    teacher_scales: tuple[float, ...] = _teacher_scales()
    distil: float = _distil()
    validate_interval: int = option("Keyframe interval of the validation.", 5, low=2)
    rate: float = inherited(TrainingSettings, "rate", 1e-4)
    steps: int = inherited(TrainingSettings, "steps", 600)
    warmup: int = inherited(TrainingSettings, "warmup", 50)
    validate_every: int = inherited(TrainingSettings, "validate_every", 200)
    validate_first: int = inherited(TrainingSettings, "validate_first", 0)

    @property
    def distances(self) -> tuple[int, ...]:
        """How many frames back a sample's keyframe may be."""
        return _distances(self)

    @property
    def places(self) -> dict[int, int]:
        """For each of the distances, how many frames ahead the next keyframe is, 0 for none."""
        return {distance: _after(self, distance) for distance in self.distances}

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
    street: float = option("Share of procedural drives.", 0.4, metavar="RATIO", **_SHARE)
    files: float = option("Share of --pairs.", 0.0, metavar="RATIO", **_SHARE)
    crop: tuple[int, int] = _crop(192, 256)
    scale: tuple[float, float] = _scale(0.8, 1.6)
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
class FusionSettings:
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
    layout: Layout = _layout()
    shorter: int | None = _shorter()
    interval: int = _interval()
    schedule: str | None = _schedule()
    snippets: int = option("Snippets to learn from.", 400, low=1)
    street: float | None = option(
        "Share of procedural streets beside --data.", None, shown_default="0.25", **_SHARE
    )
    update_scales: tuple[float, ...] = (0.5, 1.0)
    steps: int = option("Optimiser steps.", 300, low=1)
    batch: int = option("Snippets of a step.", 8, low=1)
    rate: float = option("Peak learning rate.", 1e-2, **_SIZES)
    gate: bool = option("Learn where to trust the update network alone, too.", True)
    anchor: float = 1e-3
    precision: str = "auto"
    seed: int = option("Of the snippets.", 0)

    @property
    def distances(self) -> tuple[int, ...]:
        """How many frames back a snippet's keyframe may be."""
        return _distances(self)

    def after(self, distance: int) -> int:
        """How many frames ahead the next keyframe is, 0 for none."""
        return _after(self, distance)

    @property
    def longest(self) -> int:
        """Frames of the longest snippet."""
        return max(distance + 1 + self.after(distance) for distance in self.distances)

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


@dataclass(frozen=True)
class PolicySettings:
    """A keyframe policy of :mod:`accel_rt.train.policy`."""

    reference: str = option("Reference weights.", DEFAULT_REFERENCE, metavar="NAME|PATH")
    steps: int = option("Optimiser steps.", 220, low=1)
    batch: int = option("Windows of a step.", 8, low=1)
    rate: float = option("Peak learning rate.", 1e-2, **_SIZES)
    seed: int = option("Of the windows.", 0)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A pair for somebody's own classes; ``steps`` are each network's."""

    data: Path
    layout: Layout = _layout()
    init: str = option(
        "What to start from: the networks' installed weights, ImageNet's, nothing, or a run.",
        "installed",
        metavar="installed|imagenet|none|RUN",
    )
    reference: str = option("Network of the keyframes.", DEFAULT_REFERENCE, metavar="NAME")
    update: str = option("Network of the frames between them.", DEFAULT_UPDATE, metavar="NAME")
    shorter: int = _shorter(480)
    crop: tuple[int, int] = _crop(240, 320)
    steps: int = inherited(TrainingSettings, "steps", 400)
    batch: int = inherited(TrainingSettings, "batch", 8)
    rate: float = inherited(TrainingSettings, "rate", 5e-4)
    precision: str = inherited(TrainingSettings, "precision", "auto")
    device: str = inherited(TrainingSettings, "device", "auto")
    seed: int = inherited(TrainingSettings, "seed", 0)
    workers: int = inherited(TrainingSettings, "workers", 1)

    def __post_init__(self) -> None:
        check(self)


RESUMABLE = ("steps", "batch", "optimiser", "rate", "seed")
"""Settings that must be the same when a run goes on; stages add their own."""


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value

"""What the stages of training can be told. Imports nothing slow: the command line reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_rt.errors import UsageError

if TYPE_CHECKING:
    from accel_rt.data.open import Layout
    from accel_rt.models.zoo import Task


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of the shared loop; a stage's own settings extend them.

    - ``steps``: optimiser steps; ``batch``: samples of one step over all processes, taken in
      ``accumulate`` parts.
    - ``rate``: peak learning rate, reached after ``warmup`` steps and then lowered to zero along
      half a cosine. ``optimiser``: ``adamw`` or ``sgd``.
    - ``clip``: the gradient's largest norm. ``ema``: decay of the weight average, which is what
      is validated and written.
    - ``precision``: ``bf16`` (autocast), ``fp32``, or ``auto``: bf16 where it is fast.
      ``device``: ``auto``, ``cpu``, ``cuda[:N]``.
    - ``validate_every``: steps; ``validate_first``: the first validation's step, early, so that
      what is wrong shows at once (0: before the first step).
    - ``workers``: processes that make samples. ``sync_bn``: batch norms see the whole step's
      samples where there are several processes.
    - ``tensorboard``: also log to TensorBoard, if it is installed.
    """

    steps: int = 2000
    batch: int = 8
    accumulate: int = 1
    optimiser: str = "adamw"
    rate: float = 5e-4
    weight_decay: float = 0.02
    warmup: int = 100
    clip: float = 5.0
    ema: float = 0.998
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    validate_every: int = 500
    validate_first: int = 100
    log_every: int = 20
    save_every_s: float = 120.0
    workers: int = 1
    sync_bn: bool = False
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if self.batch % self.accumulate:
            raise UsageError(
                f"a batch of {self.batch} does not divide into {self.accumulate} parts: choose an "
                f"--accumulate that divides --batch"
            )
        for name, value, allowed in (
            ("optimiser", self.optimiser, ("adamw", "sgd")),
            ("precision", self.precision, ("auto", "bf16", "fp32")),
        ):
            if value not in allowed:
                raise UsageError(f"unknown {name} '{value}': choose from {', '.join(allowed)}")

    def described(self) -> dict[str, Any]:
        """The settings as plain values, as a checkpoint keeps them."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class DeepLabSettings(TrainingSettings):
    """One run. ``init`` and ``task`` are what :func:`~accel_rt.train.start.start_network` takes.

    ``data`` is a data set in ``layout``, ``also`` further ones with their shares of the samples,
    ``street`` the share of procedural streets; ``data`` gets the rest, and validates.

    ``balance`` weighs classes by their frequency in the training labels to the power of minus
    ``balance``: 0 counts every pixel alike, 1 every class. ``calibrate`` takes these weights out
    of the finished network's scores again, so that it no longer finds rare classes too often
    (Menon et al., logit adjustment, 2021). ``hardest`` is the share of each
    image's pixels that counts, those with the largest loss (1: all). ``mix`` is the share of
    samples that get part of another one pasted in: classes (``mix_with`` ``class``, ClassMix) or
    a ``box`` (CutMix). ``teacher`` names trained networks whose
    averaged predictions are learned too, with a share ``distil`` of the loss; they see the
    samples, and their mirror images, at each of ``teacher_scales``. ``hints`` weighs the error of
    guessing the first teacher's features from the network's own (0: not learned).
    """

    network: str
    data: Path | None
    task: Task | None = None
    street: float = 0.2
    layout: Layout = "auto"
    also: tuple[tuple[Path, float], ...] = ()
    crop: tuple[int, int] = (320, 240)
    scale: tuple[float, float] = (0.5, 1.75)
    balance: float = 0.5
    calibrate: bool = False
    hardest: float = 1.0
    mix: float = 0.0
    mix_with: str = "class"
    teacher: tuple[str, ...] = ()
    teacher_scales: tuple[float, ...] = (1.0,)
    distil: float = 0.5
    hints: float = 0.0
    init: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hints and not self.teacher:
            raise UsageError("--hints are a teacher's: name one with --teacher")


@dataclass(frozen=True)
class JointSettings(TrainingSettings):
    """One joint run.

    - ``reference``, ``update``: installed names or weight files; no ``update`` is Deep Feature
      Flow.
    - ``data``, ``layout``, ``also``, ``street``: as in :class:`DeepLabSettings`.
    - ``interval``: keyframes are 1 to ``interval - 1`` frames back; ``update_scales`` are drawn
      from for each sample, and the first one is what validation's main score is measured at.
    - ``flow``: ``dis`` (fixed), or FlowNetS weights to be trained too. ``warp``: ``composed`` or
      ``incremental``. ``fusion``: ``score`` or ``feature``.
    - ``fusion_steps`` train the fusion alone (phase 1), at most at ``fusion_rate``; the others
      everything (phase 2).
    - ``branch_loss``: weight of each branch's own loss beside the fused one, so that each stays
      good alone (score fusion; 0 as in the paper).
    - ``keep_reference``: the reference stays as it is, so that several updates can share one.
    - ``batch_norms``: ``frozen`` keeps their statistics, for small batches of networks that are
      nearly done, since few snippets make poor ones and two input scales share them; ``learning``
      takes them from the batch in phase 2, as when the branches were trained.
    - ``start_share``: share of the weights that training started from in those that are validated
      and written, 0 to below 1 (Wortsman et al., Robust fine-tuning of zero-shot models, 2022):
      both ends have learned, and what lies between them is often better than either.
    - ``balance``, ``hardest``, ``teacher``, ``teacher_scales``, ``distil``: as in
      :class:`DeepLabSettings`. The teacher teaches the branches, too.
    """

    reference: str
    update: str | None
    data: Path | None
    layout: Layout = "auto"
    also: tuple[tuple[Path, float], ...] = ()
    street: float = 0.25
    interval: int = 10
    update_scales: tuple[float, ...] = (1.0, 0.5)
    flow: str = "dis"
    warp: str = "composed"
    fusion: str = "score"
    fusion_steps: int = 100
    fusion_rate: float = 5e-3
    branch_loss: float = 0.25
    keep_reference: bool = False
    batch_norms: str = "frozen"
    start_share: float = 0.0
    crop: tuple[int, int] = (320, 256)
    scale: tuple[float, float] = (0.6, 1.6)
    balance: float = 0.5
    hardest: float = 1.0
    teacher: tuple[str, ...] = ()
    teacher_scales: tuple[float, ...] = (1.0,)
    distil: float = 0.5
    validate_interval: int = 5
    rate: float = field(default=1e-4, kw_only=True)
    steps: int = field(default=600, kw_only=True)
    warmup: int = field(default=50, kw_only=True)
    validate_every: int = field(default=200, kw_only=True)
    validate_first: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval < 2:
            raise UsageError(f"joint training needs an interval of 2 or more, got {self.interval}")
        if self.keep_reference and self.update is None and self.flow == "dis":
            raise UsageError(
                "with --keep-reference, fixed flow and no --update nothing is left to train: name "
                "an --update or FlowNetS weights"
            )
        if not 0 <= self.start_share < 1:
            raise UsageError(
                f"--start-share is a share of the weights, 0 to below 1, got {self.start_share}"
            )
        for name, value, allowed in (
            ("warp", self.warp, ("composed", "incremental")),
            ("fusion", self.fusion, ("score", "feature")),
            ("batch_norms", self.batch_norms, ("frozen", "learning")),
        ):
            if value not in allowed:
                raise UsageError(f"unknown {name} '{value}': choose from {', '.join(allowed)}")
        if not self.update_scales or any(s not in (0.25, 0.5, 1) for s in self.update_scales):
            raise UsageError(f"update scales are 1, 0.5 and 0.25, got {self.update_scales}")
        cell = round(16 / min(self.update_scales))
        if any(side % cell for side in self.crop):
            raise UsageError(
                f"the crop must be a multiple of {cell} pixels (16 at the smallest update scale), "
                f"got {self.crop[0]}x{self.crop[1]}"
            )


@dataclass(frozen=True)
class FlowSettings(TrainingSettings):
    """One run of FlowNetS of ``width`` (1: the paper's; 0.25: the slim one).

    ``data`` is a data set whose training images are moved and pasted into pairs (None: rendered
    ones are), ``pairs`` a folder of pairs with flow on disk. ``street`` and ``files`` are the
    shares of samples from procedural drives and from ``pairs``; the rest is moved pictures.
    ``init`` is a FlowNetS weight file to start from, or ``none``.
    """

    width: float = 1.0
    data: Path | None = None
    pairs: Path | None = None
    street: float = 0.4
    files: float = 0.0
    crop: tuple[int, int] = (256, 192)
    scale: tuple[float, float] = (0.8, 1.6)
    init: str = "none"
    rate: float = 1e-4
    weight_decay: float = 4e-4
    steps: int = 20000
    validate_every: int = 1000
    log_every: int = 50

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
                f"FlowNetS trains on crops of multiples of 64 pixels, got "
                f"{self.crop[0]}x{self.crop[1]}"
            )


@dataclass(frozen=True)
class FusionSettings:
    """``reference`` and ``update`` are installed names or weight files.

    ``interval`` bounds the distance to the keyframe (1 to ``interval - 1`` frames),
    ``update_scales`` are drawn from for each snippet, ``street`` is the share of procedural
    snippets; the others come from the training images of ``data`` (in ``layout``). ``anchor`` is
    the weight of the squared distance from the plain mean that fusion starts as.
    """

    reference: str
    update: str
    data: Path
    layout: Layout = "auto"
    interval: int = 10
    snippets: int = 400
    street: float = 0.25
    update_scales: tuple[float, ...] = (0.5, 1.0)
    steps: int = 300
    batch: int = 8
    rate: float = 1e-2
    anchor: float = 1e-3
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.interval < 2:
            raise UsageError(f"fusion is trained at an interval of 2 or more, got {self.interval}")


RESUMABLE = ("steps", "batch", "optimiser", "rate", "seed")
"""Settings that must be the same when a run goes on; stages add their own."""


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value

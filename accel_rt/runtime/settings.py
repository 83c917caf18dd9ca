"""The choices a segmenter is built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from accel_rt.errors import UsageError
from accel_rt.runtime.schedule import Schedule

Mode = Literal["accel", "dff", "copy", "deeplab"]
Fusion = Literal["score", "feature", "mean"]
Warp = Literal["composed", "incremental"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

MODES: tuple[str, ...] = get_args(Mode)
FLOWS = ("auto", "dis", "flownets")
WARPS: tuple[str, ...] = get_args(Warp)
FUSIONS: tuple[str, ...] = get_args(Fusion)
PRECISIONS: tuple[str, ...] = get_args(Precision)
UPDATE_SCALES = (0.25, 0.5, 1.0)

DEFAULT_REFERENCE = "efficientnet_lite2"
DEFAULT_UPDATE = "efficientnet_lite0"


@dataclass(frozen=True)
class SegmenterSettings:
    """What to run and how; every default is what measures best.

    - ``reference``, ``update``: names of installed weights (``accel-rt models``) or paths of
      ``.safetensors`` files.
    - ``fuse``: ``score`` (fuse both branches' scores; their mean if the pair has no trained
      fusion), ``feature`` (their features), or ``mean``.
    - ``fusion``: a fusion weight file of either kind; None takes the installed one of the pair.
    - ``interval``: frames from keyframe to keyframe, at least 1 (1: every frame is a keyframe).
    - ``update_every``, ``fuse_keyframes``, ``look_ahead``: see
      :class:`~accel_rt.runtime.schedule.Schedule`.
    - ``mode``: ``accel`` (both branches), ``dff`` (warp only), ``copy`` (features copied, no
      flow), ``deeplab`` (the reference network on every frame).
    - ``flow``: ``dis``, ``flownets`` (the installed FlowNetS), a FlowNetS weight file, or ``auto``.
    - ``update_scale``: linear size of the update branch's input, 1, 0.5 or 0.25.
    - ``size``: processing size ``(width, height)`` in pixels; None keeps the source's shape with
      the height the weights were trained for.
    - ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
    - ``cuda_graphs``: on CUDA, record each part of a frame once and replay it.
    - ``scene_cuts``: also place a keyframe wherever the picture changes at once.
    - ``margins``: results also say by how much each pixel's class won.

    Raises :class:`~accel_rt.errors.UsageError` for a value outside these.
    """

    reference: str = DEFAULT_REFERENCE
    update: str = DEFAULT_UPDATE
    fuse: Fusion = "score"
    fusion: Path | None = None
    interval: int = 5
    update_every: int = 1
    fuse_keyframes: bool = False
    look_ahead: bool = False
    mode: Mode = "accel"
    flow: str = "auto"
    warp: Warp = "composed"
    update_scale: float = 1.0
    size: tuple[int, int] | None = None
    device: str = "auto"
    precision: Precision = "auto"
    scene_cuts: bool = True
    margins: bool = False
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        _ = self.schedule
        for name, value, allowed in (
            ("mode", self.mode, MODES),
            ("fusion", self.fuse, FUSIONS),
            ("warp", self.warp, WARPS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in allowed:
                raise UsageError(f"unknown {name} '{value}': choose from {', '.join(allowed)}")
        if self.flow not in FLOWS and not self.flow.endswith(".safetensors"):
            raise UsageError(
                f"unknown flow '{self.flow}': choose from {', '.join(FLOWS)}, or give the "
                f".safetensors file of a FlowNetS"
            )
        if self.update_scale not in UPDATE_SCALES:
            raise UsageError(f"the update scale must be 1, 0.5 or 0.25, got {self.update_scale}")
        if self.size is not None and not all(16 <= side <= 8192 for side in self.size):
            raise UsageError(
                f"the processing size must be 16 to 8192 pixels a side, got "
                f"{self.size[0]}x{self.size[1]}"
            )

    @property
    def schedule(self) -> Schedule:
        """What each frame is; in ``deeplab`` mode a keyframe, whatever the interval says."""
        interval = 1 if self.mode == "deeplab" else self.interval
        ahead = self.look_ahead and interval > 1
        return Schedule(interval, self.update_every, self.fuse_keyframes, ahead)

"""The choices a segmenter is built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from accel_rt.errors import UsageError
from accel_rt.option import check, option
from accel_rt.runtime.schedule import (
    LIVE_PRESETS,
    POLICIES,
    PRESETS,
    PolicyName,
    PresetName,
    Schedule,
)

Mode = Literal["accel", "dff", "copy", "deeplab"]
Fusion = Literal["score", "feature", "mean"]
Warp = Literal["auto", "composed", "incremental"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Backend = Literal["auto", "torch", "openvino", "onnx"]

MODES: tuple[str, ...] = get_args(Mode)
FLOWS = ("auto", "codec", "dis", "flownets")
WARPS: tuple[str, ...] = get_args(Warp)
FUSIONS: tuple[str, ...] = get_args(Fusion)
PRECISIONS: tuple[str, ...] = get_args(Precision)
BACKENDS: tuple[str, ...] = get_args(Backend)
UPDATE_SCALES = (0.25, 0.5, 1.0)

DEFAULT_REFERENCE = "efficientnet_lite2"
DEFAULT_UPDATE = "efficientnet_lite0"


@dataclass(frozen=True)
class SegmenterSettings:
    """What to run and how; every default is what measures best.

    ``fusion`` ``score`` is the mean where no fusion is trained for the two networks;
    ``fusion_weights`` names a fusion's file, of either kind, instead of an installed one. With
    ``size`` None the source keeps its shape, at the height the weights were trained for.
    ``interval`` to ``policy`` make a :class:`~accel_rt.runtime.schedule.Schedule`; with
    ``look_ahead`` a segmenter gives results late. ``cuda_graphs`` records each part of a frame once
    and replays it; with ``margins`` results also say by how much each pixel's class won.

    Raises :class:`~accel_rt.errors.UsageError` for a value outside what its option says.
    """

    reference: str = option(
        "Network of the keyframes: see 'accel-rt models', or one of someone else's as hf:ORG/NAME, "
        "torchvision:NAME[@FILE], onnx:FILE, openvino:FILE or python:MODULE:FUNCTION.",
        DEFAULT_REFERENCE,
        metavar="NAME|PATH",
        shown_default=DEFAULT_REFERENCE,
    )
    update: str = option("Network of the frames between them.", DEFAULT_UPDATE, metavar="NAME|PATH")
    fusion: Fusion = option(
        "What of both branches is joined: their scores, their features, or the mean score.",
        "score",
        choices=FUSIONS,
    )
    fusion_weights: Path | None = None
    map: str | None = option(
        "JSON object of the update network's classes with those of the reference that they stand "
        "for, where both have classes of their own.",
        None,
        metavar="FILE",
    )
    interval: int = option("A keyframe every N frames.", 5, low=1, metavar="N")
    update_every: int = option(
        "Between keyframes, run the update network on every N-th frame and carry its result on.",
        1,
        low=1,
        metavar="N",
    )
    fuse_keyframes: bool = option("Run the update network on keyframes, too.", False)
    look_ahead: bool = option(
        "Carry frames from the keyframe after them, too: better, and some frames late.", False
    )
    gate: bool = option(
        "Trust the update network alone where something new has come into view.", False
    )
    policy: PolicyName = option(
        "Where keyframes go: every N frames, or, as many of them, where the picture changes "
        "(adaptive), or where they are learnt to help most (budget).",
        "fixed",
        choices=POLICIES,
    )
    mode: Mode = option(
        "accel: reference on keyframes, update in between; dff: warp only; copy: copy only; "
        "deeplab: reference on every frame.",
        "accel",
        choices=MODES,
    )
    flow: str = option(
        "Optical flow: codec (H.264's own motion vectors where they serve, else dis), dis (dense "
        "inverse search: on CUDA our own, else OpenCV's), flownets (the paper's network, as "
        "installed), or FlowNetS from a weight file.",
        "auto",
        choices=FLOWS,
        kind="choice or file",
        metavar=f"{'|'.join(FLOWS)}|FILE",
    )
    warp: Warp = option(
        "Warp the keyframe's features once by composed flow, or again for every frame "
        "(incremental). auto: composed, but incremental for models of the paper's authors.",
        "auto",
        choices=WARPS,
    )
    update_scale: float = option(
        "Linear size of the update network's input: 1, 0.5 or 0.25.",
        1.0,
        choices=UPDATE_SCALES,
        metavar="S",
    )
    size: tuple[int, int] | None = option(
        "Processing size.  [default: the source's shape at the size the weights are for, up to a "
        "third larger for pictures much wider than those]",
        None,
        kind="size",
        low=16,
        high=8192,
        metavar="WxH",
    )
    device: str = option("Where the networks run.", "auto", metavar="auto|cpu|cuda[:N]")
    precision: Precision = option(
        "auto: fp16 on CUDA, bf16 on CPUs that have it in hardware; on others the 8-bit integers "
        "that weights have beside them, by OpenVINO where it is installed, else fp32.",
        "auto",
        choices=PRECISIONS,
    )
    backend: Backend = option(
        "What runs the networks on a CPU: torch, openvino or onnx (onnxruntime), where installed. "
        "auto: torch, but openvino for the integers that --precision auto takes.",
        "auto",
        choices=BACKENDS,
    )
    scene_cuts: bool = option("Place a keyframe wherever the picture changes at once, too.", True)
    margins: bool = False
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        check(self)
        if self.fusion_weights is not None:  # may be given as text
            object.__setattr__(self, "fusion_weights", Path(self.fusion_weights))
        _ = self.schedule

    @classmethod
    def preset(cls, name: PresetName, live: bool = False, **others: Any) -> SegmenterSettings:
        """Settings by what is wanted: ``accurate``, ``balanced``, ``fast`` or ``fastest``.

        Those for files look ahead, so that results come late; with ``live`` they do not.
        """
        schedules = LIVE_PRESETS if live else PRESETS
        if name not in schedules:
            raise UsageError(f"unknown preset '{name}': choose from {', '.join(schedules)}")
        return cls(**{**vars(schedules[name]), **others})

    @property
    def schedule(self) -> Schedule:
        """What each frame is; in ``deeplab`` mode a keyframe, whatever the interval says."""
        interval = 1 if self.mode == "deeplab" else self.interval
        ahead = self.look_ahead and interval > 1
        return Schedule(
            interval, self.update_every, self.fuse_keyframes, ahead, self.gate, self.policy
        )

"""What is computed of the frames from a keyframe to the next, whose results come with that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from accel_rt.flow.source import FlowSource
from accel_rt.runtime import both_sides
from accel_rt.runtime.both_sides import Between
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.kept import Kept
from accel_rt.runtime.nodes import flow_view
from accel_rt.runtime.program import Branch, Brush, FrameProgram, State, inverse_flow
from accel_rt.runtime.result import Overlay
from accel_rt.runtime.schedule import FrameKind, Schedule

BEFORE, AFTER = "before", "after"
"""The keyframes on both sides; frames between them have the names ``"0"``, ``"1"`` and so on."""


class SpanNodes:
    """The nodes for frames of one size.

    They read and write ``kept`` and ``frame``: on a GPU (``stay``) bytes of the source's size in a
    tensor that keeps its place, on the CPU the processed frame in an array. ``newer`` in ``kept``
    is the flow from the frame before to this one, from the host unless ``flow`` computes it on the
    device; there is none unless states are moved (``moves``). Of every frame between keyframes what
    is needed later is held by its name, results are ``labels``, ``margin`` and ``drawn``.
    """

    def __init__(
        self,
        program: FrameProgram,
        geometry: Geometry,
        flow: FlowSource | None,
        schedule: Schedule,
        *,
        moves: bool,
        margins: bool = False,
        stay: bool = True,
    ) -> None:
        self.geometry, self.kept = geometry, Kept(stay)
        self._program, self._schedule, self._flow = program, schedule, flow
        self._moves, self._margins = moves, margins
        self._gates = schedule.gate and moves
        self._brush: Brush | None = None
        self.frame: Any = None
        if stay:
            size = *geometry.source, 3
            self.frame = torch.zeros(size, dtype=torch.uint8, device=program.device)
            cells = geometry.grid(program.stride).cells
            if moves:
                self.kept["newer"] = torch.zeros((1, 2, *cells), device=program.device)

    def draw(self, overlay: Overlay | None) -> None:
        """Draw so from the next frame on; graphs of :meth:`output` are of no use then."""
        self._brush = None if overlay is None else Brush.of(overlay, self._program.device)
        for name in [name for name in self.kept if name.startswith(("frame ", "drawn "))]:
            del self.kept[name]

    def reserve(self, name: str) -> bool:
        """Make places for a frame's results, and for the frame itself if it is drawn on, where they
        are to stay; whether there were none."""
        before = len(self.kept)
        if not self.kept.stay:
            return False
        places: list[tuple[str, torch.dtype, tuple[int, ...]]] = [("labels", torch.uint8, ())]
        if self._margins:
            places += [("margin", torch.float32, ())]
        if self._brush is not None:
            places += [("frame", torch.uint8, (3,)), ("drawn", torch.uint8, (3,))]
        for what, dtype, channels in places:
            if f"{what} {name}" not in self.kept:
                size = (*self.geometry.source, *channels)
                place = torch.empty(size, dtype=dtype, device=self._program.device)
                self.kept[f"{what} {name}"] = place
        return len(self.kept) > before

    def results(self, names: Iterable[str]) -> list[dict[str, str]]:
        """Where :meth:`output` leaves what of each frame."""
        return [
            {
                "labels": f"labels {name}",
                **({"margin": f"margin {name}"} if self._margins else {}),
                **({"drawn": f"drawn {name}"} if f"frame {name}" in self.kept else {}),
            }
            for name in names
        ]

    def look(self, leads: bool) -> None:
        """Flow, if a frame before ``leads`` to this one, and what the gate needs of it."""
        if self._flow is not None:
            program = self._program
            current = flow_view(program, self.geometry, self._flow, self.frame)
            if leads:
                grid = self.geometry.grid(program.stride)
                self.kept.keep("newer", self._flow.between(self.kept["view"], current, grid))
            self.kept.keep("view", current)
        if self._moves and leads:
            self.kept.keep("back", inverse_flow(self.kept["newer"]))
        if self._gates:
            self.kept.keep("picture", self._program.picture(self.frame, self.geometry))

    def refresh(self) -> None:
        """The update branch."""
        self.kept.keep("fresh", self._program.refresh(self._input("update")))

    def key(self) -> None:
        """A keyframe: its state, its scores, and what is carried from it."""
        program = self._program
        state, scores = program.key_fused(self._input, self._schedule.fuse_keyframes)
        picture = self.kept.get("picture")
        self.kept.keep(f"scores {AFTER}", scores)
        self.kept.keep_state(f"state {AFTER}", replace(state, picture=picture))
        carried = program.carried(scores, self.geometry, picture)
        self.kept.keep_state(f"carried {AFTER}", carried)

    def hold(self, name: str, kind: FrameKind) -> None:
        """Keep what is needed of this frame once the next keyframe has come."""
        held = ["newer", "back"]
        if kind != "key":
            held += ["picture"]
        if kind == "update":
            held += ["fresh"]
        for what in held:
            if what in self.kept:
                self.kept.keep(f"{what} {name}", self.kept[what])
        if f"frame {name}" in self.kept:
            self.kept.keep(f"frame {name}", self.frame)

    def updated(self, kinds: Sequence[FrameKind], both: bool) -> None:
        """Scores of the updates among frames of these ``kinds``, from ``both`` sides or one."""
        before, after = (self._side("state", side, both) for side in (BEFORE, AFTER))
        assert before is not None
        scores = both_sides.updated(self._program, self._frames(kinds), before, after)
        self._keep_scores(scores)

    def carried(self, kinds: Sequence[FrameKind], both: bool) -> None:
        """Scores of the frames between keyframes and updates."""
        known = [
            self.kept[f"scores {i}"] if kind == "update" else None for i, kind in enumerate(kinds)
        ]
        before, after = (self._side("carried", side, both) for side in (BEFORE, AFTER))
        assert before is not None
        self._keep_scores(
            both_sides.carried(
                self._program, self.geometry, self._frames(kinds), known, before, after
            )
        )

    def output(self, names: Sequence[str]) -> None:
        """Results of the frames with these names."""
        for name in names:
            out = self._program.output(
                self.kept[f"scores {name}"],
                self.geometry,
                margins=self._margins,
                frame=self.kept.get(f"frame {name}"),
                brush=self._brush,
            )
            for what, value in (
                ("labels", out.labels),
                ("margin", out.margin),
                ("drawn", out.picture),
            ):
                if value is not None:
                    self.kept.keep(f"{what} {name}", value)

    def turn(self) -> None:
        """The keyframe after these frames is the one before those that follow."""
        for what, size in (("state", self.geometry.padded), ("carried", None)):
            self.kept.keep_state(f"{what} {BEFORE}", self.kept.state(f"{what} {AFTER}", size))

    def _frames(self, kinds: Sequence[FrameKind]) -> list[Between]:
        names = [*map(str, range(len(kinds))), AFTER]
        return [
            Between(
                kind == "update",
                self.kept.get(f"newer {name}"),
                self.kept.get(f"back {following}"),
                self.kept.get(f"picture {name}"),
                self.kept.get(f"fresh {name}") if kind == "update" else None,
            )
            for kind, name, following in zip(kinds, names, names[1:], strict=False)
        ]

    def _side(self, what: str, side: str, both: bool) -> State | None:
        if side == AFTER and not both:
            return None
        return self.kept.state(f"{what} {side}", self.geometry.padded if what == "state" else None)

    def _keep_scores(self, scores: Sequence[Tensor | None]) -> None:
        for number, value in enumerate(scores):
            if value is not None:
                self.kept.keep(f"scores {number}", value)

    def _input(self, branch: Branch) -> Tensor:
        return self._program.prepare(self.frame, self.geometry, branch)

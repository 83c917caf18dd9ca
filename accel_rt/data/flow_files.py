"""Image pairs with known flow on disk: Middlebury, Sintel and FlyingChairs.

Their files say where the points of the *first* image went. This package's flow is backward, so
the first image is taken as the current frame and the second as the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from accel_rt.data.dataset import read_image, read_text
from accel_rt.data.flo import read_flo
from accel_rt.data.labels import read_label_values
from accel_rt.errors import InputError, UsageError
from accel_rt.video.images import is_hidden

FlowLayout = Literal["auto", "middlebury", "sintel", "chairs"]
FLOW_LAYOUTS: tuple[FlowLayout, ...] = get_args(FlowLayout)


@dataclass(frozen=True)
class FlowPair:
    """Two frames uint8 BGR ``[H, W, 3]`` and the flow between them.

    ``flow`` float32 ``[H, W, 2]`` says where each position of ``current_bgr`` was in
    ``previous_bgr``, in pixels; ``valid`` bool ``[H, W]`` where it is known and counts.
    """

    previous_bgr: np.ndarray
    current_bgr: np.ndarray
    flow: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class FlowFiles:
    """A pair on disk, read on demand."""

    name: str
    previous_path: Path
    current_path: Path
    flow_path: Path
    invalid_path: Path | None = None

    def read(self) -> FlowPair:
        """Raises :class:`~accel_rt.errors.InputError` for unreadable files or other sizes."""
        flow, valid = read_flo(self.flow_path)
        paths = self.previous_path, self.current_path
        images = {path: read_image(path) for path in paths}
        previous, current = (images[path] for path in paths)
        if self.invalid_path is not None:
            images[self.invalid_path] = read_label_values(self.invalid_path)
        for path, image in images.items():
            if image.shape[:2] != flow.shape[:2]:
                raise InputError(
                    f"{self.flow_path} is {flow.shape[1]}x{flow.shape[0]} and its image {path} "
                    f"{image.shape[1]}x{image.shape[0]}: they must have one size"
                )
        if self.invalid_path is not None:
            valid &= images[self.invalid_path] == 0
        return FlowPair(previous, current, flow, valid)


def flow_files(
    root: Path,
    layout: FlowLayout = "auto",
    rendering: str = "final",
    split: Literal["train", "val"] | None = None,
) -> list[FlowFiles]:
    """The pairs in folder ``root``, in the order of their names.

    - ``middlebury``: ``NAME/frame10.png``, ``frame11.png`` and ``flow10.flo``, together or, as they
      are distributed, the flow in ``other-gt-flow`` and the images in ``other-data``;
    - ``sintel``: ``training/flow/SCENE/frame_0001.flo`` with
      ``training/RENDERING/SCENE/frame_0001.png`` (``rendering`` is ``clean`` or ``final``) and, if
      there, ``training/invalid``;
    - ``chairs``: ``data/00001_flow.flo``, ``00001_img1.ppm``, ``00001_img2.ppm``; ``split`` chooses
      by ``FlyingChairs_train_val.txt`` (None: all pairs).

    Raises :class:`~accel_rt.errors.InputError` if there are none or an image is missing.
    """
    layouts = {
        "middlebury": (
            lambda: sorted([*root.glob("*/flow10.flo"), *root.glob("other-gt-flow/*/flow10.flo")]),
            _middlebury,
        ),
        "sintel": (
            lambda: sorted(root.glob(f"training/flow/*/frame_{4 * '[0-9]'}.flo")),
            lambda path: _sintel(path, rendering),
        ),
        "chairs": (lambda: _of_split(sorted(root.glob("data/*_flow.flo")), root, split), _chairs),
    }
    if layout not in FLOW_LAYOUTS:
        raise UsageError(f"unknown flow layout '{layout}': choose from {', '.join(FLOW_LAYOUTS)}")
    for name, (find, describe) in layouts.items():
        found = find() if layout in ("auto", name) else []
        paths = [path for path in found if not is_hidden(path)]
        if not paths:
            continue
        pairs = [describe(path) for path in paths]
        for pair in pairs:
            for image in (pair.previous_path, pair.current_path):
                if not image.is_file():
                    raise InputError(f"{pair.flow_path} has no image {image}: add it")
        return pairs
    raise InputError(
        f"{root} holds no flow: it needs NAME/flow10.flo (Middlebury), training/flow/ (Sintel) or "
        f"data/00001_flow.flo (FlyingChairs)"
    )


def _of_split(flows: list[Path], root: Path, split: str | None) -> list[Path]:
    """FlyingChairs' flows of ``split``: a line per flow says 1 (train) or 2 (val)."""
    listing = root / "FlyingChairs_train_val.txt"
    if split is None or not flows or not listing.is_file():
        return flows
    wanted = {"train": "1", "val": "2"}[split]
    lines = read_text(listing).split()
    if len(lines) != len(flows):
        raise InputError(f"{listing} has {len(lines)} lines for {len(flows)} pairs: complete them")
    return [flow for flow, line in zip(flows, lines, strict=True) if line == wanted]


def _middlebury(flow: Path) -> FlowFiles:
    name, folder = flow.parent.name, flow.parent
    if folder.parent.name == "other-gt-flow":
        folder = folder.parents[1] / "other-data" / name
    return FlowFiles(name, folder / "frame11.png", folder / "frame10.png", flow)


def _sintel(flow: Path, rendering: str) -> FlowFiles:
    scene, training = flow.parent.name, flow.parents[2]
    images = training / rendering / scene
    following = f"frame_{int(flow.stem.removeprefix('frame_')) + 1:04}.png"
    invalid = training / "invalid" / scene / f"{flow.stem}.png"
    return FlowFiles(
        f"{scene}/{flow.stem}",
        images / following,
        images / f"{flow.stem}.png",
        flow,
        invalid if invalid.is_file() else None,
    )


def _chairs(flow: Path) -> FlowFiles:
    stem = flow.name.removesuffix("_flow.flo")
    images = [flow.with_name(f"{stem}_img{number}.ppm") for number in (2, 1)]
    return FlowFiles(stem, images[0], images[1], flow)

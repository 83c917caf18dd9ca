"""Snippets of a video without labels: what the reference says of a frame is to be learnt."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from accel_rt.data.synthetic_motion import Snippet
from accel_rt.errors import InputError, UsageError
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.preprocess import resize_frame
from accel_rt.runtime.program import FrameProgram
from accel_rt.video.location import is_read_once
from accel_rt.video.reader import open_source


def own_snippets(
    video: str,
    program: FrameProgram,
    trained: tuple[int, int] | None,
    spans: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> Iterator[Snippet]:
    """A snippet for each of ``spans``, from anywhere in ``video``, at the size they are processed.

    A span says how many frames there are before the labelled one and after it. Labels are those of
    the reference of ``program``, which was ``trained`` for that ``(height, width)``. They come in
    the video's order.
    Raises as :func:`~accel_rt.video.reader.open_source`, and
    :class:`~accel_rt.errors.InputError` for a video with fewer frames than a span needs.
    """
    if is_read_once(video):
        raise UsageError(f"'{video}' can be read only once, and is read twice here: give a file")
    with open_source(video) as source:
        frames = sum(1 for _ in source)
    longest = max(before + after for before, after in spans)
    if frames <= longest:
        raise InputError(
            f"{video} has {frames} frames, and {longest + 1} are needed from keyframe to keyframe: "
            f"give a longer one, or a shorter --interval"
        )
    ends = [int(rng.integers(before + after, frames)) for before, after in spans]
    recent: deque[np.ndarray] = deque(maxlen=longest + 1)
    geometry: Geometry | None = None
    known: dict[int, np.ndarray] = {}
    with open_source(video) as source:
        for position, frame in enumerate(source):
            image, fixed = frame.image_bgr, program.model.reference.fixed_size
            geometry = geometry or program.plan(image.shape[:2], trained, fixed)
            recent.append(resize_frame(image, geometry.processed))
            for (before, after), end in zip(spans, ends, strict=True):
                if end == position:
                    run, labelled = list(recent)[-1 - before - after :], end - after
                    if labelled not in known:
                        known[labelled] = _own_labels(program, run[before])
                    yield Snippet(run, known[labelled], after=after)


@torch.inference_mode()
def _own_labels(program: FrameProgram, image_bgr: np.ndarray) -> np.ndarray:
    """The reference's labels ``[H, W]`` of a picture of the processed size."""
    height, width = image_bgr.shape[:2]
    geometry = program.plan((height, width), None, (height, width))
    _, scores = program.key(program.prepare(image_bgr, geometry))
    return program.output(scores, geometry).labels.cpu().numpy()

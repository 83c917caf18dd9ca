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
    distances: Sequence[int],
    count: int,
    rng: np.random.Generator,
) -> Iterator[Snippet]:
    """``count`` snippets from anywhere in ``video``, in its order, at the size they are processed.

    The keyframe, their first frame, is one of ``distances`` frames back; their labels are those of
    the reference of ``program``, which was ``trained`` for that ``(height, width)``.
    Raises as :func:`~accel_rt.video.reader.open_source`, and
    :class:`~accel_rt.errors.InputError` for a video with fewer frames than the distances need.
    """
    if is_read_once(video):
        raise UsageError(f"'{video}' can be read only once, and is read twice here: give a file")
    with open_source(video) as source:
        frames = sum(1 for _ in source)
    if frames <= max(distances):
        raise InputError(
            f"{video} has {frames} frames, and the keyframe may be {max(distances)} frames back: "
            f"give a longer one, or a shorter --interval"
        )
    drawn = [(int(rng.integers(d, frames)), d) for d in rng.choice(distances, count).tolist()]
    recent: deque[np.ndarray] = deque(maxlen=max(distances) + 1)
    geometry: Geometry | None = None
    with open_source(video) as source:
        for position, frame in enumerate(source):
            image, fixed = frame.image_bgr, program.model.reference.fixed_size
            geometry = geometry or program.plan(image.shape[:2], trained, fixed)
            recent.append(resize_frame(image, geometry.processed))
            ending = [distance for last, distance in drawn if last == position]
            labels = _own_labels(program, recent[-1]) if ending else None
            for distance in ending:
                assert labels is not None
                yield Snippet(list(recent)[-1 - distance :], labels)


@torch.inference_mode()
def _own_labels(program: FrameProgram, image_bgr: np.ndarray) -> np.ndarray:
    """The reference's labels ``[H, W]`` of a picture of the processed size."""
    height, width = image_bgr.shape[:2]
    geometry = program.plan((height, width), None, (height, width))
    _, scores = program.key(program.prepare(image_bgr, geometry))
    return program.output(scores, geometry).labels.cpu().numpy()

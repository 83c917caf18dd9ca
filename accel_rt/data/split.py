"""A validation split for data that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from accel_rt.data.dataset import DataSet, FrameSequence

_STRETCHES = 4
_SHARE = 5  # one in five is held out


def split_off(dataset: DataSet) -> dict[str, DataSet]:
    """``dataset`` as ``train`` and ``val``, always the same way; a fifth is held out.

    Neighbours look alike, so that single frames would be no test: the held-out ones are the last
    of each of some stretches, of whole videos where there are enough, else of each video's frames.
    A lone labelled frame is not held out.
    """
    labelled = [s for s in dataset.sequences if any(True for _ in s.labelled())]
    if len(dataset.labelled()) < 2:
        parts = {"train": list(dataset.sequences), "val": []}
    elif len(labelled) >= _SHARE:
        held = {id(sequence) for sequence in _held_out(labelled)}
        parts = {
            "train": [s for s in dataset.sequences if id(s) not in held],
            "val": [s for s in dataset.sequences if id(s) in held],
        }
    else:
        cut = [_cut(sequence) for sequence in labelled]
        parts = {
            "train": [before for before, _ in cut if before.frames],
            "val": [after for _, after in cut if after.frames],
        }
        if not parts["train"] or not parts["val"]:
            parts = {"train": labelled[:-1], "val": labelled[-1:]}
    return {
        split: replace(dataset, split=split, sequences=tuple(sequences))
        for split, sequences in parts.items()
    }


def _held_out(sequences: Sequence[FrameSequence]) -> list[FrameSequence]:
    """The last fifth of each stretch of ``sequences``."""
    stretches = min(_STRETCHES, len(sequences) // _SHARE)
    bounds = [len(sequences) * n // stretches for n in range(stretches + 1)]
    held: list[FrameSequence] = []
    for start, end in pairwise(bounds):
        held += sequences[end - max(1, (end - start) // _SHARE) : end]
    return held


def _cut(sequence: FrameSequence) -> tuple[FrameSequence, FrameSequence]:
    """A video before and from its last labelled fifth on."""
    labelled = list(sequence.labelled())
    held = max(1, len(labelled) // _SHARE) if len(labelled) > 1 else 0
    start = labelled[-held] if held else len(sequence.frames)
    before, after = sequence.frames[:start], sequence.frames[start:]
    return replace(sequence, frames=before), replace(sequence, frames=after)

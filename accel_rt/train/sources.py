"""What single frames and snippets are drawn from, and whether it goes together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.data.dataset import DataSet
from accel_rt.data.occurrence import absent_classes
from accel_rt.data.open import Layout, open_dataset, open_training
from accel_rt.errors import UsageError
from accel_rt.models import store


@dataclass(frozen=True)
class TrainingData:
    """Training splits with their shares of the samples, and the share of procedural streets."""

    sets: tuple[tuple[DataSet, float], ...]
    street: float
    classes: ClassSet

    def notes(self) -> tuple[str, ...]:
        """Which classes no label map holds; raises as :func:`.occurrence.absent_classes`."""
        absent = absent_classes([dataset for dataset, _ in self.sets])
        return (absent,) if absent else ()

    def identity(self) -> str:
        """What tells these pictures, labels and classes from others, wherever their folders are."""
        frames = [frame for dataset, _ in self.sets for frame in dataset.labelled()]
        labels = (f"{frame.name} {frame.labels_digest()}" for frame in frames)
        shares = [str(share) for _, share in self.sets] if len(self.sets) > 1 else []
        listed = "\n".join([*self.classes.names, "", *labels, *shares])
        mark = hashlib.sha256(listed.encode()).hexdigest()[:8]
        return f"{len(frames)} pictures of {len(self.classes)} classes ({mark})"

    def describe(self) -> str:
        """Such as ``CamVid train and procedural street``."""
        names = [f"{dataset.name} {dataset.split}" for dataset, share in self.sets if share]
        return " and ".join([*names, *(["procedural street"] if self.street else [])])


def check_network(name: str, path: Path, classes: ClassSet) -> None:
    """Raise :class:`~accel_rt.errors.UsageError` if the weights at ``path``, which the user calls
    ``name``, are of other classes than ``classes``."""
    known = store.class_names(path)
    if known != classes.names:
        raise UsageError(
            f"'{name}' was trained for other classes ({', '.join(known[:3])}, ...) than the "
            f"samples are labelled with ({', '.join(classes.names[:3])}, ...): choose a "
            f"network of the same class set"
        )


def training_data(
    data: Path | None,
    layout: Layout,
    also: Sequence[tuple[Path, float]],
    street: float,
    shorter: int | None = None,
) -> TrainingData:
    """Open the training splits; nothing but folders is read.

    ``data`` gets what ``also`` (folders with shares) and ``street`` leave; ``shorter`` is as in
    :func:`~accel_rt.data.open.open_training`. Raises
    :class:`~accel_rt.errors.UsageError` for shares above 1, sets of different classes, and no
    data at all; else as :func:`~accel_rt.data.open.open_training`.
    """
    left = 1 - street - sum(share for _, share in also)
    if left < -1e-6:
        raise UsageError(f"the shares of street and further data add up to {1 - left:g}: at most 1")
    if data is None and left > 1e-6:
        raise UsageError(f"a share of {left:g} is left for labelled frames: give --data too")
    sets = [] if data is None else [(open_training(data, layout, shorter), max(left, 0.0))]
    sets += [(open_dataset(path, "train", shorter=shorter), share) for path, share in also]
    classes = sets[0][0].classes if sets else CAMVID
    for dataset, _ in sets:
        if dataset.classes != classes:
            raise UsageError(
                f"{dataset.name} has other classes than {sets[0][0].name}: mix data sets of one "
                f"class set"
            )
    if street and classes != CAMVID:
        raise UsageError(
            f"the procedural street is labelled with CamVid's classes, {sets[0][0].name} with "
            f"others: choose --street 0"
        )
    return TrainingData(tuple(sets), street, classes)

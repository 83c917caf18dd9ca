"""Whether a data set's label maps hold its classes: what never occurs cannot be learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.dataset import DataSet
from accel_rt.errors import InputError


def absent_classes(datasets: Sequence[DataSet]) -> str | None:
    """A sentence naming the classes that no label map holds, None where all of them occur.

    Label maps are read, in random order, until every class has been seen. Raises
    :class:`~accel_rt.errors.InputError` if there are several classes and at most one occurs.
    """
    if not datasets:
        return None
    names = datasets[0].classes.names
    frames = [frame for dataset in datasets for frame in dataset.labelled()]
    counts = np.zeros(256, np.int64)
    for index in np.random.default_rng(0).permutation(len(frames)):
        counts += np.bincount(frames[index].labels().ravel(), minlength=256)
        if counts[: len(names)].all():
            return None
    found = " and ".join(f"{dataset.name} {dataset.split}" for dataset in datasets)
    missing = ", ".join(n for n, count in zip(names, counts, strict=False) if not count)
    said = f"no label map of {found} holds {missing}"
    if counts[IGNORE_LABEL]:
        share = counts[IGNORE_LABEL] / counts.sum()
        said += (
            f"; {share:.1%} of the pixels do not count: where one of their values, such as 255, "
            f"stands for a class, say so in classes.json ({{'name': ..., 'id': 255}})"
        ).replace("'", '"')
    if len(names) > 1 and np.count_nonzero(counts[: len(names)]) < 2:
        raise InputError(f"there is nothing to tell apart: {said}")
    return said

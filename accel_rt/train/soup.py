"""Weight soups: the mean of networks that were trained from one start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accel_rt.errors import UsageError
from accel_rt.models import store
from accel_rt.models.weights import load_network, save_network
from accel_rt.train.ema import blended


def mean_network(names: Sequence[str], out: Path) -> Path:
    """Write the mean of networks (installed names or weight files) to ``out``, which is returned.

    Networks that were trained from the same start lie in one valley, and their mean is often
    better than each (Wortsman et al., Model soups, ICML 2022). Its accuracy is not known. Raises
    :class:`~accel_rt.errors.UsageError` if they are not of one kind, and
    :class:`~accel_rt.errors.WeightsError` as :func:`.weights.load_network`.
    """
    mean, info = load_network(store.find(names[0]))
    for count, name in enumerate(names[1:], start=2):
        network, other = load_network(store.find(name))
        alike = [(i.network, i.task, i.classes, i.mean_rgb, i.std_rgb) for i in (info, other)]
        if alike[0] != alike[1]:
            raise UsageError(
                f"{name} ({other.network}, {len(other.classes)} classes) is built or fed otherwise "
                f"than {names[0]} ({info.network}, {len(info.classes)} classes): give runs of one "
                f"network"
            )
        mean = blended(mean, network, 1 / count)
    told = f"{info.trained_on}; the mean of {len(names)} such"
    save_network(out, mean, replace(info, trained_on=told, miou=None, evaluated_on=""))
    return out

"""A pair for somebody's own classes: reference, update and fusion, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accel_rt.classes import ClassSet
from accel_rt.data.open import open_dataset
from accel_rt.files import write_whole
from accel_rt.models import store
from accel_rt.train.deeplab import train_deeplab
from accel_rt.train.fusion import train_fusion
from accel_rt.train.pair_settings import FusionSettings, PairSettings
from accel_rt.train.processes import joined
from accel_rt.train.settings import DeepLabSettings
from accel_rt.train.trainer import Progress, Report, Stop, never
from accel_rt.train.verdict import Verdict, judge

_ROLES: tuple[store.Role, ...] = ("reference", "update")
_SNIPPETS = 200  # to learn the fusion from


def train_pair(
    settings: PairSettings,
    out: Path,
    report: Report = print,
    progress: Progress | None = None,
    stop: Stop = never,
) -> Verdict | None:
    """Train, or go on with, the run in folder ``out``; return what the pair is worth.

    ``out`` can be named wherever weights are. It holds the pair's weights, and the run of each
    network in a folder of its own. Of several processes only the first has a verdict: fusing and
    judging are its own. Raises ``KeyboardInterrupt`` after saving if ``stop`` says so.
    """
    report = _once(report)
    validation = open_dataset(settings.data, "val", settings.layout, settings.shorter)
    files = []
    with joined(settings.device) as processes:
        for stage, role in enumerate(_ROLES):
            if processes.leads:
                report(f"{stage + 1} of 3: the {role} network, {settings.steps} steps")
            alone = _alone(settings, validation.classes, role)
            part = _part(progress, stage, settings)
            trained = train_deeplab(alone, out / role, report, part, stop)
            if processes.leads:
                files.append(_copied(trained, out, role))
    if not processes.leads:
        return None
    if store.find_fusion(files[0], files[1]) is None:
        report("3 of 3: their fusion")
        train_fusion(_fusion(settings, files), out, _stopping(report, stop))
    report(f"measuring it on {len(validation.labelled())} frames that it did not learn from")
    return judge(out, validation, settings.device)


def _alone(settings: PairSettings, classes: ClassSet, role: store.Role) -> DeepLabSettings:
    """How a network of the pair is trained."""
    network = getattr(settings, role)
    init, known = settings.init, False
    if init not in ("imagenet", "none"):
        name = network if init == "installed" else init
        path = store.find(name, role=role)
        known = store.class_names(path) == classes.names
        # A run notes it, and goes on where installed weights lie in another folder.
        init = str(path) if store.is_path(name) else path.name.replace(".safetensors", "")
    same = {name: getattr(settings, name) for name in ("data", "layout", "shorter", *_LOOP)}
    return DeepLabSettings(
        network=network,
        init=init,
        street=0.0,
        scale=(0.6, 2.0),
        mix=0.4,
        # What knows the classes is calibrated already; else rare ones get their chance.
        balance=0.0 if known else 0.5,
        calibrate=not known,
        ema=0.99,
        warmup=min(50, settings.steps // 4),
        validate_every=max(1, settings.steps // 2),
        validate_first=settings.steps,
        log_every=10,  # each line tells the time left
        tensorboard=False,
        **same,
    )


_LOOP = ("steps", "batch", "rate", "crop", "device", "precision", "seed", "workers")


def _fusion(settings: PairSettings, files: list[Path]) -> FusionSettings:
    return FusionSettings(
        reference=str(files[0]),
        update=str(files[1]),
        data=settings.data,
        layout=settings.layout,
        shorter=settings.shorter,
        street=0.0,
        snippets=_SNIPPETS,
        seed=settings.seed,
    )


def _copied(trained: Path, out: Path, role: str) -> Path:
    """The weights of a network's run, in the pair's folder."""
    path = out / f"{trained.stem}-{role}.safetensors"
    write_whole(path, trained.read_bytes())
    return path


def _part(progress: Progress | None, stage: int, settings: PairSettings) -> Progress | None:
    """The progress of a network's steps as a part of both networks'."""
    if progress is None:
        return None
    return lambda done, total: progress(stage * settings.steps + done, 2 * settings.steps)


def _once(report: Report) -> Report:
    """Every stage notes the same about the data: said once."""
    said: set[str] = set()

    def tell(message: str) -> None:
        if message not in said:
            report(message)
        if message.startswith("note: "):
            said.add(message)

    return tell


def _stopping(report: Report, stop: Stop) -> Any:
    """``report`` for a stage that is not saved: the networks before it are."""

    def tell(message: str) -> None:
        if stop():
            report("interrupted: the networks are saved; the same command goes on from there")
            raise KeyboardInterrupt
        report(message)

    return tell

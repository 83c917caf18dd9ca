"""``accel-rt doctor``: what works here, what does not, and what to do about it."""

from __future__ import annotations

import importlib
import json
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import click

from accel_rt import threads
from accel_rt.cli.text import show, table
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE
from accel_rt.version import __version__


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``broken`` fails the command, ``slow`` and ``note`` do not."""

    name: str
    status: Literal["ok", "note", "slow", "broken"]
    found: str
    advice: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """Say what was built, which device and codecs there are, and what is missing.

    Exits with 1 if something that is needed does not work.
    """
    checks = list(examine())
    if as_json:
        show(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        show(table([(check.status, check.name, check.found) for check in checks]))
        for check in checks:
            if check.advice:
                show(f"{check.name}: {check.advice}")
    return 1 if any(check.status == "broken" for check in checks) else 0


def examine() -> Iterator[Check]:
    """Every check, in the order in which things depend on each other."""
    yield Check("accel-rt", "ok", f"{__version__}, Python {platform.python_version()}")
    imported = True
    for module, package in (("torch", "torch"), ("cv2", "opencv-python"), ("av", "av")):
        check = _package(module, package)
        imported = imported and check.status != "broken"
        yield check
    if not imported:
        return
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        _extension,
        _load,
        _devices,
        _backends,
        _codecs,
        _weights,
    )
    for group in groups:
        yield from group()


def _package(module: str, package: str) -> Check:
    try:
        version = importlib.import_module(module).__version__
    except Exception as error:  # a library that torch needs is missing: an OSError
        return Check(package, "broken", f"cannot be imported: {error}", f"pip install {package}")
    return Check(package, "ok", str(version))


def _extension() -> Iterator[Check]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it would say is said here
        from accel_rt.ops import extension_status

    status = extension_status()
    if not status.loaded:
        yield Check(
            "compiled operators",
            "slow",
            f"not loaded: {status.reason}",
            "plain PyTorch stands in, many times slower; with a C++ compiler at hand, install "
            "again with 'pip install --no-build-isolation .'",
        )
        return
    kernels = "CPU and CUDA" if status.cuda_built else "CPU only"
    yield Check("compiled operators", "ok", f"{kernels}, {status.simd} kernels, {status.path}")


def _load() -> Iterator[Check]:
    now = threads.crowding()
    if not now.is_busy:
        yield Check("load", "ok", str(now))
        return
    advice = "others use the cores, so timings taken now say little"
    if now.throttled > 0:
        advice += "; a larger CPU quota of the container would help"
    yield Check("load", "note", f"busy: {now}", advice)


def _devices() -> Iterator[Check]:
    import torch

    from accel_rt.cli.machine import cpu_name
    from accel_rt.device import has_fast_bf16, resolve_device, resolve_precision
    from accel_rt.runtime.backends import integers_are_faster

    found = [
        cpu_name(),
        f"{torch.get_num_threads()} threads on {threads.free_cores()} of {os.cpu_count()} cores",
        threads.waiting(),
        torch.backends.cpu.get_cpu_capability(),
    ]
    yield Check("cpu", "ok", ", ".join(found))
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    bf16 = "in hardware" if has_fast_bf16(torch.device("cpu")) else "emulated, so fp32 is used"
    yield Check("bfloat16", "ok", bf16 + (", with AMX" if amx else ""))
    yield _cuda()
    device = resolve_device("auto")
    precision = str(resolve_precision("auto", device)).removeprefix("torch.")
    if device.type == "cpu" and integers_are_faster():
        precision += "; networks with 8-bit integers in these, on openvino"
    yield Check("device in use", "ok", f"{device}, {precision}")


def _backends() -> Iterator[Check]:
    import torch

    from accel_rt.device import has_fast_bf16
    from accel_rt.models.exported import ENGINES, engine_version

    for engine in ENGINES:
        found = engine_version(engine)
        missing = f"not installed: pip install 'accel-rt[{engine}]'"
        if found or engine != "openvino" or has_fast_bf16(torch.device("cpu")):
            yield Check(f"backend {engine}", "ok" if found else "note", found or missing)
        else:
            advice = "weights with 8-bit integers are two to three times faster by it here"
            yield Check(f"backend {engine}", "slow", missing, advice)


def _cuda() -> Check:
    import torch

    from accel_rt.ops import extension_status

    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch is built for CUDA {built} but finds none" if built else "torch is CPU-only"
        return Check("cuda", "note", f"no CUDA device ({why}): everything runs on the CPU")
    properties = torch.cuda.get_device_properties()
    found = (
        f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    )
    if extension_status().cuda_built:
        return Check("cuda", "ok", found)
    advice = "the operators were built without CUDA: build with nvcc found"
    return Check("cuda", "slow", found, advice)


def _codecs() -> Iterator[Check]:
    import av

    from accel_rt.video.writer import CODECS

    for name, codec in CODECS.items():
        try:
            av.codec.Codec(codec.encoder, "w")
        except av.codec.codec.UnknownCodecError:
            needed = name == "h264"
            advice = "it is the default: pip install --force-reinstall av" if needed else ""
            missing = f"{codec.encoder} is missing from this PyAV"
            yield Check(f"codec {name}", "broken" if needed else "note", missing, advice)
        else:
            yield Check(f"codec {name}", "ok", codec.encoder)


def _weights() -> Iterator[Check]:
    from accel_rt.errors import AccelError
    from accel_rt.models import store

    try:
        places = os.pathsep.join(str(folder) for folder in store.folders())
    except AccelError as error:
        yield Check("weights", "broken", str(error))
        return
    own = os.environ.get(store.FOLDERS_VARIABLE)
    yield Check(
        "weight folders", "ok", f"{places} ({store.FOLDERS_VARIABLE} is {own or 'not set'})"
    )
    for entry in store.damaged():
        yield Check(f"weights {entry.name}", "note", str(entry.error))
    entries = store.installed()
    networks = [entry.name for entry in entries if entry.kind == "network"]
    missing = [name for name in (DEFAULT_REFERENCE, DEFAULT_UPDATE) if name not in networks]
    advice = (
        f"the default networks {' and '.join(missing)} are not there: install the package "
        f"again, name others with --reference and --update, or set {store.FOLDERS_VARIABLE}"
    )
    found = ", ".join(networks) or "none"
    yield Check("weights", "broken", found, advice) if missing else Check("weights", "ok", found)
    pairs = [entry.name for entry in entries if entry.kind in ("fusion", "feature-fusion")]
    yield Check("fusions", "ok" if pairs else "note", ", ".join(pairs) or "none: branches average")

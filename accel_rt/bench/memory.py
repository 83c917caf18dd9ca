"""Peak memory of a model, in a process that runs nothing else.

python -m accel_rt.bench.memory "Accel-18" --device cpu --precision bf16 --threads 2
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accel_rt.bench.models import MODELS, Model
from accel_rt.errors import AccelError

_AT_ONCE = 2  # processes; what they take does not depend on how fast they run


def peak_memory_mb(
    models: Sequence[Model], device: str, precision: str, threads: int
) -> dict[str, float]:
    """Megabytes by model name: of the GPU for CUDA, else resident.

    Raises :class:`~accel_rt.errors.AccelError` if a model does not run.
    """

    def peak(model: Model) -> float:
        command = [sys.executable, "-m", __name__, model.name, "--device", device]
        command += ["--precision", precision, "--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise AccelError(f"the memory of {model.name} could not be measured: {lines[-1]}")
        return float(done.stdout)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip([model.name for model in models], pool.map(peak, models), strict=True))


def own_peak_mb() -> float:
    """The most memory that was resident in this process at once."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's figure it does not start with the parent's.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=[model.name for model in MODELS])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    import numpy as np
    import torch

    from accel_rt.bench.stream import make_streams
    from accel_rt.device import resolve_device, resolve_precision

    torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    model = next(model for model in MODELS if model.name == args.model)
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 360, 480, 3), np.uint8))
    for stream in make_streams([model], frames, device, resolve_precision(args.precision, device)):
        stream()
    if device.type == "cuda":
        print(torch.cuda.max_memory_allocated(device) / 1e6)
    else:
        print(own_peak_mb())


if __name__ == "__main__":
    _main()

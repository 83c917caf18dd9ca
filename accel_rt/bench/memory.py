"""Peak memory of a model, in a process that runs nothing else.

The process is ``python -m accel_rt.bench.memory``; it reads the pickled model, frame size and
number of threads from its input and prints megabytes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accel_rt.bench.models import Model
from accel_rt.errors import AccelError

_AT_ONCE = 2  # processes; their memory does not depend on how fast they run


def peak_memory_mb(
    models: Sequence[Model],
    size: tuple[int, int],
    threads: int,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Megabytes by model name: of the GPU for CUDA, else resident.

    ``size`` is the frames' ``(height, width)``. Raises :class:`~accel_rt.errors.AccelError` if a
    model does not run.
    """

    def peak(model: Model) -> float:
        command = [sys.executable, "-m", __name__]
        work = pickle.dumps((model, size, threads))
        done = subprocess.run(command, input=work, capture_output=True)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"exit code {done.returncode}"
            raise AccelError(f"the memory of {model.name} could not be measured: {why}")
        report(f"measured the memory of {model.name}")
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
    import numpy as np
    import torch

    from accel_rt.bench.stream import make_streams
    from accel_rt.device import resolve_device

    model, (height, width), threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (2, height, width, 3), np.uint8))
    for stream in make_streams([model], frames):
        stream()
        stream()
    device = resolve_device(model.settings.device)
    on_gpu = device.type == "cuda"
    print(torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else own_peak_mb())


if __name__ == "__main__":
    _main()

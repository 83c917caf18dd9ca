"""CPU threads: how many cores are ours, how idle threads wait, and whether others need the cores.

OpenMP (in torch) and OpenCV read their settings once, when they are loaded. :func:`prepare` makes
them before that, so it runs when the package is imported, and leaves alone what the user has set.
In a program that loads torch first, torch's own settings stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# An OpenMP thread without work spins before it sleeps, by default for some 10 ms, and takes that
# time from whoever it waits for. On an idle machine sleeping at once costs 10%, since a frame has
# hundreds of short parallel loops, and spinning for at most a millisecond 1 to 2%; where others
# take the cores, that millisecond costs what sleeping at once does not.
# libgomp counts iterations (of 20 to 50 ns), Intel's and LLVM's OpenMP milliseconds.
SPINS = 20_000
_WAITING = {"GOMP_SPINCOUNT": SPINS, "KMP_BLOCKTIME": 1}
_WAIT_POLICY = "OMP_WAIT_POLICY"
_THREADS = ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

_PROCESS = Path("/proc/self")
_STATISTICS = Path("/proc/stat")


def prepare() -> None:
    """Set how OpenMP's threads wait and, where a quota leaves fewer cores, how many there are.

    By environment variables, which processes started from this one inherit. Those that exist
    already are kept; ``OMP_WAIT_POLICY`` stands for all that say how threads wait.
    """
    if _WAIT_POLICY not in os.environ:
        sleep_at_once = _others_run()
        for name, value in _WAITING.items():
            os.environ.setdefault(name, "0" if sleep_at_once else str(value))
    cores = free_cores()
    if cores < _scheduled_cores():
        for name in _THREADS:
            os.environ.setdefault(name, str(cores))


def waiting() -> str:
    """The variables that say how OpenMP's threads wait."""
    names = (_WAIT_POLICY, *_WAITING)
    return ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def free_cores() -> int:
    """How many cores this process may keep busy: by its affinity and its control groups' quotas."""
    granted = min((group.cores for group in _control_groups(_PROCESS)), default=float("inf"))
    return int(max(1, min(_scheduled_cores(), granted)))


def _others_run() -> bool:
    """Whether other threads run now, or wait to, on every core of the machine."""
    for line in _lines(_STATISTICS):
        if line.startswith("procs_running "):
            return int(line.split()[1]) - 1 >= (os.cpu_count() or 1)
    return False


def _scheduled_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Crowding:
    """Who else keeps the cores busy.

    Attributes:
        cores: of the machine.
        load: how many threads of all processes ran or waited for a core, the mean of a minute;
            None where the system does not count.
        throttled: in which share of its scheduling periods this process's control group had used
            up its quota and was stopped, since it was made.
    """

    cores: int
    load: float | None
    throttled: float

    @property
    def is_busy(self) -> bool:
        """Whether timings suffer: half of the cores were taken, or the quota was used up often."""
        return (self.load is not None and self.load > self.cores / 2) or self.throttled > 0.05

    def __str__(self) -> str:
        said = "" if self.load is None else f"load average {self.load:.1f} on {self.cores} cores"
        if self.throttled > 0:
            quota = f"stopped by the CPU quota in {self.throttled:.0%} of its periods"
            said = f"{said}, {quota}" if said else quota
        return said or "the system does not say"


def crowding() -> Crowding:
    """Who else keeps the cores busy right now."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        load = None
    throttled = max((group.throttled for group in _control_groups(_PROCESS)), default=0.0)
    return Crowding(os.cpu_count() or 1, load, throttled)


@dataclass(frozen=True)
class _ControlGroup:
    """A control group with a quota: cores' worth of time, and as :class:`Crowding` has it."""

    cores: float
    throttled: float


def _control_groups(process: Path) -> Iterator[_ControlGroup]:
    """Those that ``process``, a folder of /proc, is in, with the groups that hold them."""
    for folder in _group_folders(process):
        cores = _quota(folder)
        if cores is not None:
            statistics = dict(line.split()[:2] for line in _lines(folder / "cpu.stat"))
            periods = int(statistics.get("nr_periods", 0))
            stopped = int(statistics.get("nr_throttled", 0))
            yield _ControlGroup(cores, stopped / periods if periods else 0.0)


def _quota(folder: Path) -> float | None:
    """A group's cores' worth of time in version 2 or 1 of control groups, None for no limit."""
    limit = [word for line in _lines(folder / "cpu.max") for word in line.split()]
    if not limit:
        limit = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    if len(limit) != 2 or not all(word.isdigit() for word in limit):
        return None  # "max", or -1
    quota, period = map(int, limit)
    return quota / period if period else None


def _group_folders(process: Path) -> Iterator[Path]:
    groups: dict[str, str] = {}  # path by version 1's controllers, version 2 under ""
    for line in _lines(process / "cgroup"):
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    for line in _lines(process / "mountinfo"):
        mount, _, kind = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split()
        system, _, options = kind.split(maxsplit=2)
        key = {"cgroup2": "", "cgroup": "cpu"}.get(system)
        if key is None or key not in groups or (key and key not in options.split(",")):
            continue
        group = PurePosixPath(groups[key])
        # A container may see its own group as the mount's root.
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        yield from (Path(point, above) for above in (inside, *inside.parents))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []

"""How threads wait, and how many there are: set before torch loads, unless the user has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accel_rt import threads

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def run(script: str, **settings: str) -> list[str]:
    """What `script` prints in a process with these OpenMP settings and no others."""
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, **settings},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return (result.stdout + result.stderr).split()


def openmp(**settings: str) -> dict[str, str]:
    """The settings that OpenMP itself reports when the package has loaded torch."""
    if not sys.platform.startswith("linux"):
        pytest.skip("torch brings libgomp on Linux")
    words = run("import accel_rt.ops", OMP_DISPLAY_ENV="VERBOSE", **settings)
    text = " ".join(words)
    return {
        name: text.split(f"{name} = '")[1].split("'")[0]
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    }


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    return environment


def test_threads_sleep_soon_by_default():
    """At once if this machine is busy."""
    assert openmp()["GOMP_SPINCOUNT"] in (str(threads.SPINS), "0")


@pytest.mark.parametrize(
    ("running", "spins"),
    [("1", str(threads.SPINS)), ("4", str(threads.SPINS)), ("5", "0"), (None, str(threads.SPINS))],
)
def test_threads_sleep_at_once_where_others_take_every_core(
    tmp_path, monkeypatch, environment, running, spins
):
    """This process is one of those that run; a system that does not count is not called busy."""
    statistics = tmp_path / "stat"
    if running is not None:
        statistics.write_text(f"cpu 1 2 3\nprocs_running {running}\nprocs_blocked 9\n")
    monkeypatch.setattr(threads, "_STATISTICS", statistics)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    threads.prepare()
    assert environment["GOMP_SPINCOUNT"] == spins
    assert threads.waiting() == f"GOMP_SPINCOUNT={spins}, KMP_BLOCKTIME={0 if spins == '0' else 1}"


def test_the_users_policy_stays():
    """A passive thread does not spin, an active one longer than anybody waits."""
    assert openmp(OMP_WAIT_POLICY="passive")["GOMP_SPINCOUNT"] == "0"
    assert int(openmp(OMP_WAIT_POLICY="active")["GOMP_SPINCOUNT"]) > 10**9


def test_the_users_spin_count_and_threads_stay():
    found = openmp(GOMP_SPINCOUNT="77", OMP_NUM_THREADS="1")
    assert found["GOMP_SPINCOUNT"] == "77"
    assert found["OMP_NUM_THREADS"] == "1"


def test_importing_the_package_does_not_load_torch():
    assert run("import sys, accel_rt.threads; print('torch' in sys.modules)") == ["False"]


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A folder like /proc/self, of a process in group /outer/inner of both versions."""
    proc = tmp_path / "proc"
    for folder in (proc, tmp_path / "v1" / "outer" / "inner", tmp_path / "v2" / "outer" / "inner"):
        folder.mkdir(parents=True)
    (proc / "cgroup").write_text("4:cpu,cpuacct:/outer/inner\n3:memory:/else\n0::/outer/inner\n")
    (proc / "mountinfo").write_text(
        f"30 1 0:2 / /proc rw - proc proc rw\n"
        f"31 1 0:3 / {tmp_path}/v1 rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        f"32 1 0:4 / {tmp_path}/memory rw,relatime - cgroup cgroup rw,memory\n"
        f"33 1 0:5 / {tmp_path}/v2 rw,relatime shared:7 - cgroup2 cgroup2 rw\n"
    )
    return proc


def cores(process: Path, monkeypatch: pytest.MonkeyPatch, scheduled: int = 8) -> int:
    monkeypatch.setattr(threads, "_PROCESS", process)
    monkeypatch.setattr(threads, "_scheduled_cores", lambda: scheduled)
    return threads.free_cores()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("5000000 100000", 8)],
)
@pytest.mark.parametrize("group", ["outer", "outer/inner"])
def test_a_quota_of_version_2_limits_the_cores(process, monkeypatch, group, limit, expected):
    (process.parent / "v2" / group / "cpu.max").write_text(f"{limit}\n")
    assert cores(process, monkeypatch) == expected


@pytest.mark.parametrize(("quota", "expected"), [(-1, 8), (300_000, 3), (150_000, 1)])
@pytest.mark.parametrize("group", ["", "outer", "outer/inner"])
def test_a_quota_of_version_1_limits_the_cores(process, monkeypatch, group, quota, expected):
    folder = process.parent / "v1" / group
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cores(process, monkeypatch) == expected


def test_a_containers_group_is_the_root_of_its_mount(process, monkeypatch):
    """A container without a namespace of its own sees the host's path, and its group as root."""
    mounts = (process / "mountinfo").read_text()
    (process / "mountinfo").write_text(mounts.replace("0:5 / ", "0:5 /outer/inner "))
    (process.parent / "v2" / "cpu.max").write_text("200000 100000\n")
    assert cores(process, monkeypatch) == 2


@pytest.mark.parametrize("damage", ["cgroup", "mountinfo"])
def test_a_system_without_control_groups_has_no_quota(process, monkeypatch, damage):
    (process / damage).unlink()
    assert cores(process, monkeypatch) == 8


def test_affinity_limits_the_cores(process, monkeypatch):
    assert cores(process, monkeypatch, scheduled=3) == 3


def test_a_quota_sets_the_number_of_threads(process, monkeypatch, environment):
    """Torch and OpenCV count the machine's cores."""
    (process.parent / "v2" / "outer" / "cpu.max").write_text("300000 100000\n")
    assert cores(process, monkeypatch) == 3
    threads.prepare()
    assert environment["OMP_NUM_THREADS"] == environment["OPENCV_FOR_THREADS_NUM"] == "3"


def test_without_a_quota_the_number_of_threads_is_left_to_torch(process, monkeypatch, environment):
    assert cores(process, monkeypatch) == 8
    threads.prepare()
    assert "OMP_NUM_THREADS" not in environment


@pytest.mark.parametrize(
    ("load", "stopped", "busy"), [(0.9, 0, False), (1.1, 0, True), (0.1, 4, False), (0.1, 6, True)]
)
def test_a_machine_is_busy_by_load_or_by_quota(process, monkeypatch, load, stopped, busy):
    monkeypatch.setattr(threads, "_PROCESS", process)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    group = process.parent / "v2" / "outer"
    (group / "cpu.max").write_text("100000 100000\n")
    (group / "cpu.stat").write_text(f"usage_usec 5\nnr_periods 100\nnr_throttled {stopped}\n")
    now = threads.crowding()
    assert (now.load, now.throttled, now.is_busy) == (load, stopped / 100, busy)
    assert f"load average {load} on 2 cores" in str(now)
    assert (f"stopped by the CPU quota in {stopped}% of its periods" in str(now)) == (stopped > 0)


def test_a_system_that_does_not_count_is_not_called_busy(process, monkeypatch):
    def missing():
        raise OSError

    monkeypatch.setattr(threads, "_PROCESS", process)
    monkeypatch.setattr(os, "getloadavg", missing)
    now = threads.crowding()
    assert not now.is_busy
    assert str(now) == "the system does not say"

"""A Ray cluster of three nodes on this machine: the driver, a worker and a node are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from accel_rt.scale.board import Board
from accel_rt.scale.drive import drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.place import Lines
from accel_rt.scale.plan import Video
from tests.need import need
from tests.scale import small
from tests.scale.test_local import everything, videos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # half a minute where nothing else runs
PATIENCE = {
    "gcs_server_request_timeout_seconds": 200,
    "health_check_timeout_ms": 60_000,
    "worker_register_timeout_seconds": 300,
    "worker_niceness": 0,  # by itself 15: beside other work next to nothing
}


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes with one core each: the cluster, and those that may be lost."""
    need("ray")
    import ray
    from ray._private import services
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    for name, value in PATIENCE.items():
        monkeypatch.setenv(f"RAY_{name}", str(value))
    plain = services.get_node

    def patient(*args: Any) -> Any:
        """Ray's own limit of half a minute is too short for a busy machine."""
        for _ in range(60):
            with suppress(RuntimeError):
                return plain(*args)
            time.sleep(0.5)
        return plain(*args)

    monkeypatch.setattr(services, "get_node", patient)
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    node.pop("include_dashboard")
    yield made, [made.add_node(**node) for _ in range(2)]
    ray.shutdown()
    made.shutdown()


# Runs in a process of its own; a chunk takes so long that the second is not done when it is killed.
DRIVER = """
import sys
from pathlib import Path
from accel_rt.scale.board import Board
from accel_rt.scale.cluster import RayCrew
from accel_rt.scale.drive import drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.place import Lines
from tests.scale import small
from tests.scale.test_local import videos

folder, address = Path(sys.argv[1]), sys.argv[2]
many = folder / "many"
work = small.work(many, kind=small.Dying, slow_s=1.0)
lines = Lines(str(many / ".accel-rt"))
board = Board(videos(folder, many), Manifest(lines.read(), lines.write), work.chunks.names())
with RayCrew(work, address, 1, 1) as crew:
    drive(board, crew)
"""


def kill_a_driver(folder: Path, address: str, manifest: Path) -> None:
    """Run the driver until a chunk of its is done, then kill it."""
    command = [sys.executable, "-c", DRIVER, str(folder), address]
    driver = subprocess.Popen(command, start_new_session=True)
    while not (manifest.exists() and '"chunk":' in manifest.read_text()):
        assert driver.poll() is None
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


def test_a_killed_driver_worker_and_node_change_nothing(tmp_path, cluster):
    import ray

    from accel_rt.scale.cluster import RayCrew

    for seed, name in enumerate("xy"):
        small.clip(tmp_path / f"{name}.mp4", 80, seed)
    (tmp_path / "z.mp4").write_bytes(b"no video")
    alone, many, deaths = (tmp_path / name for name in ("alone", "many", "deaths"))
    board = Board(videos(tmp_path, alone), Manifest([], [].append))
    drive(board, small.Serial(small.work(alone)))
    deaths.mkdir()
    (deaths / "0").touch()
    bad = Video(str(tmp_path / "z.mp4"), small.outputs(many, "z"), "z")
    work = small.work(many, kind=small.Dying, deaths=deaths, slow_s=0.5)
    made, nodes = cluster
    (many / ".accel-rt").mkdir(parents=True)
    kill_a_driver(tmp_path, made.address, many / ".accel-rt/manifest.jsonl")

    lines = Lines(str(many / ".accel-rt"))
    there = work.chunks.names()
    board = Board([*videos(tmp_path, many), bad], Manifest(lines.read(), lines.write), there)
    assert 0 < board.earlier_frames < 160
    rng = random.Random(1)

    def kill_a_node() -> None:
        """Once a chunk is done, at a random moment."""
        if board.done_chunks and nodes:
            victim = nodes.pop(rng.randrange(len(nodes)))
            nodes.clear()
            threading.Timer(rng.uniform(0, 1), made.remove_node, (victim, False)).start()

    ray.init(made.address, log_to_driver=False)
    with RayCrew(work, "auto", 3, 1) as crew:
        drive(board, crew, kill_a_node)
    assert not list(deaths.iterdir())
    assert not nodes
    assert [failure.task.video.source for failure in board.failures] == [bad.source]
    assert "is not a video" in board.failures[0].why
    assert board.earlier_frames + board.frames == 160
    expected = {n: data for n, data in everything(alone).items() if ".accel-rt" not in n}
    found = {n: data for n, data in everything(many).items() if ".accel-rt" not in n}
    assert found == expected
    assert len(expected) > 160

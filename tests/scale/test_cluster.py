"""A Ray cluster of three nodes on this machine: a worker and a node are killed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from accel_rt.scale.board import Board
from accel_rt.scale.drive import drive
from accel_rt.scale.manifest import Manifest
from accel_rt.scale.plan import Video
from tests.need import need
from tests.scale import small
from tests.scale.test_local import everything, videos

pytestmark = pytest.mark.slow
PATIENCE = {
    "gcs_server_request_timeout_seconds": 200,
    "health_check_timeout_ms": 60_000,
    "worker_register_timeout_seconds": 300,
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


def test_killed_workers_and_a_killed_node_change_nothing(tmp_path, cluster):
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
    written: list[str] = []
    board = Board([*videos(tmp_path, many), bad], Manifest([], written.append))
    rng = random.Random(1)

    def kill_a_node() -> None:
        """Once a chunk is done, at a random moment."""
        if board.done_chunks and nodes:
            victim = nodes.pop(rng.randrange(len(nodes)))
            nodes.clear()
            threading.Timer(rng.uniform(0, 1), made.remove_node, (victim, False)).start()

    made, nodes = cluster
    ray.init(made.address, log_to_driver=False)
    with RayCrew(work, "auto", 3, 1) as crew:
        drive(board, crew, kill_a_node)
    assert not list(deaths.iterdir())
    assert not nodes
    assert [failure.task.video.source for failure in board.failures] == [bad.source]
    assert "is not a video" in board.failures[0].why
    expected = {n: data for n, data in everything(alone).items() if ".accel-rt" not in n}
    found = {n: data for n, data in everything(many).items() if ".accel-rt" not in n}
    assert found == expected
    assert len(expected) > 160

"""A pair for classes of one's own: one command, from pictures to weights that can be named."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from accel_rt.classes import ClassSet
from accel_rt.cli.main import cli
from accel_rt.errors import WeightsError
from accel_rt.models import store
from accel_rt.models.weights import load_network
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.train import pair
from accel_rt.train.pair_settings import PairSettings
from accel_rt.train.processes import Processes, joined
from accel_rt.train.settings import DeepLabSettings
from accel_rt.train.start import start_network
from tests.models.test_model_file import write_model

COLORS = {"road": (128, 64, 128), "cup": (10, 200, 30)}
QUICK = "--steps 2 --batch 2 --crop 64x64 --rate 1e-4 --workers 0 --threads 1 --precision fp32"


def write_own(root: Path, count: int = 10) -> Path:
    """Pictures in two halves, with label maps in colour and nothing else said."""
    for number in range(count):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, : 20 + number] = 200
        colors = np.empty((48, 64, 3), np.uint8)
        colors[:] = COLORS["road"]
        colors[:, : 20 + number] = COLORS["cup"]
        for folder, content in (("images", picture), ("labels", colors[..., ::-1])):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f"{number}.png"), content)
    return root


def accel(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, str]:
    """The data, the run's folder, and what the command said."""
    root = tmp_path_factory.mktemp("own")
    data, out = write_own(root / "data"), root / "run"
    _, shown, said = accel("train", data, "-o", out, *QUICK.split())
    return data, out, shown, said


@pytest.mark.slow
class TestOneCommand:
    def test_it_ends_with_accuracy_a_picture_and_the_line_that_uses_it(
        self, run: tuple[Path, Path, str, str]
    ) -> None:
        _, out, shown, said = run
        assert "mIoU" in shown
        assert "95% interval" in shown
        assert f"accel-rt segment VIDEO --weights {out}" in shown
        assert cv2.imread(str(out / "predictions.png")) is not None
        assert "3 of 3: their fusion" in said

    def test_its_folder_is_the_pair_with_its_fusion(self, run: tuple[Path, Path, str, str]) -> None:
        _, out, _, _ = run
        settings = SegmenterSettings(reference=str(out), update=str(out), interval=2)
        segmenter = load_segmenter(settings)
        description = segmenter.describe()
        assert description["reference"] == "efficientnet_lite2"
        assert description["update"] == "efficientnet_lite0"
        assert description["fusion"].startswith("fusion-")
        assert segmenter.classes.names == ("#0ac81e", "#804080")

    def test_weights_name_both_networks(
        self, run: tuple[Path, Path, str, str], tmp_path: Path
    ) -> None:
        data, out, _, _ = run
        picture, target = data / "images" / "3.png", tmp_path / "x.png"
        code, _, said = accel("segment", picture, "--weights", out, "-o", target, "--threads", 1)
        assert code == 0, said
        assert "no fusion" not in said
        assert target.is_file()

    def test_the_same_command_again_trains_nothing(self, run: tuple[Path, Path, str, str]) -> None:
        data, out, shown, _ = run
        before = {path: path.stat().st_mtime_ns for path in out.glob("fusion*")}
        code, again, said = accel("train", data, "-o", out, *QUICK.split())
        assert code == 0
        assert "at step 2 of 2" in said
        assert again == shown
        assert {path: path.stat().st_mtime_ns for path in out.glob("fusion*")} == before


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_one_fuses_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    judged = []
    monkeypatch.setattr(pair, "joined", lambda _: nullcontext(Processes(torch.device("cpu"), rank)))
    monkeypatch.setattr(pair, "train_deeplab", lambda alone, *_: store.find(alone.network))
    monkeypatch.setattr(pair, "judge", lambda out, *_: judged.append(out) or "a verdict")
    out = tmp_path / "run"
    out.mkdir()
    verdict = pair.train_pair(PairSettings(data=write_own(tmp_path / "data")), out, lambda _: None)
    assert (verdict, judged) == (("a verdict", [out]) if rank == 0 else (None, []))
    assert len(list(out.glob("*.safetensors"))) == (2 if rank == 0 else 0)


@pytest.mark.parametrize(
    ("init", "noted"),
    [
        ("installed", ["efficientnet_lite2", "efficientnet_lite0"]),
        ("whole", ["whole#reference", "whole#update"]),
    ],
)
def test_what_is_noted_of_installed_weights_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, noted: list[str]
) -> None:
    """A run goes on in another environment, where they lie elsewhere."""
    begun = []
    (tmp_path / "weights").mkdir()
    write_model(tmp_path / "weights" / "whole.safetensors")
    monkeypatch.setenv(store.FOLDERS_VARIABLE, str(tmp_path / "weights"))

    def started(alone: DeepLabSettings, *_: object) -> Path:
        begun.append(alone.init)
        return store.find(alone.network)

    monkeypatch.setattr(pair, "train_deeplab", started)
    monkeypatch.setattr(pair, "judge", lambda *_: None)
    settings = PairSettings(data=write_own(tmp_path / "data"), init=init)
    pair.train_pair(settings, tmp_path / "weights", lambda _: None)
    assert begun == noted


def test_who_has_joined_stays_until_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", begun.append)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(begun))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", begun.clear)
    with joined("cpu"):
        for _ in range(2):
            with joined("cpu") as processes:
                assert (processes.rank, processes.world) == (1, 2)
            assert begun == ["gloo"]
    assert not begun


def test_a_subcommand_is_no_folder_of_data() -> None:
    code, shown, _ = accel("train", "deeplab", "--help")
    assert code == 0
    assert "Fine-tune one network" in shown


def test_a_word_that_is_neither_is_named() -> None:
    result = CliRunner().invoke(cli, ["train", "deeplap", "-o", "run"])
    assert result.exit_code == 2
    assert "'deeplap' does not exist" in result.stderr


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    archive.write_bytes(b"PK")
    result = CliRunner().invoke(cli, ["train", str(archive), "-o", "run"])
    assert "unpack it" in str(result.exception)


def test_scoring_rows_are_taken_over_by_name() -> None:
    """Where classes differ, what the network knew of one stays; all but the scores stays, too."""
    known, info = load_network(store.find("efficientnet_lite0"))
    classes = ClassSet(("cup", "road"), ((0, 0, 0), (1, 1, 1)))
    network = start_network("efficientnet_lite0", classes, "efficientnet_lite0", seed=0)
    road = info.classes.names.index("road")
    assert network.task.scoring.weight[1].equal(known.task.scoring.weight[road])
    assert network.task.scoring.bias[0] == 0
    assert network.task.deep[0].weight.equal(known.task.deep[0].weight)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no network weights"):
        store.find(str(tmp_path))

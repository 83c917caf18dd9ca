"""Workers and interruptions: the same numbers, and no work done twice."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from accel_rt.classes import CAMVID
from accel_rt.errors import AccelError, OutputError
from accel_rt.evaluate.counts import Counts
from accel_rt.evaluate.run import Evaluation, evaluate, forget
from accel_rt.models.weights import ModelInfo, save_network
from accel_rt.models.zoo import build_network
from accel_rt.runtime.settings import SegmenterSettings
from tests.evaluate.stub import AgeingPredictor, footage


class Interrupted(Exception):
    pass


class DyingPredictor(AgeingPredictor):
    """Takes its process with it."""

    def observe(self, frame_bgr: np.ndarray) -> None:
        import os

        os._exit(9)


MODELS = {"accel": SegmenterSettings(interval=3)}
LONG = footage([True] * 60)


def same(a: Counts, b: Counts) -> bool:
    return all((array == b.arrays()[name]).all() for name, array in a.arrays().items())


def test_workers_do_not_change_the_numbers(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    alone = evaluate(evaluation, tmp_path / "a", 1, lambda _: None)["accel"]
    together = evaluate(evaluation, tmp_path / "b", 2, lambda _: None)["accel"]
    assert alone.pixels.any()
    assert same(alone, together)
    forget(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_interrupted_run_is_picked_up(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    whole = evaluate(evaluation, tmp_path / "whole", 1, lambda _: None)["accel"]

    def interrupt(line: str) -> None:
        if line == "evaluated 1 of 2 parts":
            raise Interrupted

    with pytest.raises(Interrupted):
        evaluate(evaluation, tmp_path / "work", 1, interrupt)
    said: list[str] = []
    resumed = evaluate(evaluation, tmp_path / "work", 1, said.append)["accel"]
    assert said == ["1 of 2 parts are there from an earlier run", "evaluated 2 of 2 parts"]
    assert same(whole, resumed)


def test_workers_end_with_an_interruption_while_it_is_still_known(tmp_path: Path) -> None:
    """Also one that comes while a part is being saved."""
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    try:
        evaluate(evaluation, tmp_path / "work", 2, interrupt)
    except KeyboardInterrupt:
        assert not multiprocessing.active_children()
    else:
        pytest.fail("not interrupted")


def test_other_inputs_start_over(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)

    def interrupt(line: str) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        evaluate(evaluation, tmp_path / "work", 1, interrupt)
    other = replace(evaluation, models={"accel": SegmenterSettings(interval=2)})
    said: list[str] = []
    evaluate(other, tmp_path / "work", 1, said.append)
    assert said == ["evaluated 1 of 2 parts", "evaluated 2 of 2 parts"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    (tmp_path / "work").mkdir()
    own = tmp_path / "work" / "thesis.txt"
    own.write_text("mine")
    with pytest.raises(OutputError, match="holds other files: move it away"):
        evaluate(evaluation, tmp_path / "work", 1, _quiet)
    own.rename(tmp_path / "thesis.txt")
    evaluate(evaluation, tmp_path / "work", 1, _quiet)
    (tmp_path / "thesis.txt").rename(own)
    forget(tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["thesis.txt"]


def test_files_of_others_stay_whatever_their_names(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    work = tmp_path / "work"
    work.mkdir()
    texts = {"part-list.csv": "screw,3", "inputs.json": '{"mine": 1}', "part-00001.npz": "mine"}
    for name, text in texts.items():
        (work / name).write_text(text)
    with pytest.raises(OutputError, match="holds other files: move it away"):
        evaluate(evaluation, work, 1, _quiet)
    assert {path.name: path.read_text() for path in work.iterdir()} == texts


def test_where_nothing_can_be_written_no_parts_are_lost(tmp_path: Path) -> None:
    evaluation, work = Evaluation(LONG, MODELS, "dense", AgeingPredictor), tmp_path / "work"
    evaluate(evaluation, work, 1, _quiet)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9, limits[1]))  # bytes
        with pytest.raises(OutputError):
            evaluate(evaluation, work, 1, _quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    said: list[str] = []
    evaluate(evaluation, work, 1, said.append)
    assert said == ["2 of 2 parts are there from an earlier run"]


@pytest.mark.parametrize("fault", ["one array less", "another model", "fewer frames", "floats"])
def test_parts_that_were_edited_are_done_again(tmp_path: Path, fault: str) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    expected = evaluate(evaluation, tmp_path / "work", 1, _quiet)
    path = tmp_path / "work" / "part-00000.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    first = next(iter(arrays))
    changed = arrays.pop(first)
    if fault == "another model":
        arrays["other|pixels"] = changed
    elif fault == "fewer frames":
        arrays[first] = changed[:-1]
    elif fault == "floats":
        arrays[first] = changed * np.nan
    np.savez(path, **arrays)
    said: list[str] = []
    found = evaluate(evaluation, tmp_path / "work", 1, said.append)
    assert said[0] == "1 of 2 parts are there from an earlier run"
    for name, counts in expected.items():
        np.testing.assert_array_equal(found[name].pixels, counts.pixels)


def test_parts_that_vanish_are_not_left_out(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)

    def vanish(line: str) -> None:
        if line == "evaluated 2 of 2 parts":
            (tmp_path / "work" / "part-00000.npz").unlink()

    with pytest.raises(OutputError, match="1 of 2 parts in .* are damaged or gone: run the same"):
        evaluate(evaluation, tmp_path / "work", 1, vanish)


def _quiet(line: str) -> None: ...


def test_other_weights_of_the_same_name_are_other_inputs(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    settings = SegmenterSettings(reference=str(path), mode="deeplab")
    evaluation = Evaluation(LONG, {"mine": settings}, "dense", AgeingPredictor)
    marks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = build_network("plainnet", len(CAMVID))
        save_network(path, network, ModelInfo("plainnet", CAMVID, (48, 64), "nothing"))
        marks.append(evaluation.fingerprint())
    assert marks[0] == marks[1] != marks[2]


def test_worker_that_dies(tmp_path: Path) -> None:
    evaluation = Evaluation(LONG, MODELS, "dense", DyingPredictor)
    with pytest.raises(AccelError, match="a worker process died"):
        evaluate(evaluation, tmp_path / "work", 2, lambda _: None)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    evaluation = Evaluation(LONG, MODELS, "dense", AgeingPredictor)
    with pytest.raises(OutputError, match="cannot write"):
        evaluate(evaluation, tmp_path / "file" / "work", 1, lambda _: None)

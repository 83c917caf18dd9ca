"""Where the integers beside a file's weights run by themselves; who runs them here is a fake."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from accel_rt.errors import UsageError, WeightsError
from accel_rt.models import store
from accel_rt.models.accel import ScoreFusion
from accel_rt.models.exported import Run, model_run
from accel_rt.models.foreign.open import load_placed
from accel_rt.models.network import Network
from accel_rt.models.weights import content_hash, read_int8, save_int8
from accel_rt.runtime import backends
from accel_rt.runtime.load import load_segmenter, weights_digests
from accel_rt.runtime.settings import SegmenterSettings
from tests.need import need
from tests.runtime.exported import INFO, write_network

integers_are_faster = backends.integers_are_faster  # before the fixture of all tests takes it away

SETTINGS = SegmenterSettings(reference="a", mode="dff", device="cpu")
PAIR = replace(SETTINGS, mode="accel", update="a")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installed weights: ``a`` with integers, ``b`` of the same weights without."""
    plain = write_network(tmp_path / "b.safetensors")
    save_int8(tmp_path / "a.safetensors", plain, b"integers", content_hash(plain))
    monkeypatch.setenv(store.FOLDERS_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``machine(bf16, openvino)`` makes this one of that kind."""

    def start(engine: str, file: bytes) -> tuple[str, Run]:
        assert file == b"integers"
        told = {"piece": "keyframe", "cell": 16, "size": None, "fixed_size": None}
        told |= {"mean_rgb": INFO.mean_rgb, "std_rgb": INFO.std_rgb}
        return json.dumps(told), lambda picture, output: torch.zeros(0)

    def become(bf16: bool, openvino: bool) -> None:
        monkeypatch.setattr(backends, "integers_are_faster", integers_are_faster)
        monkeypatch.setattr(backends, "has_fast_bf16", lambda device: bf16)
        monkeypatch.setattr(backends, "engine_version", lambda _: "1" if openvino else None)
        monkeypatch.setattr(backends, "start", start)

    return become


def ran(settings: SegmenterSettings) -> str:
    return load_segmenter(settings).describe()["backend"]


@pytest.mark.parametrize(
    ("bf16", "openvino", "change", "expected"),
    [
        (False, True, {}, "openvino int8"),
        (True, True, {}, "torch"),
        (False, False, {}, "torch"),
        (False, True, {"precision": "fp32"}, "torch"),
        (False, True, {"precision": "bf16"}, "torch"),
        (False, True, {"backend": "torch"}, "torch"),
        (True, True, {"backend": "openvino"}, "openvino int8"),
        (False, True, {"reference": "b"}, "torch"),
    ],
)
def test_integers_run_where_bfloat16_does_not_and_nothing_else_is_asked_for(
    folder: Path, machine: Any, bf16: bool, openvino: bool, change: Any, expected: str
) -> None:
    machine(bf16, openvino)
    assert ran(replace(SETTINGS, **change)) == expected


def test_each_branch_of_a_pair_is_chosen_by_its_own_file(folder: Path, machine: Any) -> None:
    machine(bf16=False, openvino=True)
    assert ran(PAIR) == "openvino int8"
    assert ran(replace(PAIR, update="b")) == "reference on openvino int8, update on torch"


def test_on_cuda_weights_run(folder: Path, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(bf16=False, openvino=True)
    monkeypatch.setattr(backends, "resolve_device", lambda name: torch.device("cuda"))
    load = backends.on_backend(load_placed, replace(SETTINGS, device="cuda"))
    assert type(load(folder / "a.safetensors")[0]) is Network
    with pytest.raises(UsageError, match="'openvino' runs on the CPU"):
        backends.on_backend(load_placed, replace(SETTINGS, backend="openvino"))


def test_integers_change_neither_the_fusion_nor_what_weights_are(
    folder: Path, machine: Any
) -> None:
    machine(bf16=False, openvino=True)
    plain = folder / "b.safetensors"
    description = {**store.pair(plain, plain), "trained_on": "nothing"}
    store.save_fusion(folder / "fusion-b-b.safetensors", ScoreFusion(11), description)
    told = load_segmenter(PAIR).describe()
    assert (told["fusion"], told["backend"]) == ("fusion-b-b", "openvino int8")
    assert weights_digests(PAIR) == weights_digests(replace(PAIR, reference="b", update="b"))
    assert [read_int8(store.find(name)) for name in "ab"] == [b"integers", None]


def test_integers_of_other_weights_are_refused(folder: Path, machine: Any) -> None:
    machine(bf16=False, openvino=True)
    save_int8(folder / "a.safetensors", folder / "b.safetensors", b"integers", "of others")
    with pytest.raises(WeightsError, match="a.safetensors has 8-bit integers of other weights"):
        ran(SETTINGS)
    assert ran(replace(SETTINGS, precision="fp32")) == "torch"


def test_a_runtime_that_fails_is_one_sentence(
    folder: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(bf16=False, openvino=True)
    monkeypatch.setattr(backends, "start", lambda *_: int("no number"))
    with pytest.raises(WeightsError, match=r"int8 does not run .*a\.safetensors \(.*\): choose"):
        ran(SETTINGS)


def test_threads_take_turns_with_a_model_of_openvino() -> None:
    """Which refuses a request that is under way."""
    busy = threading.Lock()

    def infer(inputs: dict[str, np.ndarray], share_inputs: bool) -> dict[str, np.ndarray]:
        assert busy.acquire(blocking=False)
        time.sleep(0.01)
        busy.release()
        return {"scores": inputs["picture"] + 1}

    request = SimpleNamespace(infer=infer)
    compiled = SimpleNamespace(create_infer_request=lambda: request)
    core = SimpleNamespace(compile_model=lambda *_: compiled)
    model = SimpleNamespace(clone=lambda: SimpleNamespace(reshape=lambda shapes: None))
    run = model_run(core, model)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: run(torch.full((1, 1), float(n)), "scores"), range(8)))
    assert [float(one) for one in found] == list(range(1, 9))


def test_what_openvino_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And compiled again where the file is damaged."""
    need("openvino")
    import openvino
    from openvino import opset8

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    picture = opset8.parameter([1, 3, -1, -1], np.float32, "picture")
    scores = opset8.relu(picture)
    picture.output(0).set_names({"picture"})
    scores.output(0).set_names({"scores"})
    model, core, compiled = openvino.Model([scores], [picture]), openvino.Core(), []

    class Counting:
        import_model, get_property = core.import_model, core.get_property

        def compile_model(self, *arguments: Any) -> Any:
            compiled.append(arguments)
            return core.compile_model(*arguments)

    def times_compiled(name: str, size: tuple[int, int] = (4, 5)) -> int:
        before, x = len(compiled), torch.randn(1, 3, *size)
        assert torch.equal(model_run(Counting(), model, name)(x, "scores"), x.relu())
        return len(compiled) - before

    assert [times_compiled("a"), times_compiled("a"), times_compiled("b")] == [1, 0, 1]
    assert [times_compiled("a", (6, 5)), times_compiled(""), times_compiled("")] == [1, 1, 1]
    for kept in tmp_path.rglob("a-*.openvino"):
        kept.write_bytes(kept.read_bytes()[:99])
    assert [times_compiled("a"), times_compiled("a")] == [1, 0]

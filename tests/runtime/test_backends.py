"""Networks of ours on OpenVINO and onnxruntime: the same labels, and who is chosen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import accel_rt
from accel_rt.errors import UsageError
from accel_rt.models.weights import content_hash, load_network, read_int8
from accel_rt.runtime import backends
from accel_rt.runtime.calibrate import pack_int8, spread
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from tests.need import need
from tests.runtime.exported import FRAMES, write_network

ENGINES = pytest.mark.parametrize("engine", ["onnx", "openvino"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``a.safetensors``, frames, and a cache of this module's own."""
    need("onnxscript")
    folder = tmp_path_factory.mktemp("backends")
    write_network(folder / "a.safetensors")
    (folder / "frames").mkdir()
    for index, frame in enumerate(FRAMES):
        cv2.imwrite(str(folder / f"frames/{index}.png"), frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture
def settings(folder: Path) -> SegmenterSettings:
    return SegmenterSettings(
        reference=str(folder / "a.safetensors"),
        update=str(folder / "a.safetensors"),
        interval=3,
        flow="dis",
        device="cpu",
        precision="fp32",
        backend="torch",
    )


def run(settings: SegmenterSettings) -> tuple[np.ndarray, dict[str, Any]]:
    segmenter = load_segmenter(settings)
    return np.stack([segmenter.step(frame).labels for frame in FRAMES]), segmenter.describe()


def has(engine: str) -> None:
    need({"onnx": "onnxruntime"}.get(engine, engine))


@pytest.mark.slow
@ENGINES
def test_a_backend_gives_the_same_labels(settings: SegmenterSettings, engine: str) -> None:
    has(engine)
    wanted, told = run(settings)
    assert told["backend"] == "torch"
    found, told = run(replace(settings, backend=engine))  # type: ignore[arg-type]
    assert told["backend"] == engine
    assert np.mean(found == wanted) >= 0.999


def test_networks_are_exported_once(
    settings: SegmenterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    has("onnx")
    run(replace(settings, backend="onnx"))
    monkeypatch.delattr(backends, "halves")
    assert run(replace(settings, backend="onnx"))[1]["backend"] == "onnx"


@ENGINES
def test_an_exported_file_is_a_network_of_the_same_labels(
    folder: Path, settings: SegmenterSettings, engine: str
) -> None:
    has(engine)
    own = folder / "a.safetensors"
    network, info = load_network(own)
    (folder / "a.onnx").write_bytes(backends.exported(own, network, info))
    every = replace(settings, mode="deeplab")
    wanted, _ = run(every)
    segmenter = load_segmenter(replace(every, reference=f"{engine}:{folder}/a.onnx"))
    found = np.stack([segmenter.step(frame).labels for frame in FRAMES])
    assert np.mean(found == wanted) >= 0.999
    assert segmenter.classes == info.classes
    assert segmenter.describe()["backend"] == engine
    name, classes = f"{engine}:{folder}/a.onnx", [f"class {number}" for number in range(11)]
    fast = accel_rt.accelerate(name, 1, device="cpu", classes=classes)
    results = [fast.step(frame) for frame in FRAMES]
    np.testing.assert_array_equal(np.stack([result.labels for result in results]), found)
    assert results[0].classes.names == tuple(classes)
    with pytest.raises(UsageError, match="scores 11 classes, and 2 are named"):
        accel_rt.accelerate(name, classes=["a", "b"])


@pytest.fixture(scope="module")
def packed(folder: Path) -> Path:
    """The network of ``a.safetensors`` with its integers."""
    need("nncf")
    need("onnxruntime")
    path = folder / "q.safetensors"
    pack_int8(str(folder / "a.safetensors"), str(folder / "frames"), 4, path)
    return path


class TestInt8:
    def test_the_weights_stay_as_they_are(self, folder: Path, packed: Path) -> None:
        assert content_hash(packed) == content_hash(folder / "a.safetensors")
        assert read_int8(folder / "a.safetensors") is None
        assert b"QuantizeLinear" in (read_int8(packed) or b"")

    @ENGINES
    def test_integers_give_nearly_the_same_labels(
        self, settings: SegmenterSettings, packed: Path, engine: str
    ) -> None:
        has(engine)
        every = replace(settings, mode="deeplab", reference=str(packed))
        wanted, _ = run(every)
        integers = replace(every, backend=engine, precision="auto")  # type: ignore[arg-type]
        found, told = run(integers)
        assert told["backend"] == f"{engine} int8"
        assert 0.8 < np.mean(found == wanted) < 1
        exact, told = run(replace(integers, precision="fp32"))
        assert told["backend"] == engine
        assert np.mean(exact == wanted) >= 0.999


def test_a_backend_that_is_missing_is_named(
    settings: SegmenterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends.start.__globals__["_PACKAGES"], "openvino", "not-there-at-all")
    with pytest.raises(UsageError, match=r"needs not-there-at-all: pip install 'accel-rt\[openv"):
        load_segmenter(replace(settings, backend="openvino"))


def test_frames_to_calibrate_by_are_spread_over_all() -> None:
    frames = [np.full(1, index) for index in range(100)]
    chosen = [int(frame[0]) for frame in spread(frames, 8)]
    assert len(chosen) == 8
    assert np.all(np.diff(chosen) >= 8)
    assert chosen[-1] > 80
    assert spread(frames[:3], 8) == frames[:3]

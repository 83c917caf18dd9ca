"""Exporting and packing in integers, by the command line."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.need import need
from tests.runtime.exported import write_network


@pytest.mark.slow
def test_a_pair_is_written_for_torch_as_two_files(accel: Run, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network.safetensors")
    done = accel("export", network, "--update", network, "-o", tmp_path / "pair.pt2")
    assert done.code == 0, done.err
    assert done.out.split() == [str(tmp_path / f"pair-{n}.pt2") for n in ("keyframe", "update")]
    assert all(Path(path).is_file() for path in done.out.split())
    assert "no fusion is trained" in done.err


def test_half_of_a_pair_is_no_network(accel: Run, clip: Path) -> None:
    need("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    sides = 1, [1, 3, 8, 8]
    ports = [helper.make_tensor_value_info(name, *sides) for name in ("picture", "scores")]
    node = helper.make_node("Relu", ["picture"], ["scores"])
    graph = helper.make_graph([node], "graph", ports[:1], ports[1:])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {"accel_rt": '{"piece": "update"}', "classes": "{}"})
    Path("half.onnx").write_bytes(model.SerializeToString())
    done = accel("segment", clip, "--reference", "onnx:half.onnx", "--mode", "deeplab")
    assert done.code == 2
    assert "name the keyframe's file" in done.error
    helper.set_model_props(model, {"accel_rt": "{", "classes": "{}"})
    Path("half.onnx").write_bytes(model.SerializeToString())
    done = accel("segment", clip, "--reference", "onnx:half.onnx", "--mode", "deeplab")
    assert done.code == 1
    assert "export it again" in done.error


@pytest.mark.slow
def test_what_was_exported_is_as_it_is(accel: Run, clip: Path, tmp_path: Path) -> None:
    need("onnxruntime")
    network = write_network(tmp_path / "network.safetensors")
    assert accel("export", network, "-o", "one.onnx").code == 0
    again = accel("export", "onnx:one.onnx", "-o", "two.onnx")
    assert (again.code, "copy the file" in again.error) == (2, True)
    told = accel("segment", clip, "--reference", "onnx:one.onnx?classes=a,b", "--mode", "deeplab")
    assert (told.code, "leave out ?classes" in told.error) == (2, True)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("export", "efficientnet_lite0", "-o", "x.png"), "must be an .onnx or .pt2 file"),
        (("export", "nothing", "-o", "x.onnx"), "choose from"),
        (("export", "plainnet", "-o", "x.onnx", "--size", "0x0"), "must be multiples of"),
        (("export", "plainnet", "-o", "x.onnx", "--update-scale", "0.5"), "name it by --update"),
        (("pack", "efficientnet_lite0", "--int8", "-o", "x"), "--int8 and --calibrate"),
        (("pack", "efficientnet_lite0", "--calibrate", "v", "-o", "x"), "--int8 and --calibrate"),
    ],
)
def test_wrong_use_is_told(accel: Run, args: tuple[str, ...], says: str) -> None:
    done = accel(*args)
    assert done.code == 2
    assert says in done.error


def test_doctor_names_the_backends(accel: Run) -> None:
    assert {"backend", "openvino", "onnx"} <= set(accel("doctor").out.split())

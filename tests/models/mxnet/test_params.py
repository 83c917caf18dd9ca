"""Reading MXNet's parameter files: every layout, and nothing that a file says is believed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accel_rt.errors import WeightsError
from accel_rt.models.mxnet.params import read_params

FIXTURES = Path(__file__).parent / "fixtures"
LAYOUTS = ("legacy", "legacy_gpu1", "v1", "v2", "v3")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_what_mxnet_wrote(layout: str) -> None:
    expected = np.load(FIXTURES / "tiny_expected.npz")
    found = read_params(FIXTURES / f"tiny_{layout}.params")
    assert {name.replace(":", "__") for name in found} == set(expected.files)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name.replace(":", "__")])


def test_types_are_kept() -> None:
    found = read_params(FIXTURES / "tiny_dtypes_v2.params")
    types = {name.partition(":")[2]: str(array.dtype) for name, array in found.items()}
    assert types == {"f16": "float16", "f64": "float64", "u8": "uint8", "i32": "int32"}
    np.testing.assert_array_equal(found["arg:u8"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_cut_off_is_told_in_a_sentence(layout: str, tmp_path: Path) -> None:
    data = (FIXTURES / f"tiny_{layout}.params").read_bytes()
    path = tmp_path / "cut.params"
    for length in [*range(120), *range(120, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match="not a readable MXNet parameter file"):
            read_params(path)


V2, V3, CPU_FLOAT = 0xF993FAC9, 0xF993FACA, struct.pack("<iii", 1, 0, 0)


def whole(array: bytes, names: bytes = struct.pack("<QQ", 1, 1) + b"a", count: int = 1) -> bytes:
    return struct.pack("<QQQ", 0x112, 0, count) + array + names


def v2(*shape: int, storage: int = 0, mark: int = V2) -> bytes:
    return struct.pack(f"<Iii{len(shape)}q", mark, storage, len(shape), *shape)


FLOAT, NAME = v2(1) + CPU_FLOAT + bytes(4), struct.pack("<Q", 1) + b"a"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\3\4" + bytes(40), "does not begin as one"),
        (whole(b"", count=2**60), "more than it has room for"),
        (whole(v2(2**31 - 1, 2**31 - 1) + CPU_FLOAT), "ends within array 0"),
        (whole(v2(2**62, 0) + CPU_FLOAT), "has the shape"),
        (whole(v2(-1, -4) + CPU_FLOAT), "has the shape"),
        (whole(struct.pack("<Iii", V2, 0, 2**30)), "has 1073741824 dimensions"),
        (whole(struct.pack("<Iii", V2, 0, -7)), "has -7 dimensions"),
        (whole(v2(1, storage=1) + CPU_FLOAT + bytes(4)), "stored sparse"),
        (whole(v2(1) + struct.pack("<iii", 1, 0, 7) + bytes(4)), "type 7"),
        (whole(FLOAT, struct.pack("<Q", 0)), "1 arrays and 0 names"),
        (whole(FLOAT, struct.pack("<QQ", 1, 2**50)), "room for"),
        (whole(FLOAT, struct.pack("<QQ", 1, 1) + b"\xff"), "printed"),
        (whole(FLOAT, struct.pack("<QQ", 1, 1) + b"\x1b"), "printed"),
        (whole(FLOAT) + b"more", "4 bytes follow its end"),
        (whole(2 * FLOAT, struct.pack("<Q", 2) + 2 * NAME, 2), "one name"),
    ],
)
def test_a_hostile_file_is_told_in_a_sentence(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.params"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        read_params(path)


@pytest.mark.parametrize(
    "empty", [v2(), v2(mark=V3), struct.pack("<Iii", V3, 0, -1), struct.pack("<I", 0)]
)
def test_an_array_that_was_never_filled_ends_after_its_shape(empty: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.params"
    path.write_bytes(whole(empty))
    assert read_params(path) == {}


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_what_is_no_file_is_told(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="no file .*nothing"):
        read_params(tmp_path / "nothing")

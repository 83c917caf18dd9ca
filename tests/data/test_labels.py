"""Label maps of every kind hold the values that were drawn, and classes that never occur show."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accel_rt.data.labels import read_label_values
from accel_rt.data.occurrence import absent_classes
from accel_rt.data.open import open_dataset
from accel_rt.errors import InputError
from accel_rt.train.sources import training_data

GREY, INDEXED = 0, 3
VALUES = np.random.default_rng(0).integers(0, 3, (13, 17)).astype(np.uint8)


def png(values: np.ndarray, bits: int, kind: int) -> bytes:
    """A PNG written by hand, so that nobody's encoder chooses its depth."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = b""
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    palette = bytes(7 * part % 256 for part in range(3 * 2**bits))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if kind == INDEXED else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [GREY, INDEXED])
def test_png_of_any_depth(tmp_path: Path, bits: int, kind: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (13, 17))
    (tmp_path / "a.png").write_bytes(png(values, bits, kind))
    np.testing.assert_array_equal(read_label_values(tmp_path / "a.png"), values)


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "TIFF"])
@pytest.mark.parametrize("mode", ["P", "L", "1", "I;16"])
def test_every_kind_of_file(tmp_path: Path, suffix: str, mode: str) -> None:
    values = VALUES > 0 if mode == "1" else VALUES
    picture = Image.fromarray(values.astype(np.uint16) if mode == "I;16" else values)
    if mode == "P":
        picture.putpalette([0, 0, 100, 255, 0, 0, 0, 255, 0])
    if (mode, suffix) == ("I;16", "bmp"):
        pytest.skip("BMP holds no 16 bits")
    picture.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_label_values(tmp_path / f"a.{suffix}"), values)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("largest", [1, 11, 255, 300, 65535])
def test_pgm_of_any_largest_value(tmp_path: Path, plain: bool, largest: int) -> None:
    values = np.minimum(np.arange(12).reshape(3, 4), largest)
    body = values.astype(">u2" if largest > 255 else "u1").tobytes()
    if plain:
        body = " ".join(map(str, values.ravel())).encode()
    head = f"P{2 if plain else 5} 4 3 {largest}\n".encode()
    (tmp_path / "a.pgm").write_bytes(head + body)
    np.testing.assert_array_equal(read_label_values(tmp_path / "a.pgm"), values)


def test_sixteen_bits_that_are_no_labels(tmp_path: Path) -> None:
    Image.fromarray(VALUES.astype(np.uint16) * 300).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a.png holds values 0 to 600: labels are 0 to 255"):
        read_label_values(tmp_path / "a.png")


def dataset(
    root: Path, values: np.ndarray, classes: list, suffix: str = "png", split: str = "train"
) -> Path:
    """Four pictures with the same label map."""
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", values.shape[::-1]).save(root / "images" / split / f"{number}.jpg")
        Image.fromarray(values).save(root / "labels" / split / f"{number}.{suffix}")
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    return root


@pytest.mark.parametrize("suffix", ["PNG", "bmp", "tif"])
def test_labels_of_any_suffix_belong_to_their_images(tmp_path: Path, suffix: str) -> None:
    found = open_dataset(dataset(tmp_path, VALUES, ["a", "b", "c"], suffix), "train")
    assert len(found.labelled()) == 4
    np.testing.assert_array_equal(found.labelled()[0].labels(), VALUES)


def test_black_and_white_masks_do_not_train_on_background_alone(tmp_path: Path) -> None:
    mask = np.where(VALUES > 0, 255, 0).astype(np.uint8)
    root = dataset(tmp_path, mask, ["background", "thing"])
    share = (mask > 0).mean()
    with pytest.raises(
        InputError, match=rf"holds thing; {share:.1%} of the pixels do not count: .*\"id\": 255"
    ):
        training_data(root, "auto", (), 0).notes()


def test_black_and_white_masks_with_white_as_a_class(tmp_path: Path) -> None:
    mask = np.where(VALUES > 0, 255, 0).astype(np.uint8)
    root = dataset(tmp_path, mask, ["background", {"name": "thing", "id": 255}])
    found = open_dataset(root, "train")
    np.testing.assert_array_equal(found.labelled()[0].labels(), VALUES > 0)
    assert absent_classes([found]) is None


def test_one_bit_masks_hold_two_classes(tmp_path: Path) -> None:
    root = dataset(tmp_path, VALUES > 0, ["background", "thing"])
    assert training_data(root, "auto", (), 0).notes() == ()


def test_a_class_that_never_occurs_is_named(tmp_path: Path) -> None:
    root = dataset(tmp_path, VALUES, ["a", "b", "c", "cow", "horse"])
    (note,) = training_data(root, "auto", (), 0).notes()
    assert note == f"no label map of {tmp_path.name} train holds cow, horse"


def test_a_class_of_another_data_set_occurs(tmp_path: Path) -> None:
    one = dataset(tmp_path / "one", VALUES, ["a", "b", "c", "d"])
    two = dataset(tmp_path / "two", VALUES + 1, ["a", "b", "c", "d"])
    assert training_data(one, "auto", ((two, 0.5),), 0).notes() == ()


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    root = dataset(tmp_path, VALUES, ["a", "b", "c"])
    for kind in ("images", "labels"):
        (root / kind / "train" / "._0.png").write_bytes(b"\0\5\x16\7Mac OS X")
        (root / kind / "train" / ".thumbnails").mkdir()
        (root / kind / "train" / ".thumbnails" / "0.png").write_bytes(b"")
    found = open_dataset(root, "train")
    assert [sequence.name for sequence in found.sequences] == ["0", "1", "2", "3"]
    assert len(found.labelled()) == 4


def test_two_label_maps_of_one_image(tmp_path: Path) -> None:
    root = dataset(tmp_path, VALUES, ["a", "b", "c"])
    Image.fromarray(VALUES).save(root / "labels" / "train" / "1.tif")
    with pytest.raises(InputError, match="are label maps of one image: remove one"):
        open_dataset(root, "train")


def test_label_maps_that_lose_values(tmp_path: Path) -> None:
    root = dataset(tmp_path, VALUES, ["a", "b", "c"], suffix="jpg")
    with pytest.raises(InputError, match=r"\.jpg cannot be a label map, whose values must be kept"):
        open_dataset(root, "train")

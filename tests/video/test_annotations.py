"""Masks in the files of annotation tools, read by these tools' own packages, and back as data."""

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from accel_rt.classes import ClassSet
from accel_rt.data.open import open_dataset
from accel_rt.errors import UsageError
from accel_rt.video.annotations import FILES
from accel_rt.video.masks import MaskWriter, count_masks
from tests.need import need

CLASSES = ClassSet(("road", 'the "sky" & <more>', "car"), ((1, 2, 3), (40, 50, 60), (255, 0, 9)))
SIZE = (37, 53)


def label_map(seed: int) -> np.ndarray:
    """Patches of all classes, the picture's corners among them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (5, 7), np.uint8)
    labels = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    labels[rng.integers(0, 37, 60), rng.integers(0, 53, 60)] = 2
    return labels


MAPS = [label_map(seed) for seed in range(3)]


@pytest.fixture(params=FILES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of each format with the masks :data:`MAPS`, beside the pictures."""
    with MaskWriter(tmp_path, request.param, CLASSES) as writer:
        for index, labels in enumerate(MAPS):
            writer.write(index, labels)
            cv2.imwrite(f"{tmp_path}/frame_{index:06d}.png", np.zeros((*SIZE, 3), np.uint8))
    assert count_masks(tmp_path, request.param) == 3
    return tmp_path / FILES[request.param]


def only(written: Path, fmt: str) -> None:
    if written.name != FILES[fmt]:
        pytest.skip("another format's test")


@pytest.mark.parametrize(("fmt", "first"), [("rle", 0), ("coco", 1)])
def test_cocos_tools_find_every_pixel_and_each_frames_place(
    written: Path, fmt: str, first: int
) -> None:
    only(written, fmt)
    stored = COCO(written)
    assert [video["id"] for video in stored.dataset["videos"]] == [1]
    for index, labels in enumerate(MAPS):
        image = stored.imgs[index]
        assert (image["video_id"], image["frame_id"]) == (1, index)
        found = np.full(SIZE, 255, np.uint8)
        for annotation in stored.imgToAnns[index]:
            found[stored.annToMask(annotation) == 1] = annotation["category_id"] - first
        np.testing.assert_array_equal(found, labels)


def of_datumaro(written: Path) -> Any:
    """The file and its pictures as a data set of datumaro's, which CVAT's imports go through."""
    root, datumaro = written.parent, need("datumaro")
    images = root / "images" / "default"
    images.mkdir(parents=True)
    for picture in root.glob("*.png"):
        picture.rename((images if written.suffix == ".json" else images.parent) / picture.name)
    if written.name == FILES["cvat"]:
        return datumaro.Dataset.import_from(str(root), "cvat")
    (root / "annotations").mkdir()
    written.rename(root / "annotations" / written.name)
    return datumaro.Dataset.import_from(str(root), "coco_instances")


@pytest.mark.parametrize("fmt", ["coco", "cvat"])
def test_datumaro_finds_every_pixel(written: Path, fmt: str) -> None:
    only(written, fmt)
    types, data = need("datumaro").AnnotationType, of_datumaro(written)
    names = [label.name for label in data.categories()[types.label]]
    for index, labels in enumerate(MAPS):
        (item,) = (item for item in data if item.id == f"frame_{index:06d}")
        found = np.full(SIZE, 255, np.uint8)
        for mask in item.annotations:
            if mask.type == types.mask:  # COCO's have boxes beside them
                found[mask.image.astype(bool)] = CLASSES.names.index(names[mask.label])
        np.testing.assert_array_equal(found, labels)


def test_what_datumaro_exports_comes_back(written: Path, tmp_path: Path) -> None:
    only(written, "coco")
    out = tmp_path / "out"
    exact = {"save_media": True, "segmentation_mode": "mask"}  # no polygons around them
    of_datumaro(written).export(str(out), "coco_instances", **exact)
    back = open_dataset(out, "train")
    label_of = np.array(back.classes.indices(CLASSES.names))
    assert len(back.labelled()) == len(MAPS)
    for frame, labels in zip(back.labelled(), MAPS, strict=True):
        np.testing.assert_array_equal(frame.labels(), label_of[labels])


def test_cvats_runs_fill_their_boxes(written: Path) -> None:
    only(written, "cvat")
    tree = ElementTree.parse(written)
    assert [label.findtext("name") for label in tree.iter("label")] == list(CLASSES.names)
    assert [label.findtext("color") for label in tree.iter("label")][2] == "#ff0009"
    for image, labels in zip(tree.iter("image"), MAPS, strict=True):
        found = np.full(SIZE, 255, np.uint8)
        for mask in image.iter("mask"):
            left, top, width, height = (
                int(mask.attrib[side]) for side in ("left", "top", "width", "height")
            )
            runs = [int(run) for run in mask.attrib["rle"].split(",")]
            inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
            part = found[top : top + height, left : left + width]
            part[inside] = CLASSES.names.index(mask.attrib["label"])
        np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("fmt", ["rle", "coco", "cvat"])
def test_a_corrected_result_comes_back_as_training_data(written: Path, fmt: str) -> None:
    only(written, fmt)
    data = open_dataset(written.parent, "train")
    label_of = np.array(data.classes.indices(CLASSES.names))
    frames = [frame for sequence in data.sequences for frame in sequence.frames]
    assert len(frames) == 3
    for frame, labels in zip(frames, MAPS, strict=True):
        np.testing.assert_array_equal(frame.labels(), label_of[labels])


def label_studio_masks(written: Path, decode: object) -> None:
    for task, labels in zip(json.loads(written.read_text()), MAPS, strict=True):
        found = np.full(SIZE, 255, np.uint8)
        for result in task["predictions"][0]["result"]:
            size = result["original_height"], result["original_width"]
            pixels = np.reshape(decode(result["value"]["rle"]), (*size, 4))  # type: ignore[operator]
            assert set(np.unique(pixels)) <= {0, 255}
            (name,) = result["value"]["brushlabels"]
            found[pixels[..., 3] == 255] = CLASSES.names.index(name)
        np.testing.assert_array_equal(found, labels)


def unpacked(packed: list[int]) -> np.ndarray:
    """What thi.ng's rle-pack, which Label Studio uses, makes of bytes, as its notes say."""
    text, place = "".join(f"{byte:08b}" for byte in packed), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(text[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < total:
        repeats, length = read(1), read(sizes[read(2)]) + 1
        out += [read(word)] * length if repeats else [read(word) for _ in range(length)]
    return np.array(out)


def test_label_studios_runs_are_those_of_its_notes(written: Path) -> None:
    only(written, "label-studio")
    label_studio_masks(written, unpacked)


def test_label_studios_own_package_reads_them(written: Path) -> None:
    only(written, "label-studio")
    label_studio_masks(written, need("label-studio-sdk").decode_rle)


def test_runs_longer_than_a_length_can_say_are_cut(tmp_path: Path) -> None:
    with MaskWriter(tmp_path, "label-studio", CLASSES) as writer:
        writer.write(0, np.zeros((300, 200), np.uint8))
    (task,) = json.loads((tmp_path / FILES["label-studio"]).read_text())
    (result,) = task["predictions"][0]["result"]
    assert (unpacked(result["value"]["rle"]) == 255).sum() == 4 * 300 * 200


@pytest.mark.parametrize("frames", [0, 2])
def test_a_file_of_an_earlier_run_is_replaced(written: Path, frames: int) -> None:
    fmt = next(fmt for fmt, name in FILES.items() if name == written.name)
    for _ in range(2):
        with MaskWriter(written.parent, fmt, CLASSES) as writer:
            for index in range(frames):
                writer.write(index, MAPS[index])
        assert count_masks(written.parent, fmt) == frames


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\x1bb.png"])
@pytest.mark.parametrize("fmt", FILES)
def test_names_of_pictures_need_not_be_text(tmp_path: Path, fmt: str, name: bytes) -> None:
    with MaskWriter(tmp_path, fmt, CLASSES) as writer:
        writer.write(0, MAPS[0], os.fsdecode(name))
    assert count_masks(tmp_path, fmt) == 1
    (tmp_path / FILES[fmt]).read_text("utf-8")


EXPORTS = {
    "rle": '{"categories": [], "images": [], "annotations": []}',
    "coco": '{"licenses": [], "categories": [{"id": 1, "name": "road"}],\n"images": []}',
    "cvat": '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n',
    "label-studio": '[{"id": 1, "annotations": [], "data": {"image": "a.png"}, "predictions": []}]',
}


@pytest.mark.parametrize("fmt", FILES)
def test_what_a_tool_exported_is_kept(tmp_path: Path, fmt: str) -> None:
    path = tmp_path / FILES[fmt]
    path.write_text(EXPORTS[fmt])
    with pytest.raises(UsageError, match=f"holds '{path.name}', which is no mask of an earlier"):
        MaskWriter(tmp_path, fmt, CLASSES)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == EXPORTS[fmt]


@pytest.mark.parametrize("fmt", FILES)
def test_a_file_that_is_cut_short_does_not_count(tmp_path: Path, fmt: str) -> None:
    with MaskWriter(tmp_path, fmt, CLASSES) as writer:
        writer.write(0, MAPS[0])
    file = tmp_path / FILES[fmt]
    file.write_bytes(file.read_bytes()[:-20])
    assert count_masks(tmp_path, fmt) is None

"""A data set as one file: what is unpacked is the data set, but for JPEG's loss."""

import json
import subprocess
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from accel_rt.data.open import open_dataset, open_training
from accel_rt.data.packed import pack_data
from accel_rt.errors import InputError, UsageError
from tests.data.test_samples import write_camvid


def test_what_is_unpacked_is_the_data_set(tmp_path):
    root = write_camvid(tmp_path / "data")
    write_camvid(root, "val", 4)
    assert pack_data(root, tmp_path / "data.pack") == {"train": 3, "val": 4}
    with tarfile.open(tmp_path / "data.pack") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    before = [open_training(root), open_dataset(root, "val")]
    after = [open_training(tmp_path / "unpacked"), open_dataset(tmp_path / "unpacked", "val")]
    for one, other in zip(before, after, strict=True):
        assert other.classes == one.classes
        assert [len(s.frames) for s in other.sequences] == [len(s.frames) for s in one.sequences]
        for a, b in zip(one.labelled(), other.labelled(), strict=True):
            (image, labels), (image_after, labels_after) = a.read(), b.read()
            np.testing.assert_array_equal(labels_after, labels)
            assert np.abs(image_after.astype(int) - image).mean() < 2


def test_the_recipe_trains_on_nothing_that_was_unpacked_by_half(tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "device.sh"
    root = write_camvid(tmp_path / "data")
    write_camvid(root, "val", 4)
    pack_data(root, tmp_path / "whole.pack")
    whole = (tmp_path / "whole.pack").read_bytes()
    (tmp_path / "cut.pack").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    for pack, there in (("cut", False), ("cut", False), ("whole", True)):
        command = [recipe, tmp_path / f"{pack}.pack", out]
        assert subprocess.run(command, env={"PYTHON": "false", "PATH": "/usr/bin:/bin"}).returncode
        assert (out / "data" / "classes.json").is_file() == there
    assert len(list(out.glob("data/images/train/*/*"))) == 3


def test_frames_of_one_name_in_several_videos_are_all_there(tmp_path):
    """The one frame of drive a is called like that of drive b."""
    root = tmp_path / "data"
    for value, drive in enumerate(("a", "b")):
        for split in ("train", "val"):
            picture = np.full((16, 16, 3), 100 + 50 * value, np.uint8)
            for folder, content in (("images", picture), ("labels", picture[..., 0] * 0 + value)):
                (root / folder / split / drive).mkdir(parents=True)
                cv2.imwrite(str(root / folder / split / drive / "0001.png"), content)
    (root / "classes.json").write_text('{"classes": ["road", "sky"]}')
    assert pack_data(root, tmp_path / "data.pack") == {"train": 2, "val": 2}
    with tarfile.open(tmp_path / "data.pack") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    frames = open_training(tmp_path / "unpacked").labelled()
    assert [int(frame.labels()[0, 0]) for frame in frames] == [0, 1]


def test_single_pictures_of_one_name_in_several_folders_are_all_there(tmp_path):
    root = tmp_path / "export"
    images = []
    for folder in ("a", "b"):
        for number in range(2):
            name = f"{folder}/{number}.png"
            (root / "images" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "images" / name), np.zeros((16, 16, 3), np.uint8))
            box = '<box label="car" xtl="1" ytl="1" xbr="9" ybr="9"/>'
            images.append(f'<image name="{name}" width="16" height="16">{box}</image>')
    label = "<meta><label><name>car</name></label></meta>"
    (root / "annotations.xml").write_text(f"<annotations>{label}{''.join(images)}</annotations>")
    counts = pack_data(root, tmp_path / "data.pack")
    assert sum(counts.values()) == 4
    with tarfile.open(tmp_path / "data.pack") as archive:
        names = [name for name in archive.getnames() if name.startswith("images/")]
    assert len(set(names)) == len(names) == 4


def test_splits_of_other_classes_are_refused(tmp_path):
    """The validation split's numbers would be taken for the training split's classes."""
    for split, names in (("train", ("cat", "zebra")), ("valid", ("zebra", "cat"))):
        (tmp_path / "coco" / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "coco" / split / "a.png"), np.zeros((16, 16, 3), np.uint8))
        shape = [0, 0, 15, 0, 15, 15, 0, 15]
        told = {
            "images": [{"id": 1, "file_name": "a.png", "width": 16, "height": 16}],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [shape]}],
        }
        (tmp_path / "coco" / split / "_annotations.coco.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="both need the same"):
        pack_data(tmp_path / "coco", tmp_path / "data.pack")
    assert not (tmp_path / "data.pack").exists()


def test_a_folder_without_data_leaves_no_file(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no known layout"):
        pack_data(tmp_path / "empty", tmp_path / "data.pack")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_frames_that_are_apart_are_no_neighbours_when_unpacked(tmp_path):
    root = tmp_path / "data"
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (root / folder / split / "drive").mkdir(parents=True)
        for number in range(8):
            picture = np.zeros((16, 16, 3), np.uint8)
            cv2.imwrite(str(root / "images" / split / "drive" / f"{number}.png"), picture)
            if number in (0, 3, 4, 7):
                path = root / "labels" / split / "drive" / f"{number}.png"
                cv2.imwrite(str(path), picture[..., 0])
    (root / "classes.json").write_text('{"classes": ["road", "sky"]}')
    assert pack_data(root, tmp_path / "data.pack") == {"train": 4, "val": 4}
    with tarfile.open(tmp_path / "data.pack") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    sequences = open_dataset(tmp_path / "unpacked", "val").sequences
    assert [[frame.name for frame in s.frames] for s in sequences] == [["0"], ["3", "4"], ["7"]]

"""Data set layouts: what is a sequence, which frames are labelled, and what is said of bad data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from accel_rt.classes import CAMVID, CITYSCAPES
from accel_rt.data.dataset import DataSet
from accel_rt.data.open import open_dataset
from accel_rt.errors import InputError, UsageError
from accel_rt.video.masks import MaskWriter
from tests.data.test_samples import write_camvid

SIZE = (12, 16)
CLASSES_JSON = {
    "classes": [{"name": "road", "color": [9, 8, 7], "id": 3}, "sky", {"name": "car"}],
    "ignore": [0],
}


def write_picture(path: Path, channels: int = 3, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*SIZE, channels) if channels > 1 else SIZE
    assert cv2.imwrite(str(path), np.full(shape, value, np.uint8))
    return path


def outline(dataset: DataSet) -> list[str]:
    """A sequence's frames as one string: ``L`` is labelled, ``.`` is not."""
    return [
        "".join("." if frame.label_path is None else "L" for frame in sequence.frames)
        for sequence in dataset.sequences
    ]


class TestCamVid:
    def write(self, root: Path, names: list[str], labelled: list[str]) -> Path:
        for name in names:
            write_picture(root / "train" / f"{name}.png")
        for name in labelled:
            write_picture(root / "trainannot" / f"{name}.png", 1, 3)
        return root

    def test_sequences_end_where_frames_are_missing(self, tmp_path: Path) -> None:
        names = ["A_0030", "A_0032", "A_0034", "A_0064", "B_f0035", "B_f0036"]
        root = self.write(tmp_path, names, ["A_0034", "A_0064", "B_f0036"])
        dataset = open_dataset(root, "train")
        assert dataset.name == "CamVid"
        assert dataset.classes == CAMVID
        assert outline(dataset) == ["..L", "L", ".L"]
        assert [s.frames[0].image_path.stem for s in dataset.sequences] == [
            "A_0030",
            "A_0064",
            "B_f0035",
        ]
        assert list(dataset.sequences[0].labelled()) == [2]
        image, labels = dataset.labelled()[0].read()
        assert image.shape == (*SIZE, 3)
        assert (labels == 3).all()

    def test_numbers_order_frames_not_names(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, ["A_9", "A_10", "A_11"], ["A_11"])
        (sequence,) = open_dataset(root, "train").sequences
        assert [frame.image_path.stem for frame in sequence.frames] == ["A_9", "A_10", "A_11"]

    def test_label_map_without_a_frame(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, ["A_1"], ["A_1", "A_2"])
        with pytest.raises(InputError, match=r"A_2.png has no frame .*train/A_2.png"):
            open_dataset(root, "train")

    def test_no_labels(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, ["A_1"], [])
        (root / "trainannot").mkdir()
        with pytest.raises(InputError, match="no frame of .* split 'train' has labels"):
            open_dataset(root, "train")

    def test_label_of_another_size(self, tmp_path: Path) -> None:
        root = write_camvid(tmp_path)
        write_picture(root / "trainannot" / "001.png", 1, 3)
        with pytest.raises(InputError, match=r"001.png is 16x12 and its image .* 64x48"):
            open_dataset(root, "train").labelled()[1].read()

    def test_colour_label_map(self, tmp_path: Path) -> None:
        root = write_camvid(tmp_path)
        write_picture(root / "trainannot" / "001.png", 3, 3)
        with pytest.raises(InputError, match=r"001.png is a picture of 12x16x3 uint8: a label"):
            open_dataset(root, "train").labelled()[1].labels()

    def test_broken_label_map(self, tmp_path: Path) -> None:
        root = write_camvid(tmp_path)
        path = root / "trainannot" / "001.png"
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(InputError, match=r"cannot read the label map .*001.png"):
            open_dataset(root, "train").labelled()[1].labels()


class TestCityscapes:
    def write(self, root: Path, ids: str = "labelIds", kind: str = "leftImg8bit_sequence") -> Path:
        """Snippets around frames 2 and 12 of one recording, and frame 1 of another city's."""
        for city, frames, labelled in (
            ("ulm_000003", range(1, 4), 2),
            ("ulm_000003", range(10, 14), 12),
            ("bonn_000000", range(3), 1),
        ):
            folder = city.split("_")[0]
            for frame in frames if "sequence" in kind else [labelled]:
                name = f"{city}_{frame:06}_leftImg8bit.png"
                write_picture(root / kind / "val" / folder / name)
            name = f"{city}_{labelled:06}_gtFine_{ids}.png"
            write_picture(root / "gtFine" / "val" / folder / name, 1, 7)
        return root

    def test_snippets(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.write(tmp_path), "val")
        assert dataset.classes == CITYSCAPES
        assert outline(dataset) == [".L.", ".L.", "..L."]
        assert [s.name for s in dataset.sequences] == [
            "bonn_000000_0",
            "ulm_000003_1",
            "ulm_000003_10",
        ]

    def test_single_images(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.write(tmp_path, kind="leftImg8bit"), "val")
        assert outline(dataset) == ["L", "L", "L"]

    def test_label_ids_become_classes(self, tmp_path: Path) -> None:
        frame = open_dataset(self.write(tmp_path), "val").labelled()[0]
        values = np.resize(np.array([7, 8, 24, 33, 0, 14, 29, 255], np.uint8), SIZE)
        assert frame.label_path is not None
        cv2.imwrite(str(frame.label_path), values)
        names = [CITYSCAPES.names[v] if v < 255 else "-" for v in frame.labels()[0, :8]]
        assert names == ["road", "sidewalk", "person", "bicycle", "-", "-", "-", "-"]

    def test_train_ids_stay(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, ids="labelTrainIds")
        assert (open_dataset(root, "val").labelled()[0].labels() == 7).all()

    def test_values_outside(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, ids="labelTrainIds")
        frame = open_dataset(root, "val").labelled()[0]
        assert frame.label_path is not None
        cv2.imwrite(str(frame.label_path), np.resize(np.arange(17, 33, dtype=np.uint8), SIZE))
        with pytest.raises(
            InputError,
            match=r"labelTrainIds.png holds labels 19, 20, 21, 22, 23, 24, 25, 26 and 6 more: "
            r"Cityscapes trainIds are 0 to 18",
        ):
            frame.labels()

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("gtFine", "no folder .*gtFine/val"),
            ("leftImg8bit_sequence", "no folder .*leftImg8bit_sequence/val, nor leftImg8bit/val"),
        ],
    )
    def test_missing_folder(self, tmp_path: Path, missing: str, message: str) -> None:
        (self.write(tmp_path) / missing).rename(tmp_path / "elsewhere")
        with pytest.raises(InputError, match=message):
            open_dataset(tmp_path, "val")

    def test_label_map_without_an_image(self, tmp_path: Path) -> None:
        root = self.write(tmp_path)
        image = root / "leftImg8bit_sequence/val/bonn/bonn_000000_000001_leftImg8bit.png"
        image.unlink()
        with pytest.raises(InputError, match=r"bonn_000000_000001_gtFine_labelIds.png has no im"):
            open_dataset(root, "val")


class TestFolders:
    def write(self, root: Path, classes: object = CLASSES_JSON) -> Path:
        for name in ("b/f2.jpg", "b/f10.jpg", "still.png", "other.png"):
            write_picture(root / "images" / "train" / name)
        for name in ("b/f10.png", "still.png"):
            write_picture(root / "labels" / "train" / name, 1, 3)
        (root / "classes.json").write_text(json.dumps(classes))
        return root

    def test_folders_are_videos(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.write(tmp_path), "train")
        assert dataset.classes.names == ("road", "sky", "car")
        assert dataset.classes.colors_rgb[0] == (9, 8, 7)
        assert len(set(dataset.classes.colors_rgb)) == 3
        assert outline(dataset) == [".", "L", ".L"]
        video = dataset.sequences[-1]
        assert [frame.image_path.name for frame in video.frames] == ["f2.jpg", "f10.jpg"]
        assert (video.frames[1].labels() == 0).all()

    def test_values_outside_and_ignored(self, tmp_path: Path) -> None:
        frame = open_dataset(self.write(tmp_path), "train").labelled()[0]
        assert frame.label_path is not None
        cv2.imwrite(str(frame.label_path), np.resize(np.array([0, 1, 2, 3], np.uint8), SIZE))
        assert frame.labels()[0, :4].tolist() == [255, 1, 2, 0]
        cv2.imwrite(str(frame.label_path), np.resize(np.array([3, 4], np.uint8), SIZE))
        with pytest.raises(
            InputError, match=r"holds label 4: classes.json lists 1 to 3 as classes and 0, 255 as"
        ):
            frame.labels()

    def test_indexed_label_maps_count_by_index(self, tmp_path: Path) -> None:
        """The mask PNGs this package writes are indexed: their labels, not their colours."""
        root = self.write(tmp_path, {"classes": list(CAMVID.names)})
        labels = np.random.default_rng(0).integers(0, 11, SIZE).astype(np.uint8)
        writer = MaskWriter(tmp_path / "masks", "png", CAMVID)
        writer.write(0, labels)
        writer.close()
        (tmp_path / "masks" / "frame_000000.png").rename(root / "labels" / "train" / "still.png")
        np.testing.assert_array_equal(open_dataset(root, "train").labelled()[0].labels(), labels)

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ({}, r"cannot use .*classes.json \(no key 'classes'\): it looks like"),
            ([], "cannot use"),
            ({"classes": [{"id": 3}]}, "no key 'name'"),
            ({"classes": ["a", "a"]}, "gives the name 'a' twice"),
            ({"classes": ["a", {"name": "b", "id": 0}]}, "gives the value 0 twice"),
            ({"classes": ["a"], "ignore": [0]}, "gives the value 0 twice"),
            ({"classes": [{"name": "a", "id": 300}]}, "got 1 classes and the value 300"),
            ({"classes": []}, "got 0 classes"),
            ({"classes": [{"name": "a", "color": [1, 2]}]}, "cannot use"),
            ({"classes": [{"name": "a", "color": [1, 2, 256]}]}, r"class 'a': the colour \[1, 2"),
            ({"classes": [{"name": "a", "id": True}]}, "class 'a': 'id' must be a whole number"),
            ({"classes": [{"name": "a", "id": 1.5}]}, "class 'a': 'id' must be a whole number"),
            ({"classes": [{"name": 7}]}, "'name' must be a text, got 7"),
            ({"classes": {"a": 1}}, "'classes' must be a list"),
            ({"classes": ["a"], "ignore": "12"}, "'ignore' must be a list, got '12'"),
            ({"classes": [{"name": "a", "id": 255}], "ignore": [255]}, "gives the value 255 twice"),
        ],
    )
    def test_bad_classes(self, tmp_path: Path, classes: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            open_dataset(self.write(tmp_path, classes), "train")

    def test_missing_parts(self, tmp_path: Path) -> None:
        root = self.write(tmp_path)
        with pytest.raises(InputError, match="no folder .*images/test: a data set has images/"):
            open_dataset(root, "test")
        (root / "classes.json").unlink()
        with pytest.raises(InputError, match=r"no .*classes.json says what the values"):
            open_dataset(root, "train")


def write_coloured(root: Path, split: str, *colors_bgr: tuple[int, int, int]) -> None:
    """Pictures whose label maps have one colour each, and half of it black."""
    for number, color in enumerate(colors_bgr):
        write_picture(root / "images" / split / f"{number}.png")
        path = write_picture(root / "labels" / split / f"{number}.png")
        label_map = cv2.imread(str(path))
        label_map[:, 8:] = color
        cv2.imwrite(str(path), label_map)


def test_colours_mean_the_same_in_every_split(tmp_path: Path) -> None:
    red, green, blue = (0, 0, 255), (0, 255, 0), (255, 0, 0)
    write_coloured(tmp_path, "train", red, green, blue)
    write_coloured(tmp_path, "val", red, green)
    train, val = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "val")
    assert train.classes == val.classes
    assert len(train.classes) == 4
    for one, other in zip(train.labelled(), val.labelled(), strict=False):
        np.testing.assert_array_equal(one.labels(), other.labels())


def test_colours_get_their_names_from_classes_json(tmp_path: Path) -> None:
    """Black does not count; one colour of no class is an error."""
    write_coloured(tmp_path, "train", (0, 0, 255), (0, 255, 0))
    entries = [{"name": "leaf", "color": [0, 255, 0]}, {"name": "fruit", "color": [255, 0, 0]}]
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"classes": entries}))
    dataset = open_dataset(tmp_path, "train")
    assert dataset.classes.names == ("leaf", "fruit")
    for frame, label in zip(dataset.labelled(), (1, 0), strict=True):
        assert np.unique(frame.labels()[:, :8]).tolist() == [255]
        assert np.unique(frame.labels()[:, 8:]).tolist() == [label]
    for wrong, said in (
        ([entries[0], "fruit"], "gives the class 'fruit' none: add \"color\""),
        ([entries[0], {**entries[0], "name": "fruit"}], "two classes the colour #00ff00"),
    ):
        path.write_text(json.dumps({"classes": wrong}))
        with pytest.raises(InputError, match=said):
            open_dataset(tmp_path, "train")
    path.write_text(json.dumps({"classes": entries[:1]}))
    with pytest.raises(InputError, match=r"0.png holds the colours #ff0000, which are no class's"):
        open_dataset(tmp_path, "train").labelled()[0].labels()


def test_validation_pictures_among_those_to_train_on_are_refused(tmp_path: Path) -> None:
    write_coloured(tmp_path, ".", (0, 0, 255))
    write_coloured(tmp_path, "val", (0, 0, 255))
    with pytest.raises(InputError, match=r"has a folder val and none of training pictures: move"):
        open_dataset(tmp_path, "train")
    assert open_dataset(tmp_path, "val").labelled()


class TestAnyLayout:
    def test_unknown_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no known layout: it needs images/ and labels/"):
            open_dataset(tmp_path, "val")

    def test_missing_root(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no folder .*nowhere: give the folder"):
            open_dataset(tmp_path / "nowhere", "val")

    def test_unknown_layout(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="unknown data layout 'kitti': choose from auto, cam"):
            open_dataset(tmp_path, "val", "kitti")  # type: ignore[arg-type]

    def test_layout_by_name_reads_only_that(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="a CamVid copy has train/ and trainannot/"):
            open_dataset(tmp_path, "val", "camvid")

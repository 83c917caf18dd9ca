"""Data as people have them: exports of CVAT and COCO, flat folders, palettes without names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from accel_rt.data.coco import coco, split_of
from accel_rt.data.cvat import cvat, voc
from accel_rt.data.dataset import DataSet
from accel_rt.data.drawn import Shape
from accel_rt.data.folders import folders
from accel_rt.data.open import open_dataset, open_training
from accel_rt.data.split import split_off
from accel_rt.errors import InputError
from tests.data.test_layouts import write_picture

WIDTH, HEIGHT = 16, 12


def square(x: float, y: float, side: float) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def write_coco(root: Path, segmentations: list[Any], file: str = "annotations/a.json") -> Path:
    """One picture with an annotation of category 5 for each of ``segmentations``."""
    write_picture(root / "images" / "one.jpg")
    content = {
        "images": [{"id": 7, "file_name": "one.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 5, "name": "cup"}, {"id": 2, "name": "table"}],
        "annotations": [
            {"image_id": 7, "category_id": 5, "segmentation": s, "area": 9} for s in segmentations
        ],
    }
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content))
    return root


def only(dataset: DataSet) -> np.ndarray:
    """The labels of a data set's one picture."""
    (frame,) = dataset.labelled()
    return frame.read()[1]


class TestCoco:
    def test_a_polygon_covers_its_pixels_and_the_rest_is_background(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, [[square(2, 3, 4)]])
        dataset = coco(root, "train")
        assert dataset.classes.names == ("background", "table", "cup")
        found = only(coco(root, "train"))
        expected = np.zeros((HEIGHT, WIDTH))
        expected[3:7, 2:6] = 2
        np.testing.assert_array_equal(found, expected)

    def test_polygons_have_their_area_and_their_middle(self, tmp_path: Path) -> None:
        """Also where they reach beyond the picture; lines cover nothing."""
        turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        y, x = np.mgrid[:90, :80] + 0.5
        labels = np.zeros((90, 80), np.uint8)
        for middle in ((40.3, 41.8), (2.0, 50.0), (79.0, 88.5)):
            for radius in (3.0, 10.0, 35.0):
                corners = np.stack([np.cos(turn), np.sin(turn)], 1) * radius + middle
                labels[:] = 0
                Shape(1, (tuple(map(tuple, corners)), ((0, 0), (30, 30)))).draw(labels)
                exact = np.hypot(x - middle[0], y - middle[1]) < radius
                wrong = labels.astype(bool) != exact
                assert wrong.sum() < 0.9 * radius
                assert not wrong[np.abs(np.hypot(x - middle[0], y - middle[1]) - radius) > 1].any()

    def test_run_lengths_are_columns_first_compressed_or_not(self, tmp_path: Path) -> None:
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[2:5, 7] = truth[9, 1:4] = 1
        packed = coco_masks.encode(np.asfortranarray(truth))
        counts = packed["counts"].decode()
        flat = truth.T.ravel()
        runs = np.diff(np.flatnonzero(np.diff(np.r_[2, flat, 2])))
        for stored in (counts, [int(run) for run in runs]):
            root = write_coco(tmp_path, [{"size": [HEIGHT, WIDTH], "counts": stored}])
            assert np.array_equal(only(coco(root, "train")), truth * 2)

    def test_the_smaller_thing_shows(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, [[square(4, 4, 2)]])
        path = root / "annotations" / "a.json"
        content = json.loads(path.read_text())
        large = {"image_id": 7, "category_id": 2, "segmentation": [square(0, 0, 11)], "area": 121}
        content["annotations"].append(large)
        path.write_text(json.dumps(content))
        found = only(coco(root, "train"))
        assert (found[4, 4], found[1, 1]) == (2, 1)
        for annotation in content["annotations"]:  # then by what they cover
            del annotation["area"]
        path.write_text(json.dumps(content))
        np.testing.assert_array_equal(only(coco(root, "train")), found)

    def test_splits_are_told_by_names(self, tmp_path: Path) -> None:
        write_coco(tmp_path, [[square(1, 1, 3)]], "train/_annotations.coco.json")
        write_coco(tmp_path, [[square(1, 1, 3)]], "valid/_annotations.coco.json")
        assert len(open_dataset(tmp_path, "val").labelled()) == 1

    @pytest.mark.parametrize(
        ("path", "split"),
        [
            ("annotations_trainval2017/annotations/instances_val2017.json", "val"),
            ("train/val/a.json", "val"),
            ("valid/_annotations.coco.json", "val"),
            ("test/a.json", "test"),
            ("validated/instances_train2017.json", "train"),
        ],
    )
    def test_the_innermost_name_says_the_split(self, path: str, split: str) -> None:
        assert split_of(Path("val/data", path), Path("val/data")) == split

    @pytest.mark.parametrize("name", ["latest", "interval", "training_set", "mytrain"])
    def test_parts_of_words_are_no_splits(self, tmp_path: Path, name: str) -> None:
        write_coco(tmp_path, [[square(1, 1, 3)]], f"annotations/{name}.json")
        assert len(coco(tmp_path, "train").labelled()) == 1

    @pytest.mark.parametrize("covered", [[], None, "absent"])
    def test_a_box_alone_is_drawn(self, tmp_path: Path, covered: Any) -> None:
        root = write_coco(tmp_path, [covered])
        path = root / "annotations" / "a.json"
        content = json.loads(path.read_text())
        (annotation,) = content["annotations"]
        annotation["bbox"] = [2, 3, 5, 1]
        if covered == "absent":
            del annotation["segmentation"]
        path.write_text(json.dumps(content))
        expected = np.zeros((HEIGHT, WIDTH))
        expected[3:4, 2:7] = 2
        np.testing.assert_array_equal(only(coco(root, "train")), expected)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ({"images": 3}, "'images' must be a list"),
            ({"annotations": [{"image_id": 9, "category_id": 5}]}, "annotation is of image 9"),
            ({"images": [{"id": 7, "file_name": "two.jpg", "width": 1, "height": 1}]}, "not there"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, tmp_path: Path, damage: dict[str, Any], message: str
    ) -> None:
        root = write_coco(tmp_path, [[square(1, 1, 3)]])
        path = root / "annotations" / "a.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
        with pytest.raises(InputError, match=message):
            open_dataset(root, "train")

    def test_corners_beyond_all_numbers(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, [[[10**400, 1, 5, 3, 4, 5]]])
        path = root / "annotations" / "a.json"
        path.write_text(path.read_text().replace('"area": 9', '"area": 0'))
        with pytest.raises(InputError, match=r"cannot use .*a.json \(int too large"):
            coco(root, "train")

    @pytest.mark.parametrize("counts", [[5, 5], [-5, 197]])
    def test_run_lengths_that_do_not_fill_the_picture(
        self, tmp_path: Path, counts: list[int]
    ) -> None:
        root = write_coco(tmp_path, [{"size": [HEIGHT, WIDTH], "counts": counts}])
        with pytest.raises(InputError, match="cannot be drawn"):
            only(coco(root, "train"))


CVAT = f"""<annotations><meta><job><labels>
  <label><name>road</name><color>#804080</color></label>
  <label><name>car</name><color>#0000ff</color></label>
</labels></job></meta>
<image id="0" name="one.jpg" width="{WIDTH}" height="{HEIGHT}">
  <polygon label="car" points="4,4;6,4;6,6;4,6" z_order="1"/>
  <box label="road" xtl="0" ytl="0" xbr="9" ybr="9" z_order="0"/>
  <mask label="car" rle="1, 2, 1" left="10" top="10" width="2" height="2" z_order="0"/>
</image></annotations>"""


class TestCvat:
    def test_shapes_lie_by_their_order(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "images" / "one.jpg")
        (tmp_path / "annotations.xml").write_text(CVAT)
        dataset = cvat(tmp_path, "train")
        assert dataset.classes.names == ("background", "road", "car")
        assert dataset.classes.colors_rgb[1] == (128, 64, 128)
        found = only(cvat(tmp_path, "train"))
        assert (found[5, 5], found[1, 1], found[11, 15]) == (2, 1, 0)
        assert found[10:12, 10:12].tolist() == [[0, 2], [2, 0]]

    def shape(self, root: Path, text: str) -> np.ndarray:
        """The labels of one picture with one shape."""
        write_picture(root / "images" / "one.jpg")
        head = CVAT.partition("  <polygon")[0]
        (root / "annotations.xml").write_text(f"{head}{text}</image></annotations>")
        return only(cvat(root, "train"))

    def test_boxes_and_polygons_lie_where_they_say(self, tmp_path: Path) -> None:
        expected = np.zeros((HEIGHT, WIDTH))
        expected[1:4, 5:12] = 2
        box = '<box label="car" xtl="5" ytl="1" xbr="12" ybr="4"/>'
        np.testing.assert_array_equal(self.shape(tmp_path, box), expected)
        polygon = '<polygon label="car" points="5,1;12,1;12,4;5,4"/>'
        np.testing.assert_array_equal(self.shape(tmp_path, polygon), expected)
        runs = '<mask label="car" rle="0, 2, 2, 2" left="5" top="1" width="3" height="2"/>'
        expected[:] = 0
        expected[1, 5:7] = expected[2, 6:8] = 2
        np.testing.assert_array_equal(self.shape(tmp_path, runs), expected)

    def test_boxes_may_be_turned(self, tmp_path: Path) -> None:
        box = '<box label="car" xtl="2" ytl="5" xbr="12" ybr="7" rotation="{}"/>'
        expected = np.zeros((HEIGHT, WIDTH))
        expected[1:11, 6:8] = 2
        np.testing.assert_array_equal(self.shape(tmp_path, box.format("90.00")), expected)
        slanted = self.shape(tmp_path, box.format("30.00"))  # clockwise: down to the right
        assert (slanted[8, 10], slanted[3, 3], slanted[3, 10], slanted[8, 3]) == (2, 2, 0, 0)

    def test_ellipses_are_drawn(self, tmp_path: Path) -> None:
        found = self.shape(tmp_path, '<ellipse label="car" cx="8" cy="6" rx="7" ry="3"/>')
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        exact = ((x - 8) / 7) ** 2 + ((y - 6) / 3) ** 2 < 1
        assert ((found == 2) != exact).sum() <= 2
        turned = '<ellipse label="car" cx="8" cy="6" rx="3" ry="5" rotation="90"/>'
        exact = ((x - 8) / 5) ** 2 + ((y - 6) / 3) ** 2 < 1
        assert ((self.shape(tmp_path, turned) == 2) != exact).sum() <= 2

    @pytest.mark.parametrize("line", ["{}", "'{}'", '"{}"', "part/{} 1"])
    def test_listed_names_may_have_spaces(self, tmp_path: Path, line: str) -> None:
        name = "a" if line.endswith(" 1") else "my image 1"
        self.write_masks(tmp_path, [name, "other"])
        listing = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
        listing.parent.mkdir(parents=True)
        listing.write_text(line.format(name) + "\n")
        assert [frame.name for frame in voc(tmp_path, "train").labelled()] == [name]

    def write_masks(
        self, root: Path, names: Iterable[str], color: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        for name in names:
            write_picture(root / "JPEGImages" / f"{name}.jpg")
            mask = root / "SegmentationClass" / f"{name}.png"
            mask.parent.mkdir(exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), color).save(mask)

    @pytest.mark.parametrize(
        ("lists", "train", "val"),
        [
            ({"val": "ef"}, "abcd", "ef"),
            ({"default": "abcd", "val": "ef"}, "abcd", "ef"),
            ({"val": "ef", "test": "d", "trainval": "abcef"}, "abc", "ef"),
            ({"Train": "abc", "Validation": "d", "Test": "ef"}, "abc", "d"),
        ],
    )
    def test_what_a_split_lists_is_no_other_ones(
        self, tmp_path: Path, lists: dict[str, str], train: str, val: str
    ) -> None:
        self.write_masks(tmp_path, "abcdef")
        folder = tmp_path / "ImageSets" / "Segmentation"
        folder.mkdir(parents=True)
        for name, listed in lists.items():
            (folder / f"{name}.txt").write_text("\n".join(listed))
        assert "".join(frame.name for frame in open_training(tmp_path).labelled()) == train
        assert "".join(f.name for f in open_dataset(tmp_path, "val").labelled()) == val
        for name, listed in lists.items():
            assert "".join(f.name for f in open_dataset(tmp_path, name).labelled()) == listed

    def test_borders_do_not_count_whether_colours_are_named_or_not(self, tmp_path: Path) -> None:
        """Nor does a colour that CamVid has for buildings make them so where there are borders."""
        for name, color in (("a", (0, 0, 0)), ("b", (128, 0, 0)), ("c", (224, 224, 192))):
            self.write_masks(tmp_path, name, color)
        for names in (("background", "#800000"), ("none", "thing")):
            dataset = voc(tmp_path, "train")
            assert dataset.classes.names == names
            assert [int(frame.labels()[0, 0]) for frame in dataset.labelled()] == [0, 1, 255]
            (tmp_path / "labelmap.txt").write_text("none:0,0,0::\nthing:128,0,0::\n")

    @pytest.mark.parametrize("text", ["<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><a/>', ""])
    def test_damaged_files_are_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "annotations.xml").write_text(text)
        with pytest.raises(InputError, match=r"cannot use .*annotations.xml .*export it again"):
            open_dataset(tmp_path, "train")

    @pytest.mark.parametrize("text", ["", "road:300,0,0::\n", "road\n"])
    def test_label_maps_colours_that_cannot_be_used_are_named(
        self, tmp_path: Path, text: str
    ) -> None:
        self.write_masks(tmp_path, "a")
        (tmp_path / "labelmap.txt").write_text(text)
        with pytest.raises(InputError, match=r"cannot use .*labelmap.txt .*look like road:128"):
            open_dataset(tmp_path, "train")

    def test_lists_that_are_no_text_are_named(self, tmp_path: Path) -> None:
        self.write_masks(tmp_path, "a")
        listing = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
        listing.parent.mkdir(parents=True)
        listing.write_bytes("fahrräder\n".encode("latin-1"))
        with pytest.raises(InputError, match=r"cannot read .*train.txt .* as text in UTF-8"):
            open_dataset(tmp_path, "train")

    def test_labels_are_the_same_wherever_they_lie(self, tmp_path: Path) -> None:
        digests = []
        for folder in ("here", "there"):
            self.write_masks(tmp_path / folder, "a")
            (tmp_path / folder / "labelmap.txt").write_text("none:0,0,0::\n")
            (frame,) = voc(tmp_path / folder, "train").labelled()
            digests.append(frame.labels_digest())
        assert digests[0] == digests[1]

    def test_segmentation_masks_go_by_their_label_map(self, tmp_path: Path) -> None:
        self.write_masks(tmp_path, "a")
        self.write_masks(tmp_path, "b", (128, 64, 128))
        text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n"
        (tmp_path / "labelmap.txt").write_text(text)
        frames = voc(tmp_path, "train").labelled()
        assert [int(frame.read()[1][0, 0]) for frame in frames] == [0, 1]


class TestFlatFolders:
    def write(self, root: Path, colors: list[tuple[int, int, int]], mode: str = "RGB") -> Path:
        for number, color in enumerate(colors):
            write_picture(root / "images" / f"{number}.jpg")
            path = root / "masks" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), color).convert(
                mode, palette=Image.Palette.ADAPTIVE
            ).save(path)
        return root

    @pytest.mark.parametrize("mode", ["RGB", "P"])
    def test_colours_of_a_known_palette_have_its_names(self, tmp_path: Path, mode: str) -> None:
        root = self.write(tmp_path, [(128, 64, 128), (64, 0, 128), (0, 0, 0)], mode)
        dataset = folders(root, "train")
        assert dataset.classes.names == ("road", "car")
        assert [int(f.labels()[0, 0]) for f in dataset.labelled()] == [0, 1, 255]

    def test_other_colours_are_called_by_their_colour(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, [(255, 0, 1), (0, 0, 0)])
        assert folders(root, "train").classes.names == ("background", "#ff0001")

    def test_grey_values_ask_for_their_meaning_with_an_example(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, [(0, 0, 0), (9, 9, 9)], "L")
        with pytest.raises(InputError, match=r'classes.json says .*"NAME OF 9", "id": 9}'):
            open_dataset(root, "train")

    def test_label_maps_that_are_too_large_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = self.write(tmp_path, [(0, 0, 0)], "L")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)  # what Pillow takes for an attack
        with pytest.raises(InputError, match=r"cannot read the label map .*0.png \(Image size"):
            open_dataset(root, "train")

    def test_smooth_pictures_are_no_label_maps(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, [(n, 0, 1) for n in range(70)])
        with pytest.raises(InputError, match="more than 64 colours"):
            open_dataset(root, "train")

    def test_larger_pictures_are_reduced_with_their_labels(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, [(128, 64, 128)] * 2)
        (frame,) = open_dataset(root, "val", shorter=6).labelled()
        image, found = frame.read()
        assert image.shape == (6, 8, 3)
        assert found.shape == (6, 8)
        assert frame.image_bgr().shape == (6, 8, 3)

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_reduced_labels_lie_on_their_pictures(self, tmp_path: Path, factor: int) -> None:
        """Where a class begins is rounded; it is as often before as behind where it was."""
        side, apart = 12, []
        for number, edge in enumerate(range(4 * factor, 5 * factor)):
            picture = np.zeros((side * factor, 2 * side * factor, 3), np.uint8)
            picture[edge:, :, 1] = picture[:, edge:, 2] = 255
            paths = [tmp_path / name / f"{number}.png" for name in ("images", "masks")]
            for path in paths:
                path.parent.mkdir(exist_ok=True)
                assert cv2.imwrite(str(path), picture)
        frames = folders(tmp_path, "train").reduced(side).labelled()
        for frame in frames:
            image, found = frame.read()
            corner = found[-1, -1]
            for axis, channel in ((0, 1), (1, 2)):
                share = image[..., channel].mean(1 - axis) / 255
                same = (found[:, -1] if axis == 0 else found[-1]) == corner
                apart.append((len(share) - share.sum()) - (len(same) - same.sum()))
        assert abs(np.mean(apart)) <= 0.5 / factor


class TestSplitting:
    def test_a_fifth_is_held_out_of_the_ends_of_stretches(self, tmp_path: Path) -> None:
        root = TestFlatFolders().write(tmp_path, [(128, 64, 128)] * 20)
        train, val = open_training(root), open_dataset(root, "val")
        names = [sequence.name for sequence in val.sequences]
        assert names == ["4", "9", "14", "19"]
        assert len(train.labelled()) == 16
        assert not set(names) & {sequence.name for sequence in train.sequences}

    def test_of_one_video_the_end_is_held_out(self, tmp_path: Path) -> None:
        for number in range(10):
            write_picture(tmp_path / "images" / "drive" / f"{number}.jpg")
            path = tmp_path / "labels" / "drive" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        splits = split_off(folders(tmp_path, "train"))
        assert [len(splits[name].labelled()) for name in ("train", "val")] == [8, 2]
        assert splits["val"].labelled()[0].image_path.stem == "8"

    def test_a_lone_picture_is_trained_on(self, tmp_path: Path) -> None:
        root = TestFlatFolders().write(tmp_path, [(128, 64, 128)])
        assert len(open_training(root).labelled()) == 1
        with pytest.raises(InputError, match="too few frames with labels to hold any back"):
            open_dataset(root, "val")

    def test_a_folder_without_label_maps_is_told_so(self, tmp_path: Path) -> None:
        root = TestFlatFolders().write(tmp_path, [(128, 64, 128)])
        for path in (root / "masks").iterdir():
            path.unlink()
        with pytest.raises(InputError, match=r"masks holds no label maps \(\.png, "):
            open_training(root)

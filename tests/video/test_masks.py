"""Mask files, read back by other readers than their writer."""

from __future__ import annotations

import json
import resource

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from accel_rt.classes import CAMVID, CITYSCAPES
from accel_rt.errors import OutputError, UsageError
from accel_rt.video.masks import MaskWriter, class_annotations, commit_masks, count_masks


def some_labels(seed=0, shape=(40, 60)):
    coarse = np.random.default_rng(seed).integers(0, 11, (4, 6), dtype=np.uint8)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST)


def decode_rle(counts, size):
    """COCO's text form by its definition, character by character."""
    values, position = [], 0
    while position < len(counts):
        value, bits, more = 0, 0, True
        while more:
            character = ord(counts[position]) - 48
            value |= (character & 31) << bits
            more = bool(character & 32)
            bits, position = bits + 5, position + 1
            if not more and character & 16:
                value |= -1 << bits
        values.append(value + (values[-2] if len(values) > 2 else 0))
    flat = np.repeat(np.arange(len(values)) % 2 == 1, values)
    return flat.reshape(size[::-1]).T


def test_png_is_indexed_and_shows_the_class_colours(tmp_path):
    labels = some_labels()
    with MaskWriter(tmp_path / "new" / "masks", "png", CAMVID) as masks:
        masks.write(0, labels)
        masks.write(12, labels[:17, :33])
    folder = tmp_path / "new" / "masks"
    assert names_in(folder) == ["classes.json", "frame_000000.png", "frame_000012.png"]
    shown = cv2.imread(str(folder / "frame_000000.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(shown, CAMVID.palette_bgr()[labels])
    shown = cv2.imread(str(folder / "frame_000012.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(shown, CAMVID.palette_bgr()[labels[:17, :33]])
    data = (folder / "frame_000000.png").read_bytes()
    assert data[24:26] == b"\x08\x03"  # 8 bits, indexed


def test_png_values_are_the_labels(tmp_path):
    """FFmpeg's PNG decoder keeps the indices, ``pal8``, which OpenCV resolves to colours."""
    import av

    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        masks.write(0, labels)
    with av.open(str(tmp_path / "frame_000000.png")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "pal8"
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    assert np.array_equal(rows[:8, :32], labels)


def test_npz(tmp_path):
    labels = some_labels()
    with MaskWriter(tmp_path, "npz", CAMVID) as masks:
        masks.write(3, labels)
    with np.load(tmp_path / "frame_000003.npz") as archive:
        assert archive["labels"].dtype == np.uint8
        assert np.array_equal(archive["labels"], labels)
    assert names_in(tmp_path) == ["classes.json", "frame_000003.npz"]


def test_rle(tmp_path):
    frames = {0: some_labels(0), 1: some_labels(1), 7: some_labels(2, (33, 17))}
    frames[1][:5] = 255
    with MaskWriter(tmp_path, "rle", CAMVID) as masks:
        for index, labels in frames.items():
            masks.write(index, labels)
        assert not (tmp_path / "masks.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["masks.json"]
    found = json.loads((tmp_path / "masks.json").read_text())
    assert [c["name"] for c in found["categories"]] == list(CAMVID.names)
    assert found["categories"][3] == {"id": 3, "name": "road"}
    sizes = {image["id"]: (image["height"], image["width"]) for image in found["images"]}
    assert sizes == {index: labels.shape for index, labels in frames.items()}
    ids = [annotation["id"] for annotation in found["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    rebuilt = {index: np.full(labels.shape, 255, np.uint8) for index, labels in frames.items()}
    for annotation in found["annotations"]:
        segmentation = annotation["segmentation"]
        mask = decode_rle(segmentation["counts"], segmentation["size"])
        assert annotation["area"] == mask.sum() > 0
        rebuilt[annotation["image_id"]][mask] = annotation["category_id"]
    for index, labels in frames.items():
        assert np.array_equal(rebuilt[index], labels)


@settings(max_examples=200, deadline=None)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 1, 2, 255]),
    )
)
def test_rle_of_any_labels(labels):
    masks = list(class_annotations(labels, 3))
    assert [m["category_id"] for m in masks] == [n for n in range(3) if (labels == n).any()]
    for mask in masks:
        expected = labels == mask["category_id"]
        found = decode_rle(mask["segmentation"]["counts"], labels.shape)
        assert np.array_equal(found, expected)
        rows, columns = np.nonzero(expected)
        left, top, width, height = mask["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())


def test_coco_tools_read_the_file(tmp_path):
    from pycocotools.coco import COCO

    frames = {0: some_labels(0), 1: some_labels(1)}
    with MaskWriter(tmp_path, "rle", CAMVID) as masks:
        masks.write(0, frames[0])
        masks.write(1, frames[1], "IMG_7.jpg")
    found = COCO(str(tmp_path / "masks.json"))
    assert [found.imgs[n]["file_name"] for n in (0, 1)] == ["frame_000000.png", "IMG_7.jpg"]
    for index, labels in frames.items():
        for annotation in found.loadAnns(found.getAnnIds(imgIds=index, iscrowd=0)):
            assert annotation["id"] > 0
            mask = found.annToMask(annotation).astype(bool)
            assert np.array_equal(mask, labels == annotation["category_id"])
        assert len(found.getAnnIds(imgIds=index)) == len(np.unique(labels))


# The life of a folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("fmt", ["png", "npz"])
def test_classes_file_says_what_labels_mean(tmp_path, fmt):
    from accel_rt.data.folders import read_classes

    with MaskWriter(tmp_path, fmt, CAMVID) as masks:
        masks.write(0, some_labels())
    classes, _ = read_classes(tmp_path / "classes.json")
    assert classes == CAMVID


def test_masks_are_called_after_their_images(tmp_path):
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        for index, name in enumerate(["b.jpg", "a.jpg", "a.png"]):
            masks.write(index, some_labels(index), name)
    assert names_in(tmp_path) == ["a.png", "a_000002.png", "b.png", "classes.json"]


def test_names_with_numbers_are_no_longer_free_either(tmp_path):
    pictures = ["b_000002.png", "b.png", "b.jpg"]
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        for index, name in enumerate(pictures):
            masks.write(index, some_labels(index), name)
    expected = ["b.png", "b_000002.png", "b_000002_000002.png", "classes.json"]
    assert names_in(tmp_path) == expected
    assert count_masks(tmp_path, "png", pictures) == 3


@pytest.mark.parametrize("fmt", ["png", "npz", "rle"])
def test_nothing_of_an_earlier_run_stays(tmp_path, fmt):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "holiday.png").touch()
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        for index in range(5):
            masks.write(index, some_labels())
    with MaskWriter(tmp_path, fmt, CAMVID) as masks:
        for index in range(2):
            masks.write(index, some_labels())
        assert len(list(tmp_path.glob("frame_*.png"))) == 5
    ours = {
        "png": ["classes.json", "frame_000000.png", "frame_000001.png"],
        "npz": ["classes.json", "frame_000000.npz", "frame_000001.npz"],
        "rle": ["masks.json"],
    }[fmt]
    assert names_in(tmp_path) == sorted([*ours, "holiday.png", "notes.txt"])
    assert count_masks(tmp_path, fmt) == 2


@pytest.mark.parametrize("fmt", ["png", "npz", "rle"])
@pytest.mark.parametrize("image", ["b.jpg", None])
def test_masks_of_other_pictures_stay(tmp_path, fmt, image):
    """Corrected by hand, perhaps."""
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        masks.write(0, some_labels(), "a.jpg")
    before = (tmp_path / "a.png").read_bytes()
    with MaskWriter(tmp_path, fmt, CAMVID) as masks:
        masks.write(0, some_labels(1), image)
    assert (tmp_path / "a.png").read_bytes() == before
    listed = json.loads((tmp_path / "classes.json").read_text())["masks"]
    own = [] if fmt == "rle" else [f"{'b' if image else 'frame_000000'}.{fmt}"]
    assert listed == ["a.png", *own]
    with MaskWriter(tmp_path, "png", CAMVID) as masks:  # and a third picture's, too
        masks.write(0, some_labels(), "c.jpg")
    assert {"a.png", "c.png", *own} <= set(names_in(tmp_path))
    for frames in (3, 2):  # videos, of which the second takes the place of the first
        with MaskWriter(tmp_path, "png", CAMVID) as masks:
            for index in range(frames):
                masks.write(index, some_labels())
    assert {"a.png", "c.png", "frame_000001.png"} <= set(names_in(tmp_path))
    assert "frame_000002.png" not in names_in(tmp_path)
    assert (tmp_path / "a.png").read_bytes() == before
    pictures = ["a.jpg", "c.jpg"]
    assert count_masks(tmp_path, "png") == count_masks(tmp_path, "png", pictures) == 2
    assert count_masks(tmp_path, "png", [*pictures, "d.jpg"]) is None


def test_a_video_after_a_picture_replaces_the_one_before_it(tmp_path):
    for frames, image in ((3, None), (1, "a.jpg"), (2, None)):
        with MaskWriter(tmp_path, "png", CAMVID) as masks:
            for index in range(frames):
                masks.write(index, some_labels(), image)
    names = [name for name in names_in(tmp_path) if name.endswith(".png")]
    assert names == ["a.png", "frame_000000.png", "frame_000001.png"]
    with MaskWriter(tmp_path, "rle", CAMVID) as masks:
        masks.write(0, some_labels())
    assert set(names_in(tmp_path)) == {"a.png", "classes.json", "masks.json"}
    assert json.loads((tmp_path / "classes.json").read_bytes())["masks"] == ["a.png"]


@pytest.mark.parametrize("image", ["b.jpg", None])
def test_masks_of_pictures_do_not_go_beside_those_of_other_classes(tmp_path, image):
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        masks.write(0, some_labels(), "a.jpg")
    before = names_in(tmp_path)
    with (
        pytest.raises(UsageError, match="holds masks of other classes"),
        MaskWriter(tmp_path, "png", CITYSCAPES) as masks,
    ):
        masks.write(0, some_labels(), image)
    assert names_in(tmp_path) == before


@pytest.mark.parametrize("name", ["frame_000001.png", "classes.json"])
def test_files_of_others_are_never_overwritten(tmp_path, name):
    (tmp_path / name).write_text("precious")

    def run():
        with MaskWriter(tmp_path, "png", CAMVID) as masks:
            masks.write(0, some_labels())
            masks.write(1, some_labels())

    with pytest.raises(UsageError, match=f"holds '{name}', which is no mask of an earlier run"):
        run()
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("fmt", ["png", "npz", "rle"])
def test_masks_taken_up_where_a_run_was_killed(tmp_path, fmt):
    labels = [some_labels(n) for n in range(5)]
    killed = MaskWriter(tmp_path / "killed", fmt, CAMVID, "0123abcd")
    for index in range(4):
        killed.write(index, labels[index])
    with MaskWriter(tmp_path / "killed", fmt, CAMVID, "0123abcd", keep=2) as masks:
        for index in range(2):
            masks.skip(index)
        for index in range(2, 5):
            masks.write(index, labels[index])
    with MaskWriter(tmp_path / "whole", fmt, CAMVID) as masks:
        for index in range(5):
            masks.write(index, labels[index])
    assert names_in(tmp_path / "killed") == names_in(tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        found = (tmp_path / "killed" / path.name).read_bytes()
        assert fmt == "npz" or found == path.read_bytes()


def test_putting_masks_in_their_place_can_be_done_again(tmp_path):
    """As after a kill in the middle: files moved already are not taken for an earlier run's."""
    with MaskWriter(tmp_path, "png", CAMVID) as masks:
        for index in range(9):
            masks.write(index, some_labels())
    killed = MaskWriter(tmp_path, "png", CAMVID, "0123abcd")
    for index in range(5):
        killed.write(index, some_labels())
    killed.complete()
    for index in range(3):
        name = f"frame_{index:06d}.png"
        (killed.unfinished / name).rename(tmp_path / name)
    commit_masks(tmp_path, "0123abcd")
    commit_masks(tmp_path, "0123abcd")
    assert names_in(tmp_path) == ["classes.json", *(f"frame_{n:06d}.png" for n in range(5))]


def test_empty_video(tmp_path):
    with MaskWriter(tmp_path, "rle", CAMVID):
        pass
    assert json.loads((tmp_path / "masks.json").read_text())["annotations"] == []


def fail_half_way(folder, fmt):
    with MaskWriter(folder, fmt, CAMVID) as masks:
        masks.write(0, some_labels())
        raise RuntimeError("half way")


def test_an_error_leaves_no_half_json(tmp_path):
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path, "rle")
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path):
    with pytest.raises(UsageError, match="unknown mask format 'bmp': choose from png, npz, rle"):
        MaskWriter(tmp_path, "bmp", CAMVID)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        MaskWriter(tmp_path / "file", "png", CAMVID)
    masks = MaskWriter(tmp_path, "png", CAMVID)
    with pytest.raises(UsageError, match=r"uint8 \[H, W\], got float32 \(3, 3\)"):
        masks.write(0, np.zeros((3, 3), np.float32))


@pytest.mark.parametrize("fmt", ["png", "npz", "rle"])
def test_a_write_that_fails(tmp_path, fmt):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    labels = np.random.default_rng(0).integers(0, 11, (300, 300), dtype=np.uint8)
    masks = MaskWriter(tmp_path, fmt, CAMVID)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(OutputError, match="grew beyond the largest file"):
            masks.write(0, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    masks.abandon()
    assert list(tmp_path.iterdir()) == []

"""Which data goes together, said before anything is read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from accel_rt.classes import CAMVID
from accel_rt.data.open import check_validation, open_dataset
from accel_rt.errors import InputError, UsageError
from accel_rt.train.sources import training_data
from tests.data.test_samples import write_camvid


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "camvid", count=1)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A data set of two classes of its own; its image and label map cannot be read."""
    root = tmp_path / "other"
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
        (root / kind / "train" / "a.png").write_bytes(b"nothing")
    (root / "classes.json").write_text(json.dumps({"classes": [{"name": "dog"}, {"name": "cat"}]}))
    return root


def test_data_gets_what_the_others_leave(camvid: Path) -> None:
    data = training_data(camvid, "auto", [(camvid, 0.3)], 0.2)
    assert [share for _, share in data.sets] == pytest.approx([0.5, 0.3])
    assert data.classes == CAMVID
    assert data.describe() == "CamVid train and CamVid train and procedural street"
    assert training_data(None, "auto", (), 1.0).describe() == "procedural street"


def test_shares_that_do_not_add_up(camvid: Path) -> None:
    with pytest.raises(UsageError, match="add up to 1.2: at most 1"):
        training_data(camvid, "auto", [(camvid, 0.9)], 0.3)
    with pytest.raises(UsageError, match="a share of 0.5 is left .* give --data too"):
        training_data(None, "auto", (), 0.5)


def test_other_classes(camvid: Path, other: Path) -> None:
    with pytest.raises(UsageError, match="labelled with CamVid's classes, .*: choose --street 0"):
        training_data(other, "auto", (), 0.2)
    with pytest.raises(UsageError, match="has other classes than .*: mix data sets of one class"):
        training_data(camvid, "auto", [(other, 0.5)], 0)
    assert training_data(other, "auto", (), 0).classes.names == ("dog", "cat")


def test_validation_needs_the_same_classes(camvid: Path, other: Path) -> None:
    with pytest.raises(UsageError, match="have the classes sky, .*, and those of 'train' dog, cat"):
        check_validation(CAMVID, open_dataset(other, "train"))
    own = open_dataset(camvid, "train")
    assert check_validation(CAMVID, own) is own


def test_validation_needs_a_labelled_pixel(camvid: Path) -> None:
    """What nothing can be measured by would be known after training alone."""
    own = open_dataset(camvid, "train")
    for frame in own.labelled():
        assert frame.label_path is not None
        cv2.imwrite(str(frame.label_path), np.full(frame.labels().shape, 11, np.uint8))
    with pytest.raises(InputError, match="no pixel of CamVid's split 'train' has a label"):
        check_validation(CAMVID, own)


def test_what_is_trained_on_is_told_apart_wherever_it_is(tmp_path: Path) -> None:
    def identity(folder: str, count: int) -> str:
        path = write_camvid(tmp_path / folder / "camvid", count=count)
        return training_data(path, "auto", (), 0).identity()

    first = identity("a", 2)
    assert first == identity("b", 2)
    assert first != (more := identity("c", 3))
    assert more.startswith("2 pictures of 11 classes")  # and one is held out


def test_corrected_labels_are_other_data(tmp_path: Path) -> None:
    path = write_camvid(tmp_path / "camvid", count=2)
    before = training_data(path, "auto", (), 0).identity()
    label = training_data(path, "auto", (), 0).sets[0][0].labelled()[0].label_path
    assert label is not None
    labels = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(label), labels[:, ::-1].copy())
    assert training_data(path, "auto", (), 0).identity() != before


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder .*: give the folder that holds the data set"):
        training_data(tmp_path / "none", "auto", (), 0)


def test_what_the_values_of_label_maps_mean_tells_data_apart(tmp_path: Path) -> None:
    """The same files with the ids of two classes swapped are other data, for evaluation, too."""
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / "train" / "a.png"), np.zeros((4, 4), np.uint8))
    found = []
    for ids in ((0, 1), (1, 0)):
        classes = [{"name": n, "id": i} for n, i in zip(("dog", "cat"), ids, strict=True)]
        (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
        data = training_data(tmp_path, "auto", (), 0)
        found.append((data.identity(), data.sets[0][0].labelled()[0].stamp()))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]

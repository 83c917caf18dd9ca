"""Class sets, CamVid's layout, augmentation and the mixture of sources."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from accel_rt.classes import CAMVID, CITYSCAPES, ClassSet
from accel_rt.data.augment import Augmentation, draw_colour
from accel_rt.data.camvid import camvid
from accel_rt.data.open import open_dataset
from accel_rt.data.sampling import DataSetSource, Mixture
from accel_rt.data.synthetic_motion import moving_snippet
from accel_rt.errors import InputError, UsageError
from accel_rt.normalise import MEAN_RGB, STD_RGB, normalise, pad_to


def write_camvid(root: Path, split: str = "train", count: int = 3) -> Path:
    """A tiny data set: frame ``i`` has a vertical border between labels 3 and 8 at 10 + i."""
    for folder in (split, f"{split}annot"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image = np.zeros((48, 64, 3), np.uint8)
        labels = np.full((48, 64), 3, np.uint8)
        labels[:, 10 + i :] = 8
        image[:, 10 + i :] = 255
        labels[0] = 11
        cv2.imwrite(str(root / split / f"{i:03}.png"), image)
        cv2.imwrite(str(root / f"{split}annot" / f"{i:03}.png"), labels)
    return root


class TestClassSet:
    def test_palette_is_bgr(self) -> None:
        assert CAMVID.palette_bgr()[3].tolist() == [128, 64, 128]
        assert CAMVID.palette_bgr()[10].tolist() == [192, 128, 0]
        assert CAMVID.palette_bgr()[255].tolist() == [0, 0, 0]

    def test_unknown_class_names_the_choices(self) -> None:
        with pytest.raises(UsageError, match="unknown class 'boat': choose from sky, building"):
            CAMVID.indices(["car", "boat"])

    def test_needs_a_colour_per_name(self) -> None:
        with pytest.raises(UsageError, match="got 2 names and 1 colours"):
            ClassSet(("a", "b"), ((0, 0, 0),))


class TestCamVid:
    def test_unlabelled_becomes_ignore(self, tmp_path: Path) -> None:
        frames = camvid(write_camvid(tmp_path), "train").labelled()
        assert len(frames) == 3
        labels = frames[1].labels()
        assert set(np.unique(labels)) == {3, 8, 255}
        assert frames[1].image_bgr().shape == (48, 64, 3)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="a CamVid copy has train/ and trainannot/"):
            camvid(tmp_path, "train")

    def test_label_outside_the_classes(self, tmp_path: Path) -> None:
        path = write_camvid(tmp_path) / "trainannot" / "000.png"
        cv2.imwrite(str(path), np.full((48, 64), 12, np.uint8))
        with pytest.raises(InputError, match=r"000.png holds label 12: CamVid labels are 0 to 10"):
            camvid(tmp_path, "train").labelled()[0].labels()


def test_normalise() -> None:
    frame = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)
    expected = [(v / 255 - m) / s for v, m, s in zip((30, 20, 10), MEAN_RGB, STD_RGB, strict=True)]
    assert normalise(frame).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_padding_is_nearly_zero_to_the_network() -> None:
    padded = pad_to(np.zeros((3, 4, 3), np.uint8), (5, 8))
    values = normalise(torch.from_numpy(padded)[None])
    assert padded.shape == (5, 8, 3)
    assert float(values[..., 3:, :].abs().max()) < 0.02
    assert float(values[..., :3, :4].max()) < -1


class TestAugmentation:
    def draw(self, seed: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
        labels = np.zeros((120, 160), np.uint8)
        labels[:60], labels[:, 80:] = 1, 2
        image = np.repeat(labels[..., None] * 100, 3, 2).astype(np.uint8)
        augmentation = Augmentation(crop=(64, 96), colour=0, **options)  # type: ignore[arg-type]
        view = augmentation.draw((120, 160), np.random.default_rng(seed))
        return view.image(image), view.labels(labels)

    @pytest.mark.parametrize("seed", range(20))
    def test_image_and_labels_move_together(self, seed: int) -> None:
        image, labels = self.draw(seed)
        assert image.shape == (64, 96, 3)
        assert labels.shape == (64, 96)
        inside = labels != 255
        border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        flat = inside & ~border
        flat[[0, 1, -2, -1]] = flat[:, [0, 1, -2, -1]] = False  # may lie next to the outside
        assert flat.any()
        np.testing.assert_array_equal(image[flat][:, 0], labels[flat] * 100)

    def test_a_teachers_probabilities_move_with_the_image(self) -> None:
        """Planes that say where in the image a cell's middle is still do, in the crop."""
        y, x = np.mgrid[1.5:120:4, 1.5:160:4].astype(np.float32)
        for seed in range(30):
            augmentation = Augmentation((64, 96), (0.6, 2.0), turn=8.0, upright=False)
            view = augmentation.draw((120, 160), np.random.default_rng(seed))
            seen = view.probabilities(torch.from_numpy(np.stack([x, y]))).numpy()
            v, u = np.mgrid[1.5:64:4, 1.5:96:4]
            expected = np.einsum("ij,jhw->ihw", view.matrix, np.stack([u, v, np.ones_like(u)]))
            last = np.array([157.5, 117.5])[:, None, None]
            inside = ((expected >= 1.5) & (expected <= last)).all(0)
            assert inside.mean() > 0.3
            np.testing.assert_allclose(seen[:, inside], expected[:, inside], atol=0.01)

    def test_a_teacher_says_nothing_beyond_the_image(self) -> None:
        view = Augmentation((64, 96), (0.25, 0.2501)).draw((120, 160), np.random.default_rng(0))
        said = view.probabilities(torch.ones(1, 30, 40))
        assert said.min() == 0
        assert said.mean() == pytest.approx(30 * 40 / (64 * 96), abs=0.03)

    @pytest.mark.parametrize("scale", [0.5, 0.7, 0.8, 1.5])
    def test_edges_of_images_stay_where_those_of_labels_are(self, scale: float) -> None:
        """On average; in arrays and in tensors."""
        labels = np.zeros((120, 160), np.uint8)
        labels[50:, 70:] = 1
        image = np.repeat(255 * labels[..., None], 3, 2)
        augmentation = Augmentation((64, 96), (scale, scale + 1e-6), flip=False, colour=0)
        apart = []
        for seed in range(60):
            view = augmentation.draw((120, 160), np.random.default_rng(seed))
            seen = view.labels(labels)
            kept = seen != 255
            there = view.image(torch.from_numpy(image)).numpy()
            for picture in (view.image(image), there):
                apart.append((picture[..., 0][kept] / 255 - seen[kept]).sum() / 64)
        assert np.mean(apart) == pytest.approx(0, abs=0.1)

    def test_small_scale_leaves_ignored_surroundings(self) -> None:
        _, labels = self.draw(0, scale=(0.25, 0.2501))
        assert np.mean(labels == 255) > 0.7

    def test_a_whole_frame_is_shown(self) -> None:
        """Scaled to fit: three quarters of the crop's height here, nothing but the rest ignored."""
        for seed in range(5):
            augmentation = Augmentation((64, 64), (1.0, 2.0), whole=1.0)
            labels = np.full((48, 64), 7, np.uint8)
            view = augmentation.draw((48, 64), np.random.default_rng(seed))
            shown = view.labels(labels)
            assert (shown == 7).sum() == 48 * 64

    def test_same_seed_same_sample(self) -> None:
        for a, b in zip(self.draw(3), self.draw(3), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_colour_jitter_keeps_grey_neutral_apart_from_brightness(self) -> None:
        grey = np.full((2, 2, 3), 128, np.uint8)
        out = cv2.transform(grey, draw_colour(0.3, np.random.default_rng(0)))
        assert np.ptp(out.astype(int), axis=2).max() <= 1


class TestMixture:
    def test_samples_do_not_depend_on_the_order(self, tmp_path: Path) -> None:
        source = DataSetSource(open_dataset(write_camvid(tmp_path), "train"))
        mixture = Mixture([(source, 1.0)], Augmentation(crop=(32, 32)), 10, seed=4)
        again = Mixture([(source, 1.0)], Augmentation(crop=(32, 32)), 10, seed=4)
        _ = again[2]
        for index in (7, 0, 7):
            for a, b in zip(mixture[index], again[index], strict=True):
                assert torch.equal(a, b)
        assert not torch.equal(mixture[0][0], mixture[1][0])

    def test_a_share_is_corrupted_the_same_way_each_time(self, tmp_path: Path) -> None:
        source = DataSetSource(open_dataset(write_camvid(tmp_path), "train"))

        def mixture(robust: float) -> Mixture:
            return Mixture([(source, 1.0)], Augmentation((32, 32)), 40, seed=4, robust=robust)

        plain, robust, again = mixture(0), mixture(0.5), mixture(0.5)
        changed = 0
        for index in range(40):
            assert torch.equal(robust[index][0], again[index][0])
            assert torch.equal(robust[index][1], plain[index][1])
            changed += not torch.equal(robust[index][0], plain[index][0])
        assert 10 < changed < 30

    def test_samples_made_on_a_device_are_those_of_the_cpu(self, tmp_path: Path) -> None:
        """But for rounding and, at borders of labels, the nearest of two that are as near."""
        root = write_camvid(tmp_path)
        for path in (root / "train").iterdir():
            picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
            cv2.imwrite(str(path), cv2.resize(picture, (64, 48), interpolation=cv2.INTER_LINEAR))

        def mixture(device: torch.device | None) -> Mixture:
            source = DataSetSource(open_dataset(root, "train"), device)
            view = Augmentation((40, 56), (0.4, 2.0), turn=10.0, upright=False, whole=0.2)
            return Mixture([(source, 1.0)], view, 60, seed=4, mix=0.5, device=device)

        here, there = mixture(None), mixture(torch.device("cpu"))
        for index in range(60):
            (image, labels), (image_there, labels_there) = here[index], there[index]
            same = labels == labels_there
            assert same.float().mean() > 0.97
            difference = (image.int() - image_there.int()).abs()[same].float()
            assert difference.mean() < 1.5
            assert difference.quantile(0.99) < 12

    def test_what_a_teacher_says_comes_with_each_sample(self, tmp_path: Path) -> None:
        """It is of the frame before it was harmed; where there is no teacher, the labels say it."""

        class Untaught:
            def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
                return np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 1, np.uint8)

        dataset = open_dataset(write_camvid(tmp_path), "train")
        said = []
        for frame in dataset.labelled():
            right = frame.labels().reshape(12, 4, 16, 4)[:, 2, :, 2]
            said.append((255 * (right == np.array([3, 8])[:, None, None])).astype(np.uint8))
        source = DataSetSource(dataset, taught=said)
        mixture = Mixture(
            [(source, 0.7), (Untaught(), 0.3)],
            Augmentation((32, 32), (0.8, 1.5)),
            40,
            seed=4,
            mix=0.5,
            robust=0.5,
            taught_classes=2,
        )
        untaught = 0
        for index in range(40):
            _, labels, probabilities = mixture[index]
            assert probabilities.shape == (2, 8, 8)
            cells = labels.reshape(8, 4, 8, 4).permute(0, 2, 1, 3).flatten(2)
            for label, plane in ((3, probabilities[0]), (8, probabilities[1])):
                pure = F.avg_pool2d((cells == label).all(2)[None].float(), 3, 1, 1)[0] == 1
                assert (plane[pure] > 0.99).all()
            own = (cells == 1).all(2)
            assert (probabilities[1, own] > 0.99).all()
            untaught += int(own.any())
        assert 0 < untaught < 40

    def test_weights_share_the_samples(self) -> None:
        class Constant:
            def __init__(self, label: int) -> None:
                self.label = label

            def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
                return np.zeros((40, 40, 3), np.uint8), np.full((40, 40), self.label, np.uint8)

        sources = [(Constant(1), 0.75), (Constant(2), 0.25)]
        mixture = Mixture(sources, Augmentation(crop=(32, 32), scale=(1, 1.001)), 400, seed=0)
        drawn = [int(mixture[i][1][16, 16]) for i in range(400)]
        assert drawn.count(1) + drawn.count(2) == 400
        assert 270 <= drawn.count(1) <= 330


def test_moving_snippet_keeps_labels_on_the_picture() -> None:
    """Frames and labels are painted with the same motion: colours still tell the labels."""
    rng = np.random.default_rng(2)
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:50] = 3
    image = np.repeat((labels * 80)[..., None], 3, 2)
    objects = np.zeros((60, 80), np.uint8)
    objects[5:20, 5:25] = CAMVID.indices(["car"])[0]
    object_image = np.where(objects[..., None] > 0, np.uint8(200), np.uint8(90)) + np.zeros(
        3, np.uint8
    )
    snippet = moving_snippet(image, labels, (object_image, objects), CAMVID, 5, rng)
    assert len(snippet.frames) == 5
    last = snippet.frames[-1]
    assert np.all(last[snippet.labels == 8] > 150)
    core = cv2.erode((snippet.labels == 3).astype(np.uint8), np.ones((3, 3))) > 0
    assert core.any()
    assert np.all(last[core] > 200)
    assert any(not np.array_equal(last, frame) for frame in snippet.frames[:-1])


def test_a_moving_snippet_goes_on_after_the_labelled_frame() -> None:
    """The same frames and labels, and more of them."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 11, (48, 64), np.uint8)
    ends, goes_on = (
        moving_snippet(
            picture, labels, (picture, labels), CAMVID, 4, np.random.default_rng(2), after
        )
        for after in (0, 3)
    )
    assert (ends.after, goes_on.after) == (0, 3)
    assert len(goes_on.frames) == 7
    for frame, same in zip(ends.frames, goes_on.frames, strict=False):
        np.testing.assert_array_equal(frame, same)
    np.testing.assert_array_equal(ends.labels, goes_on.labels)


@pytest.mark.parametrize(("classes", "moving"), [(CAMVID, 8), (CITYSCAPES, 13)])
def test_what_moves_is_known_by_its_name(classes: ClassSet, moving: int) -> None:
    """Number 8 is a car of CamVid's and a tree of Cityscapes', whose cars are 13."""
    image, labels = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
    crossing = np.full_like(image, 255)
    for label in (8, 13):
        objects = crossing, np.full_like(labels, label)
        seen = False
        for seed in range(5):
            rng = np.random.default_rng(seed)
            seen |= bool(moving_snippet(image, labels, objects, classes, 3, rng).labels.any())
        assert seen == (label == moving)

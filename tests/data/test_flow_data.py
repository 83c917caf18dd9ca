"""Flow on disk and made: files, layouts, exact motion, and what an augmentation does to flow."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from accel_rt.classes import CAMVID
from accel_rt.data.augment import Augmentation
from accel_rt.data.flo import read_flo
from accel_rt.data.flow_files import FlowPair, flow_files
from accel_rt.data.flow_pairs import FilePairs, MovingPairs, PairMixture
from accel_rt.data.street_samples import StreetPairs
from accel_rt.data.synthetic_motion import Layer, film, moving_snippet
from accel_rt.errors import InputError, UsageError
from accel_street import StreetDrive


def smooth_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def warp_back(previous: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The current frame as the previous one and the flow predict it."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(previous, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def mismatch(pair: FlowPair, flow: np.ndarray) -> float:
    """Median grey-level difference of the warped previous frame from the current one."""
    difference = cv2.absdiff(warp_back(pair.previous_bgr, flow), pair.current_bgr).mean(-1)
    return float(np.median(difference[pair.valid]))


class Constant:
    """A source of one pair, or of one picture."""

    def __init__(self, item: object) -> None:
        self.item = item

    def draw(self, rng: np.random.Generator) -> object:
        return self.item


def write_flo(path: Path, flow: np.ndarray) -> None:
    """A file of the format, which has the width first."""
    header = struct.pack("<f2i", 202021.25, *flow.shape[1::-1])
    path.write_bytes(header + flow.astype("<f4").tobytes())


class TestFlo:
    def test_round_trip_with_unknown_pixels(self, tmp_path: Path) -> None:
        flow = np.random.default_rng(0).normal(0, 9, (5, 7, 2)).astype(np.float32)
        known = np.ones((5, 7), bool)
        known[2, 3] = False
        flow[2, 3] = 1.666666752e9  # as Middlebury writes it
        write_flo(tmp_path / "a.flo", flow)
        read, valid = read_flo(tmp_path / "a.flo")
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(read[known], flow[known])
        assert read[2, 3].tolist() == [0, 0]

    @pytest.mark.parametrize("value", [1.1e9, -2e9, np.nan, np.inf])
    def test_values_beyond_1e9_are_unknown(self, tmp_path: Path, value: float) -> None:
        flow = np.zeros((2, 2, 2), np.float32)
        flow[1, 0, 1] = value
        flow[0, 0] = 9e8
        write_flo(tmp_path / "a.flo", flow)
        assert read_flo(tmp_path / "a.flo")[1].tolist() == [[True, True], [False, True]]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"PIEH", "not a .flo file"),
            (b"RIFF" + bytes(16), "not a .flo file: it does not start with PIEH"),
            (b"PIEH" + struct.pack("<2i", 2, 1) + bytes(12), "flow of 2x1 takes 28 bytes, .* 24"),
            (b"PIEH" + struct.pack("<2i", -1, 1), "is damaged: flow of -1x1"),
        ],
    )
    def test_damaged(self, tmp_path: Path, data: bytes, message: str) -> None:
        (tmp_path / "a.flo").write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_flo(tmp_path / "a.flo")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot read the flow .*none.flo"):
            read_flo(tmp_path / "none.flo")


def write_pair(flow: Path, first: Path, second: Path) -> None:
    """Everything moves 2 pixels right from ``first`` to ``second``."""
    picture = smooth_picture(48, 32)
    for path, left in ((first, 2), (second, 0)):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[:, left : left + 40])
    flow.parent.mkdir(parents=True, exist_ok=True)
    write_flo(flow, np.full((32, 40, 2), (2, 0)))


def write_middlebury(root: Path) -> None:
    folder = root / "Venus"
    write_pair(folder / "flow10.flo", folder / "frame10.png", folder / "frame11.png")


def write_chairs(root: Path) -> None:
    folder = root / "data"
    write_pair(folder / "7_flow.flo", folder / "7_img1.ppm", folder / "7_img2.ppm")


def write_sintel(root: Path) -> None:
    training = root / "training"
    frames = training / "final" / "alley"
    write_pair(
        training / "flow" / "alley" / "frame_0009.flo",
        frames / "frame_0009.png",
        frames / "frame_0010.png",
    )
    (training / "invalid" / "alley").mkdir(parents=True)
    invalid = np.zeros((32, 40), np.uint8)
    invalid[:4] = 255
    cv2.imwrite(str(training / "invalid" / "alley" / "frame_0009.png"), invalid)


class TestFlowFiles:
    @pytest.mark.parametrize(
        ("write", "name"),
        [(write_middlebury, "Venus"), (write_chairs, "7"), (write_sintel, "alley/frame_0009")],
    )
    def test_flow_becomes_backward(
        self, tmp_path: Path, write: Callable[[Path], None], name: str
    ) -> None:
        """The flow leads from the current frame to the one before, which warps to it."""
        write(tmp_path)
        (files,) = flow_files(tmp_path)
        pair = files.read()
        assert files.name == name
        assert pair.valid[4:].all()
        inner = np.s_[2:-2, :-4]
        back = warp_back(pair.previous_bgr, pair.flow)
        assert cv2.absdiff(back, pair.current_bgr)[inner].max() <= 1

    def test_sintels_invalid_pixels(self, tmp_path: Path) -> None:
        write_sintel(tmp_path)
        valid = flow_files(tmp_path, "sintel")[0].read().valid
        assert not valid[:4].any()
        assert valid[4:].all()

    def test_sintels_invalid_pixels_of_another_size(self, tmp_path: Path) -> None:
        write_sintel(tmp_path)
        invalid = tmp_path / "training" / "invalid" / "alley" / "frame_0009.png"
        cv2.imwrite(str(invalid), np.zeros((16, 40), np.uint8))
        with pytest.raises(InputError, match=r"invalid/alley/frame_0009.png 40x16: they must have"):
            flow_files(tmp_path, "sintel")[0].read()

    def test_sintels_frames_have_numbers(self, tmp_path: Path) -> None:
        write_sintel(tmp_path)
        flow = tmp_path / "training" / "flow" / "alley" / "frame_0009.flo"
        flow.with_name("frame_mean.flo").write_bytes(flow.read_bytes())
        assert [files.name for files in flow_files(tmp_path)] == ["alley/frame_0009"]

    def test_middlebury_as_distributed(self, tmp_path: Path) -> None:
        write_middlebury(tmp_path / "other-data")
        (tmp_path / "other-gt-flow" / "Venus").mkdir(parents=True)
        flow = Path("Venus") / "flow10.flo"
        (tmp_path / "other-data" / flow).rename(tmp_path / "other-gt-flow" / flow)
        (files,) = flow_files(tmp_path)
        assert files.name == "Venus"
        assert files.read().valid.all()

    def test_splits_of_flying_chairs(self, tmp_path: Path) -> None:
        for number in ("00001", "00002", "00003"):
            stem = tmp_path / "data" / number
            images = [stem.with_name(f"{number}_img{i}.ppm") for i in (1, 2)]
            write_pair(stem.with_name(f"{number}_flow.flo"), *images)
        listing = tmp_path / "FlyingChairs_train_val.txt"
        listing.write_text("1\n2\n1\n")
        assert [files.name for files in flow_files(tmp_path, split="train")] == ["00001", "00003"]
        assert [files.name for files in flow_files(tmp_path, split="val")] == ["00002"]
        assert len(flow_files(tmp_path)) == 3
        listing.write_text("1\n2\n")
        with pytest.raises(InputError, match="has 2 lines for 3 pairs"):
            flow_files(tmp_path, split="train")
        listing.write_bytes(b"\xff")
        with pytest.raises(InputError, match=r"cannot read .*train_val.txt .* as text in UTF-8"):
            flow_files(tmp_path, split="train")

    def test_missing_image(self, tmp_path: Path) -> None:
        write_middlebury(tmp_path)
        (tmp_path / "Venus" / "frame11.png").unlink()
        with pytest.raises(InputError, match=r"flow10.flo has no image .*frame11.png: add it"):
            flow_files(tmp_path)

    def test_other_sizes(self, tmp_path: Path) -> None:
        write_middlebury(tmp_path)
        write_flo(tmp_path / "Venus" / "flow10.flo", np.zeros((8, 8, 2)))
        with pytest.raises(InputError, match="flow10.flo is 8x8 and its image .* 40x32"):
            flow_files(tmp_path)[0].read()

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no flow: it needs NAME/flow10.flo"):
            flow_files(tmp_path)
        with pytest.raises(UsageError, match="unknown flow layout 'kitti'"):
            flow_files(tmp_path, "kitti")  # type: ignore[arg-type]

    def test_middleburys_own_pairs(self) -> None:
        """Real data, where it lies beside the project: its flow explains its pictures."""
        root = Path(__file__).resolve().parents[3] / "shared" / "data" / "flow" / "middlebury"
        if not root.is_dir():
            pytest.skip(f"no Middlebury pairs in {root}")
        files = flow_files(root)
        assert len(files) == 8
        pair = files[0].read()
        assert mismatch(pair, pair.flow) < 0.7 * mismatch(pair, np.zeros_like(pair.flow))


class TestFilm:
    def test_hand_made_occlusion(self) -> None:
        """A bar of 4 pixels moves 3 right before a standing background."""
        still = np.column_stack([np.eye(2), (0, 0)])
        moved = np.column_stack([np.eye(2), (3, 0)])
        back, bar = np.full((4, 20, 3), 50, np.uint8), np.full((4, 4, 3), 200, np.uint8)
        bar_pose = np.column_stack([np.eye(2), (5, 0)])
        layers = [
            Layer(back, np.zeros((4, 20), np.uint8), None, [still, still]),
            Layer(
                bar,
                np.full((4, 4), 8, np.uint8),
                np.ones((4, 4), np.uint8),
                [bar_pose, moved @ np.vstack([bar_pose, (0, 0, 1)])],
            ),
        ]
        snippet = film(layers, (4, 20))
        bright = [frame[0, :, 0] == 200 for frame in snippet.frames]
        assert np.flatnonzero(bright[0]).tolist() == [5, 6, 7, 8]
        assert np.flatnonzero(bright[1]).tolist() == [8, 9, 10, 11]
        assert np.flatnonzero(snippet.labels[0] == 8).tolist() == [8, 9, 10, 11]
        assert snippet.flows[0][0, 8:12].tolist() == [[-3, 0]] * 4
        assert not snippet.flows[0][:, :8].any()
        # What the bar uncovered had not been seen.
        assert np.flatnonzero(~snippet.visible[0][0]).tolist() == [5, 6, 7]

    @pytest.mark.parametrize("seed", range(4))
    def test_moving_pictures_follow_their_flow(self, seed: int) -> None:
        pair = MovingPairs(Constant(smooth_picture(320, 240)), (120, 160)).draw(
            np.random.default_rng(seed)
        )
        assert pair.flow.shape == (120, 160, 2)
        assert mismatch(pair, pair.flow) < 3
        assert 0.2 < pair.valid.mean() <= 1

    def test_a_drive_through_an_image(self) -> None:
        labels = np.zeros((120, 160), np.uint8)
        labels[40:80, 60:90] = 8
        picture = smooth_picture(160, 120)
        snippet = moving_snippet(
            picture, labels, (picture, labels), CAMVID, 4, np.random.default_rng(1)
        )
        assert len(snippet.flows) == len(snippet.visible) == 3
        for i, flow in enumerate(snippet.flows):
            pair = FlowPair(snippet.frames[i], snippet.frames[i + 1], flow, snippet.visible[i])
            assert mismatch(pair, flow) < 2


def test_street_flow_explains_the_pictures() -> None:
    drive = StreetDrive(seed=4, size=(180, 240), speed_mps=12, effects=False)
    before, after = drive.frames(2, start=3)
    pair = FlowPair(before.image_bgr, after.image_bgr, after.flow, ~after.occluded)
    difference = cv2.absdiff(warp_back(pair.previous_bgr, pair.flow), pair.current_bgr).mean(-1)
    still = cv2.absdiff(pair.previous_bgr, pair.current_bgr).mean(-1)
    moving = pair.valid & (np.linalg.norm(pair.flow, axis=-1) > 2)
    assert moving.mean() > 0.2
    assert difference[moving].mean() < 0.5 * still[moving].mean()


class TestAugmentedFlow:
    @pytest.mark.parametrize("seed", range(8))
    def test_flow_still_explains_the_frames(self, seed: int) -> None:
        """Scaled, turned, mirrored both ways: the same view of all frames, flow to match."""
        rng = np.random.default_rng(seed)
        labels = np.zeros((120, 160), np.uint8)
        labels[20:60, 30:90] = 8
        picture = smooth_picture(160, 120)
        snippet = moving_snippet(picture, labels, (picture, labels), CAMVID, 3, rng)
        view = Augmentation((80, 96), (0.8, 1.6), turn=20, upright=False).draw((120, 160), rng)
        frames = [view.image(frame) for frame in snippet.frames]
        assert frames[0].shape == (80, 96, 3)
        assert view.labels(snippet.labels).shape == (80, 96)
        for i, known in enumerate(zip(snippet.flows, snippet.visible, strict=True)):
            flow, valid = view.flow(*known)
            pair = FlowPair(frames[i], frames[i + 1], flow, valid)
            assert pair.valid.mean() > 0.3
            assert mismatch(pair, flow) < 3

    def test_hand_values(self) -> None:
        """Twice as large and mirrored: flow doubles and its x turns round."""
        flow = np.full((40, 40, 2), (3, 1), np.float32)
        augmentation = Augmentation((40, 40), (2, 2.0001), colour=0)
        views = [augmentation.draw((40, 40), np.random.default_rng(seed)) for seed in range(20)]
        mirrored = next(view for view in views if view.matrix[0, 0] < 0)
        seen, valid = mirrored.flow(flow, np.ones((40, 40), bool))
        np.testing.assert_allclose(seen[20, 20], (-6, 2), atol=1e-2)
        # Six columns and two rows come from outside the crop of the frame before.
        assert not valid[:, :6].any()
        assert not valid[-2:].any()
        assert valid[:-3, 7:].all()

    def test_unknown_pixels_stay_unknown(self) -> None:
        valid = np.ones((40, 40), bool)
        valid[:, 20:] = False
        view = Augmentation((32, 32), (1, 1.0001), flip=False).draw(
            (40, 40), np.random.default_rng(0)
        )
        _, seen = view.flow(np.zeros((40, 40, 2), np.float32), valid)
        left = round(view.matrix[0, 2])
        assert seen[:, : 20 - left - 1].all()
        assert not seen[:, 20 - left + 1 :].any()


class TestPairMixture:
    def mixture(self, *sources: tuple[object, float]) -> PairMixture:
        return PairMixture(sources, Augmentation((64, 64), (0.9, 1.2)), 50, seed=3)  # type: ignore[arg-type]

    def test_samples_do_not_depend_on_the_order(self) -> None:
        source = MovingPairs(Constant(smooth_picture(160, 120)), (96, 96))
        mixture, again = self.mixture((source, 1.0)), self.mixture((source, 1.0))
        _ = again[2]
        for index in (7, 0, 7):
            for a, b in zip(mixture[index], again[index], strict=True):
                assert torch.equal(a, b)
        previous, current, flow, valid = mixture[0]
        assert previous.shape == current.shape == (64, 64, 3)
        assert previous.dtype == torch.uint8
        assert flow.shape == (2, 64, 64)
        assert valid.shape == (64, 64)
        assert not torch.equal(flow, mixture[1][2])

    def test_shares(self) -> None:
        def still(value: int) -> FlowPair:
            frame = np.full((80, 80, 3), value, np.uint8)
            return FlowPair(
                frame, frame, np.zeros((80, 80, 2), np.float32), np.ones((80, 80), bool)
            )

        mixture = PairMixture(
            [(Constant(still(20)), 0.75), (Constant(still(220)), 0.25)],  # type: ignore[list-item]
            Augmentation((32, 32), (1, 1.001), colour=0),
            200,
            seed=1,
        )
        bright = sum(float(mixture[i][0].float().mean()) > 120 for i in range(200))
        assert 30 < bright < 70

    def test_crops_of_wide_frames_lie_in_them(self) -> None:
        frame = np.full((40, 120, 3), 200, np.uint8)
        pair = FlowPair(frame, frame, np.zeros((40, 120, 2), np.float32), np.ones((40, 120), bool))
        mixture = PairMixture([(Constant(pair), 1.0)], Augmentation((40, 40), (1, 1.001)), 9, 0)  # type: ignore[list-item]
        assert all(mixture[i][3][:-1].all() for i in range(9))

    def test_files_are_a_source(self, tmp_path: Path) -> None:
        write_chairs(tmp_path)
        _, _, flow, valid = self.mixture((FilePairs(flow_files(tmp_path)), 1.0))[0]
        assert valid.any()
        assert 1.5 < float(flow[0][valid].abs().mean()) < 2.6

    def test_held_out_drives_are_others(self) -> None:
        small = {"size": (32, 48), "pool": 4}
        one = StreetPairs(**small, first_seed=1).pair(0)  # type: ignore[arg-type]
        other = StreetPairs(**small, first_seed=2).pair(0)  # type: ignore[arg-type]
        assert not np.array_equal(one.current_bgr, other.current_bgr)

"""Networks of other people: as branches in every mode and schedule, and by ``accelerate``."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import accel_rt
from accel_rt.class_sets import class_set, known
from accel_rt.errors import InputError, UsageError, WeightsError
from accel_rt.models.accel import Accel, ProbabilityFusion, ScoreFusion, probabilities
from accel_rt.models.foreign.function import Answer, FunctionNetwork
from accel_rt.models.foreign.network import one_hot_cells
from accel_rt.models.mapped import MappedNetwork
from accel_rt.models.weights import ModelInfo
from accel_rt.runtime.load import LoadedModel, load_segmenter, segmenter_of
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.schedule import LIVE_PRESETS, PRESETS
from accel_rt.runtime.settings import SegmenterSettings
from tests.runtime.exported import FRAMES, write_network
from tests.runtime.test_segmenter import CLASSES, columns, picture

RNG = np.random.default_rng(0)
SEEN = torch.tensor([[1.0], [1.0], [0.0]])
TEXTURE = RNG.integers(0, 60, (96, 160, 3), np.uint8)


def moving(step: int) -> np.ndarray:
    """A textured frame with a blue column, all of it ``4 * step`` pixels to the right."""
    frame = picture(32) // 2 + TEXTURE
    return np.roll(frame, 4 * step, 1)


def labels(frame: np.ndarray) -> np.ndarray:
    """1 on the blue column, else 0."""
    return (frame[..., 0] > 100).astype(np.int32)


def scores(frame: np.ndarray) -> np.ndarray:
    """The same as scores of two classes at a quarter of the size."""
    blue = frame[2::4, 2::4, 0].astype(np.float32)
    return np.stack([100 - blue, blue - 100])


def masks(frame: np.ndarray) -> dict[str, np.ndarray]:
    """The column and the picture's lower half, which share pixels."""
    lower = np.zeros(frame.shape[:2], bool)
    lower[48:] = True
    return {"column": labels(frame) == 1, "lower": lower}


class TestAnswers:
    def test_what_a_function_returned_is_told_by_type_and_shape(self) -> None:
        assert Answer.of(np.zeros((3, 4, 5), np.float32)).kind == "scores"
        assert Answer.of(torch.zeros(1, 3, 4, 5)).kind == "scores"
        assert Answer.of(np.zeros((4, 5), np.uint16)).kind == "labels"
        assert Answer.of(np.zeros((4, 5), bool)).kind == "masks"
        assert Answer.of([]).kind == "masks"
        assert Answer.of({7: np.ones((4, 5), bool)}).kind == "masks"

    @pytest.mark.parametrize("raw", [np.zeros((4, 5)), np.zeros((2, 3, 4, 5)), 3, "sky"])
    def test_anything_else_is_refused_in_one_sentence(self, raw: object) -> None:
        with pytest.raises(UsageError, match="must answer with scores"):
            Answer.of(raw)

    def test_cells_hold_each_classs_share(self) -> None:
        found = torch.zeros(1, 8, 8, dtype=torch.long)
        found[:, :, :2] = 1
        found[:, :4, 4:] = 255
        shares = one_hot_cells(found, 2, (2, 2))
        assert shares[0, 1].tolist() == [[0.5, 0], [0.5, 0]]
        assert shares[0, 0].tolist() == [[0.5, 0], [0.5, 1]]

    def test_coarse_labels_are_repeated_on_finer_grids(self) -> None:
        shares = one_hot_cells(torch.tensor([[[0, 1]]]), 2, (2, 4))
        assert shares[0, 1].tolist() == [[0, 0, 1, 1]] * 2


class TestAccelerate:
    def test_keyframes_come_back_as_the_function_gave_them(self) -> None:
        fast = accel_rt.accelerate(scores, 3, flow="dis")
        for number in range(7):
            found = fast.step(moving(number))
            assert found.dtype == np.float32
            assert found.shape == (2, 24, 40)
            if number % 3 == 0:
                np.testing.assert_array_equal(found, scores(moving(number)))

    def test_the_function_sees_every_interval_th_frame_as_it_is(self) -> None:
        seen = []

        def network(frame: np.ndarray) -> np.ndarray:
            seen.append(frame)
            return labels(frame)

        for _ in accel_rt.accelerate(network, 3, flow="dis").stream(map(moving, range(7))):
            pass
        assert len(seen) == 3
        for number, frame in zip((0, 3, 6), seen, strict=True):
            np.testing.assert_array_equal(frame, moving(number))

    @pytest.mark.parametrize("look_ahead", [False, True])
    @pytest.mark.parametrize("network", [labels, scores])
    def test_answers_follow_what_moves(self, network: object, look_ahead: bool) -> None:
        fast = accel_rt.accelerate(network, 4, look_ahead, flow="dis")
        found = list(fast.stream(map(moving, range(9))))
        assert len(found) == 9
        for number, (frame, answer) in enumerate(found):
            np.testing.assert_array_equal(frame, moving(number))
            if answer.ndim == 3:
                answer = answer.argmax(0).repeat(4, 0).repeat(4, 1)
            assert np.abs(columns(answer) - columns(labels(moving(number)))).max() <= 4
        if network is labels:
            assert found[1][1].dtype == np.int32

    def test_masks_keep_their_names_and_may_share_pixels(self) -> None:
        found = [a for _, a in accel_rt.accelerate(masks, 4).stream(map(moving, range(6)))]
        for number, answer in enumerate(found):
            assert list(answer) == ["column", "lower"]
            assert answer["column"].dtype == bool
            right = masks(moving(number))["column"]
            assert (answer["column"] & right).sum() / (answer["column"] | right).sum() > 0.8
            assert (answer["column"] & answer["lower"]).any()

    def test_masks_may_be_as_many_as_they_like_and_none(self) -> None:
        counts = iter([2, 0, 3])

        def network(frame: np.ndarray) -> Tensor:
            return torch.ones(next(counts), *frame.shape[:2], dtype=torch.bool)

        found = [a for _, a in accel_rt.accelerate(network, 2).stream(map(moving, range(6)))]
        assert [len(answer) for answer in found] == [2, 2, 0, 0, 3, 3]
        assert all(answer.dtype == torch.bool for answer in found)

    @pytest.mark.parametrize("look_ahead", [False, True])
    def test_streams_at_once_and_ones_left_early_keep_apart(self, look_ahead: bool) -> None:
        def network(frame: np.ndarray) -> np.ndarray:
            return np.full(frame.shape[:2], frame[0, 0, 0], np.int32)

        def video(first: int) -> list[np.ndarray]:
            return [np.full((48, 64, 3), first + number, np.uint8) for number in range(7)]

        fast = accel_rt.accelerate(network, 3, look_ahead, flow="dis", scene_cuts=False)
        alone = [[a.max() for _, a in fast.stream(video(first))] for first in (10, 200)]
        both = zip(fast.stream(video(10)), fast.stream(video(200)), strict=True)
        assert [[a.max() for _, a in pair] for pair in both] == [
            list(p) for p in zip(*alone, strict=True)
        ]
        left = fast.stream(video(10))
        next(left)
        assert fast.step(video(200)[0]).max() == 200

    @pytest.mark.parametrize("kind", ["nested lists", "a named tuple", "a flipped view"])
    def test_answers_come_in_plain_and_in_unusual_containers(self, kind: str) -> None:
        class Found(NamedTuple):
            column: np.ndarray
            lower: np.ndarray

        def network(frame: np.ndarray) -> Any:
            if kind == "nested lists":
                return labels(frame).tolist()
            return Found(*masks(frame).values()) if kind == "a named tuple" else labels(frame)[::-1]

        found = [a for _, a in accel_rt.accelerate(network, 2).stream(map(moving, range(4)))]
        assert all(type(answer) is type(found[0]) for answer in found)
        if kind == "a named tuple":
            assert found[1].column.dtype == bool
        else:
            assert set(np.unique(found[1])) == {0, 1}

    def test_frames_of_every_size_are_answered_in_theirs(self) -> None:
        frames = [np.zeros((64, 2500, 3), np.uint8)] * 2 + [np.zeros((64, 96, 3), np.uint8)]
        found = [a for _, a in accel_rt.accelerate(labels, 3).stream(frames)]
        assert [answer.shape for answer in found] == [(64, 2500)] * 2 + [(64, 96)]

    def test_a_function_may_write_into_its_frame_and_frames_may_be_views(self) -> None:
        def network(frame: np.ndarray) -> Tensor:
            found = torch.from_numpy(frame)[..., 0] > 100  # takes no negative strides
            frame[:] = 0
            return found.to(torch.uint8)

        for frame in (moving(0), moving(0)[:, ::-1]):
            before = frame.copy()
            found = accel_rt.accelerate(network).step(frame)
            np.testing.assert_array_equal(found, labels(before))
            np.testing.assert_array_equal(frame, before)

    def test_sides_that_are_no_multiples_of_four_are_no_obstacle(self) -> None:
        frames = [moving(number)[:91, :157] for number in range(3)]
        found = [a for _, a in accel_rt.accelerate(labels, 3, classes=2).stream(frames)]
        assert [answer.shape for answer in found] == [(92, 156)] * 3

    @pytest.mark.parametrize("values", [(0, 255), (-1, 0), (70000, 3), (255, 254)], ids=str)
    @pytest.mark.parametrize("classes", [None, 255])
    def test_labels_may_be_any_numbers(self, values: tuple[int, int], classes: int | None) -> None:
        def network(frame: np.ndarray) -> np.ndarray:
            return np.where(labels(frame), *values).astype(np.int32)

        told = None if max(values) > 255 else classes
        fast = accel_rt.accelerate(network, 4, classes=told)
        for number, (_, answer) in enumerate(fast.stream(map(moving, range(6)))):
            assert set(np.unique(answer)) == set(values)
            expected = labels(moving(number))
            assert np.mean((answer == values[0]) == (expected == 1)) > 0.95

    def test_a_label_that_comes_later_is_carried_too(self) -> None:
        fast = accel_rt.accelerate(lambda frame: np.full((8, 8), frame[0, 0, 0]), 2)
        assert (fast.step(np.zeros((32, 32, 3), np.uint8)) == 0).all()
        fast.step(np.zeros((32, 32, 3), np.uint8))
        for _ in range(2):
            assert (fast.step(np.full((32, 32, 3), 200, np.uint8)) == 200).all()

    def test_too_many_new_labels_are_refused_where_nothing_says_how_many_there_are(self) -> None:
        def network(frame: np.ndarray) -> np.ndarray:
            return np.arange(64).reshape(8, 8) % (1 + frame[0, 0, 0].astype(int))

        fast = accel_rt.accelerate(network, 1)
        fast.step(np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(UsageError, match="64 different labels.*'classes'"):
            fast.step(np.full((32, 32, 3), 200, np.uint8))

    def test_every_video_has_labels_of_its_own(self) -> None:
        fast = accel_rt.accelerate(lambda frame: np.full((8, 8), frame[0, 0, 0]), 2)
        for value in range(60):
            frames = [np.full((32, 32, 3), value, np.uint8)] * 2
            assert all((answer == value).all() for _, answer in fast.stream(frames))

    def test_a_label_beyond_the_classes_is_refused(self) -> None:
        with pytest.raises(UsageError, match="label 9, and its 3 classes are 0 to 2"):
            accel_rt.accelerate(lambda _: np.full((8, 8), 9), classes=3).step(moving(0))

    def test_what_is_no_frame_is_refused(self) -> None:
        for frame in (np.zeros((32, 32), np.uint8), [[1, 2, 3]], np.zeros((32, 32, 3))):
            with pytest.raises(UsageError, match="a frame is a uint8 array"):
                accel_rt.accelerate(labels).step(frame)

    def test_a_functions_own_error_comes_through(self) -> None:
        def network(frame: np.ndarray) -> np.ndarray:
            raise RuntimeError("no more memory")

        with pytest.raises(RuntimeError, match="no more memory"):
            accel_rt.accelerate(network).step(moving(0))

    def test_an_error_on_the_way_comes_after_the_answers_before_it(self) -> None:
        def broken() -> Iterator[np.ndarray]:
            yield from map(moving, range(6))
            raise OSError("the camera is gone")

        def network(frame: np.ndarray) -> np.ndarray:
            keyframes.append(frame)
            if len(keyframes) == 3:
                raise OSError("the camera is gone")
            return labels(frame)

        keyframes: list[np.ndarray] = []
        for function, source in ((labels, broken()), (network, map(moving, range(9)))):
            answers = accel_rt.accelerate(function, 3, flow="dis", scene_cuts=False).stream(source)
            assert [next(answers)[1].shape for _ in range(6)] == 6 * [(96, 160)]
            with pytest.raises(OSError, match="camera is gone"):
                next(answers)

    def test_a_module_gives_results_with_its_classes(self) -> None:
        module = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[0.0, 0, 0], [0, 0, 1]])[:, :, None, None])
            module.bias.zero_()
        fast = accel_rt.accelerate(module, 3, classes=("dark", "blue"), device="cpu")
        results = [answer for _, answer in fast.stream(map(moving, range(4)))]
        assert [result.kind for result in results] == ["key", "update", "update", "key"]
        for number, result in enumerate(results):
            assert np.abs(columns(result.labels) - columns(labels(moving(number)))).max() <= 4
        assert results[0].classes.names == ("dark", "blue")

    def test_a_module_stays_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("accel_rt.device.has_fast_bf16", lambda device: True)
        module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        fast = accel_rt.accelerate(module, classes=2, device="cpu")
        fast.step(moving(0))
        assert fast.describe()["precision"] == "bfloat16"
        assert module.training
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)

    def test_a_module_that_cannot_be_copied_is_refused(self) -> None:
        module = nn.Conv2d(3, 2, 1)
        module.lock = threading.Lock()
        with pytest.raises(UsageError, match="Conv2d cannot be copied .* give a function"):
            accel_rt.accelerate(module, classes=2)

    def test_a_processor_without_its_model_is_refused(self) -> None:
        with pytest.raises(UsageError, match="a processor goes with a model of transformers"):
            accel_rt.accelerate(nn.Conv2d(3, 2, 1), classes=2, processor=object())

    def test_what_is_no_network_is_refused(self) -> None:
        with pytest.raises(UsageError, match="int is no network"):
            accel_rt.accelerate(3)
        with pytest.raises(UsageError, match="does not say its classes"):
            accel_rt.accelerate(nn.Conv2d(3, 2, 1))


def labels_only(classes: int = 3) -> FunctionNetwork:
    return FunctionNetwork(lambda frame: (frame[..., 0] > 100).astype(np.uint8), classes)


SCHEDULES = [
    *(vars(schedule) for schedule in (*PRESETS.values(), *LIVE_PRESETS.values())),
    {"interval": 3, "update_every": 1},
]


class TestLabelsOnly:
    """A reference, or both branches, that answer with labels alone."""

    @pytest.mark.parametrize("mode", ["accel", "dff", "copy", "deeplab"])
    @pytest.mark.parametrize("schedule", SCHEDULES, ids=range(len(SCHEDULES)))
    def test_every_mode_and_schedule_gives_the_labels(self, mode: str, schedule: dict) -> None:
        settings = SegmenterSettings(
            mode=mode, **schedule, flow="dis", device="cpu", precision="fp32"
        )
        model = Accel(labels_only())
        if mode == "accel":
            model = Accel(labels_only(), labels_only(), ProbabilityFusion())
        loaded = LoadedModel(model, ModelInfo("labels", CLASSES, None, ""), {})
        segmenter = segmenter_of(loaded, settings)
        still = mode == "copy"
        results = []
        frames = [moving(0 if still else number) for number in range(12)]
        for frame in frames:
            results += segmenter.push(frame)
        results += segmenter.flush()
        assert len(results) == len(frames)
        for frame, result in zip(frames, results, strict=True):
            assert np.mean(result.labels == labels(frame)) > 0.95

    def test_keyframes_beside_the_frames_take_over(self) -> None:
        arrived = threading.Event()

        def slow(frame: np.ndarray) -> np.ndarray:
            assert arrived.wait(10)
            return labels(frame)

        model = Accel(FunctionNetwork(slow, 3), labels_only(), ProbabilityFusion())
        loaded = LoadedModel(model, ModelInfo("labels", CLASSES, None, ""), {})
        settings = SegmenterSettings(interval=4, flow="dis", device="cpu", precision="fp32")
        segmenter = segmenter_of(loaded, settings, asynchronous=True)
        assert segmenter.step(moving(0)).kind == "update"
        arrived.set()
        kinds = []
        while "key" not in kinds:
            result = segmenter.step(moving(1))
            kinds.append(result.kind)
        segmenter.close()
        assert np.mean(result.labels == labels(moving(1))) > 0.95

    def test_a_trained_fusion_takes_labels_too(self) -> None:
        model = Accel(labels_only(), labels_only(), ScoreFusion(3))
        loaded = LoadedModel(model, ModelInfo("labels", CLASSES, None, ""), {})
        segmenter = segmenter_of(loaded, SegmenterSettings(interval=2, flow="dis", device="cpu"))
        for number in range(3):
            found = segmenter.step(moving(number)).labels
            assert np.mean(found == labels(moving(number))) > 0.95


class TestProbabilities:
    def test_scores_of_any_scale_count_alike(self) -> None:
        """The branch with large scores does not outvote a surer one with small scores."""
        loud = torch.tensor([10.0, 10.5]).view(1, 2, 1, 1)
        sure = torch.tensor([0.95, 0.05]).view(1, 2, 1, 1)
        fused = ProbabilityFusion()(loud, sure)
        assert fused.argmax(1).item() == 0
        assert fused.sum().item() == pytest.approx(1)

    def test_probabilities_stay_what_they_are(self) -> None:
        given = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1)
        torch.testing.assert_close(probabilities(given), given)

    def test_classes_that_the_update_cannot_tell_keep_their_probability(self) -> None:
        reference = torch.tensor([0.1, 0.3, 0.6]).view(1, 3, 1, 1)
        update = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        fused = ProbabilityFusion((True, True, False))(reference, update).flatten()
        torch.testing.assert_close(fused, torch.tensor([0.25, 0.15, 0.6]))

    def test_a_picture_of_scores_is_none_of_probabilities_where_it_looks_like_them(self) -> None:
        scores = torch.tensor([[0.2, 5.0], [0.8, -3.0]]).view(1, 2, 1, 2)
        torch.testing.assert_close(probabilities(scores), scores.softmax(1))

    def test_what_the_update_sees_of_classes_that_stand_for_none_is_the_references(self) -> None:
        """It says car, road and sky, and of its sky nothing is told."""
        scores = torch.tensor([0.7, 0.1, 0.2]).log().view(1, 3, 1, 1)
        update = MappedNetwork(FunctionNetwork(lambda _: scores, 3), torch.eye(3)[:, :3] * SEEN)
        told = update(torch.zeros(1, 3, 4, 4))
        assert told.flatten().tolist() == pytest.approx([0.7, 0.1, 0])
        reference = torch.tensor([0.3, 0.2, 0.5]).view(1, 3, 1, 1)
        fusion = ProbabilityFusion(update.known)
        found = fusion(reference, told).flatten().tolist()
        car, road = 0.7 * 0.5 + 0.2 * 0.3, 0.1 * 0.5 + 0.2 * 0.2
        assert found == pytest.approx([(0.3 + car) / 2, (0.2 + road) / 2, 0.5])
        program = FrameProgram(Accel(update, update, fusion), torch.device("cpu"), torch.float32)
        torch.testing.assert_close(program.refresh(torch.zeros(1, 3, 4, 4)), told)
        gated = program.gated(reference, told, torch.full((1, 1, 1, 1), 1000.0)).flatten()
        alone = [0.7 + 0.2 * 0.3, 0.1 + 0.2 * 0.2, 0.2 * 0.5]
        assert gated.tolist() == pytest.approx(alone)

    def test_labels_of_nothing_are_left_to_the_other_branch(self) -> None:
        half = one_hot_cells(torch.tensor([[[0, 255], [0, 255]]]), 2, (1, 1))
        sure = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1)
        for branches in ((half, sure), (sure, half)):
            found = ProbabilityFusion()(*branches).flatten().tolist()
            assert found == pytest.approx([(0.2 + 0.5 + 0.5 * 0.2) / 2, (0.8 + 0.5 * 0.8) / 2])


class TestClassSets:
    def test_known_sets_bring_their_colours(self) -> None:
        assert {name: len(found) for name, found in known().items()} == {
            "camvid": 11,
            "cityscapes": 19,
            "ade20k": 150,
            "voc": 21,
            "coco-stuff": 171,
        }
        assert class_set(150).names[:3] == ("wall", "building", "sky")
        assert class_set([name.title() for name in known()["voc"].names]).colors_rgb[1] == (
            128,
            0,
            0,
        )

    def test_others_get_colours_that_differ(self) -> None:
        made = class_set([f"thing {n}" for n in range(60)])
        assert len(set(made.colors_rgb)) == 60


MODULE = """
import numpy as np

def labels(frame):
    return (frame[..., 0] > 100).astype(np.uint8)

labels.classes = ["dark", "blue"]

def scores(frame):
    blue = frame[2::4, 2::4, 0].astype(np.float32)
    return np.stack([100 - blue, blue - 100])

def nothing(frame):
    return np.zeros((11, 24, 40), np.float32)

nothing.classes = "camvid"

def nameless(frame):
    return labels(frame)

def broken(frame):
    raise KeyError("weights")

broken.classes = 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module ``MODULE`` in the current folder, by its name."""
    name = f"networks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


class TestByName:
    def load(self, name: str, **options: object) -> accel_rt.Segmenter:
        settings = {"mode": "dff", "interval": 2, "flow": "dis", "device": "cpu"}
        chosen = SegmenterSettings(reference=name, **{**settings, **options})
        return accel_rt.load_segmenter(chosen)

    @pytest.mark.parametrize("function", ["labels", "scores"])
    def test_a_function_is_a_reference(self, module: str, function: str) -> None:
        segmenter = self.load(f"python:{module}:{function}")
        for number in range(3):
            found = segmenter.step(moving(number)).labels
            assert np.mean(found == labels(moving(number))) > 0.95
        assert len(segmenter.classes) == 2

    def test_a_pair_without_a_fusion_is_the_mean_of_probabilities(self, module: str) -> None:
        segmenter = self.load(
            f"python:{module}:labels", update=f"python:{module}:labels", mode="accel"
        )
        assert segmenter.describe()["fusion"] == "mean of both branches' probabilities"

    def test_a_pair_of_different_classes_is_refused(self, module: str) -> None:
        with pytest.raises(UsageError, match="different classes"):
            self.load(f"python:{module}:labels", mode="accel")

    def test_classes_that_are_told_go_before_its_own(self, module: str) -> None:
        fast = accel_rt.accelerate(f"python:{module}:labels", classes=["night", "day"])
        assert fast.step(moving(0)).classes.names == ("night", "day")
        with pytest.raises(UsageError, match="labels scores 2 classes, and 3 are named"):
            accel_rt.accelerate(f"python:{module}:labels", classes=["night", "day", "dusk"])
        nameless = accel_rt.accelerate(f"python:{module}:nameless", classes=["night", "day"])
        assert np.mean(nameless.step(moving(0)).labels == labels(moving(0))) > 0.95

    def test_a_network_of_ours_is_accelerated_in_its_own_size(self, tmp_path: Path) -> None:
        file = str(write_network(tmp_path / "own.safetensors"))
        how = {"interval": 3, "look_ahead": True, "gate": True, "flow": "dis", "device": "cpu"}
        segmenter = load_segmenter(SegmenterSettings(reference=file, mode="dff", **how))
        wanted = [r for frame in FRAMES for r in segmenter.push(frame)] + segmenter.flush()
        fast = accel_rt.accelerate(file, 3, flow="dis", device="cpu")
        for _ in range(2):  # it is prepared for inference once more
            found = [result for _, result in fast.stream(FRAMES)]
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one.labels, other.labels)
        with pytest.raises(UsageError, match="own scores 11 classes, and 2 are named"):
            accel_rt.accelerate(file, classes=["a", "b"])

    def test_other_classes_are_mapped_by_a_file(self, module: str, tmp_path: Path) -> None:
        """The update sees blue and calls it 'sign'; the reference sees nothing at all."""
        file = tmp_path / "map.json"
        file.write_text('{"dark": "road", "blue": "sign"}')
        pair = {"update": f"python:{module}:labels", "mode": "accel", "map": str(file)}
        segmenter = self.load(f"python:{module}:nothing", **pair)
        segmenter.step(moving(0))
        found = segmenter.step(moving(1)).labels
        assert np.mean(found == np.where(labels(moving(1)), 6, 3)) > 0.95

    @pytest.mark.parametrize(
        "content", ["[]", '{"dark": "nowhere"}', '{"green": "road"}', '{"dark": null}', "{"]
    )
    def test_a_map_that_cannot_be_used_is_shown_how(
        self, module: str, tmp_path: Path, content: str
    ) -> None:
        file = tmp_path / "map.json"
        file.write_text(content)
        pair = {"update": f"python:{module}:labels", "mode": "accel", "map": str(file)}
        with pytest.raises(InputError, match="is no map of classes such as"):
            self.load(f"python:{module}:nothing", **pair)

    @pytest.mark.parametrize(
        ("place", "says"),
        [
            ("nowhere:labels", "No module named 'nowhere'"),
            ("{}:absent", "absent"),
            ("{}", "python:MODULE:FUNCTION"),
            ("{}:nameless", "an attribute 'classes'"),
        ],
    )
    def test_what_is_not_there_is_said(self, module: str, place: str, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            self.load("python:" + place.format(module))

    def test_a_function_that_fails_is_named(self, module: str) -> None:
        with pytest.raises(WeightsError, match=rf"{module}:broken failed on a frame \(KeyError"):
            self.load(f"python:{module}:broken").step(moving(0))

"""Networks of others: how much faster keyframes and flow make them, and how much of them is kept.

    python -m benchmarks.foreign speed [--threads N]
    python -m benchmarks.foreign kept CAMVID

``speed``: a SegFormer-B0 and torchvision's LRASPP with random weights, of those libraries that are
installed, on a rendered street at 480x360: on every frame as the library runs it, and at interval 5
from both sides. ``kept``: the shipped Lite2 as an ONNX file and as Python functions to scores and
to labels, on CamVid's validation video, at interval 5 from both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch.nn import functional as F

from accel_rt.bench.harness import Effort, interleave
from accel_rt.data.camvid import camvid
from accel_rt.evaluate.schedules import LabelledVideo, score_schedules
from accel_rt.models import store
from accel_rt.models.weights import load_network
from accel_rt.normalise import normalise
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.settings import SegmenterSettings
from accel_street import StreetDrive

Predict = Callable[[np.ndarray], object]
"""A frame, uint8 BGR ``[H, W, 3]``, to its labels as the library gives them."""

SIZE, INTERVAL = (360, 480), 5
LITE2 = "efficientnet_lite2"


@click.group()
def main() -> None:
    pass


@main.command()
@click.option("--threads", default=2, show_default=True)
def speed(threads: int) -> None:
    torch.set_num_threads(threads)
    frames = [frame.image_bgr for frame in StreetDrive(4_000_000, SIZE).frames(40)]
    print("| network | every frame, frames/s | interval 5, both sides | times |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for library in (segformer, lraspp):
            try:
                name, predict = library(Path(folder))
            except ImportError as error:
                print(f"| {library.__name__} | {error} | | |")
                continue
            segmenter = load_segmenter(both_sides(name))
            runs = {
                "every": partial(each, cycle(frames), predict),
                "ours": partial(each, cycle(frames), segmenter.push),
            }
            found = interleave(runs, Effort(40, 5, 100))
            every, ours = (1e3 * INTERVAL / found[run].median for run in runs)
            print(f"| {library.__name__} | {every:.1f} | {ours:.1f} | {ours / every:.2f} |")


def both_sides(reference: str, **options: object) -> SegmenterSettings:
    return SegmenterSettings(
        reference=reference,
        mode="dff",
        interval=INTERVAL,
        look_ahead=True,
        gate=True,
        device="cpu",
        **options,
    )


def each(frames: Iterator[np.ndarray], run: Predict) -> None:
    for frame in islice(frames, INTERVAL):
        run(frame)


def segformer(folder: Path) -> tuple[str, Predict]:
    import transformers

    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=19)  # B0 is its default
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    processor = transformers.SegformerImageProcessor(size={"height": SIZE[0], "width": SIZE[1]})
    for part in (model, processor):
        part.save_pretrained(folder)

    @torch.inference_mode()
    def predict(frame: np.ndarray) -> object:
        output = model(**processor(images=frame[..., ::-1].copy(), return_tensors="pt"))
        return processor.post_process_semantic_segmentation(output, [frame.shape[:2]])[0]

    return f"hf:{folder}", predict


def lraspp(folder: Path) -> tuple[str, Predict]:
    from torchvision.models import get_model

    torch.manual_seed(0)
    name = "lraspp_mobilenet_v3_large"
    model = get_model(name, weights=None, weights_backbone=None, num_classes=21).eval()
    torch.save(model.state_dict(), folder / "lraspp.pth")

    @torch.inference_mode()
    def predict(frame: np.ndarray) -> object:
        return model(normalise(torch.from_numpy(frame)[None]).contiguous())["out"].argmax(1)

    return f"torchvision:{name}@{folder}/lraspp.pth", predict


@torch.inference_mode()
def scores(frame: np.ndarray) -> np.ndarray:
    """Lite2's scores of every pixel."""
    found = _lite2()(normalise(torch.from_numpy(frame)[None]))
    return F.interpolate(found, frame.shape[:2], mode="bilinear")[0].numpy()


def labels(frame: np.ndarray) -> np.ndarray:
    """Lite2's labels."""
    return scores(frame).argmax(0)


scores.classes = labels.classes = "camvid"  # type: ignore[attr-defined]


@cache
def _lite2() -> torch.nn.Module:
    return load_network(store.find(LITE2))[0]


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def kept(folder: Path) -> None:
    sequence = max(camvid(folder, "val").sequences, key=lambda found: len(found.frames))
    video = LabelledVideo.read(sequence.frames, None)
    with TemporaryDirectory() as made:
        file = Path(made) / "lite2.onnx"
        frame = torch.zeros(1, 3, *SIZE)
        torch.onnx.export(_lite2(), (frame,), file, dynamo=False, opset_version=17)
        models = {
            "Lite2 on every frame": SegmenterSettings(reference=LITE2, mode="deeplab"),
            "onnx:": both_sides(f"onnx:{file}?classes=camvid", scene_cuts=False),
            "python: scores": both_sides("python:benchmarks.foreign:scores", scene_cuts=False),
            "python: labels": both_sides("python:benchmarks.foreign:labels", scene_cuts=False),
        }
        found = score_schedules(models, video, None, lambda _: None)
    whole = next(iter(found.values())).miou
    print("| network | mIoU % | kept % |\n|---|---|---|")
    for name, score in found.items():
        print(f"| {name} | {score.miou:.2f} | {100 * score.miou / whole:.2f} |")


if __name__ == "__main__":
    main()

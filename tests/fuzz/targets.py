"""What is done with damaged files: each target writes inputs for a seed and runs a command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import torch
from PIL import Image

from tests.fuzz import specimens
from tests.fuzz.mutate import mutate_bytes, mutate_tree
from tests.fuzz.regressions import REGRESSIONS

STEMS = ("clip", "tracks", "moving", "still")
VIDEOS = ("v.mp4", "v.mkv", "v.mov")
LIGHT = ["--mode", "copy", "--reference", "efficientnet_lite0", "--size", "64x48", "--threads", "1"]


@dataclass(frozen=True)
class Trial:
    """A run: the command's arguments, or a function, and the names it may leave in ``out/``."""

    command: list[str] | Callable[[], int | None]
    outputs: tuple[str, ...] = ()
    networks: bool = False  # real ones; else labels are made up
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names that must be there after success."""
        return self.outputs if "segment" in self.arguments else ()

    @property
    def arguments(self) -> list[str]:
        return self.command if isinstance(self.command, list) else []

    def __str__(self) -> str:
        settings = (f"{name}={value}" for name, value in self.environment.items())
        return " ".join((*settings, "accel-rt", *self.arguments))


Target = Callable[[Path, Path, Random], Trial]
"""Writes inputs into the current folder's ``in/``: ``target(specimens, in, random)``."""


def media(name: str) -> Target:
    """``segment`` on one damaged video or picture."""

    def build(originals: Path, into: Path, random: Random) -> Trial:
        (original,) = (p for p in (originals / name).iterdir() if p.name.startswith(STEMS))
        path = into / original.name
        path.write_bytes(mutate_bytes(original.read_bytes(), random))
        return segment_trial(f"in/{path.name}", random)

    return build


def segment_trial(source: str, random: Random) -> Trial:
    """``segment`` with options drawn at random."""
    video = random.choice(("v.mp4", "v.mp4", *VIDEOS))
    command, outputs = ["segment", source, "-o", f"out/{video}", "--crf", "40"], [video]
    if random.random() < 0.3:
        command += ["--masks", "out/masks", "--masks-format", random.choice(("png", "npz", "rle"))]
        outputs.append("masks")
    if random.random() < 0.3:
        timing = random.choice(("t.csv", "t.json"))
        command += ["--timing", f"out/{timing}"]
        outputs.append(timing)
    if random.random() < 0.2:
        command += ["--start", "0.1"]
    if random.random() < 0.2:
        command += ["--end", "0.3"]
    networks = random.random() < 0.03
    return Trial([*command, *LIGHT], tuple(outputs), networks)


def image_folder(originals: Path, into: Path, random: Random) -> Trial:
    """``segment`` on a folder of pictures, some of them damaged."""
    for number, kind in enumerate(random.sample(("png", "png-16", "jpeg", "bmp", "tiff"), 4)):
        (original,) = (originals / kind).iterdir()
        data = original.read_bytes()
        changed = mutate_bytes(data, random) if random.random() < 0.4 else data
        (into / f"{number}{original.suffix}").write_bytes(changed)
    return segment_trial("in", random)


def weights(originals: Path, into: Path, random: Random) -> Trial:
    """A damaged network or fusion in the user's folder: used, or listed among the others."""
    kind = random.choice(("weights", "weights", "fusion"))
    (original,) = (originals / kind).iterdir()
    path = into / original.name
    path.write_bytes(_damaged_safetensors(original.read_bytes(), random))
    use = ["segment", _good_clip(originals, into), "-o", "out/v.mp4", "--end", "0.1"]
    use += ["--size", "64x48", "--threads", "1", "--crf", "40"]
    if kind == "fusion":
        use += ["--mode", "accel"]
    else:
        use += ["--mode", "copy", "--reference", random.choice((path.stem, f"in/{path.name}"))]
    command = random.choice((use, use, use, ["models"], ["doctor"]))
    return Trial(command, ("v.mp4",), networks=True, environment={"ACCEL_RT_WEIGHTS": "in"})


def _good_clip(originals: Path, into: Path) -> str:
    return "in/" + Path(shutil.copy(next((originals / "mp4").iterdir()), into)).name


def _damaged_safetensors(data: bytes, random: Random) -> bytes:
    """With faults in its bytes, its header, its description, or its numbers."""
    how = random.choice(("bytes", "header", "description", "description", "numbers"))
    length = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    if how == "bytes":
        return mutate_bytes(data, random)
    if how == "header":
        header = mutate_tree(header, random)
    elif how == "description":
        name, stored = random.choice(list(header["__metadata__"].items()))
        changed = mutate_tree(json.loads(stored), random) if random.random() < 0.8 else stored[:-9]
        header["__metadata__"][name] = json.dumps(changed)
    else:
        entry = header[random.choice([name for name in header if name != "__metadata__"])]
        begin, end = entry["data_offsets"]
        fault = random.choice((b"\0\0\xc0\x7f", b"\0\x7e", b"\xff", b"\0"))  # NaN of 4 and 2 bytes
        tensors[begin:end] = (fault * (end - begin))[: end - begin]
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + bytes(tensors)


def mxnet_params(originals: Path, into: Path, random: Random) -> Trial:
    """A damaged checkpoint of MXNet, in any of its layouts."""
    from accel_rt.models.mxnet.params import read_params

    original = random.choice(sorted((originals / "params").glob("*.params")))
    path = into / original.name
    path.write_bytes(mutate_bytes(original.read_bytes(), random))
    return Trial(lambda: read_params(path) and None)


def data_set(originals: Path, into: Path, random: Random) -> Trial:
    """Every label map and picture of a data set whose files are damaged, read as in training."""
    root = Path(shutil.copytree(originals / "data" / "data", into / "data"))
    choice = random.random()
    if choice < 0.4:
        path, stored = root / "classes.json", (root / "classes.json").read_bytes()
        tree = mutate_tree(json.loads(stored), random, values=(254, 255, 256, "sky"))
        text = json.dumps(tree).encode() if random.random() < 0.7 else mutate_bytes(stored, random)
        path.write_bytes(text)
    elif choice < 0.8:
        path = random.choice(sorted(root.rglob("*.png")))
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
    else:
        path = random.choice(sorted((root / "labels").rglob("*.png")))
        mode, size = random.choice(("1", "L", "RGB", "RGBA", "I;16", "CMYK")), (64, 48)
        image = Image.new(mode, random.choice((size, (48, 64), (1, 1))))
        suffix = ".tif" if mode == "CMYK" else random.choice((".png", ".bmp", ".tif"))
        path.unlink()
        image.convert("RGB" if suffix == ".bmp" else mode).save(path.with_suffix(suffix))
    command = ["eval", "in/data", "--reference", "efficientnet_lite0", "--update"]
    command += ["efficientnet_lite0", "--size", "64x48", "--workers", "1", "--no-timing"]
    return Trial(command) if random.random() < 0.1 else Trial(lambda: _read_all(Path("in/data")))


def _read_all(root: Path, splits: tuple[str, ...] = ("train", "val")) -> None:
    from accel_rt.data.open import open_dataset

    for split in splits:
        for sequence in open_dataset(root, split).sequences:
            for frame in sequence.frames:
                frame.image_bgr(), frame.labels()


def exports(originals: Path, into: Path, random: Random) -> Trial:
    """A damaged export of CVAT or COCO, read as in training."""
    layout = random.choice(("coco", "cvat"))
    root = Path(shutil.copytree(originals / "exports" / layout, into / "data"))
    (path,) = root.glob("annotations.*")
    stored = path.read_bytes()
    if layout == "coco" and random.random() < 0.8:
        values = (1e9, 13, "P" * 300, [1, 2, 3], [-1, 193])
        path.write_text(json.dumps(mutate_tree(json.loads(stored), random, values=values)))
    else:
        path.write_bytes(mutate_bytes(stored, random))
    return Trial(lambda: _read_all(Path("in/data"), ("train",)))


def checkpoint(originals: Path, into: Path, random: Random) -> Trial:
    """A training run that goes on from a damaged checkpoint."""
    from tests.train.test_trainer import ALONE, SETTINGS, Line, Trainer

    folder = Path(shutil.copytree(originals / "run" / "run", into / "run"))
    path = folder / "checkpoint.pt"
    if random.random() < 0.5:
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
    else:
        state = torch.load(path, weights_only=True)
        torch.save(mutate_tree(state, random, values=(torch.zeros(2),)), path)
    run = Path(shutil.copytree(folder, "out/run"))
    return Trial(lambda: _train(Trainer, Line, SETTINGS, run, ALONE), ("run",))


def _train(trainer: type, stage: type, settings: object, run: Path, processes: object) -> None:
    trainer(stage(), replace(settings, steps=6), run, processes, lambda message: None).run()


def results(originals: Path, into: Path, random: Random) -> Trial:
    """``eval diff`` with damaged results."""
    (original,) = (originals / "results").iterdir()
    shutil.copy(original, into / "a.json")
    stored = original.read_bytes()
    tree = random.random() < 0.6
    changed = (
        json.dumps(mutate_tree(json.loads(stored), random)).encode("utf-8", "surrogatepass")
        if tree
        else mutate_bytes(stored, random)
    )
    (into / "b.json").write_bytes(changed)
    return Trial(["eval", "diff", "in/a.json", "in/b.json"])


def regression(name: str) -> Target:
    """``segment`` on a file that went wrong once."""

    def build(originals: Path, into: Path, random: Random) -> Trial:
        REGRESSIONS[name](into)
        files = list(into.iterdir())
        return segment_trial(str(files[0]) if len(files) == 1 else "in", random)

    return build


TARGETS: dict[str, Target] = {
    **{name: media(name) for name in specimens.MEDIA},
    "image-folder": image_folder,
    "weights": weights,
    "mxnet-params": mxnet_params,
    "data-set": data_set,
    "exports": exports,
    "checkpoint": checkpoint,
    "results": results,
    **{name: regression(name) for name in REGRESSIONS},
}

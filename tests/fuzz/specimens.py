"""Small real files of every kind that is read: what the mutations start from."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from accel_rt.evaluate.results import write as write_results
from accel_rt.models import store
from accel_rt.runtime.settings import SegmenterSettings
from tests.evaluate.made_up import results
from tests.live.conftest import ffmpeg_path
from tests.train.test_trainer import ALONE, SETTINGS, Line, Trainer
from tests.video.clips import RATE, picture, write_clip

FRAMES = 12
CHAPTERS = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=First part\n"


def _clip(suffix: str, **options: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        times = [n / RATE for n in range(FRAMES)]
        return write_clip(folder / f"clip{suffix}", times, **options)

    return make


def _tracks(suffix: str, subtitles: str) -> Callable[[Path], Path]:
    """A file of many tracks: two of pictures and of sound, subtitles, chapters and tags."""

    def make(folder: Path) -> Path:
        (folder / "lines.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\nSome words\n")
        (folder / "parts.txt").write_text(CHAPTERS)
        path = folder / f"tracks{suffix}"
        inputs = ["testsrc2=s=64x48:r=25:d=0.5", "testsrc2=s=32x48:r=25:d=0.5"]
        inputs += ["sine=d=0.5:r=16000", "anoisesrc=d=0.5:r=44100:a=0.1"]
        command = [ffmpeg_path(), "-nostdin", "-loglevel", "error"]
        for source in inputs:
            command += ["-f", "lavfi", "-i", source]
        command += ["-i", str(folder / "lines.srt"), "-i", str(folder / "parts.txt")]
        command += [argument for n in range(5) for argument in ("-map", str(n))]
        command += ["-map_chapters", "5", "-metadata", "comment=A comment of some length"]
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "5"]
        command += ["-c:a", "aac", "-c:s", subtitles, str(path)]
        subprocess.run(command, check=True)
        return path

    return make


def _theora(folder: Path) -> Path:
    path = folder / "clip.ogv"
    command = [ffmpeg_path(), "-nostdin", "-loglevel", "error"]
    for source in ("testsrc2=s=64x48:r=25:d=0.5", "sine=d=0.5:r=16000"):
        command += ["-f", "lavfi", "-i", source]
    subprocess.run([*command, "-c:v", "libtheora", "-c:a", "libvorbis", str(path)], check=True)
    return path


def _animation(suffix: str, **options: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        first, *others = (Image.fromarray(picture(n)[:, :, ::-1]) for n in range(5))
        path = folder / f"moving{suffix}"
        first.save(path, save_all=True, append_images=others, duration=100, **options)
        return path

    return make


def _image(suffix: str, depth: type = np.uint8) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"still{suffix}"
        assert cv2.imwrite(str(path), picture(3).astype(depth))
        return path

    return make


MEDIA: dict[str, Callable[[Path], Path]] = {
    "mp4": _clip(".mp4", audio_s=0.4),
    "fragmented": _clip(".fragments.mp4", mux={"movflags": "frag_keyframe+empty_moov"}),
    "mov": _clip(".mov", audio_s=0.4, audio_codec="pcm_s16le"),
    "mov-tracks": _tracks(".mov", "mov_text"),
    "mkv": _clip(".mkv", audio_s=0.4, audio_codec="flac"),
    "mkv-tracks": _tracks(".mkv", "srt"),
    "webm": _clip(".webm", codec="libvpx", audio_s=0.4, audio_codec="libopus"),
    "avi": _clip(".avi", codec="mpeg4", audio_s=0.4, audio_codec="mp3"),
    "avi-bframes": _clip(".b.avi", options={"g": "5", "bf": "2"}),
    "ts": _clip(".ts", audio_s=0.4),
    "ogv": _theora,
    "flv": _clip(".flv", audio_s=0.4),
    "h264": _clip(".h264", options={"g": "5", "bf": "0"}),
    "mjpeg": _clip(".mkv", codec="mjpeg", pix_fmt="yuvj420p"),
    "gif": _animation(".gif"),
    "apng": _animation(".png"),
    "webp": _animation(".webp"),
    "tiff": _animation(".tif"),
    "png": _image(".still.png"),
    "png-16": _image(".deep.png", np.uint16),
    "jpeg": _image(".jpg"),
    "bmp": _image(".bmp"),
}
"""Videos, animations and pictures by name: each maker writes one file into a folder."""


def weights(folder: Path) -> Path:
    """A network's weight file: the smallest that ships."""
    return Path(shutil.copy(store.find("efficientnet_lite0"), folder / "small.safetensors"))


def fusion(folder: Path) -> Path:
    """The fusion's weight file of the default pair."""
    settings = SegmenterSettings()
    reference, update = store.find(settings.reference), store.find(settings.update)
    name = f"fusion-{reference.stem}-{update.stem}.safetensors"
    return Path(shutil.copy(reference.with_name(name), folder))


def params(folder: Path) -> Path:
    """Checkpoints of MXNet in all of its layouts."""
    fixtures = Path(__file__).parents[1] / "models" / "mxnet" / "fixtures"
    return Path(shutil.copytree(fixtures, folder, dirs_exist_ok=True))


def data_set(folder: Path) -> Path:
    """A data set of the layout with ``classes.json``, of three classes."""
    root = folder / "data"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split / "drive").mkdir(parents=True)
        for number in range(2):
            labels = np.zeros((48, 64), np.uint8)
            labels[24:], labels[10:20, 8 : 22 + 8 * number] = 1, 2
            name = f"{split}/drive/{number:04}.png"
            cv2.imwrite(str(root / "images" / name), labels * 100)
            indexed = Image.fromarray(labels).convert("P")
            indexed.putpalette([0, 0, 100, 255, 0, 0, 0, 255, 0])
            indexed.save(root / "labels" / name)
    classes = {"classes": [{"name": n} for n in ("sky", "road", "car")], "ignore": [255]}
    (root / "classes.json").write_text(json.dumps(classes))
    return root


def exports(folder: Path) -> Path:
    """What CVAT and COCO export: a picture with two polygons and run lengths each."""
    for layout in ("coco", "cvat"):
        (folder / layout / "images").mkdir(parents=True)
        cv2.imwrite(str(folder / layout / "images" / "one.png"), np.zeros((12, 16, 3), np.uint8))
    runs = {"size": [12, 16], "counts": [100, 3, 89]}
    packed = {"size": [12, 16], "counts": "T35;0O1O1O2N"}
    drawn = [[[1, 1, 5.5, 1, 5, 6]], runs, packed]
    content = {
        "images": [{"id": 7, "file_name": "one.png", "width": 16, "height": 12}],
        "categories": [{"id": 5, "name": "cup"}, {"id": 2, "name": "table"}],
        "annotations": [
            {"image_id": 7, "category_id": 5, "segmentation": one, "area": 9} for one in drawn
        ],
    }
    (folder / "coco" / "annotations.json").write_text(json.dumps(content))
    (folder / "cvat" / "annotations.xml").write_text(
        """<annotations><meta><labels><label><name>cup</name><color>#804080</color></label></labels>
</meta><image id="0" name="one.png" width="16" height="12">
<polygon label="cup" points="4,4;6.5,4;6,6" z_order="1"/>
<box label="cup" xtl="0" ytl="0" xbr="9" ybr="9" z_order="0"/>
<mask label="cup" rle="1, 2, 1" left="10" top="10" width="2" height="2"/>
</image></annotations>"""
    )
    return folder


def training_run(folder: Path) -> Path:
    """The folder of a run that was stopped half way."""
    out, asked = folder / "run", iter([False, False, True])
    with suppress(KeyboardInterrupt):
        Trainer(Line(), SETTINGS, out, ALONE, lambda _: None, stop=lambda: next(asked)).run()
    return out


def evaluation(folder: Path) -> Path:
    """An evaluation's results."""
    path = folder / "results.json"
    write_results(path, results())
    return path


OTHERS: dict[str, Callable[[Path], Path]] = {
    "weights": weights,
    "fusion": fusion,
    "params": params,
    "data": data_set,
    "exports": exports,
    "run": training_run,
    "results": evaluation,
}


def make(folder: Path) -> None:
    """Every specimen, in a folder of its name."""
    for name, maker in {**MEDIA, **OTHERS}.items():
        (folder / name).mkdir()
        maker(folder / name)

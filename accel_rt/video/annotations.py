"""Masks of a video in the files of annotation tools: COCO, CVAT and Label Studio.

All are written from the same stored frames, objects with ``image`` and ``annotations`` as COCO has
them, which come one by one, so that memory does not grow with the video.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from pycocotools import mask as coco

from accel_rt.classes import ClassSet

Frames = Callable[[], Iterator[dict[str, Any]]]
"""Begins to read the stored frames."""

FILES = {
    "rle": "masks.json",
    "coco": "instances_default.json",
    "cvat": "annotations.xml",
    "label-studio": "label_studio.json",
}
"""The file of each format."""

_CVAT_START = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    "<meta><task><labels>\n"
)
_COCO_START = rb'\{"categories": \[.*\],\n"(videos|annotations)": \['
_STARTS = {
    "rle": _COCO_START,
    "coco": _COCO_START,
    "cvat": re.escape(_CVAT_START).encode(),
    "label-studio": rb'\[\n(\{"data": .*"predictions": \[\{"model_version": "accel-rt"|\]\n\Z)',
}
_START_BYTES = 1 << 20  # of thousands of classes
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_annotations(fmt: str, file: BinaryIO, classes: ClassSet, frames: Frames) -> None:
    """Write the frames in one of the formats of :data:`FILES`."""
    writers: dict[str, Callable[[ClassSet, Frames], Iterator[str]]] = {
        "rle": partial(_coco, 0),
        "coco": partial(_coco, 1),
        "cvat": _cvat,
        "label-studio": _label_studio,
    }
    for part in writers[fmt](classes, frames):
        file.write(part.encode())


def is_written_here(path: Path, fmt: str) -> bool:
    """Whether a file begins as :func:`write_annotations` does, line by line.

    The tools' own exports bear the same names, but are laid out in other ways.
    """
    try:
        with path.open("rb") as file:
            return re.match(_STARTS[fmt], file.read(_START_BYTES)) is not None
    except OSError:
        return False


def count_frames(path: Path, fmt: str) -> int:
    """How many frames a file holds; raises ``OSError``, ``ValueError``, ``KeyError`` or
    ``TypeError`` if it is not whole."""
    if fmt == "cvat":
        try:
            return sum(e.tag == "image" for _, e in ElementTree.iterparse(path))
        except ElementTree.ParseError as error:
            raise ValueError(str(error)) from error
    stored = json.loads(path.read_bytes())
    return len(stored["images"] if fmt in ("rle", "coco") else stored)


def class_annotations(labels: np.ndarray, classes: int) -> Iterator[dict[str, Any]]:
    """COCO's annotation of each class below ``classes`` in uint8 ``labels`` ``[H, W]``."""
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=classes)[:classes]).tolist():
        mask = coco.encode(np.asfortranarray(labels == label, np.uint8))
        yield {
            "category_id": label,
            "segmentation": {"size": list(labels.shape), "counts": mask["counts"].decode()},
            "area": int(coco.area(mask)),
            "bbox": [int(side) for side in coco.toBbox(mask)],
            "iscrowd": 0,
        }


def _coco(first: int, classes: ClassSet, frames: Frames) -> Iterator[str]:
    """COCO's layout for videos: each image has its ``video_id`` and ``frame_id``.

    ``first`` is the first category's id: to some of COCO's tools 0 is no class.
    """
    categories = [{"id": n, "name": name} for n, name in enumerate(classes.names, first)]
    videos = [{"id": 1, "name": "video"}]
    yield f'{{"categories": {json.dumps(categories)},\n"videos": {json.dumps(videos)},\n'
    yield '"annotations": ['
    number = 0
    for frame in frames():
        for annotation in frame["annotations"]:
            number += 1  # from 1 on: to COCO's tools 0 is no annotation
            separator = ",\n" if number > 1 else "\n"
            category = {"category_id": annotation["category_id"] + first}
            yield separator + json.dumps({"id": number, **annotation, **category})
    yield '\n],\n"images": ['
    for position, frame in enumerate(frames()):
        image = {**frame["image"], "video_id": 1, "frame_id": frame["image"]["id"]}
        yield (",\n" if position else "\n") + json.dumps(image)
    yield "\n]}\n"


def _cvat(classes: ClassSet, frames: Frames) -> Iterator[str]:
    """'CVAT for images 1.1': runs outside and inside in turn, row by row in a mask's box."""
    yield _CVAT_START
    names = [_NOT_XML.sub("?", name) for name in classes.names]
    for name, color in zip(names, classes.colors_rgb, strict=True):
        label = ElementTree.Element("label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#" + bytes(color).hex()
        ElementTree.SubElement(label, "attributes")
        yield ElementTree.tostring(label, "unicode") + "\n"
    yield "</labels></task></meta>\n"
    for frame in frames():
        image = frame["image"]
        name = _NOT_XML.sub("?", image["file_name"])  # which need not be UTF-8
        said = f"id={quoteattr(str(image['id']))} name={quoteattr(name)}"
        yield f'<image {said} width="{image["width"]}" height="{image["height"]}">\n'
        for annotation in frame["annotations"]:
            left, top, width, height = annotation["bbox"]
            inside = coco.decode(annotation["segmentation"])[top : top + height, left:][:, :width]
            runs = _runs(inside.ravel())
            if inside.flat[0]:
                runs = [0, *runs]
            name = quoteattr(names[annotation["category_id"]])
            box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
            yield f'<mask label={name} source="auto" occluded="0" rle="'
            yield ", ".join(map(str, runs)) + f'" {box} z_order="0"></mask>\n'
        yield "</image>\n"
    yield "</annotations>\n"


def _label_studio(classes: ClassSet, frames: Frames) -> Iterator[str]:
    """Label Studio's tasks, masks as predictions by ``<BrushLabels name="tag" toName="image">``."""
    yield "["
    for position, frame in enumerate(frames()):
        image = frame["image"]
        result = [
            {
                "id": f"{image['id']}-{annotation['category_id']}",
                "type": "brushlabels",
                "from_name": "tag",
                "to_name": "image",
                "original_width": image["width"],
                "original_height": image["height"],
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": _packed(coco.decode(annotation["segmentation"])),
                    "brushlabels": [classes.names[annotation["category_id"]]],
                },
            }
            for annotation in frame["annotations"]
        ]
        prediction = {"model_version": "accel-rt", "result": result}
        task = {"data": {"image": image["file_name"]}, "predictions": [prediction]}
        yield (",\n" if position else "\n") + json.dumps(task)
    yield "\n]\n"


def _runs(flat: np.ndarray) -> list[int]:
    """Lengths of runs of equal values."""
    ends = np.flatnonzero(np.diff(flat)) + 1
    return np.diff(ends, prepend=0, append=len(flat)).tolist()


_SIZES = (3, 4, 8, 16)  # bits of a run's length less one


def _packed(mask: np.ndarray) -> list[int]:
    """A mask ``[H, W]`` as bytes of Label Studio's run lengths, each pixel as four bytes RGBA.

    In bits: how many bytes (32), their size and the four sizes of lengths, all less one; then for
    each run a one, which size its length has (2), the length less one, and the byte (8).
    """
    flat = mask.ravel()
    bits = [f"{4 * len(flat):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    inside = bool(flat[0])
    for run in _runs(flat):
        left = 4 * run
        while left:
            length = min(left, 2 ** _SIZES[-1])
            which = next(n for n, size in enumerate(_SIZES) if length <= 2**size)
            bits.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{255 * inside:08b}")
            left -= length
        inside = not inside
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))

"""CVAT's exports: 'CVAT for images' (``annotations.xml``) and 'Segmentation mask'.

The latter is Pascal VOC's layout: ``SegmentationClass/`` in the colours of ``labelmap.txt``, images
in ``JPEGImages/`` or elsewhere, and perhaps lists of names in ``ImageSets/Segmentation/``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.data.colors import ColorCoding, classes_by_color
from accel_rt.data.dataset import DataSet, DatasetFrame, FrameSequence, read_text
from accel_rt.data.drawn import NO_CODING, DrawnFrame, Images, Shape, class_set
from accel_rt.data.labels import Coding, label_maps
from accel_rt.errors import InputError
from accel_rt.video.images import natural_key

_ELLIPSE_CORNERS = 128
XML_FILE, LABELMAP_FILE, MASK_FOLDER = "annotations.xml", "labelmap.txt", "SegmentationClass"
_BORDER = (224, 224, 192)  # VOC's, around things, which does not count


def cvat(root: Path, split: str) -> DataSet:
    """All pictures of 'CVAT for images', as ``split``: polygons, masks, boxes and ellipses.

    Pixels that nothing covers are ``background``; shapes cover others by their ``z_order``. Raises
    :class:`~accel_rt.errors.InputError` if the file cannot be used or an image is not there.
    """
    path, images = root / XML_FILE, Images(root)
    try:
        content = path.read_text()
        if "<!DOCTYPE" in content or "<!ENTITY" in content:
            raise ValueError("it declares entities, which no export does")
        tree = ElementTree.fromstring(content)
        told = {
            label.findtext("name", ""): _hex(label.findtext("color", "#808080"))
            for label in tree.iter("label")
        }
        classes, rest = class_set(told, told.values())
        frames = [
            DrawnFrame(
                images.find(image.attrib["name"], split, path),
                path,
                NO_CODING,
                _shapes(image, classes),
                (int(image.attrib["height"]), int(image.attrib["width"])),
                rest,
            )
            for image in tree.iter("image")
        ]
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"cannot use {path} ({why}): export it again from CVAT") from error
    return _pictures(root, split, frames, classes)


def voc(root: Path, split: str) -> DataSet:
    """The pictures of a split; where it has no list of names, those that no other split lists.

    Raises :class:`~accel_rt.errors.InputError` if something cannot be read or is missing.
    """
    maps = {key.name: path for key, path in label_maps(root / MASK_FOLDER).items()}
    every = sorted(maps.values())
    if own := voc_lists(root, split):
        names = _listed(own, maps)
    else:
        others = {"train", "val", "test"} - {_split(split)}
        lists = [listing for other in others for listing in voc_lists(root, other)]
        names = maps.keys() - _listed(lists, maps)
    maps = {name: path for name, path in maps.items() if name in names}
    if not maps:
        raise InputError(f"{root} lists no label map for '{split}'")
    stems: dict[str, list[Path]] = {}
    for path in Images(root).outside(MASK_FOLDER, "SegmentationObject"):
        stems.setdefault(path.stem, []).append(path)
    labelmap = root / LABELMAP_FILE
    coding: Coding
    if labelmap.is_file():
        classes, coding = _labelmap(labelmap)
    else:
        classes, coding = classes_by_color(every, root / LABELMAP_FILE, (_BORDER,))
    frames = []
    for name, path in maps.items():
        found = stems.get(name, [])
        if len(found) != 1:
            raise InputError(
                f"{path} has {len(found) or 'no'} images in {root}: export with images"
            )
        frames.append(DatasetFrame(found[0], path, coding))
    return _pictures(root, split, frames, classes)


def voc_lists(root: Path, split: str) -> list[Path]:
    """The lists of a split's names: called as it is, in any case; ``val`` also ``val...``."""
    files = (root / "ImageSets" / "Segmentation").glob("*.txt")
    return [path for path in files if _split(path.stem) == _split(split)]


def _split(name: str) -> str:
    lowered = name.lower()
    return "val" if lowered.startswith("val") else lowered


def _listed(lists: Iterable[Path], maps: Iterable[str]) -> set[str]:
    """The names that lists have a line each of, which may have spaces, quotes, a folder before
    them, or a word behind them that is none of theirs."""
    known, names = set(maps), set()
    lines = chain.from_iterable(read_text(listing).splitlines() for listing in lists)
    for line in filter(None, map(str.strip, lines)):
        whole = Path(line.strip("\"'")).name
        names.add(whole if whole in known else Path(line.split()[0]).name)
    return names


def _pictures(root: Path, split: str, frames: list, classes: ClassSet) -> DataSet:
    frames.sort(key=lambda frame: natural_key(frame.image_path))
    sequences = tuple(FrameSequence(frame.name, (frame,)) for frame in frames)
    return DataSet(root.resolve().name, split, sequences, classes)


def _shapes(image: ElementTree.Element, classes: ClassSet) -> tuple[Shape, ...]:
    drawn = []
    for element in image:
        if element.tag not in ("polygon", "mask", "box", "ellipse"):
            continue  # lines and points cover nothing
        (label,) = classes.indices([element.attrib["label"]])
        drawn.append((int(element.get("z_order", "0")), _shape(element, label)))
    return tuple(shape for _, shape in sorted(drawn, key=lambda item: item[0]))


def _shape(element: ElementTree.Element, label: int) -> Shape:
    said = element.attrib
    if element.tag == "mask":
        runs = tuple(int(run) for run in said["rle"].split(","))
        left, top, width, height = (int(said[side]) for side in ("left", "top", "width", "height"))
        return Shape(label, (), runs, (left, top, width, height))
    if element.tag == "box":
        x0, y0, x1, y1 = (float(said[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif element.tag == "ellipse":
        middle, radii = (np.array([float(said[f"{kind}{axis}"]) for axis in "xy"]) for kind in "cr")
        turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
        corners = middle + radii * np.stack([np.cos(turn), np.sin(turn)], 1)
    else:
        corners = np.array([corner.split(",") for corner in said["points"].split(";")], float)
    corners = _turned(corners, float(said.get("rotation", "0")))
    return Shape(label, (tuple((float(x), float(y)) for x, y in corners),))


def _turned(corners: np.ndarray, degrees: float) -> np.ndarray:
    """``corners`` ``[N, 2]`` turned clockwise, as pictures show it, about the middle of all."""
    middle = (corners.min(0) + corners.max(0)) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return middle + (corners - middle) @ np.array([[cos, sin], [-sin, cos]])


def _labelmap(path: Path) -> tuple[ClassSet, ColorCoding]:
    """The classes of lines such as ``road:128,64,128::``."""
    colors: dict[str, tuple[int, int, int]] = {}
    try:
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                name, color = line.split(":")[:2]
                red, green, blue = (int(part) for part in color.split(","))
                colors[name] = red, green, blue
        classes = ClassSet(tuple(colors), tuple(colors.values()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot use {path} ({error}): its lines look like road:128,64,128::"
        ) from error
    labels = {color: label for label, color in enumerate(colors.values())}
    labels.setdefault(_BORDER, IGNORE_LABEL)
    return classes, ColorCoding(labels, f"see {path.name}")


def _hex(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue

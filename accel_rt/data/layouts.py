"""Names of the layouts that a data set's folder can have; imports nothing slow."""

from __future__ import annotations

from typing import Literal, get_args

Layout = Literal["auto", "camvid", "cityscapes", "folders", "coco", "cvat", "voc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

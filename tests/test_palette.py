"""Colours of classes by palette, and how far apart they are."""

from __future__ import annotations

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.palette import PALETTES, recolor
from tests.need import need

OWN = ClassSet(("road", "lava"), ((1, 2, 3), (4, 5, 6)))


def test_classes_that_are_not_all_known_keep_their_own_colours():
    assert recolor(OWN) == OWN
    assert recolor(CAMVID).colors_rgb == tuple(PALETTES["clear"].values())


def test_a_palette_asked_for_colours_what_it_names():
    assert recolor(OWN, "camvid").colors_rgb == ((128, 64, 128), (4, 5, 6))
    assert recolor(CAMVID, "camvid") == CAMVID


def test_blended_classes_differ_for_everybody():
    need("scikit-image")
    from benchmarks.palette import smallest_distances

    clear, camvid = (list(PALETTES[name].values()) for name in ("clear", "camvid"))
    assert min(smallest_distances(clear).values()) > 11
    assert min(smallest_distances(camvid).values()) < 2

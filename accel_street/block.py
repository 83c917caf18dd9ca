"""One stretch of street: ground, buildings, trees and furniture, the same every time it is asked.

A block covers ``BLOCK_M`` metres of road. Places are given by arc length ``s`` and by ``out``, the
distance from the centre line towards one ``side`` (+1 left, -1 right).
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from accel_street import furniture
from accel_street.atlas import Facade, atlas
from accel_street.camera import Road
from accel_street.mesh import (
    BUILDING,
    FENCE,
    PAVEMENT,
    ROAD,
    SHADOW,
    SIGN,
    TREE,
    Face,
    Layer,
    Mesh,
    join,
    mesh,
    moved,
)
from accel_street.panels import Tint, ground, panel, upright
from accel_street.style import Light, Style
from accel_street.vehicles import vehicle

BLOCK_M = 32.0
KERB_M = 0.13
_STEP_M = 4.0
_LINE = (1.75, 1.75, 1.75)
_YELLOW = (0.55, 1.5, 1.75)


class Block:
    """Builds the mesh of one block; see :func:`build_block`."""

    def __init__(self, rng: Generator, road: Road, style: Style, light: Light, number: int) -> None:
        self._rng = rng
        self._road = road
        self._style = style
        self._light = light
        self._start = number * BLOCK_M
        self._faces: list[Face] = []
        self._solids: list[Mesh] = []
        self._textures = atlas().names
        self._junction = rng.random() < 0.16
        self._gap = (13.0, 21.0) if self._junction else (0.0, 0.0)

    def build(self) -> Mesh:
        """The whole block; ground first, in painting order."""
        half = self._style.half_m
        kerb = half + self._style.pavement_m
        for side in (1, -1):
            self._terrain(side, kerb)
        self._carriageway()
        self._markings()
        for side in (1, -1):
            self._pavement(side, kerb)
        for side in (1, -1):
            self._frontage(side, kerb)
            self._furniture(side)
            if self._style.parking[0 if side > 0 else 1]:
                self._parked(side)
        return join([mesh(self._faces), *self._solids])

    def _place(self, s: float, side: int, out: float, z: float = 0.0) -> np.ndarray:
        return np.append(self._road.point(self._start + s, side * out), z)

    def _across(self, s: float) -> np.ndarray:
        """The horizontal direction to the right, seen along the road."""
        heading = float(self._road.heading(self._start + s))
        return np.array((np.sin(heading), -np.cos(heading), 0.0))

    def _strip(self, s0: float, s1: float, d0: float, d1: float) -> np.ndarray:
        """World outline of the band s0..s1 between left offsets d0 and d1."""
        s = self._start + np.linspace(s0, s1, max(int((s1 - s0) / _STEP_M), 1) + 1)
        return np.concatenate([self._road.point(s, d0), self._road.point(s[::-1], d1)])

    def _terrain(self, side: int, kerb: float) -> None:
        rng, style = self._rng, self._style
        band = self._strip(-0.3, BLOCK_M + 0.3, side * (kerb - 0.3), side * 70.0)
        if rng.random() < style.zones[0] + 0.15:
            texture, label, tint = self._textures["paving"][1], PAVEMENT, style.paving_tint
        else:
            texture, label, tint = self._textures["grass"][0], TREE, (1.0, 1.0, 1.0)
        self._faces.append(ground([band], 0.0, label, texture, tint=tint))

    def _carriageway(self) -> None:
        style, rng = self._style, self._rng
        half = style.half_m + 0.35
        texture = self._textures["asphalt"][style.asphalt]
        road = [self._strip(-0.3, BLOCK_M + 0.3, -half, half)]
        if self._junction:
            for side in (1, -1):
                road.append(self._strip(*self._gap, side * half, side * 60.0))
        tint = style.asphalt_tint
        self._faces.append(ground(road, 0.0, ROAD, texture, tint=tint))
        for _ in range(int(rng.integers(4))):
            s, d = rng.uniform(0, BLOCK_M - 6), rng.uniform(-half + 1, half - 2)
            patch = self._strip(s, s + rng.uniform(1, 8), d, d + rng.uniform(0.6, 1.5))
            shade = rng.uniform(0.72, 1.2)
            patched = (tint[0] * shade, tint[1] * shade, tint[2] * shade)
            self._faces.append(ground([patch], 0.0, ROAD, texture, tint=patched))
        if rng.random() < 0.6:
            s, d = rng.uniform(2, BLOCK_M - 2), rng.uniform(-half + 1, half - 1)
            cover = self._strip(s, s + 0.7, d, d + 0.6)
            self._faces.append(ground([cover], 0.0, ROAD, texture, tint=(0.45, 0.45, 0.45)))

    def _markings(self) -> None:
        style, rng = self._style, self._rng
        half, lane = style.half_m, style.lane_m
        lines = []
        for s in np.arange(0, BLOCK_M, 8.0):
            dash = 4.5 if self._junction else 3.0
            for number in range(-style.lanes + 1, style.lanes):
                lines.append(self._strip(s, s + dash, number * lane - 0.07, number * lane + 0.07))
        edges = []
        for side, parks in zip((1, -1), style.parking, strict=True):
            edge = style.lanes * lane + 0.05 if parks else half - 0.35
            for s0, s1 in ((0.0, self._gap[0]), (self._gap[1], BLOCK_M)):
                if s1 > s0:
                    edges.append(self._strip(s0, s1, side * edge, side * (edge + 0.11)))
        if self._junction:
            for side in (1, -1):
                s0 = self._gap[0] - 1.5 if side == style.drive_side else self._gap[1] + 1.2
                lines.append(self._strip(s0, s0 + 0.3, side * 0.15, side * lane * style.lanes))
        elif rng.random() < 0.15:
            for d in np.arange(-half + 0.4, half - 0.6, 1.1):
                lines.append(self._strip(22.0, 25.5, d, d + 0.6))
        texture = self._textures["asphalt"][style.asphalt]
        self._faces.append(ground(lines, 0.0, ROAD, texture, tint=_LINE))
        tint = _YELLOW if style.yellow_lines else _LINE
        self._faces.append(ground(edges, 0.0, ROAD, texture, tint=tint))

    def _pavement(self, side: int, kerb: float) -> None:
        style = self._style
        texture = self._textures["paving"][style.paving]
        for s0, s1 in self._spans():
            band = self._strip(s0, s1, side * style.half_m, side * kerb)
            for height in (0.0, KERB_M):  # its foot shows where it ends at a side road
                self._faces.append(
                    ground([band], height, PAVEMENT, texture, tint=style.paving_tint)
                )
            edges = np.linspace(s0, s1, max(round((s1 - s0) / 8), 1) + 1)
            for a, b in itertools.pairwise(edges):
                foot = [self._place(s, side, style.half_m) for s in (a, b)]
                if side < 0:
                    foot.reverse()
                rise = np.array((0, 0, KERB_M))
                corners = [foot[0], foot[1], foot[1] + rise, foot[0] + rise]
                stone = panel(
                    corners, PAVEMENT, self._textures["matte"][0], tint=(1.15, 1.2, 1.2), tile_m=4.0
                )
                self._faces.append(_painted(stone))

    def _spans(self) -> list[tuple[float, float]]:
        """Where the block has frontage: all of it, or both sides of a junction's side road."""
        if self._junction:
            return [(-0.1, self._gap[0]), (self._gap[1], BLOCK_M + 0.1)]
        return [(-0.1, BLOCK_M + 0.1)]

    def _frontage(self, side: int, kerb: float) -> None:
        zone = int(self._rng.choice(3, p=self._style.zones))
        for s0, s1 in self._spans():
            if zone == 0:
                self._terrace(side, kerb, s0, s1)
            elif zone == 1:
                self._houses(side, kerb, s0, s1)
            else:
                self._park(side, kerb, s0, s1)

    def _front(self, kinds: tuple[str, ...]) -> Facade:
        fronts = atlas().facades[kinds[int(self._rng.integers(len(kinds)))]]
        return fronts[int(self._rng.integers(len(fronts)))]

    def _terrace(self, side: int, kerb: float, s0: float, s1: float) -> None:
        """Shops and offices wall to wall."""
        s = s0
        while s < s1 - 2:
            front = self._front(("shop", "shop", "shop", "office", "house"))
            width = front.bays * self._rng.uniform(2.6, 3.6)
            end = min(s + width, s1) if s1 - s - width > 4 else s1
            self._building(side, kerb + self._rng.choice((0.0, 0.0, 0.4)), s, end, front)
            if self._rng.random() < 0.4:
                at = self._place(s + 1.0, side, kerb - 0.45, self._rng.uniform(2.8, 3.6))
                texture = furniture.choose(self._rng, "sign4")
                board = furniture.square(0.8, 0.7)
                self._faces.append(upright(at, self._across(s), board, SIGN, texture))
            s = end

    def _houses(self, side: int, kerb: float, s0: float, s1: float) -> None:
        """Detached houses behind a hedge, wall or fence."""
        setback = self._rng.uniform(1.5, 7.0)
        if setback > 2.2:
            self._border(side, kerb + 0.1, s0, s1)
        s = s0 + self._rng.uniform(0, 2)
        while s < s1 - 6:
            front = self._front(("house",))
            end = min(s + front.bays * self._rng.uniform(2.6, 3.3), s1)
            self._building(side, kerb + setback, s, end, front)
            if setback > 4 and self._rng.random() < 0.5:
                self._tree(side, kerb + 2.0, self._rng.uniform(s, end))
            s = end + self._rng.choice((0.0, 2.0, 4.0))

    def _park(self, side: int, kerb: float, s0: float, s1: float) -> None:
        """Trees behind a fence, or a hedge, and now and then something built far off."""
        if self._rng.random() < 0.7:
            self._border(side, kerb + 0.1, s0, s1)
        s = s0 + self._rng.uniform(0, 5)
        while s < s1:
            self._tree(side, kerb + self._rng.uniform(1.5, 14.0), s)
            s += self._rng.uniform(4, 12)
        if self._rng.random() < 0.6 and s1 - s0 > 20:
            self._building(side, kerb + 24, s0, s1, self._front(("office", "house")))

    def _border(self, side: int, out: float, s0: float, s1: float) -> None:
        """A hedge (tree) or a fence along the pavement."""
        rng = self._rng
        hedge = rng.random() > self._style.fence * 1.3
        height = rng.uniform(1.0, 2.4) if hedge else rng.uniform(0.9, 2.2)
        kind = int(rng.integers(4))
        texture = furniture.choose(rng, "foliage") if hedge else self._textures["fence"][kind]
        tint = furniture.shade(self._style.foliage, 1.1) if hedge else (1.0, 1.0, 1.0)
        edges = np.linspace(s0, s1, max(round((s1 - s0) / 8), 1) + 1)
        for a, b in itertools.pairwise(edges):
            feet = [self._place(s, side, out, KERB_M) for s in ((a, b) if side > 0 else (b, a))]
            rise = np.array((0, 0, height))
            if hedge:
                rise[:2] = (self._place(a, side, out + 0.2) - self._place(a, side, out))[:2]
            corners = [feet[0], feet[1], feet[1] + rise, feet[0] + rise]
            label = TREE if hedge else FENCE
            scale = 3.0 if hedge else height
            self._faces.append(panel(corners, label, texture, tint=tint, tile_m=scale))

    def _building(self, side: int, out: float, s0: float, s1: float, front: Facade) -> None:
        rng, style = self._rng, self._style
        height = front.storeys * rng.uniform(2.8, 3.4) * style.height
        deep = 9.0
        near, far = self._place(s0, side, out), self._place(s1, side, out)
        back = self._place(s0, side, out + deep)
        inward = back - near
        rise = np.array((0, 0, height))
        left, right = (near, far) if side > 0 else (far, near)
        tint = furniture.shade((1.0, 1.0, 1.0), rng.uniform(0.7, 1.25))
        face = [left, right, right + rise, left + rise]
        self._faces.append(panel(face, BUILDING, front.texture, tint=tint))
        pitched = rng.random() < 0.65
        ridge = inward / 2 + np.array((0, 0, rng.uniform(2.0, 4.0) if pitched else 0.0))
        gable = [near + rise + ridge] if pitched else []
        if side > 0:
            wall = [back, near, near + rise, *gable, back + rise]
        else:
            wall = [near, back, back + rise, *gable, near + rise]
        tone = _mean_tint(front.texture, tint)
        bricks = furniture.choose(rng, "brick")
        self._faces.append(panel(wall, BUILDING, bricks, tint=tone, tile_m=2.4))
        if pitched:
            slope = [left + rise, right + rise, right + rise + ridge, left + rise + ridge]
            slate = furniture.shade(
                ((0.62, 0.6, 0.58), (0.38, 0.46, 0.72))[int(rng.integers(2))], 1
            )
            self._faces.append(
                panel(slope, BUILDING, self._textures["roof"][0], tint=slate, tile_m=4.0)
            )
            if rng.random() < 0.6:
                base = near + rise + ridge * 0.9 + (far - near) * rng.uniform(0.05, 0.5)
                stack = np.array(((-0.5, -0.8), (0.5, -0.8), (0.5, 1.3), (-0.5, 1.3)))
                across = self._across(s0)
                self._faces.append(
                    upright(base, across, stack, BUILDING, bricks, tint=tone, tile_m=2.4)
                )
        if self._light.casts:
            reach = height + (ridge[2] if pitched else 0.0)
            self._cast(np.stack([near, far]), reach)

    def _tree(self, side: int, out: float, s: float, kerbside: bool = False) -> None:
        foot = self._place(s, side, out, KERB_M)
        bare = self._rng.random() < self._style.bare
        faces, width, height = furniture.tree(
            self._rng,
            foot,
            self._across(s),
            self._style.foliage,
            bare=bare,
            kerbside=kerbside,
        )
        self._faces.extend(faces)
        if self._light.casts and not bare:
            offset = self._across(s) * width * 0.4
            self._cast(np.stack([foot - offset, foot + offset]), height, lift=height * 0.35)

    def _cast(self, base: np.ndarray, height: float, lift: float = 0.0) -> None:
        """Throw the shadow of the upright rectangle over ``base`` ``[2, 3]`` onto the ground."""
        slide = -self._light.sun[:2] / self._light.sun[2]
        low, high = base[:, :2] + slide * lift, base[:, :2] + slide * height
        outline = np.array((low[0], low[1], high[1], high[0]))
        matte = self._textures["matte"][0]
        self._faces.append(ground([outline], 0.05, SHADOW, matte, layer=Layer.SHADOW))

    def _furniture(self, side: int) -> None:
        """Lamp posts, signs, signals, bollards and street trees along the kerb."""
        rng, style = self._rng, self._style
        edge = style.half_m + 0.45
        tall = rng.uniform(6.5, 9.0)
        lamp_s = 4.0 if side > 0 else 26.0
        foot = self._place(lamp_s, side, edge, KERB_M)
        self._faces += furniture.lamp(foot, self._across(lamp_s), side, tall)
        for _ in range(int(rng.poisson(1.6))):
            s = self._free()
            foot = self._place(s, side, edge + rng.uniform(0, 0.3), KERB_M)
            self._faces += furniture.traffic_sign(rng, foot, self._across(s))
        if rng.random() < 0.3:
            for s in np.arange(1.0, 11.0, 2.0):
                foot = self._place(s, side, edge, KERB_M)
                self._faces.append(furniture.post(foot, self._across(s), 0.09, 0.95, 0.25))
        if self._junction:
            for s in (self._gap[0] - 1.5, self._gap[1] + 1.5):
                foot = self._place(s, side, edge, KERB_M)
                self._faces += furniture.traffic_signal(rng, foot, self._across(s))
        if style.pavement_m > 2.2:
            for _ in range(int(rng.poisson(BLOCK_M / style.tree_gap_m))):
                self._tree(side, edge + 0.4, self._free(), kerbside=True)
        if rng.random() < style.fence * 0.25:
            rail = style.half_m + 0.25
            self._border_rail(side, rail)

    def _border_rail(self, side: int, out: float) -> None:
        """A pedestrian guard rail at the kerb."""
        texture = self._textures["fence"][int(self._rng.integers(1, 3))]
        for s0, s1 in self._spans():
            feet = [self._place(s, side, out, KERB_M) for s in ((s0, s1) if side > 0 else (s1, s0))]
            rise = np.array((0, 0, 1.05))
            corners = [feet[0], feet[1], feet[1] + rise, feet[0] + rise]
            self._faces.append(panel(corners, FENCE, texture, tile_m=1.05))

    def _free(self) -> float:
        """A place along the block that is not in the side road."""
        s = float(self._rng.uniform(0, BLOCK_M))
        if self._junction and self._gap[0] - 1 < s < self._gap[1] + 1:
            return float(s - 10)
        return s

    def _parked(self, side: int) -> None:
        style, rng = self._style, self._rng
        out = style.half_m - 1.1
        for s in np.arange(3.0, BLOCK_M - 2, 6.0):
            blocked = self._junction and self._gap[0] - 4 < s < self._gap[1] + 4
            if blocked or rng.random() > style.parked:
                continue
            turned = np.pi if side != style.drive_side else 0.0
            at = s + rng.uniform(-0.4, 0.4)
            heading = float(self._road.heading(self._start + at)) + turned + rng.normal(0, 0.015)
            solid = vehicle(rng)
            where = self._place(at, side, out + rng.uniform(-0.1, 0.15))
            self._solids.append(solid.placed(moved(solid.frames, heading, where)))


def _painted(face: Face) -> Face:
    """``face`` as part of the ground: painted in order."""
    return replace(face, layer=Layer.GROUND)


def _mean_tint(texture: int, tint: Tint) -> Tint:
    """The tint that gives near-grey brick the mean colour of ``texture``."""
    x, y, width, height = atlas().rect[texture].astype(int)
    b, g, r = atlas().image[y : y + height : 8, x : x + width : 8].mean((0, 1)) / 130
    return float(b) * tint[0], float(g) * tint[1], float(r) * tint[2]


def build_block(rng: Generator, road: Road, style: Style, light: Light, number: int) -> Mesh:
    """The mesh of block ``number`` of the street; ``rng`` must be seeded for this block."""
    return Block(rng, road, style, light, number).build()

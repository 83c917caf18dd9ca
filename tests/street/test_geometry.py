"""The street's renderer against slow ray casting: what a pixel shows and where it came from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from accel_street import shade
from accel_street.camera import Pose, Road
from accel_street.mesh import SHADOW, SKY, Layer, Mesh
from accel_street.raster import rasterise
from accel_street.scene import Scene, View

SIZE = (150, 200)


class Caster:
    """Casts one ray at a time through a view, in float64 and without matrices of planes."""

    def __init__(self, view: View) -> None:
        self.mesh = view.mesh
        self.pose = view.pose
        self.contours = _contours(view.mesh)

    def hit(self, face: int, ray: np.ndarray) -> tuple[float, np.ndarray] | None:
        """Distance along ``ray`` (world) and (u, v) where it meets the face's plane, if ahead."""
        u_axis, v_axis, origin = self.mesh.frames[face].T
        normal = np.cross(u_axis, v_axis)
        along = normal @ ray
        if along == 0:
            return None
        distance = normal @ (origin - self.pose.position) / along
        if distance <= 0:
            return None
        point = self.pose.position + distance * ray - origin
        axes = np.stack([u_axis, v_axis], 1)
        return distance, np.linalg.lstsq(axes, point, rcond=None)[0]

    def inside(self, face: int, uv: np.ndarray) -> float:
        """How far (m) ``uv`` lies inside the face's outline, negative outside."""
        signed = [
            cv2.pointPolygonTest(c.astype(np.float32), (float(uv[0]), float(uv[1])), True)
            for c in self.contours[face]
        ]
        return max(signed)


def _contours(mesh: Mesh) -> list[list[np.ndarray]]:
    vertices = np.split(mesh.vertices, np.cumsum(mesh.contour_sizes)[:-1])
    ends = np.cumsum(mesh.contour_counts)
    return [
        vertices[end - count : end] for end, count in zip(ends, mesh.contour_counts, strict=True)
    ]


def _ray(pose: Pose, to_normalised: np.ndarray, x: int, y: int) -> np.ndarray:
    return pose.rotation.T @ (to_normalised @ (x, y, 1.0))


@pytest.fixture(scope="module", params=[0, 3, 9])
def scene(request: pytest.FixtureRequest) -> tuple[Scene, View]:
    scene = Scene(request.param, SIZE, 9.0)
    return scene, scene.view(3.0, 2.93)


def test_every_pixel_shows_the_nearest_face(scene: tuple[Scene, View]) -> None:
    street, view = scene
    intrinsics = street.camera.intrinsics()
    ids = rasterise(view.mesh, view.pose, intrinsics, SIZE).ids
    caster, to_normalised = Caster(view), np.linalg.inv(intrinsics)
    mesh = view.mesh
    # Cut-outs and the far backdrop have no outline to test against.
    solid = np.flatnonzero((mesh.layer != Layer.BACKDROP) & (mesh.label != SHADOW))
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(60):
        x, y = int(rng.integers(2, SIZE[1] - 2)), int(rng.integers(2, SIZE[0] - 2))
        shown = ids[y, x]
        around = ids[y - 1 : y + 2, x - 1 : x + 2]
        if (mesh.stencil[around] >= 0).any() or (mesh.label[around] == SKY).any():
            continue
        if (around != shown).any() or mesh.layer[shown] == Layer.BACKDROP:
            continue
        ray = _ray(view.pose, to_normalised, x, y)
        at_shown = caster.hit(int(shown), ray)
        assert at_shown is not None
        distance = at_shown[0]
        pixel_m = 2 * distance / street.camera.focal_px
        assert caster.inside(int(shown), at_shown[1]) > -20 * pixel_m
        for face in solid:
            if mesh.layer[face] == Layer.ONE_SIDED and not _fronts(mesh, int(face), ray):
                continue
            found = caster.hit(int(face), ray)
            if found is None or not 0.5 < found[0] < distance * 0.98 or mesh.stencil[face] >= 0:
                continue
            assert caster.inside(int(face), found[1]) < pixel_m, (shown, face)
        compared += 1
    assert compared > 15


def _fronts(mesh: Mesh, face: int, ray: np.ndarray) -> bool:
    frame = mesh.frames[face]
    return bool(np.cross(frame[:, 0], frame[:, 1]) @ ray < 0)


def test_flow_is_where_the_shown_point_was(scene: tuple[Scene, View]) -> None:
    street, view = scene
    camera = street.camera
    intrinsics = camera.intrinsics()
    raster = rasterise(view.mesh, view.pose, intrinsics, SIZE)
    grid = shade.grid(SIZE, camera.focal_px, camera.centre_px)
    flow, _ = shade.motion(view, raster, grid)
    caster, to_normalised = Caster(view), np.linalg.inv(intrinsics)
    before = view.pose_before
    rng = np.random.default_rng(1)
    compared = moving = 0
    for _ in range(400):
        x, y = int(rng.integers(SIZE[1])), int(rng.integers(SIZE[0]))
        face = int(raster.ids[y, x])
        ray = _ray(view.pose, to_normalised, x, y)
        if view.mesh.layer[face] == Layer.BACKDROP:
            direction = ray  # at infinity only the camera's turning shows
        else:
            found = caster.hit(face, ray)
            assert found is not None
            direction = view.before[face] @ (*found[1], 1.0) - before.position
        seen = before.rotation @ direction
        expected = (intrinsics @ (seen / seen[2]))[:2] - (x, y)
        assert flow[y, x] == pytest.approx(expected, abs=2e-3, rel=1e-4)
        compared += 1
        moving += int(not np.array_equal(view.before[face], view.mesh.frames[face]))
    assert compared == 400
    assert moving > 0


def test_the_road_is_smooth_and_goes_on_after_its_period() -> None:
    road = Road(np.random.default_rng(3))
    s = np.arange(4000.0, 4200.0, 0.25)
    points = road.point(s, 0.0)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps == pytest.approx(0.25, abs=2e-3)
    offset = road.point(s, 3.0) - points
    assert np.linalg.norm(offset, axis=1) == pytest.approx(3.0)
    left = np.stack([-np.diff(points[:, 1]), np.diff(points[:, 0])], 1)
    assert (np.einsum("ni,ni->n", left, offset[:-1]) > 0).all()

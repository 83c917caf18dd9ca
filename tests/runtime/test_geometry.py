"""At which size the networks see a frame."""

import pytest

from accel_rt.runtime.geometry import plan


@pytest.mark.parametrize(
    ("source", "trained", "processed"),
    [
        ((360, 480), (360, 480), (360, 480)),
        ((720, 960), (360, 480), (360, 480)),
        ((720, 1280), (360, 480), (360, 640)),  # 16:9 is not wide enough to gain by more
        ((1280, 720), (360, 480), (640, 360)),
        ((1024, 2048), (360, 480), (480, 960)),  # 2:1 is
        ((1000, 3000), (360, 480), (480, 1440)),
        ((900, 1700), (360, 480), (420, 793)),  # and in between, half of it
        ((400, 800), (360, 480), (400, 800)),  # no more than the source has
        ((240, 480), (360, 480), (360, 720)),
        ((1024, 2048), (512, 1024), (512, 1024)),  # as wide as trained
        ((1024, 2048), None, (1024, 2048)),
    ],
)
def test_the_size_follows_the_pictures_shape(
    source: tuple[int, int], trained: tuple[int, int] | None, processed: tuple[int, int]
) -> None:
    geometry = plan(source, trained, None, 1.0, 16)
    assert geometry.processed == processed
    assert geometry.describe() == {"processed": f"{processed[1]}x{processed[0]}"}


def test_a_size_that_was_asked_for_is_taken() -> None:
    assert plan((1024, 2048), (360, 480), (128, 256), 0.5, 16).processed == (128, 256)

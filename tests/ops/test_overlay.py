"""Overlays blended on the device, against those that OpenCV blends on the CPU."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.ops import overlay
from accel_rt.video.overlay import render_overlay


def inputs(*size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, labels and a palette."""

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8)

    return bytes_of(*size, 3), bytes_of(*size), bytes_of(256, 3)


def rendered(frame: Tensor, labels: Tensor, palette: Tensor, alpha: float, keep=None) -> Tensor:
    kept = None if keep is None else keep.nonzero()[:, 0].tolist()
    images = [
        render_overlay(f, one, palette.numpy(), alpha, kept)
        for f, one in zip(frame.numpy(), labels.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(images))


# around the pixels that a thread and a block take
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 5), (1, 4, 4), (1, 37, 53), (3, 16, 90)])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("some", [False, True], ids=["all classes", "some classes"])
def test_matches_render_overlay(executor, size, alpha, some):
    frame, labels, palette = inputs(*size)
    keep = torch.randint(0, 2, (256,), dtype=torch.uint8) if some else None
    actual = executor.overlay(frame, labels, palette, alpha, keep).cpu()
    expected = rendered(frame, labels, palette, alpha, keep)
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference != 0).double().mean() < 0.01  # OpenCV rounds twice without multiply-add
    if alpha in (0, 0.5, 1):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.7])
def test_every_pair_of_bytes_is_rounded_once(executor, alpha):
    labels = torch.arange(256, dtype=torch.uint8).repeat(256).reshape(1, 256, 256)
    frame = labels.transpose(1, 2)[..., None].expand(1, 256, 256, 3)
    palette = torch.arange(256, dtype=torch.uint8)[:, None].expand(256, 3)
    share, rest = (float(np.float32(part)) for part in (alpha, 1 - alpha))
    colour = np.float32(share) * labels.numpy().astype(np.float32)
    exact = frame[..., 0].numpy() * np.float64(rest) + colour
    expected = np.rint(exact.astype(np.float32)).astype(np.uint8)
    actual = executor.overlay(frame, labels, palette, alpha, None).cpu()
    assert np.array_equal(actual[..., 1].numpy(), expected)


def test_unaligned_and_strided(executor):
    frame, labels, palette = inputs(1, 9, 40)
    expected = executor.overlay(frame[:, :, 1:35], labels[:, :, 1:35], palette, 0.4, None).cpu()
    assert torch.equal(expected, rendered(frame, labels, palette, 0.4)[:, :, 1:35])
    memory = torch.zeros(9 * 40 + 1, dtype=torch.uint8)
    shifted = memory[1:].view(1, 9, 40).copy_(labels)
    assert torch.equal(
        executor.overlay(frame, shifted, palette, 0.4, None),
        executor.overlay(frame, labels, palette, 0.4, None),
    )


def test_empty(executor):
    frame, labels, palette = inputs(0, 4, 5)
    assert executor.overlay(frame, labels, palette, 0.5, None).shape == (0, 4, 5, 3)


def test_face_and_opcheck():
    frame, labels, palette = inputs(2, 5, 7)
    keep = torch.ones(256, dtype=torch.uint8)
    assert torch.equal(overlay(frame, labels, palette), rendered(frame, labels, palette, 0.5))
    for kept in (None, keep):
        opcheck(torch.ops.accel_rt.overlay.default, (frame, labels, palette, 0.25, kept))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": torch.zeros(2, 5, 8, dtype=torch.uint8)},
            r"frame_bgr must be uint8 \(2, 5, 8, 3\)",
        ),
        ({"labels": torch.zeros(2, 5, 7)}, "labels must be uint8"),
        (
            {"palette_bgr": torch.zeros(11, 3, dtype=torch.uint8)},
            r"palette_bgr must .* got \(11, 3\)",
        ),
        ({"keep": torch.zeros(255, dtype=torch.uint8)}, "keep must be"),
        ({"alpha": 1.5}, "between 0 and 1, got 1.5"),
    ],
)
def test_errors(executor, change, message):
    frame, labels, palette = inputs(2, 5, 7)
    arguments = {
        "frame_bgr": frame,
        "labels": labels,
        "palette_bgr": palette,
        "alpha": 0.5,
        "keep": None,
        **change,
    }
    with pytest.raises(UsageError, match=message):
        overlay(**arguments)
    if not executor.name.startswith("cpu") and "alpha" not in change:  # which reads no memory
        with pytest.raises(RuntimeError, match="overlay: "):
            executor.overlay(*arguments.values())

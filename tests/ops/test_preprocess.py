"""Frames made ready on the device, against what OpenCV makes of them on the CPU."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from accel_rt.errors import UsageError
from accel_rt.normalise import MEAN_RGB, STD_RGB
from accel_rt.ops import preprocess
from accel_rt.runtime.geometry import Geometry
from accel_rt.runtime.preprocess import network_input, resize_frame

# source, processed, padded, scale
CASES = {
    "as it is": ((32, 48), (32, 48), (32, 48), 1.0),
    "as it is, odd": ((37, 53), (37, 53), (37, 53), 1.0),
    "padded below": ((37, 45), (37, 45), (40, 45), 1.0),
    "padded": ((37, 53), (37, 53), (48, 64), 1.0),
    "shrunk by a fraction": ((97, 131), (41, 55), (48, 64), 1.0),
    "shrunk to a half": ((64, 96), (32, 48), (32, 48), 1.0),
    "shrunk to a quarter": ((64, 128), (16, 32), (16, 32), 1.0),
    "shrunk one way": ((60, 50), (30, 50), (32, 64), 1.0),
    "enlarged": ((17, 23), (30, 41), (32, 48), 1.0),
    "shrunk and enlarged": ((60, 20), (30, 41), (32, 48), 1.0),
    "update branch": ((40, 52), (40, 52), (64, 64), 0.5),
    "shrunk, update branch": ((90, 121), (45, 61), (64, 64), 0.5),
    "odd update branch": ((50, 70), (33, 45), (48, 48), 1 / 3),
    "one pixel": ((1, 1), (1, 1), (16, 16), 1.0),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def frames(size: tuple[int, int], images: int = 1) -> Tensor:
    return torch.randint(0, 256, (images, *size, 3), dtype=torch.uint8)


def levels(values: Tensor) -> Tensor:
    """Normalised values [N, 3, H, W] as bytes again."""
    std, mean = (torch.tensor(c, dtype=torch.float64)[:, None, None] for c in (STD_RGB, MEAN_RGB))
    return (values.double().cpu() * std + mean) * 255


def run(executor, frame, processed, padded, scale=1.0, dtype=torch.float32):
    size = [round(side * scale) for side in padded]
    return executor.preprocess(frame, processed, padded, size, MEAN_RGB, STD_RGB, dtype)


@pytest.mark.parametrize("name", CASES)
def test_matches_opencv(executor, name):
    source, processed, padded, scale = CASES[name]
    frame = frames(source)
    expected = network_input(
        resize_frame(frame[0].numpy(), processed), Geometry(source, processed, padded), scale=scale
    )
    actual = run(executor, frame, processed, padded, scale)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    difference = (levels(actual) - levels(expected)).abs()
    assert difference.max() < 1.01, "more than one level of a byte"
    grows = any(p > s for p, s in zip(processed, source, strict=True))
    assert (difference > 0.01).double().mean() < (0.2 if grows else 0.02)
    for dtype in DTYPES[1:]:
        assert torch.equal(run(executor, frame, processed, padded, scale, dtype), actual.to(dtype))


@pytest.mark.parametrize(
    "name",
    ["as it is", "as it is, odd", "padded below", "padded", "shrunk to a half", "update branch"],
)
def test_equals_opencv(executor, name):
    source, processed, padded, scale = CASES[name]
    frame = frames(source)
    for dtype in DTYPES:
        expected = network_input(
            resize_frame(frame[0].numpy(), processed),
            Geometry(source, processed, padded),
            scale=scale,
            dtype=dtype,
        )
        assert torch.equal(run(executor, frame, processed, padded, scale, dtype).cpu(), expected)


def test_batches_and_strides(executor):
    pair = frames((20, 60), 4)[::2, :, 10:51]
    both = run(executor, pair, (13, 24), (16, 32))
    for image in range(2):
        alone = run(executor, pair[image : image + 1].contiguous(), (13, 24), (16, 32))
        assert torch.equal(both[image : image + 1], alone)
    assert run(executor, frames((5, 7), 0), (5, 7), (16, 16)).shape == (0, 3, 16, 16)


def test_memory_that_is_not_aligned_and_several_frames(executor):
    """Of the size that is wanted: many pixels at once where memory allows that."""
    pair = frames((21, 35), 2)
    memory = torch.empty(pair.numel() + 1, dtype=torch.uint8)[1:]
    shifted = memory.view(pair.shape).copy_(pair)
    for dtype in DTYPES:
        both = run(executor, pair, (21, 35), (21, 35), dtype=dtype)
        assert torch.equal(run(executor, shifted, (21, 35), (21, 35), dtype=dtype), both)
        for image in range(2):
            alone = run(executor, pair[image : image + 1], (21, 35), (24, 48), dtype=dtype)
            assert torch.equal(both[image], alone[0, :, :21, :35])


def test_large_sums(executor):
    """A mean over more than 2**32 / 255 weighted pixels."""
    frame = torch.full((1, 1, 32767, 3), 255, dtype=torch.uint8)
    frame = frame.expand(1, 3, 32767, 3)
    assert (levels(run(executor, frame, (1, 4), (1, 4))) > 254.9).all()
    assert np.allclose(levels(run(executor, frame // 5, (2, 3), (2, 3))), 51, atol=0.01)


def test_face_and_opcheck():
    frame = frames((30, 41))
    colours = {"mean_rgb": MEAN_RGB, "std_rgb": STD_RGB}
    actual = preprocess(frame, (15, 20), (16, 32), scale=0.5, dtype=torch.bfloat16, **colours)
    assert actual.shape == (1, 3, 8, 16)
    assert torch.equal(
        preprocess(frame, (30, 41), **colours),
        network_input(frame[0].numpy(), Geometry((30, 41), (30, 41), (30, 41))),
    )
    opcheck(
        torch.ops.accel_rt.preprocess.default,
        (frame, [15, 20], [16, 32], [8, 16], list(MEAN_RGB), list(STD_RGB), torch.float16),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_bgr": torch.zeros(4, 5, 3, dtype=torch.uint8)}, r"must be a uint8 tensor"),
        ({"frame_bgr": torch.zeros(1, 4, 5, 3)}, r"got \(1, 4, 5, 3\) of torch.float32"),
        ({"frame_bgr": torch.zeros(1, 0, 5, 3, dtype=torch.uint8)}, "needs a pixel"),
        ({"processed": (0, 5)}, "must be positive"),
        ({"padded": (3, 8)}, r"not smaller than processed, got \(4, 5\), \(3, 8\)"),
        ({"dtype": torch.float64}, "dtype must be"),
    ],
)
def test_errors(change, message):
    arguments = {
        "frame_bgr": torch.zeros(1, 8, 9, 3, dtype=torch.uint8),
        "processed": (4, 5),
        "mean_rgb": MEAN_RGB,
        "std_rgb": STD_RGB,
        **change,
    }
    with pytest.raises(UsageError, match=message):
        preprocess(**arguments)


def test_operator_checks_what_it_reads(executor):
    if executor.name.startswith("cpu"):
        pytest.skip("the CPU's implementation is PyTorch, which checks itself")
    for frame, sizes in [
        (torch.zeros(1, 8, 9, 4, dtype=torch.uint8), ((4, 5), (4, 5), (4, 5))),
        (frames((8, 9)), ((4, 5), (3, 5), (4, 5))),
        (frames((8, 9)), ((4, 5), (4, 5), (4, 40000))),
    ]:
        with pytest.raises(RuntimeError, match="preprocess: "):
            executor.preprocess(frame, *sizes, MEAN_RGB, STD_RGB, torch.float32)

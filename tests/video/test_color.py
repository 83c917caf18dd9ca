"""Colours of every kind of source, against values worked out from the standards."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from accel_rt.video.reader import open_source

# Kr, Kb of each matrix by FFmpeg's tag.
MATRICES = {"bt709": (1, 0.2126, 0.0722), "bt601": (6, 0.299, 0.114), "bt2020": (9, 0.2627, 0.0593)}
COLOURS = [(255, 255, 255), (0, 0, 0), (200, 30, 40), (20, 180, 60), (30, 60, 220), (128, 128, 128)]
LIMITED, FULL = 1, 2
# 8-bit YUV has steps of up to 1.9 levels of a channel, and rounding happens twice.
TOLERANCE_8_BIT = 3
TOLERANCE_10_BIT = 1


def to_yuv(rgb, kr, kb, color_range, bits):
    """Y, Cb, Cr of an RGB colour in 0..255, as the standards define them."""
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = ((blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr))
    unit = 1 << (bits - 8)
    if color_range == LIMITED:
        return [round((16 + 219 * luma) * unit)] + [
            round((128 + 224 * value) * unit) for value in chroma
        ]
    top = (1 << bits) - 1
    return [round(top * luma)] + [round(top * value + (1 << bits - 1)) for value in chroma]


def write_flat(path, yuv, pix_fmt, size=(64, 48), codec="libx264", **tags):
    """A lossless clip of one colour."""
    width, height = size
    wide = "10" in pix_fmt
    with av.open(str(path), "w") as container:
        options = {"qp": "0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 25)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(width, height, pix_fmt)
        for plane, value in zip(frame.planes, yuv, strict=False):
            dtype = np.uint16 if wide else np.uint8
            plane.update(np.full(plane.buffer_size // dtype().itemsize, value, dtype).tobytes())
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_rgb(path):
    with open_source(path) as source:
        (frame,) = list(source)
    assert frame.image_bgr.dtype == np.uint8
    assert (frame.image_bgr == frame.image_bgr[0, 0]).all()
    return source, frame.image_bgr[0, 0, ::-1].astype(int)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("bits", [8, 10])
def test_tagged_matrix_and_range(tmp_path, matrix, color_range, bits):
    tag, kr, kb = MATRICES[matrix]
    for rgb in COLOURS:
        write_flat(
            tmp_path / "flat.mp4",
            to_yuv(rgb, kr, kb, color_range, bits),
            "yuv420p" if bits == 8 else "yuv420p10le",
            colorspace=tag,
            color_range=color_range,
        )
        _, found = read_rgb(tmp_path / "flat.mp4")
        tolerance = TOLERANCE_8_BIT if bits == 8 else TOLERANCE_10_BIT
        assert np.abs(found - rgb).max() <= tolerance, (rgb, found)


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), "bt601"), ((64, 720), "bt709")])
def test_untagged_sources_follow_their_size(tmp_path, size, matrix):
    _, kr, kb = MATRICES[matrix]
    rgb = (200, 30, 40)
    write_flat(tmp_path / "flat.mp4", to_yuv(rgb, kr, kb, LIMITED, 8), "yuv420p", size)
    _, found = read_rgb(tmp_path / "flat.mp4")
    assert np.abs(found - rgb).max() <= TOLERANCE_8_BIT


@pytest.mark.parametrize(("color_range", "luma"), [(LIMITED, 60), (FULL, 51)])
@pytest.mark.parametrize(
    ("codec", "decoded"),
    [("ffv1", ["gray"]), ("libx264", ["yuv420p", "yuvj420p"])],  # H.264 comes with empty chroma
)
def test_greyscale_video(tmp_path, color_range, luma, codec, decoded):
    path = tmp_path / "grey.mkv"
    write_flat(path, [luma], "gray", codec=codec, color_range=color_range)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).format.name in decoded
    _, found = read_rgb(path)
    assert np.abs(found - 51).max() <= 1


PQ, HLG = 16, 18
# Code values of BT.2408's reference white (203 cd/m2), which the tone curve takes to 52% light.
HDR_LEVELS = [(PQ, 0.0, 0), (PQ, 0.58, 194), (PQ, 0.752, 255), (PQ, 1.0, 255)]
HDR_LEVELS += [(HLG, 0.0, 0), (HLG, 0.75, 194), (HLG, 1.0, 255)]


@pytest.mark.parametrize(("transfer", "code", "expected"), HDR_LEVELS)
def test_hdr_greys(tmp_path, transfer, code, expected):
    yuv = [round((16 + 219 * code) * 4), 512, 512]
    write_flat(
        tmp_path / "hdr.mp4",
        yuv,
        "yuv420p10le",
        colorspace=9,
        color_range=LIMITED,
        color_trc=transfer,
        color_primaries=9,
    )
    source, found = read_rgb(tmp_path / "hdr.mp4")
    assert np.abs(found - expected).max() <= 2
    assert source.notes == ["the source is HDR; it was tone-mapped to 8-bit BT.709"]


def test_hdr_colours_keep_their_hue(tmp_path):
    """PQ codes of a red, a green and a blue at 100 cd/m2 stay red, green and blue."""
    _, kr, kb = MATRICES["bt2020"]
    for strongest in range(3):
        rgb = [60.0, 60.0, 60.0]
        rgb[strongest] = 130.0
        write_flat(
            tmp_path / "hdr.mp4",
            to_yuv(rgb, kr, kb, LIMITED, 10),
            "yuv420p10le",
            colorspace=9,
            color_range=LIMITED,
            color_trc=PQ,
            color_primaries=9,
        )
        _, found = read_rgb(tmp_path / "hdr.mp4")
        others = [found[n] for n in range(3) if n != strongest]
        assert found[strongest] > 2 * max(others)


def test_rgb_sources_pass_through(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:] = (30, 120, 250)
    with av.open(str(tmp_path / "rgb.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="bgr0"))
        )
        container.mux(stream.encode(None))
    _, found = read_rgb(tmp_path / "rgb.mkv")
    assert found.tolist() == [250, 120, 30]

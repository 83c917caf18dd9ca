"""Image files: sizes are checked before decoding, and all pictures come."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from accel_rt.errors import InputError
from accel_rt.video.images import image_files, natural_key
from accel_rt.video.limits import Limits
from accel_rt.video.pictures import PictureFile, read_image_bgr
from accel_rt.video.reader import open_source
from tests.video.clips import RATE, picture, picture_number, write_clip

ROOT = Path(__file__).parents[2]


def read(source, *span, **options):
    with open_source(source, *span, **options) as opened:
        return opened, list(opened)


def numbers(frames):
    return [picture_number(frame.image_bgr) for frame in frames]


def write_animation(path, count=10, **options):
    first, *rest = [Image.fromarray(picture(n)[..., ::-1]) for n in range(count)]
    first.save(path, save_all=True, append_images=rest, **options)
    return path


# All pictures


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {"duration": 200}), ("a.webp", {"duration": 200, "lossless": True})],
)
def test_an_animation_has_its_own_times(tmp_path, name, options):
    source, frames = read(write_animation(tmp_path / name, **options))
    assert numbers(frames) == list(range(10))
    assert [frame.pts for frame in frames] == [Fraction(n, 5) for n in range(10)]
    assert (source.info.rate, source.info.frame_count) == (5, 10)
    assert numbers(read(tmp_path / name, 0.4, 0.8)[1]) == [2, 3]
    frames = read(tmp_path / name, rate=10)[1]
    assert [frame.pts for frame in frames] == [Fraction(n, 10) for n in range(10)]


def test_an_animation_with_times_of_its_pictures(tmp_path):
    shown_ms = [100, 300, 50, 500]
    source = write_animation(tmp_path / "a.png", 4, duration=shown_ms)
    times = [frame.pts for frame in read(source)[1]]
    assert times == [Fraction(ms, 1000) for ms in (0, 100, 400, 450)]


def test_a_still_for_other_programs_is_no_picture_of_an_animation(tmp_path):
    stills = [Image.fromarray(picture(n)[..., ::-1]) for n in range(4)]
    stills[0].save(
        tmp_path / "a.png", save_all=True, append_images=stills[1:], default_image=True, duration=40
    )
    assert numbers(read(tmp_path / "a.png")[1]) == [1, 2, 3]


def test_the_pages_of_a_tiff_follow_each_other_at_the_rate(tmp_path):
    source, frames = read(write_animation(tmp_path / "a.tif"))
    assert numbers(frames) == list(range(10))
    assert [frame.pts for frame in frames] == [n / RATE for n in range(10)]
    assert source.info.frame_count == 10
    assert numbers(read(tmp_path / "a.tif", 0.12, 0.2)[1]) == [3, 4]


def test_deep_pages_of_a_tiff(tmp_path):
    pages = [picture(n).astype(np.uint16) * 257 + 100 for n in range(3)]
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    frames = read(tmp_path / "a.tif")[1]
    assert numbers(frames) == [0, 1, 2]
    assert int(frames[1].image_bgr.max()) == 210


def test_a_smaller_copy_in_a_tiff_is_no_page(tmp_path):
    large, small = (Image.fromarray(picture(5, *size)) for size in ((64, 48), (16, 12)))
    info = small.getexif()
    info[254] = 1  # NewSubfileType: a reduced-resolution version of another page
    small.encoderinfo = {"exif": info}
    large.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert [frame.image_bgr.shape for frame in read(tmp_path / "a.tif")[1]] == [(48, 64, 3)]


def test_animations_in_a_folder_give_all_pictures_at_its_rate(tmp_path):
    write_animation(tmp_path / "2.png", 3, duration=500)
    cv2.imwrite(str(tmp_path / "1.png"), picture(8))
    cv2.imwrite(str(tmp_path / "10.png"), picture(9))
    _, frames = read(tmp_path)
    assert numbers(frames) == [8, 0, 1, 2, 9]
    assert [frame.pts for frame in frames] == [n / RATE for n in range(5)]


def test_an_animation_that_holds_no_frames_gives_no_warning(tmp_path, recwarn):
    data = write_animation(tmp_path / "a.png", duration=200).read_bytes()
    at = data.index(b"acTL") + 4
    body = bytes(8)
    check = struct.pack(">I", zlib.crc32(b"acTL" + body))
    (tmp_path / "a.png").write_bytes(data[:at] + body + check + data[at + 12 :])
    with PictureFile(tmp_path / "a.png") as file:
        assert file.count == 1
    assert not recwarn.list


def test_a_cut_animation_gives_what_it_has(tmp_path):
    path = write_animation(tmp_path / "a.png", duration=200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source, frames = read(path)
    assert 2 < len(frames) < 8
    assert numbers(frames) == list(range(len(frames)))
    assert source.corrupt_frames


# Sizes


def png_header(width, height):
    body = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    chunks = ((b"IHDR", body), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def test_a_picture_too_large_is_refused_by_its_header(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(40_000, 30_000))
    message = r"'a\.png' declares pictures of 40000x30000 pixels.*raise --max-pixels"
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read_image_bgr(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.ppm", "a.pgm"])
def test_every_format_is_held_to_the_limit(tmp_path, name):
    image = picture(3)[..., 0] if name == "a.pgm" else picture(3)
    cv2.imwrite(str(tmp_path / name), image)
    assert numbers(read(tmp_path / name, max_pixels=64 * 48)[1]) == [3]
    with pytest.raises(InputError, match="declares pictures of 64x48 pixels, more than the 3,071"):
        open_source(tmp_path / name, max_pixels=64 * 48 - 1)


def test_pictures_too_large_among_others_are_skipped_and_named(tmp_path):
    for number in (1, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    (tmp_path / "2.png").write_bytes(png_header(40_000, 30_000))
    source, frames = read(tmp_path)
    assert numbers(frames) == [1, 3]
    assert source.corrupt_frames == 1
    assert any("'2.png' declares pictures of 40000x30000" in note for note in source.notes)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_videos_are_held_to_the_limit(tmp_path, codec):
    path = write_clip(tmp_path / "a.mkv", codec=codec)
    assert len(read(path, max_pixels=64 * 48)[1]) == 20
    with pytest.raises(InputError, match="more than the 3,071 that are allowed"):
        open_source(path, max_pixels=64 * 48 - 1)


def test_pixels_made_square_count(tmp_path):
    path = write_clip(tmp_path / "a.mp4", context={"sample_aspect_ratio": Fraction(4)})
    with pytest.raises(InputError, match="256x48 pixels"):
        open_source(path, max_pixels=64 * 48 * 3)


def test_files_that_claim_to_be_huge_take_no_memory(tmp_path):
    """A chunk of 4 GB in a small PNG, and a file that is nothing but a hole."""
    lie = bytearray(png_header(64, 48))
    at = lie.index(b"IDAT") - 4
    lie[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.png").write_bytes(lie)
    with open(tmp_path / "b.png", "wb") as hole:
        hole.write(png_header(64, 48)[:33])
        hole.truncate(1 << 40)
    program = (
        "import resource, sys; from pathlib import Path;"
        "from accel_rt.video.pictures import read_image_bgr;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "assert all(read_image_bgr(Path(name)) is None for name in sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    done = subprocess.run(
        [sys.executable, "-c", program, *files], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 200e6


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.ppm"])
def test_damaged_files_of_every_format_give_none_or_a_picture(tmp_path, name):
    path = tmp_path / name
    cv2.imwrite(str(path), picture(3))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(30):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 200), 3):
            data[at] = random.integers(256)
        path.write_bytes(data[: random.integers(1, len(data) + 1)])
        with suppress(InputError), PictureFile(path, Limits(max_pixels=1 << 20)) as file:
            for number in range(min(file.count, 3)):
                image = file.read(number)
                assert image is None or image.dtype == np.uint8


# Order and hidden files


def test_natural_order_and_no_hidden_files(tmp_path):
    for name in ("img10.png", "img2.png", "img1.png", "._img1.png", ".hidden.png", "notes.txt"):
        cv2.imwrite(str(tmp_path / name), picture(1)) if name != "notes.txt" else None
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    names = [path.name for path in image_files(tmp_path.iterdir())]
    assert names == ["img1.png", "img2.png", "img10.png"]
    assert natural_key(Path("a²1")) < natural_key(Path("a²10"))
    source, frames = read(str(tmp_path / "*.png"))
    assert len(frames) == 3
    assert source.corrupt_frames == 0


def test_memory_of_a_long_animation_does_not_grow(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3, 400, 400, 3), np.uint8)
    first, *rest = [Image.fromarray(noise[n % 3]) for n in range(60)]
    first.save(tmp_path / "a.png", save_all=True, append_images=rest, duration=40)
    with open_source(tmp_path / "a.png") as source:
        next(iter(source))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in source) == 59
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_an_alpha_channel_is_dropped(tmp_path, name):
    """Colours are those in the file, however transparent, and orientation is obeyed."""
    colors = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(colors)
    image.putalpha(100)
    exif = Image.Exif()
    exif[274] = 3  # upside down
    image.save(tmp_path / name, exif=exif)
    _, (frame,) = read(tmp_path / name)
    np.testing.assert_array_equal(frame.image_bgr[::-1, ::-1, ::-1], colors)


@pytest.mark.parametrize(
    ("name", "frames", "options"),
    [
        ("a.tif", 1, {"compression": "raw"}),
        ("a.tif", 1, {"compression": "tiff_lzw"}),
        ("a.tif", 2, {"compression": "raw"}),
        ("a.tif", 2, {"compression": "tiff_lzw"}),
        ("a.png", 2, {}),
        ("a.webp", 1, {"lossless": True}),
        ("a.webp", 2, {"lossless": True}),
    ],
)
def test_orientation_is_obeyed(tmp_path, name, frames, options):
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn to the right
    colors = np.random.default_rng(0).integers(0, 256, (frames, 20, 30, 3), np.uint8)
    images = [Image.fromarray(one) for one in colors]
    for image in images:
        image.putalpha(255)
    options |= {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(tmp_path / name, exif=exif, **options)
    _, found = read(tmp_path / name)
    assert len(found) == frames
    for frame, one in zip(found, colors, strict=True):
        np.testing.assert_array_equal(frame.image_bgr[..., ::-1], np.rot90(one, -1))


def test_a_lone_picture_of_an_unknown_kind(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"the image 'a.tif' cannot be read: .* 32-bit values"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("largest", [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_pnm_is_scaled_from_the_largest_value_that_it_names(tmp_path, kind, largest):
    colors = np.array([[(largest, 0, largest // 2), (0, largest, 0)]], ">u2")
    values = colors if kind in ("P3", "P6") else colors[..., :1]
    if kind in ("P2", "P3"):
        data = " ".join(map(str, values.ravel())).encode() + b"\n"
    else:
        data = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    path = tmp_path / "a.ppm"
    path.write_bytes(f"{kind} 2 1 {largest}\n".encode() + data)
    expected = np.broadcast_to(values / largest * 255, (1, 2, 3))
    np.testing.assert_allclose(read_image_bgr(path)[..., ::-1], expected, atol=1)

"""Headers of image files: their sizes, and what no decoder may see."""

import struct

import cv2
import numpy as np
import pytest
from helpers.image_content import (
    HEIGHT,
    IMAGE,
    WIDTH,
    saved,
    tiff,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.image_header import read_header
from hrnet_deploy.imaging.sources import read_frame

RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(suffix, image=BGR, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tiff", ".avif", ".ppm"])
def test_declared_sizes(suffix):
    assert read_header(encode(suffix)).size_hw == (20, 30)
    for cut in range(2, 40, 3):
        read_header(encode(suffix)[:cut])  # must not raise


def test_declared_sizes_of_rare_webp_and_bmp_kinds():
    assert read_header(encode(".webp", BGR, cv2.IMWRITE_WEBP_QUALITY, 101)).size_hw == (20, 30)  # lossless
    assert read_header(saved(Image.new("RGBA", (30, 20)), "WEBP", quality=50)).size_hw == (20, 30)
    assert read_header(b"BM" + bytes(12) + struct.pack("<IHH", 12, 30, 20)).size_hw == (20, 30)
    assert read_header(b"BM" + bytes(12) + struct.pack("<Iii", 40, 30, -20)).size_hw == (20, 30)
    assert read_header(b"no image") is None


def bomb(kind):
    """A small file that declares 20480 x 20480 pixels."""
    size = 20480
    rows = np.zeros((HEIGHT, WIDTH), np.uint8)
    if kind == "TIFF":
        return tiff(rows, [8], 1, tags={256: (4, [size]), 257: (4, [size])})
    if kind == "BigTIFF":
        entries = struct.pack("<HHQQ", 256, 4, 1, size) + struct.pack("<HHQQ", 257, 4, 1, size)
        return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + entries + bytes(8)
    small = {
        "JPEG2000": (b"\xff\x4f\xff\x51", 8, ">II"),
        "AVIF": (b"ispe", 8, ">II"),
        "PNG": (b"IHDR", 4, ">II"),
        "BMP": (b"\x28\0\0\0", 4, "<II"),
        "GIF": (b"GIF8", 6, "<HH"),
    }
    if kind in small:
        content = bytearray(saved(IMAGE, kind))
        mark, ahead, code = small[kind]
        struct.pack_into(code, content, content.index(mark) + ahead, size, size)
        return bytes(content)
    if kind == "WEBP":  # the canvas of the extended layout
        body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (size - 1).to_bytes(3, "little") * 2
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    if kind == "JPEG":
        content = saved(IMAGE, "JPEG")
        at = content.index(b"\xff\xc0") + 5
        return content[:at] + struct.pack(">HH", size, size) + content[at + 4 :]
    return b"P5\n20480 20480\n255\n"


def test_of_a_size_given_twice_the_first_counts_as_it_does_for_the_decoder():
    content = bomb("BigTIFF")
    twice = content.replace(struct.pack("<Q", 2), struct.pack("<Q", 4), 1)[:-8]
    twice += struct.pack("<HHQQ", 256, 4, 1, 16) + struct.pack("<HHQQ", 257, 4, 1, 16) + bytes(8)
    with pytest.raises(ImageError, match="got 20480x20480"):
        read_frame(twice)


def test_a_size_of_a_signed_type_counts_too():
    rows = np.zeros((HEIGHT, WIDTH), np.uint8)
    content = tiff(rows, [8], 1, tags={256: (4, [20480]), 257: (4, [20480])})
    for tag in (256, 257):
        content = content.replace(struct.pack("<HH", tag, 4), struct.pack("<HH", tag, 9))
    with pytest.raises(ImageError, match="got 20480x20480"):
        read_frame(content)


@pytest.mark.parametrize("kind", ["TIFF", "BigTIFF", "JPEG2000", "AVIF", "PNG", "BMP", "GIF", "WEBP", "JPEG", "PPM"])
def test_no_decoder_sees_a_file_that_declares_too_many_pixels(kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"must have at most 178956970 pixels, got 20480x20480"):
        read_frame(bomb(kind))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["TIFF", "AVIF", "JPEG2000", "PNG", "BMP", "GIF", "WEBP", "JPEG", "PPM"]), data=st.data())
def test_damaged_headers_end_in_one_line(kind, data):
    content = bytearray(saved(IMAGE, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2, min(400, len(content) - 1)))] = data.draw(st.integers(0, 255))
    message = ""
    try:
        assert read_frame(bytes(content)).image.ndim == 3
    except ImageError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("compression", [0, 3], ids=["plain", "bit masks"])
def test_a_bmp_cut_within_its_header_is_refused(compression):
    content = b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 30, 20, 1, 16, compression) + bytes(40)
    for length in range(14, 66):
        with pytest.raises(ImageError, match=r"cannot be decoded|must be complete"):
            read_frame(content[:length])

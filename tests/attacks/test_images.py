"""Images that claim more than they hold, or whose decoding takes more memory or time than any image needs."""

import io
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from hrnet_deploy import limits
from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging import decoder_process
from hrnet_deploy.imaging.label_image import read_label_values
from hrnet_deploy.imaging.sources import read_frame

SECONDS = 10
RGB = np.random.default_rng(3).integers(0, 256, (64, 72, 3), dtype=np.uint8)


def encoded(suffix, image=RGB, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def saved(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


# PNG ----------------------------------------------------------------------------------------------------------------


def chunk(name, body, size=None):
    return (
        struct.pack(">I", len(body) if size is None else size)
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
    )


def png(*chunks, size_hw=(8, 8), depth=8, color=2):
    header = struct.pack(">IIBBBBB", size_hw[1], size_hw[0], depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


PIXELS = chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
BOMB = zlib.compress(bytes(7_000_000))


# JPEG ---------------------------------------------------------------------------------------------------------------


def repeated_scans(count, size_hw=(64, 72)):
    file = io.BytesIO()
    Image.new("L", size_hw[::-1], 100).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + b"\xff\xd9"


def jpeg_of(height, width):
    content = bytearray(encoded(".jpg"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


# TIFF ---------------------------------------------------------------------------------------------------------------


def tiff(**changes):
    """A raw RGB image of 8x8 pixels; changes name numbers of entries."""
    entries = {256: 8, 257: 8, 258: 8, 259: 1, 262: 2, 273: 400, 277: 3, 278: 8, 279: 192, 284: 1}
    entries |= {int(name[1:]): value for name, value in changes.items()}
    body = b"".join(
        struct.pack("<HHI", tag, 4, value[0] if isinstance(value, tuple) else 1)
        + struct.pack("<I", value[1] if isinstance(value, tuple) else value)
        for tag, value in sorted(entries.items())
    )
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)
    return content.ljust(400, b"\0") + bytes(192)


# GIF ----------------------------------------------------------------------------------------------------------------


def gif_of_clear_codes(size):
    """Codes of 9 bits that all clear the code table, which is allocated anew each time."""
    bits = np.unpackbits(np.full((size, 2), [1, 0], np.uint8), axis=1)[:, 7:16].copy()
    bits[:] = [0, 0, 0, 0, 0, 0, 0, 0, 1]  # 256, least significant bit first
    data = np.packbits(bits.ravel(), bitorder="little").tobytes()
    blocks = b"".join(bytes([len(part)]) + part for part in (data[at : at + 255] for at in range(0, len(data), 255)))
    head = b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0xF7, 0, 0) + bytes(768)
    return head + b"," + struct.pack("<HHHHB", 0, 0, 9, 9, 0) + b"\x08" + blocks + b"\0;"


# AVIF and JPEG 2000 -------------------------------------------------------------------------------------------------


def avif_of(width, height):
    """An AVIF whose container claims another size than its coded image."""
    content = bytearray(encoded(".avif"))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = struct.pack(">II", width, height)
    return bytes(content)


def jp2_of(tile, size):
    content = bytearray(encoded(".jp2"))
    place = content.index(b"\xff\x4f\xff\x51") + 8
    content[place : place + 8] = struct.pack(">II", size, size)
    content[place + 16 : place + 24] = struct.pack(">II", tile, tile)
    return bytes(content)


HOSTILE = {
    "png chunk of 4 GB": png(chunk(b"tEXt", b"a\0b", 0xFFFFFFF0), PIXELS),
    "png chunk of 2 GB after the image": png(PIXELS, chunk(b"zTXt", b"a\0\0", 0x7FFFFFFF)),
    "png of 100 inflating texts": png(*[chunk(b"zTXt", b"a\0\0" + BOMB)] * 100, PIXELS),
    "png of inflating profiles": png(*[chunk(b"iCCP", b"a\0\0" + BOMB)] * 100, PIXELS),
    "png of 170 megapixels in 100 bytes": png(PIXELS, size_hw=(13_000, 13_000)),
    "png of many pixels": png(PIXELS, size_hw=(1 << 30, 1 << 30)),
    "png of 300,000 chunks": png(*[chunk(b"abCd", b"")] * 300_000, PIXELS),
    "jpeg of 5,000 scans": repeated_scans(5000),
    "jpeg of 12 scans of 178 megapixels": repeated_scans(12, (11_180, 16_000)),
    "jpeg of 65500x2700 in 10 KB": jpeg_of(2700, 65_500),
    "jpeg of 65535x65535": jpeg_of(65_535, 65_535),
    "jpeg without a height": jpeg_of(0, 72),
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 5_000_000,
    "jpeg of 1,000,000 segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000,
    "tiff of tiles of 4 G pixels": tiff(t322=65_520, t323=65_520, t324=400, t325=192),
    "tiff of 1x1 tiles": tiff(t256=10_000, t257=10_000, t322=1, t323=1, t324=(100_000_000, 400), t325=192),
    "tiff of counted offsets": tiff(t273=(0xFFFFFFF0, 100)),
    "tiff of 100 megapixels without data": tiff(t256=10_000, t257=10_000, t278=10_000),
    "tiff of 100 megapixels of nothing, deflated": tiff(t256=10_000, t257=10_000, t278=10_000, t259=8),
    "tiff strip out of the file": tiff(t273=1 << 30),
    "tiff whose directory is itself": b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, 4, 1, 8) + struct.pack("<I", 8),
    "bmp of 100 megapixels without data": b"BM"
    + struct.pack("<IIIIiiHH", 0, 0, 54, 40, 10_000, -10_000, 1, 24)
    + bytes(24),
    "ppm of 100 megapixels without data": b"P6 10000 10000 255\n" + bytes(100),
    "pgm of texts without data": b"P2 10000 10000 255\n" + b"1 " * 100,
    "ppm of a huge number": b"P6 " + b"9" * 5000 + b" 4 255\n" + bytes(100),
    "gif without pixels of 65535x2700": b"GIF89a" + struct.pack("<HHBBB", 65_535, 2700, 0, 0, 0) + b",;",
    "avif scaled to 196 megapixels": avif_of(14_000, 14_000),
    "jp2 of 1x1 tiles": jp2_of(1, 250),
    "jp2 of one huge tile": jp2_of(13_000, 13_000),
    "webp of a canvas of 2^48 pixels": b"RIFF"
    + struct.pack("<I", 22)
    + b"WEBPVP8X"
    + struct.pack("<I", 10)
    + b"\2\0\0\0"
    + b"\xff" * 6,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_one_line_in_time(name):
    start = time.monotonic()
    with pytest.raises(ImageError) as caught:
        read_frame(HOSTILE[name], name)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


GROWTH = """
import sys
from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.sources import read_frame

def peak():
    return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])

content = sys.stdin.buffer.read()
before = peak()
try:
    read_frame(content)
    print('decoded')
except ImageError:
    print('refused')
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if name.startswith(("png", "tiff", "jp2")) or "megapixels" in name]
)
def test_a_hostile_image_takes_no_memory(name):
    ran = subprocess.run(
        [sys.executable, "-c", GROWTH], input=HOSTILE[name], capture_output=True, timeout=60, check=True
    )
    outcome, grown = ran.stdout.split()
    assert outcome == b"refused"
    assert int(grown) < 1 << 18  # KiB: a quarter of a GiB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_the_largest_image_stays_within_the_limit():
    content = encoded(".png", np.zeros((11_180, 16_000), np.uint8), cv2.IMWRITE_PNG_COMPRESSION, 1)
    ran = subprocess.run([sys.executable, "-c", GROWTH], input=content, capture_output=True, timeout=120, check=True)
    outcome, grown = ran.stdout.split()
    assert outcome == b"decoded"
    assert int(grown) << 10 < limits.IMAGE_DECODE_BYTES


@pytest.mark.parametrize(
    "content", [png(chunk(b"tEXt", b"", 0xFFFFFF00), PIXELS, color=0), png(PIXELS, size_hw=(13_000, 13_000), color=0)]
)
def test_a_hostile_label_image_is_one_line(content):
    with pytest.raises(ImageError, match="truncated"):
        read_label_values(content, "label image 'a.png'")


@pytest.mark.parametrize("kind", ["GIF", "JPEG2000", "AVIF", "PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_an_image_of_each_kind_still_decodes(kind):
    assert read_frame(saved(kind)).image.shape == RGB.shape


def test_a_decoder_that_takes_too_long_is_ended_and_replaced(monkeypatch):
    monkeypatch.setattr(decoder_process, "IMAGE_DECODE_SECONDS", 2)
    content = gif_of_clear_codes(8_000_000)
    start = time.monotonic()
    with pytest.raises(ImageError, match="takes more than 2 s"):
        read_frame(content)
    assert time.monotonic() - start < SECONDS
    assert read_frame(saved("GIF")).image.shape == RGB.shape


def test_an_animated_png_gives_its_first_image_without_memory_for_the_others():
    file = io.BytesIO()
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    first.save(file, "PNG", save_all=True, append_images=[second])
    assert np.array_equal(read_frame(file.getvalue()).image, RGB[..., ::-1])

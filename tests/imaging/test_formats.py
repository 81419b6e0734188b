"""Every kind of image file: Pillow's pixels, or one line that names what is not read."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.image_content import CLEAR, HEIGHT, IMAGE, SMOOTH, TOLERANCE, WIDTH, assert_as_pillow, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.sources import read_frame

RNG = np.random.default_rng(11)


# What Pillow writes -------------------------------------------------------------------------------------------------


def modes():
    formats = {
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
        "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"),
        "BMP": ("1", "L", "P", "RGB", "RGBA"),
        "WEBP": ("RGB", "RGBA"),
        "AVIF": ("L", "RGB", "RGBA"),
        "JPEG2000": ("L", "LA", "RGB", "RGBA"),
        "GIF": ("1", "L", "P"),
        "PPM": ("1", "L", "RGB"),
        "JPEG": ("L", "RGB", "CMYK"),
    }
    return [(kind, name) for kind, names in formats.items() for name in names]


@pytest.mark.parametrize(("kind", "mode"), modes())
def test_every_mode_of_every_format(kind, mode):
    assert_as_pillow(saved((CLEAR if "A" in mode else IMAGE).convert(mode), kind))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "GIF"])
def test_of_several_pages_or_frames_the_first_is_read(kind):
    content = saved(IMAGE, kind, save_all=True, append_images=[ImageOps.invert(IMAGE)])
    assert_as_pillow(content)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiffs(compression):
    assert_as_pillow(saved(IMAGE, "TIFF", compression=compression))


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax_tiffs(compression):
    assert_as_pillow(saved(IMAGE.convert("1"), "TIFF", compression=compression))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientations(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_as_pillow(saved(CLEAR if kind in {"TIFF", "AVIF"} else IMAGE, kind, exif=exif))


def test_exif_does_not_turn_an_avif_whose_own_boxes_do_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(saved(IMAGE, "AVIF", exif=exif))
    content[content.index(b"irot") + 4] = 0
    assert read_frame(bytes(content)).image.shape[:2] == (HEIGHT, WIDTH)
    assert_as_pillow(bytes(content))


def test_a_cropped_avif_is_refused():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(IMAGE, "AVIF", exif=exif)
    assert b"irot" in content
    with pytest.raises(ImageError, match=r"AVIF of a kind that is read, got a clean aperture"):
        read_frame(content.replace(b"irot", b"clap"))


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_jpeg_2000_with_and_without_boxes(mode, bare):
    image = (
        Image.fromarray(RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)) if mode == "I;16" else CLEAR.convert(mode)
    )
    assert_as_pillow(saved(image, "JPEG2000", no_jp2=bare))


# PNG, byte by byte --------------------------------------------------------------------------------------------------


def png(depth, color, rows, *chunks, interlace=0, width=WIDTH):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, HEIGHT, depth, color, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("color", [0, 3], ids=["gray", "palette"])
def test_packed_pngs(depth, color):
    rows = RNG.integers(0, 256, (HEIGHT, (WIDTH * depth + 7) // 8), np.uint8)
    palette = (b"PLTE", RNG.integers(0, 256, 3 * 2**depth, np.uint8).tobytes())
    assert_as_pillow(png(depth, color, rows, *([palette] if color else [])))


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_deep_pngs(color, channels):
    assert_as_pillow(png(16, color, RNG.integers(0, 256, (HEIGHT, WIDTH * channels * 2), np.uint8)))


@pytest.mark.parametrize("gamma", [20000, 45455, 100000])
def test_gamma_is_left_alone(gamma):
    assert_as_pillow(png(8, 2, SMOOTH.reshape(HEIGHT, -1), (b"gAMA", struct.pack(">I", gamma))))


def test_interlaced_pngs():
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for y, x, dy, dx in passes for row in SMOOTH[y::dy, x::dx].reshape(-1, SMOOTH[0, x::dx].size)]
    assert_as_pillow(png(8, 2, rows, interlace=1), 0)


@pytest.mark.parametrize("transparency", [bytes(range(16)), 3])
def test_palettes_with_transparency(transparency):
    assert_as_pillow(saved(IMAGE.quantize(16), "PNG", transparency=transparency), 0)


# BMP, byte by byte --------------------------------------------------------------------------------------------------


def bmp(bits, body, masks=(), height=8):
    header = struct.pack("<IiiHHIIiiII", 40, 8, height, 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0)
    fields = struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + len(header) + len(fields)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + fields + body


@pytest.mark.parametrize("masks", [(), (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)], ids=["555", "masks 555", "565"])
@pytest.mark.parametrize("height", [8, -8])
def test_bmps_of_16_bits_reach_white(masks, height):
    content = bmp(16, RNG.integers(0, 65536, 64, np.uint16).tobytes(), masks, height)
    assert_as_pillow(content, 0)
    assert read_frame(bmp(16, b"\xff" * 128, masks, height)).image.min() == 255


def test_bmps_of_32_bits():
    body = RNG.integers(0, 256, 256, np.uint8).tobytes()
    assert_as_pillow(bmp(32, body), 0)
    assert_as_pillow(bmp(32, body, (0xFF0000, 0xFF00, 0xFF)), 0)
    with pytest.raises(ImageError, match=r"got bit masks ff/ff00/ff0000"):
        read_frame(bmp(32, body, (0xFF, 0xFF00, 0xFF0000)))


# Netpbm -------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    magic=st.sampled_from([b"P2", b"P3", b"P5", b"P6"]),
    white=st.one_of(st.integers(1, 65535), st.sampled_from([1, 127, 255, 256, 1023, 4095, 65535])),
    comment=st.booleans(),
    seed=st.integers(0, 99),
)
def test_levels_of_netpbm_files_reach_white(magic, white, comment, seed):
    shape = (5, 7, 3) if magic in {b"P3", b"P6"} else (5, 7, 1)
    values = np.random.default_rng(seed).integers(0, white + 1, shape)
    values[0, 0] = white
    raw = values.astype(">u2" if white > 255 else np.uint8).tobytes()
    text = " ".join(map(str, values.ravel())).encode()
    content = magic + (b"\n# made by hand\n" if comment else b"\n") + b"7 5\n%d\n" % white
    got = read_frame(content + (raw if magic in {b"P5", b"P6"} else text + b"\n")).image
    want = np.repeat(values, 3 // shape[2], 2)[..., ::-1] * 255 / white
    assert np.abs(got - want).max() <= TOLERANCE
    assert got[0, 0].tolist() == [255, 255, 255]


def test_plain_bitmaps():
    bits = RNG.integers(0, 2, (5, 9))
    rows = ["".join(map(str, row)) for row in bits]
    got = read_frame(b"P1\n9 5\n" + "\n".join(rows).encode() + b"\n").image
    np.testing.assert_array_equal(got, np.repeat(255 * (1 - bits)[..., None], 3, 2))


# What is not read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (cv2.imencode(".hdr", np.ones((4, 4, 3), np.float32))[1].tobytes(), "Radiance HDR file of floating-point"),
        (cv2.imencode(".pfm", np.ones((4, 4, 3), np.float32))[1].tobytes(), "PFM file of floating-point"),
        (cv2.imencode(".pam", SMOOTH)[1].tobytes(), "a PAM file"),
        (cv2.imencode(".ras", SMOOTH)[1].tobytes(), "a Sun raster file"),
        (b"\x76\x2f\x31\x01\x02\0\0\0", "an OpenEXR file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an HEIC file"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL file"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (saved(IMAGE, "ICO"), "an icon file"),
        (saved(IMAGE, "QOI"), "a QOI file"),
    ],
)
def test_other_files_are_called_by_their_name(content, name):
    with pytest.raises(ImageError, match=rf"must be JPEG, PNG, .* or PBM, PGM or PPM, got .*{name}.*\. Convert it"):
        read_frame(content)


@pytest.mark.parametrize(
    ("marker", "precision", "components", "feature"),
    [(0xC1, 12, 3, "12-bit samples"), (0xC3, 8, 1, "lossless"), (0xC0, 8, 2, "2 channels")],
)
def test_rare_jpegs_name_the_feature(marker, precision, components, feature):
    content = bytearray(saved(IMAGE, "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4], content[at + 9] = marker, precision, components
    with pytest.raises(ImageError, match=rf"must be a JPEG of a kind that is read, got .*{feature}"):
        read_frame(bytes(content))

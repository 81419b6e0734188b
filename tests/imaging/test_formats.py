"""Every kind of image file: Pillow's pixels, or one line that names what is not read."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.sources import read_frame

RNG = np.random.default_rng(11)
HEIGHT, WIDTH = 23, 31
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
SMOOTH = np.stack([COLUMNS * 8 % 256, ROWS * 11 % 256, (COLUMNS + ROWS) * 4 % 256], -1).astype(np.uint8)
PICTURE = Image.fromarray(SMOOTH)
CLEAR = PICTURE.copy()
CLEAR.putalpha(Image.fromarray((COLUMNS * 8 % 256).astype(np.uint8)))
TOLERANCE = 1
"""Levels: where a decoder rounds and Pillow cuts off."""


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pillow_bgr(content):
    """Pillow's upright pixels without alpha; of 16-bit grey the upper byte."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
        warnings.simplefilter("ignore")  # about palettes with transparency
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I" or upright.mode.startswith("I;16"):
            return np.repeat((np.asarray(upright).astype(np.int64) >> 8).astype(np.uint8)[..., None], 3, 2)
        return np.asarray(upright.convert("RGB"))[..., ::-1]


def assert_as_pillow(content, tolerance=TOLERANCE):
    got, want = read_frame(content).image.astype(int), pillow_bgr(content).astype(int)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance


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
    assert_as_pillow(saved((CLEAR if "A" in mode else PICTURE).convert(mode), kind))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "GIF"])
def test_of_several_pages_or_frames_the_first_is_read(kind):
    content = saved(PICTURE, kind, save_all=True, append_images=[ImageOps.invert(PICTURE)])
    assert_as_pillow(content)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiffs(compression):
    assert_as_pillow(saved(PICTURE, "TIFF", compression=compression))


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax_tiffs(compression):
    assert_as_pillow(saved(PICTURE.convert("1"), "TIFF", compression=compression))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientations(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_as_pillow(saved(CLEAR if kind in {"TIFF", "AVIF"} else PICTURE, kind, exif=exif))


def test_exif_does_not_turn_an_avif_whose_own_boxes_do_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(saved(PICTURE, "AVIF", exif=exif))
    content[content.index(b"irot") + 4] = 0
    assert read_frame(bytes(content)).image.shape[:2] == (HEIGHT, WIDTH)
    assert_as_pillow(bytes(content))


def test_a_cropped_avif_is_refused():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(PICTURE, "AVIF", exif=exif)
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
@pytest.mark.parametrize("color", [0, 3], ids=["grey", "palette"])
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
    assert_as_pillow(saved(PICTURE.quantize(16), "PNG", transparency=transparency), 0)


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


# TIFF, byte by byte -------------------------------------------------------------------------------------------------


def tiff(planes, bits, photometric, *, order="<", extra=None, planar=False, orientation=1, tags=(), tile=None):
    """An uncompressed or deflated TIFF. `planes` are rows of packed bytes: one array, or one a plane."""
    strips = []
    for plane in planes if planar else [planes]:
        if tile is None:
            strips.append(zlib.compress(np.ascontiguousarray(plane).tobytes()))
        else:
            padded = np.pad(
                plane, [(0, -plane.shape[0] % tile), (0, -plane.shape[1] % tile), *[(0, 0)] * (plane.ndim - 2)]
            )
            strips += [
                zlib.compress(np.ascontiguousarray(padded[y : y + tile, x : x + tile]).tobytes())
                for y in range(0, padded.shape[0], tile)
                for x in range(0, padded.shape[1], tile)
            ]
    data, places = b"", []
    for strip in strips:
        places.append(8 + len(data))
        data += strip + b"\0" * (len(strip) % 2)
    offsets, lengths = (324, 325) if tile else (273, 279)
    entries = {256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, list(bits)), 259: (3, [8]), 262: (3, [photometric])}
    entries |= {offsets: (4, places), 274: (3, [orientation]), 277: (3, [len(bits)])}
    entries |= {lengths: (4, [len(strip) for strip in strips]), 284: (3, [2 if planar else 1])}
    entries |= {322: (3, [tile]), 323: (3, [tile])} if tile else {278: (4, [HEIGHT])}
    entries |= {338: (3, extra)} if extra is not None else {}
    entries |= dict(tags)
    directory, beyond = b"", b""
    after = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(body) > 4:
            place = struct.pack(order + "I", after + len(beyond))
            beyond += body + b"\0" * (len(body) % 2)
        else:
            place = body.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    return head + data + struct.pack(order + "H", len(entries)) + directory + bytes(4) + beyond


@settings(max_examples=150, deadline=None)
@given(
    color=st.sampled_from([(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (5, 4)]),
    deep=st.booleans(),
    order=st.sampled_from("<>"),
    alpha=st.sampled_from([0, 1, 2]),
    planar=st.booleans(),
    orientation=st.integers(1, 8),
    tile=st.sampled_from([None, 16, 32]),
    seed=st.integers(0, 999),
)
def test_tiffs_of_all_layouts_are_read_as_the_format_says_or_refused(
    color, deep, order, alpha, planar, orientation, tile, seed
):
    photometric, channels = color
    values = np.random.default_rng(seed).integers(0, 65536 if deep else 256, (HEIGHT, WIDTH, channels))
    stored = values.astype(order + "u2" if deep else np.uint8)
    planes = [stored[..., index] for index in range(channels)] if planar else stored
    extra = [alpha] if color in {(1, 2), (2, 4)} else None
    bits = [16 if deep else 8] * channels
    content = tiff(
        planes, bits, photometric, order=order, extra=extra, planar=planar, orientation=orientation, tile=tile
    )
    refused = (photometric == 5 and deep) or (color == (1, 2) and (alpha == 1 or planar or tile))
    if refused or (photometric < 2 and deep and tile) or (color == (2, 4) and alpha == 1 and deep and planar):
        with pytest.raises(ImageError, match="must be a TIFF of a kind that is read"):
            read_frame(content)
        return
    got = read_frame(content).image.astype(int)
    levels = values / 257 if deep else values.astype(float)
    if photometric == 5:
        levels = (255 - levels[..., :3]) * (255 - levels[..., 3:]) / 255
    elif color == (2, 4):
        if alpha == 1:
            high = (values >> 8) if deep else values
            above = np.maximum(high[..., 3:], 1)
            levels = np.where(high[..., 3:] == 0, 0, np.minimum(255, 255 * high[..., :3] // above))
        levels = levels[..., :3]
    elif photometric < 2:
        levels = np.repeat(255 - levels[..., :1] if photometric == 0 else levels[..., :1], 3, 2)
    want = upright(levels, orientation)[..., ::-1]
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1.5


def upright(pixels, orientation):
    """Source: TIFF 6.0, Orientation."""
    turned = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
    rows = -1 if orientation in {3, 4, 7, 8} else 1
    columns = -1 if orientation in {2, 3, 6, 7} else 1
    return turned[::rows, ::columns]


@pytest.mark.parametrize("photometric", [0, 1])
def test_bitmap_tiffs(photometric):
    assert_as_pillow(tiff(RNG.integers(0, 256, (HEIGHT, (WIDTH + 7) // 8), np.uint8), [1], photometric))


@pytest.mark.parametrize("orientation", [1, 6])
def test_tiled_palette_tiffs(orientation):
    rows = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    colors = (RNG.integers(0, 256, 768) * 257).tolist()
    assert_as_pillow(tiff(rows, [8], 3, tags={320: (3, colors)}, tile=16, orientation=orientation))


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_palette_tiffs(depth):
    rows = RNG.integers(0, 256, (HEIGHT, (WIDTH * depth + 7) // 8), np.uint8)
    colors = (RNG.integers(0, 256, 3 * 2**depth) * 257).tolist()
    assert_as_pillow(tiff(rows, [depth], 3, tags={320: (3, colors)}))


@pytest.mark.parametrize(
    ("bits", "photometric", "tags", "feature"),
    [
        ([8, 8, 8], 1, {338: (3, [0, 0])}, "3 channels tagged as gray"),
        ([8, 8, 8, 8], 1, {338: (3, [0, 0, 0])}, "4 channels tagged as gray"),
        ([8, 8, 8, 8, 8], 2, {338: (3, [0, 0])}, "5 channels"),
        ([8, 8, 8], 8, {}, r"CIE L\*a\*b\* colors"),
        ([32], 1, {}, "32-bit samples"),
        ([32], 1, {339: (3, [3])}, "floating-point 32-bit samples"),
        ([16], 1, {339: (3, [2])}, "signed 16-bit samples"),
        ([12], 1, {}, "12-bit samples"),
        ([4], 1, {}, "4-bit samples"),
        ([2], 3, {320: (3, [0] * 12)}, "2-bit samples"),
        ([5, 6, 5], 2, {}, "5/6-bit samples"),
        ([8, 8, 8], 2, {259: (3, [50000])}, "Zstandard compression"),
        ([8, 8, 8], 2, {259: (3, [6])}, "old-style JPEG compression"),
        ([8], 32803, {}, "color filter array"),
        ([8], 40000, {}, "color space 40000"),
    ],
)
def test_tiffs_that_are_not_read_name_the_feature(bits, photometric, tags, feature):
    rows = np.zeros((HEIGHT, (WIDTH * sum(bits) + 7) // 8), np.uint8)
    with pytest.raises(ImageError, match=rf"image 'image_0' must be a TIFF of a kind that is read, got .*{feature}"):
        read_frame(tiff(rows, bits, photometric, tags=tags))


def test_a_tiff_cut_between_its_planes_is_refused():
    planes = [RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)] * 3
    content = tiff(planes, [8, 8, 8], 2, planar=True, tags={273: (4, [8, 10**6, 2 * 10**6])})
    with pytest.raises(ImageError, match="truncated"):
        read_frame(content)


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
        (saved(PICTURE, "ICO"), "an icon file"),
        (saved(PICTURE, "QOI"), "a QOI file"),
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
    content = bytearray(saved(PICTURE, "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4], content[at + 9] = marker, precision, components
    with pytest.raises(ImageError, match=rf"must be a JPEG of a kind that is read, got .*{feature}"):
        read_frame(bytes(content))


# Sizes --------------------------------------------------------------------------------------------------------------


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
        content = bytearray(saved(PICTURE, kind))
        mark, ahead, code = small[kind]
        struct.pack_into(code, content, content.index(mark) + ahead, size, size)
        return bytes(content)
    if kind == "WEBP":  # the canvas of the extended layout
        body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (size - 1).to_bytes(3, "little") * 2
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    if kind == "JPEG":
        content = saved(PICTURE, "JPEG")
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


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["TIFF", "AVIF", "JPEG2000", "PNG", "BMP", "GIF", "WEBP", "JPEG", "PPM"]), data=st.data())
def test_damaged_headers_end_in_one_line(kind, data):
    content = bytearray(saved(PICTURE, kind))
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
        with pytest.raises(ImageError, match="cannot be decoded"):
            read_frame(content[:length])

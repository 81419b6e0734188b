"""One image: a path, bytes, an array or a PIL image, as BGR pixels or an error that names it."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.image_content import saved
from PIL import Image, ImageOps

from hrnet_deploy.errors import HrnetDeployError, ImageError, MissingFileError
from hrnet_deploy.imaging.frame import Frame
from hrnet_deploy.imaging.sources import items, read_frame

RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(suffix, image=BGR, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def png_header(height, width):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


# One image ----------------------------------------------------------------------------------------------------------


def test_a_path_bytes_an_array_and_a_pil_image_give_the_same_pixels(tmp_path):
    path = tmp_path / "Bäume ☘.png"
    path.write_bytes(encode(".png"))
    pil = Image.fromarray(BGR[:, :, ::-1])
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), BGR, pil):
        frame = read_frame(source)
        assert isinstance(frame, Frame)
        assert frame.image.flags.c_contiguous
        assert np.array_equal(frame.image, BGR)
        assert frame.decode_ms >= 0
    assert (read_frame(path).name, read_frame(path).path) == ("Bäume ☘.png", path)
    assert (read_frame(BGR).name, read_frame(BGR).path) == ("image_0", None)


def test_a_bgr_array_is_passed_on_without_a_copy():
    assert np.shares_memory(read_frame(BGR).image, BGR)


def test_a_view_becomes_contiguous():
    view = BGR[::2, ::-1]
    assert read_frame(view).image.flags.c_contiguous
    assert np.array_equal(read_frame(view).image, view)


GREY = BGR[:, :, 0]
DEEP = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, np.repeat(GREY[..., None], 3, 2)),
        (GREY[..., None], np.repeat(GREY[..., None], 3, 2)),
        (np.dstack([BGR, GREY]), BGR),
        (DEEP, (DEEP >> 8).astype(np.uint8)),
        (DEEP[..., 0], np.repeat((DEEP[..., :1] >> 8).astype(np.uint8), 3, 2)),
        (BGR[:1, :1], BGR[:1, :1]),
    ],
    ids=["gray", "gray with axis", "alpha", "16 bit", "16 bit gray", "one pixel"],
)
def test_arrays_of_every_depth_and_channel_count(array, expected):
    assert np.array_equal(read_frame(array).image, expected)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("image", [DEEP, DEEP[..., 0]], ids=["color", "gray"])
def test_16_bit_files_keep_their_upper_eight_bits(suffix, image):
    got = read_frame(encode(suffix, image)).image
    # libtiff's own reduction of color rounds, so a level may differ there
    assert np.abs(got.astype(int) - read_frame(image).image).max() <= (suffix == ".tiff" and image.ndim == 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "YCbCr", "HSV", "CMYK"])
def test_pil_modes_agree_with_convert_rgb(mode):
    pil = Image.fromarray(BGR).convert(mode) if mode != "LA" else Image.fromarray(BGR).convert("L").convert("LA")
    assert np.array_equal(read_frame(pil).image, np.asarray(pil.convert("RGB"))[..., ::-1])


def test_pil_16_bit_gray():
    expected = np.repeat((DEEP[..., :1] >> 8).astype(np.uint8), 3, 2)
    assert np.array_equal(read_frame(Image.fromarray(DEEP[..., 0])).image, expected)
    assert np.array_equal(read_frame(Image.fromarray(DEEP[..., 0].astype(np.int32))).image, expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_png_modes_agree_with_pillow(mode):
    pil = Image.fromarray(BGR).convert("L").convert(mode) if mode == "LA" else Image.fromarray(BGR).convert(mode)
    got = read_frame(saved(pil, "PNG")).image
    assert np.array_equal(got, np.asarray(pil.convert("RGB"))[..., ::-1])


def test_a_cmyk_jpeg_is_read():
    content = saved(Image.fromarray(BGR).convert("CMYK"), "JPEG", quality=95)
    assert read_frame(content).image.shape == BGR.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    pil_image = Image.fromarray(cv2.resize(BGR[..., ::-1], (48, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(pil_image, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))[..., ::-1]
    assert np.array_equal(read_frame(Image.open(io.BytesIO(content))).image, expected)
    assert np.array_equal(read_frame(content).image, expected)
    content = saved(pil_image, "JPEG", exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))[..., ::-1]
    assert np.abs(read_frame(content).image.astype(int) - expected).max() <= 2


# Bad input ----------------------------------------------------------------------------------------------------------


class Lazy:
    """Looks like a PIL image and breaks as a truncated one does."""

    mode, size = "RGB", (4, 4)

    def getexif(self):
        return {}

    def convert(self, mode):
        raise OSError("image file is truncated")


BAD = [
    (b"", "must not be empty, got 0 bytes"),
    (b"hello, this is text", "not an image, or a damaged one"),
    (encode(".jpg")[:-40], "truncated"),
    (encode(".jpg")[:-2], "truncated"),
    (encode(".jpg")[:30], "truncated"),
    (encode(".png")[:-30], "truncated"),
    (encode(".webp")[:-30], "truncated"),
    (encode(".png")[:20], "truncated"),
    (png_header(20000, 20000), "at most 178956970 pixels, got 20000x20000"),
    (np.zeros((4, 4, 3), np.float32), "must be uint8 (0..255) or uint16, got float32"),
    (np.zeros((4, 4, 3), bool), "got bool"),
    (np.zeros((3, 40, 40), np.uint8), "Put the channels last"),
    (np.zeros((1, 4, 4, 3), np.uint8), "got (1, 4, 4, 3)"),
    (np.zeros(5, np.uint8), "got (5,)"),
    (np.zeros((0, 4, 3), np.uint8), "must have pixels"),
    (Image.new("F", (4, 4)), "PIL mode 'F'"),
    (Image.new("RGB", (0, 4)), "must have pixels"),
    (Lazy(), "cannot be decoded (image file is truncated)"),
    (None, "got NoneType"),
    (3.5, "got float"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_images_say_what_and_why(source, message):
    with pytest.raises(ImageError) as caught:
        read_frame(source)
    assert message in str(caught.value)
    assert "image 'image_0'" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError):
        [item.load() for item in items(source)]


def test_bad_files_name_the_file(tmp_path):
    text = tmp_path / "report.txt"
    text.write_text("not an image")
    with pytest.raises(ImageError, match=r"report\.txt' cannot be decoded"):
        read_frame(text)
    with pytest.raises(MissingFileError, match=r"image must exist, got no file .*gone\.png"):
        read_frame(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="got the folder"):
        read_frame(tmp_path)
    with pytest.raises(HrnetDeployError):
        read_frame("a\0b.png")
    with pytest.raises(ImageError, match="must be readable, got 'File name too long'"):
        read_frame("x" * 5000 + ".png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_says_so(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(".png"))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_frame(path)


def test_bytes_after_the_end_of_a_jpeg_are_no_harm():
    assert read_frame(encode(".jpg") + b"trailing").image.shape == BGR.shape


def test_a_thumbnail_does_not_hide_a_truncated_jpeg():
    exif = Image.Exif()
    exif[0x010E] = encode(".jpg").decode("latin-1")  # an end marker inside a header segment
    whole = saved(Image.fromarray(BGR), "JPEG", exif=exif)
    assert read_frame(whole).image.shape == BGR.shape
    with pytest.raises(ImageError, match="truncated"):
        read_frame(whole[:-20])

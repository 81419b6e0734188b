import io
import os
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hrnet_deploy.errors import HrnetDeployError, ImageError, MissingFileError
from hrnet_deploy.imaging.frame import Frame
from hrnet_deploy.imaging.image_header import read_header
from hrnet_deploy.imaging.sources import as_image_error, is_live, is_single, items, read_frame

RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def frames(source):
    """Read every image of a source."""
    return (item.load() for item in items(source))


def encode(suffix, image=BGR, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def pil_bytes(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(height, width):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 16))
    for level in (0, 60, 120, 180):
        writer.write(np.full((16, 32, 3), level, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    (root / "b" / "deep").mkdir(parents=True)
    for name in ("z.png", "A.PNG", "b/one.bmp", "b/deep/two.webp", ".hidden.png"):
        cv2.imwrite(str(root / name.replace("A.PNG", "a.png")), BGR)
    (root / "a.png").rename(root / "A.PNG")
    (root / "notes.txt").write_text("no image")
    return root


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
    ids=["grey", "grey with axis", "alpha", "16 bit", "16 bit grey", "one pixel"],
)
def test_arrays_of_every_depth_and_channel_count(array, expected):
    assert np.array_equal(read_frame(array).image, expected)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("image", [DEEP, DEEP[..., 0]], ids=["colour", "grey"])
def test_16_bit_files_keep_their_upper_eight_bits(suffix, image):
    got = read_frame(encode(suffix, image)).image
    # libtiff's own reduction of colour rounds, so a level may differ there
    assert np.abs(got.astype(int) - read_frame(image).image).max() <= (suffix == ".tiff" and image.ndim == 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "YCbCr", "HSV", "CMYK"])
def test_pil_modes_agree_with_convert_rgb(mode):
    pil = Image.fromarray(BGR).convert(mode) if mode != "LA" else Image.fromarray(BGR).convert("L").convert("LA")
    assert np.array_equal(read_frame(pil).image, np.asarray(pil.convert("RGB"))[..., ::-1])


def test_pil_16_bit_grey():
    expected = np.repeat((DEEP[..., :1] >> 8).astype(np.uint8), 3, 2)
    assert np.array_equal(read_frame(Image.fromarray(DEEP[..., 0])).image, expected)
    assert np.array_equal(read_frame(Image.fromarray(DEEP[..., 0].astype(np.int32))).image, expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_png_modes_agree_with_pillow(mode):
    pil = Image.fromarray(BGR).convert("L").convert(mode) if mode == "LA" else Image.fromarray(BGR).convert(mode)
    got = read_frame(pil_bytes(pil, "PNG")).image
    assert np.array_equal(got, np.asarray(pil.convert("RGB"))[..., ::-1])


def test_a_cmyk_jpeg_is_read():
    content = pil_bytes(Image.fromarray(BGR).convert("CMYK"), "JPEG", quality=95)
    assert read_frame(content).image.shape == BGR.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    picture = Image.fromarray(cv2.resize(BGR[..., ::-1], (48, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = pil_bytes(picture, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))[..., ::-1]
    assert np.array_equal(read_frame(Image.open(io.BytesIO(content))).image, expected)
    assert np.array_equal(read_frame(content).image, expected)
    content = pil_bytes(picture, "JPEG", exif=exif, quality=95)
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
        list(frames(source))


def test_bad_files_name_the_file(tmp_path):
    text = tmp_path / "report.txt"
    text.write_text("not an image")
    with pytest.raises(ImageError, match=r"report\.txt' cannot be decoded"):
        read_frame(text)
    with pytest.raises(MissingFileError, match=r"gone\.png' must exist"):
        read_frame(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="got a folder"):
        read_frame(tmp_path)
    with pytest.raises(HrnetDeployError):
        read_frame("a\0b.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_frame("x" * 5000 + ".png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_says_so(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(".png"))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_frame(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tiff", ".avif", ".ppm"])
def test_declared_sizes(suffix):
    assert read_header(encode(suffix)).size_hw == (20, 30)
    for cut in range(2, 40, 3):
        read_header(encode(suffix)[:cut])  # must not raise


def test_declared_sizes_of_rare_webp_and_bmp_kinds():
    assert read_header(encode(".webp", BGR, cv2.IMWRITE_WEBP_QUALITY, 101)).size_hw == (20, 30)  # lossless
    assert read_header(pil_bytes(Image.new("RGBA", (30, 20)), "WEBP", quality=50)).size_hw == (20, 30)
    assert read_header(b"BM" + bytes(12) + struct.pack("<IHH", 12, 30, 20)).size_hw == (20, 30)
    assert read_header(b"BM" + bytes(12) + struct.pack("<Iii", 40, 30, -20)).size_hw == (20, 30)
    assert read_header(b"no image") is None


def test_bytes_after_the_end_of_a_jpeg_are_no_harm():
    assert read_frame(encode(".jpg") + b"trailing").image.shape == BGR.shape


def test_a_thumbnail_does_not_hide_a_truncated_jpeg():
    exif = Image.Exif()
    exif[0x010E] = encode(".jpg").decode("latin-1")  # an end marker inside a header segment
    whole = pil_bytes(Image.fromarray(BGR), "JPEG", exif=exif)
    assert read_frame(whole).image.shape == BGR.shape
    with pytest.raises(ImageError, match="truncated"):
        read_frame(whole[:-20])


# Collections --------------------------------------------------------------------------------------------------------


def test_is_single(tmp_path, folder, video):
    for one in (BGR, b"x", bytearray(b"x"), Image.new("L", (2, 2)), "cat.jpg", tmp_path / "cat.jpg", "missing"):
        assert is_single(one)
    for many in ([BGR], (BGR,), iter([BGR]), folder, str(video), video, "no/*.png", 0, "0", None, [[]]):
        assert not is_single(many)


def test_a_folder_is_read_recursively_and_sorted(folder):
    assert [frame.name for frame in frames(folder)] == ["A.PNG", "two.webp", "one.bmp", "z.png"]
    assert [frame.name for frame in frames(str(folder))] == ["A.PNG", "two.webp", "one.bmp", "z.png"]
    assert all(frame.path.is_file() for frame in frames(folder))


def test_links_in_a_folder_are_followed_once(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.png").write_bytes(encode(".png"))
    (folder / "link.png").symlink_to(outside / "far.png")
    (folder / "outside").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    assert sorted(f.name for f in frames(folder)) == ["A.PNG", "far.png", "link.png", "one.bmp", "two.webp", "z.png"]


def test_a_pattern_is_expanded(folder):
    assert [f.name for f in frames(f"{folder}/**/*.[pw]*")] == ["two.webp", "z.png"]
    assert [f.name for f in frames(f"{folder}/*")] == ["A.PNG", "z.png"]


def test_a_file_whose_name_looks_like_a_pattern_or_a_camera_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat[1].png", "0"):
        (tmp_path / name).write_bytes(encode(".png"))
        assert is_single(name)
        assert next(frames(name)).name == name


def test_empty_collections_say_so(tmp_path):
    with pytest.raises(ImageError, match="must hold images, got none"):
        list(frames(tmp_path))
    with pytest.raises(MissingFileError, match="got no match"):
        list(frames(f"{tmp_path}/*.png"))
    with pytest.raises(MissingFileError, match=r"video .*gone\.mp4' must exist"):
        list(frames(tmp_path / "gone.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"bad\.mp4' cannot be opened"):
        list(frames(tmp_path / "bad.mp4"))
    assert list(frames([])) == []


def test_lists_tuples_and_iterators_mix_sources(folder, video):
    mixed = [BGR, folder, encode(".png"), video]
    expected = ["image_0", "A.PNG", "two.webp", "one.bmp", "z.png", "image_2", *(f"clip.avi#{i}" for i in range(4))]
    for source in (mixed, tuple(mixed), iter(mixed)):
        assert [f.name for f in frames(source)] == expected


def test_a_bad_item_is_raised_or_reported(folder):
    (folder / "broken.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"broken\.png"):
        list(frames(folder))
    loaded, failed = [], []
    for item in items([folder, folder / "gone.png", None]):
        try:
            loaded.append(item.load())
        except (ImageError, MissingFileError) as error:  # noqa: PERF203
            failed.append((Path(item.name).name, str(error), as_image_error(error)))
    assert len(loaded) == 4
    assert [name for name, _, _ in failed] == ["broken.png", "gone.png", "image_2"]
    assert all(isinstance(error, ImageError) and str(error) == text for _, text, error in failed)


# Video --------------------------------------------------------------------------------------------------------------


def test_a_video_is_read_frame_by_frame(video):
    got = list(frames(video))
    assert [f.name for f in got] == [f"clip.avi#{i}" for i in range(4)]
    assert [round(float(f.image.mean()), -1) for f in got] == [0, 60, 120, 180]
    assert got[0].path == video


def test_closing_the_stream_releases_the_video(video, monkeypatch):
    released = []

    class Capture:
        def __init__(self, address):
            self.address = address

        def isOpened(self):  # noqa: N802
            return True

        def get(self, what):
            return 25.0 if what == cv2.CAP_PROP_FPS else 0.0

        def read(self):
            return True, BGR

        def release(self):
            released.append(self.address)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    stream = frames(video)
    assert next(stream).name == "clip.avi#0"
    stream.close()
    camera = frames(0)
    assert next(camera).name == "camera0#0"
    camera.close()
    text = frames(["1"])
    assert next(text).name == "camera1#0"
    text.close()
    assert released == [str(video), 0, 1]


def test_threads_read_side_by_side():
    contents = [encode(".png", np.full((50, 60, 3), i, np.uint8)) for i in range(8)]
    wrong = []

    def work(i):
        wrong.extend(i for _ in range(20) if not (read_frame(contents[i]).image == i).all())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Found, not yet read ------------------------------------------------------------------------------------------------


def test_items_read_nothing_until_they_are_loaded_and_failures_keep_their_place(folder, tmp_path):
    (folder / "b" / "one.bmp").write_bytes(b"no image")
    found = list(items([folder / "z.png", tmp_path / "none", folder, 3.5, BGR]))
    outcomes = []
    for item in found:
        try:
            outcomes.append(item.load().name)
        except HrnetDeployError as error:  # noqa: PERF203 - each has an outcome
            outcomes.append(type(error).__name__)
    assert outcomes == [
        "z.png",
        "MissingFileError",
        "A.PNG",
        "two.webp",
        "ImageError",
        "z.png",
        "ImageError",
        "image_4",
    ]
    assert [item.name for item in found[3:]] == [
        *(str(folder / name) for name in ("b/deep/two.webp", "b/one.bmp", "z.png")),
        "image_3",
        "image_4",
    ]


@pytest.mark.parametrize(("source", "live"), [(0, True), ("0", True), ("a.mp4", False), (BGR, False), (True, False)])
def test_only_cameras_are_live(source, live, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_live(source) is live


@pytest.mark.parametrize(("least", "shape"), [(None, (160, 240)), (161, (160, 240)), (80, (80, 120)), (20, (20, 30))])
def test_drafts_of_jpegs_keep_the_pixels_asked_for(least, shape):
    image = cv2.resize(BGR, (240, 160))
    assert read_frame(encode(".jpg", image), draft_px=least).image.shape[:2] == shape
    assert read_frame(encode(".png", image), draft_px=least).image.shape[:2] == (160, 240)

"""What people hand to `predict`: read, or refused in one line that says what to pass."""

import array
import io
import os
import pathlib
import tempfile

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from hrnet_deploy.errors import HrnetDeployError, ImageError
from hrnet_deploy.imaging.sources import is_live, is_single, items, read_frame
from hrnet_deploy.system.regular_file import ALLOW_SPECIAL

RNG = np.random.default_rng(3)
BGR = RNG.integers(0, 256, (12, 17, 3), np.uint8)
PNG = cv2.imencode(".png", BGR)[1].tobytes()


def frames(source):
    """Read every image of a source."""
    return (item.load() for item in items(source))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    return path


# Nothing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["", " ", "\t\n", pathlib.Path(), pathlib.Path("")])  # noqa: PTH201
def test_an_unset_variable_is_not_the_current_folder(source, file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert is_single(source)
    for given in (source, [source]):
        with pytest.raises(ImageError, match=r"must be a file, folder, pattern or camera, got .*\. Name one"):
            list(frames(given))


def test_a_folder_named_on_purpose_is_one(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    for source in (".", "./", pathlib.Path.cwd()):
        assert [frame.name for frame in frames(source)] == ["cat.png"]


@pytest.mark.parametrize("source", [None, b"", bytearray(), memoryview(b""), np.zeros((0, 3, 3), np.uint8), {}, set()])
def test_nothing_is_an_error(source):
    with pytest.raises(ImageError):
        list(frames(source))


def test_no_images_are_no_results():
    assert list(frames([])) == list(frames(iter(()))) == []


# Files and buffers --------------------------------------------------------------------------------------------------


def test_open_files_are_read(file):
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - as an upload has one
    spooled.write(PNG)
    spooled.seek(0)
    with file.open("rb") as opened, file.open("rb", buffering=0) as raw:
        for source in (opened, raw, io.BytesIO(PNG), spooled):
            assert is_single(source)
            np.testing.assert_array_equal(read_frame(source).image, BGR)
        assert read_frame(file.open("rb")).name == "cat.png"
    assert read_frame(io.BytesIO(PNG)).name == "image_0"
    spooled.close()


def test_buffers_are_read():
    for source in (PNG, bytearray(PNG), memoryview(PNG), array.array("B", PNG)):
        assert is_single(source)
        np.testing.assert_array_equal(read_frame(source).image, BGR)


class Upload:
    """As Starlette's UploadFile: its read is a coroutine."""

    async def read(self, size=-1):
        return PNG[:size]


def at_end(path):
    opened = path.open("rb")
    opened.read()
    return opened


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (at_end, r"must have bytes left to read, got none. Rewind it with seek\(0\)"),
        (lambda path: path.open(encoding="latin-1"), "must give bytes, got str. Open it with mode 'rb'"),
        (lambda path: path.open("ab"), "cannot be read"),
        (lambda _: Upload(), "must be read without await, got Upload"),
        (lambda _: cv2.VideoCapture(), "must give bytes, got tuple"),
    ],
)
def test_files_that_give_no_bytes_say_why(file, make, message):
    with pytest.raises(ImageError, match=message):
        read_frame(make(file))


@pytest.mark.skipif(not pathlib.Path("/dev/zero").exists(), reason="needs a device without an end")
def test_a_device_without_an_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr("hrnet_deploy.imaging.image_files.IMAGE_FILE_BYTES", 1 << 22)
    monkeypatch.setattr("hrnet_deploy.imaging.sources.IMAGE_FILE_BYTES", 1 << 22)
    with pytest.raises(ImageError, match="got a character device at /dev/zero"):
        read_frame("/dev/zero")
    monkeypatch.setenv(ALLOW_SPECIAL, "1")
    with pytest.raises(ImageError, match="must have at most 4194304 bytes"):
        read_frame("/dev/zero")
    with pytest.raises(ImageError, match="must have at most 4194304 bytes"), open("/dev/zero", "rb") as endless:  # noqa: PTH123
        read_frame(endless)


def test_every_kind_of_path(file):
    (entry,) = os.scandir(file.parent)
    for source in (entry, pathlib.PurePath(file), np.str_(str(file))):
        assert is_single(source)
        assert read_frame(source).path == file
    assert [frame.name for frame in frames([entry])] == ["cat.png"]


# Arrays -------------------------------------------------------------------------------------------------------------


def test_read_only_strided_and_foreign_byte_orders_are_fine():
    frozen = BGR[::2, ::-1]
    frozen.flags.writeable = False
    np.testing.assert_array_equal(read_frame(frozen).image, frozen)
    deep = RNG.integers(0, 65536, (5, 6, 3), np.uint16)
    np.testing.assert_array_equal(read_frame(deep.astype(">u2")).image, (deep >> 8).astype(np.uint8))
    np.testing.assert_array_equal(read_frame(np.asfortranarray(BGR)).image, BGR)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BGR / 255, r"got float64 of 0\.\.1\. Scale it"),
        (BGR.astype(np.float32), r"got float32 of 0\.\.255"),
        (BGR.astype(np.int64), r"got int64 of 0\.\.255"),
        (BGR > 3, "got bool"),
        (BGR.astype(np.uint32), "got uint32"),
        (BGR.astype(object), "got object"),
        (BGR.transpose(2, 0, 1), "Put the channels last"),
        (np.stack([BGR, BGR]), r"got \(2, 12, 17, 3\)\. Pass list\(array\)"),
        (np.ma.masked_array(BGR, BGR > 9), "got a masked one"),
        (Image.fromarray(np.array([[0, 70000]], np.int32)), r"must have levels of 16 bits, got 0\.\.70000"),
        (np.float32(3), r"numpy.float32 float32 \(\)"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), r"got torch.Tensor torch.uint8 \(64, 64, 3\). Convert it to a BGR"),
        (torch.rand(3, 8, 8), r"for RGB \(3, H, W\) of 0..1: \(255 \* t\).*numpy\(\)"),
        (torch.rand(2, 3, 8, 8), r"got a batch, torch.Tensor .* Pass a list"),
        ({"image": BGR}, r"got dict\. Pass a list in the order you want"),
        ({"a.png", "b.png"}, "got set"),
        (True, "got bool"),
        (object(), "got object"),
        (Image, "got module"),
    ],
)
def test_what_is_no_image_says_what_to_pass(source, message):
    for given in (source, [source]):
        with pytest.raises(ImageError, match=message) as caught:
            list(frames(given))
        assert "\n" not in str(caught.value)


def test_the_advice_for_tensors_is_right():
    rgb = torch.rand(3, 9, 11)
    with pytest.raises(ImageError) as caught:
        read_frame(rgb)
    advice = str(caught.value).split("of 0..1: ")[1].rstrip(".")
    advised = eval(advice, {"t": rgb})  # noqa: S307 - it is printed for users to paste
    want = np.round(255 * rgb.numpy().transpose(1, 2, 0)).astype(np.uint8)[..., ::-1]
    np.testing.assert_array_equal(read_frame(advised).image, want)


def test_numbers_of_numpy_are_cameras_too():
    assert is_live(np.int64(0))
    assert not is_single(np.int64(0))


def test_generators_of_everything(file):
    sources = (one for one in (BGR, PNG, file, str(file), io.BytesIO(PNG), Image.fromarray(BGR[..., ::-1])))
    for frame in frames(sources):
        np.testing.assert_array_equal(frame.image, BGR)


@pytest.mark.parametrize(
    "source", ["ftp://example.org/a.png", "s3://bucket/a.png", "file:///etc/a.png", "data:image/png;base64,AAAA"]
)
def test_other_schemes_than_http_are_refused(source):
    with pytest.raises(HrnetDeployError, match=r"must be a file or an http\(s\) URL, got scheme"):
        read_frame(source, allow_url=True)

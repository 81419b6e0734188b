"""Errors of writing, each as one line that names the output and what helps."""

import errno
import os

import pytest

from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.system.write_errors import writing


def fail(error, **given):
    with writing(**given):
        raise error


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space, or choose another disk."),
        (errno.EDQUOT, "Free some space of your quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENAMETOOLONG, "Choose a shorter name."),
        (errno.EROFS, "Choose another folder."),
        (errno.EACCES, "Check the folder and its permissions, or choose another."),
        (errno.EIO, "Check the folder and its permissions, or choose another."),
    ],
)
def test_each_error_has_its_reason_and_its_remedy(tmp_path, number, remedy):
    with pytest.raises(UsageError) as caught:
        fail(OSError(number, os.strerror(number)), path=tmp_path / "x.onnx")
    assert str(caught.value).startswith(f"output must be writable, got '{os.strerror(number)}' for {tmp_path}/x.onnx. ")
    assert remedy in str(caught.value)


def test_the_line_is_one_and_bounded(tmp_path):
    with pytest.raises(UsageError) as caught:
        fail(OSError(errno.EIO, "a\nb" * 1000), path=tmp_path / ("n\n" * 1000))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("error", [ImageError("bad"), ConnectionResetError(), BrokenPipeError(), KeyboardInterrupt()])
def test_what_is_none_of_the_disk_passes(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        fail(error, path=tmp_path)
    assert caught.value is error


def test_an_error_that_names_another_file_passes(tmp_path):
    inside, outside = tmp_path / "scratch/part", tmp_path / "scratch2/image"
    with pytest.raises(UsageError):
        fail(PermissionError(errno.EACCES, "no", str(inside)), path=tmp_path, within=tmp_path / "scratch")
    with pytest.raises(UsageError):
        fail(OSError(errno.ENOSPC, "full"), path=tmp_path, within=tmp_path / "scratch")
    with pytest.raises(PermissionError):
        fail(PermissionError(errno.EACCES, "no", str(outside)), path=tmp_path, within=tmp_path / "scratch")

"""Files that are opened only if they are regular."""

import errno
import os

import pytest

from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.system.regular_file import check_regular, open_regular, read_regular


def test_a_file_at_its_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", "file", 5) == b"12345"
    with pytest.raises(ImageError, match="file must have at most 4 bytes"):
        read_regular(tmp_path / "a", "file", 4, ImageError)


def test_a_file_that_grows_while_it_is_read_has_the_limit_too(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    status = path.stat()
    path.write_bytes(b"x" * 1000)
    monkeypatch.setattr(os, "fstat", lambda handle: status)
    assert read_regular(path, "file", 1000) == b"x" * 1000
    with pytest.raises(UsageError, match="at most 999 bytes"):
        read_regular(path, "file", 999)


@pytest.mark.parametrize("error", [ValueError("of the caller"), KeyError("a"), FileNotFoundError(2, "gone", "other")])
def test_errors_of_the_caller_pass(tmp_path, error):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(type(error)) as caught, open_regular(tmp_path / "a", "file"):
        raise error
    assert caught.value is error


def test_errors_of_reading_are_translated(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    message = "file must be readable, got 'Input/output error' for"
    with pytest.raises(ImageError, match=message), open_regular(tmp_path / "a", "file", ImageError):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800", "a/b"])
def test_a_path_that_no_file_can_have_is_one_line(tmp_path, name):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises((UsageError, MissingFileError)) as caught:
        read_regular(tmp_path / name, "file", 9)
    assert "\n" not in str(caught.value)


def test_what_a_library_opens_by_name_is_checked_before(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    check_regular(tmp_path / "a", "file")
    with pytest.raises(ImageError, match="file must be a file, got the folder"):
        check_regular(tmp_path, "file", ImageError)
    with pytest.raises(MissingFileError, match="file must exist"):
        check_regular(tmp_path / "b", "file")

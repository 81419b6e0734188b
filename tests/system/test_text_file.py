"""Texts and lists of the user."""

import pytest

from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.limits import LINE_CHARACTERS
from hrnet_deploy.system import text_file
from hrnet_deploy.system.text_file import read_text, split_lines


def test_a_text_is_read_without_its_byte_order_mark(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffcaf\u00e9\n".encode())
    assert read_text(tmp_path / "a", "file", "a text", 99) == "caf\u00e9\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "must be UTF-8 text"), (b"a\0", "must be a text, got binary"), (b"a" * 100, "at most 99 bytes")],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_text(tmp_path / "a", "file", "a text", 99)
    with pytest.raises(MissingFileError, match="file must exist"):
        read_text(tmp_path / "b", "file", "a text", 99)


def test_lines_have_limits(monkeypatch):
    assert split_lines("a\n\nb", "list") == ["a", "", "b"]
    with pytest.raises(UsageError, match=f"list, line 2, must have at most {LINE_CHARACTERS} characters, got 5000"):
        split_lines("a\n" + "b" * 5000, "list")
    monkeypatch.setattr(text_file, "LIST_LINES", 2)
    with pytest.raises(UsageError, match="list must have at most 2 lines, got more"):
        split_lines("a\n\nb", "list")

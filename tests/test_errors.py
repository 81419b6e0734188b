import pytest

from hrnet_deploy.errors import one_line


@pytest.mark.parametrize(
    ("message", "limit", "expected"),
    [
        (OSError("no\n  such\tfile "), None, "no such file"),
        ("  a  b\r\nc", 3, "a b"),
        (ValueError(), 5, ""),
    ],
)
def test_a_message_fits_one_line(message, limit, expected):
    assert one_line(message, limit) == expected

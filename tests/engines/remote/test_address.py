"""URLs of models: their parts, and the forms that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.engines.remote.address import ModelUrl, is_url
from hrnet_deploy.errors import UsageError


@pytest.mark.parametrize(
    ("text", "origin", "path"),
    [
        ("http://localhost:8000/v2/models/w18", "http://localhost:8000", "/v2/models/w18"),
        ("HTTP://LOCALHOST:80/v2/models/w18/", "http://localhost", "/v2/models/w18"),
        ("https://example.org/v2/models/w18/versions/3", "https://example.org", "/v2/models/w18/versions/3"),
        ("https://example.org:443/a/b/v2/models/m", "https://example.org", "/a/b/v2/models/m"),
        ("http://[::1]:8000/v2/models/m", "http://[::1]:8000", "/v2/models/m"),
        ("http://h/v2/models/a%20b", "http://h", "/v2/models/a%20b"),
    ],
)
def test_parts_of_a_url(text, origin, path):
    found = ModelUrl.parse(text)
    assert (found.origin, found.path, str(found)) == (origin, path, origin + path)
    assert ModelUrl.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000",
        "http://localhost:8000/v2/models/",
        "http://localhost:8000/v2/models/m/infer",
        "http://localhost:8000/v2/models/m/versions/",
        "http://localhost:8000/v1/models/m",
        "http:///v2/models/m",
        "http://h:0/v2/models/m",
        "http://h:99999/v2/models/m",
        "http://h:x/v2/models/m",
        "http://h/../v2/models/m",
        "http://h/v2/models/..",
        "http://h/v2/models/m?x=1",
        "http://h/v2/models/m#x",
        "http://h/v2/models/m\r\nX: y",
        "http://h/v2/models/a b",
        "http://h/v2/models/ä",
        "http://h\\x/v2/models/m",
        "http://[::1/v2/models/m",
        "ftp://h/v2/models/m",
        "http://h/v2/models/" + "m" * 3000,
    ],
)
def test_other_forms_are_refused_on_one_line(text):
    with pytest.raises(UsageError, match="server URL must") as caught:
        ModelUrl.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(UsageError, match="no user name or password") as caught:
        ModelUrl.parse("https://me:secret@h/v2/models/m")
    assert "secret" not in str(caught.value)


@given(st.text(max_size=80).map("http://h/v2/models/{}".format) | st.text(max_size=80).map("https://{}".format))
def test_any_text_is_parsed_or_refused(text):
    assert is_url(text)
    try:
        found = ModelUrl.parse(text)
    except UsageError:
        return
    assert found.path.isascii()
    assert ModelUrl.parse(str(found)) == found


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("https://example.org", True),
        ("http://localhost", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://example.org", False),
        ("http://10.0.0.1", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_private_are_https_and_this_machine(host, private):
    assert ModelUrl.parse(f"{host}/v2/models/m").is_private is private


def test_paths_are_no_urls(tmp_path):
    assert not any(map(is_url, ("w18.onnx", "http.onnx", tmp_path, b"http://h", None)))

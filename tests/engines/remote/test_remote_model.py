"""A model on a server with its token: where the token may go, and where it is not shown."""

import pickle
from pathlib import Path

import pytest

from hrnet_deploy.engines.remote.remote_model import RemoteModel, Token, is_remote, runtime_of
from hrnet_deploy.errors import MissingFileError, UsageError

URL = "https://h/v2/models/m"


def test_a_token_is_pickled_and_not_shown():
    served = RemoteModel(URL, Token("secret"))
    assert "secret" not in repr(served) + str(served) + repr(served.token) + str(served.token)
    assert pickle.loads(pickle.dumps(served)) == served


@pytest.mark.parametrize("url", ["http://example.org:8000/v2/models/m", "http://10.0.0.1/v2/models/m"])
def test_a_token_does_not_go_over_http_to_another_machine(url):
    with pytest.raises(UsageError, match=r"a token must be sent over https.*ssh -L") as caught:
        RemoteModel(url, Token("secret"))
    assert "secret" not in str(caught.value)
    assert RemoteModel("http://localhost:8000/v2/models/m", Token("secret")).token == Token("secret")


@pytest.mark.parametrize("text", ["", "a b", "a\nX: y", "a\r", "ä", "\x7f"])
def test_a_token_is_one_word(text):
    with pytest.raises(UsageError, match="token must be one word"):
        Token(text)


@pytest.mark.parametrize("content", ["secret", "secret\n", "\ufeffsecret\r\n", " secret \n"])
def test_a_token_file_holds_one_line(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8", newline="")
    assert Token.read(path) == Token("secret")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "one line, got 0"),
        (b"secret\nother\n", "one line, got 2"),
        (b"\n", "one word"),
        (b"two words", "one word"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 20_000, "at most 16384 bytes"),
    ],
)
def test_other_token_files_are_refused_without_their_content(tmp_path, content, reason):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        Token.read(path)
    assert not {"secret", "words"} & set(str(caught.value).split())
    with pytest.raises(MissingFileError, match="token file must exist"):
        Token.read(tmp_path / "missing")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_timeout_is_a_time(seconds):
    with pytest.raises(UsageError, match="timeout must be above 0"):
        RemoteModel(URL, timeout_s=seconds)


def test_device_and_backend_are_for_files_where_there_are_files():
    file, served = Path("w18.onnx"), RemoteModel(URL)
    assert runtime_of(file, [file, URL], "cpu", "openvino") == ("cpu", "openvino")
    assert runtime_of(URL, [file, URL], "cpu", "openvino") == ("auto", "auto")
    assert runtime_of(served, [served, URL], "cpu", "openvino") == ("cpu", "openvino")
    assert is_remote(URL)
    assert not is_remote(file)

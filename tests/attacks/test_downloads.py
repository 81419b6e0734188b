"""Hostile servers of weights and images: each attempt ends in one line, in bounded time and memory."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from helpers.raw_server import forever, once, raw_server

from hrnet_deploy.errors import DownloadError, HrnetDeployError, ImageError, UsageError
from hrnet_deploy.imaging import image_url
from hrnet_deploy.imaging.image_url import fetch_image
from hrnet_deploy.models import weights
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.system import download as download_module
from hrnet_deploy.system import http_body, http_client, http_route
from hrnet_deploy.system.download import download

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(CONTENT)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    """Short waits, no proxy, and a cache of its own."""
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(download_module, "_ATTEMPTS", 2)
    monkeypatch.setattr(http_body, "_WINDOW_S", 0.5)
    monkeypatch.setattr(http_client, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(http_client.open_url, "__kwdefaults__", {"timeout_s": 0.5, "total_s": float("inf")})
    monkeypatch.setattr(image_url, "_TIMEOUT_S", 0.5)
    monkeypatch.setattr(image_url, "IMAGE_URL_S", 1.0)
    monkeypatch.setattr(image_url, "IMAGE_URL_BYTES", 1_000_000)


def chunk(content):
    return b"%x\r\n" % len(content) + content + b"\r\n"


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = bytes(1 << 16)
HOSTILE = {
    "endless body": (forever(OK + b"\r\n", ENDLESS), "unknown length and digest|at most"),
    "endless chunks": (forever(CHUNKED, chunk(ENDLESS)), "above the limit|at most"),
    "one negative chunk": (forever(CHUNKED + b"-1\r\n", ENDLESS), "above the limit|at most"),
    "endless chunk size": (forever(CHUNKED, b"0", 0.01), "no more data|not complete|too slow"),
    "endless trailers": (forever(CHUNKED + chunk(CONTENT) + b"0\r\n", b"X: y\r\n", 0.01), "no more data|not complete"),
    "a petabyte": (once(OK + b"Content-Length: 1000000000000000\r\n\r\n"), "above the limit|at most"),
    "a length of 30 digits": (once(OK + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n"), "no number of bytes"),
    "a negative length": (once(OK + b"Content-Length: -1\r\n\r\nx"), "no number of bytes"),
    "a length with a sign": (once(OK + b"Content-Length: +1\r\n\r\nx"), "no number of bytes"),
    "two lengths": (once(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), "no number of bytes"),
    "more promised than sent": (once(OK + b"Content-Length: 500\r\n\r\nabc"), "closed after 3 of 500 bytes"),
    "another coding": (once(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"), "transfer encoding"),
    "a cut chunk": (once(CHUNKED + b"20\r\nabc"), "IncompleteRead"),
    "one byte at a time": (forever(OK + LENGTH + b"\r\n", b"x", 0.01), "too slow|not complete"),
    "silence": (forever(b"", b"", 0.1), "timed out"),
    "half a head": (forever(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.05), "timed out"),
    "endless hundreds": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "timed out"),
    "a silent body": (forever(OK + LENGTH + b"\r\n", b"", 0.1), "no more data|not complete"),
    "a header of megabytes": (once(OK + b"X: " + b"y" * 3_000_000 + b"\r\n\r\n"), "header line|reset|closed"),
    "thousands of headers": (once(OK + b"X: y\r\n" * 5000 + b"\r\n"), "100 headers|reset"),
    "no HTTP": (once(b"SSH-2.0-OpenSSH\x1b[2J\r\n"), r"SSH-2.0-OpenSSH\\x1b\[2J"),
    "nothing": (once(), "closed connection|reset"),
    "a hostile reason": (once(b"HTTP/1.1 404 \x1b[31mnot\x07 here\r\n\r\n"), r"HTTP 404 \\x1b\[31mnot\\x07 here"),
    "compressed": (once(OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"), "encoded as gzip"),
    "to a file": (once(b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\n\r\n"), "a redirect to file:///etc/passwd"),
    "to ftp": (once(b"HTTP/1.1 302 x\r\nLocation: ftp://a/\x1b[2J\r\n\r\n"), "a redirect to ftp://a/"),
    "to data": (once(b"HTTP/1.1 302 x\r\nLocation: data:,x\r\n\r\n"), "a redirect to data:"),
    "to a password": (once(b"HTTP/1.1 302 x\r\nLocation: http://u:p@127.0.0.1/\r\n\r\n"), "a user name or password"),
    "a loop": (once(b"HTTP/1.1 302 x\r\nLocation: /again\r\n\r\n"), "more than 10 redirects"),
    "a redirect to nowhere": (once(b"HTTP/1.1 302 x\r\n\r\n"), "HTTP 302"),
    "not modified": (once(b"HTTP/1.1 304 x\r\n\r\n"), "HTTP 304"),
    "a part without a request for one": (
        once(b"HTTP/1.1 206 x\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nabcde"),
        "another part",
    ),
}


def one_line_of(call, kind):
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10
    message = str(caught.value)
    assert not CONTROL.search(message)
    return message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_weights_are_one_line_and_no_file(tmp_path, name):
    script, reason = HOSTILE[name]
    path = tmp_path / "net.pth"
    with raw_server(script) as server:
        url = f"http://127.0.0.1:{server.port}/net.pth"
        message = one_line_of(lambda: download(url, path, limit_bytes=1_000_000), DownloadError)
    assert re.search(reason, message)
    assert not path.exists()


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"a part without a request for one"}))
def test_hostile_images_are_one_line(name):
    script, reason = HOSTILE[name]
    with raw_server(script) as server:
        url = f"http://127.0.0.1:{server.port}/cat.jpg"
        message = one_line_of(lambda: fetch_image(url, "image 'x'", allowed=True), ImageError)
    assert re.search(reason, message)


def test_an_endless_redirect_body_is_not_read(tmp_path):
    head = b"HTTP/1.1 302 x\r\nLocation: /there\r\n\r\n"

    def script(server, connection, number):
        server.receive(connection)
        if number == 1:
            connection.sendall(head)
            while True:
                connection.sendall(ENDLESS)
        connection.sendall(OK + LENGTH + b"\r\n" + CONTENT)

    with raw_server(script) as server:
        path = download(f"http://127.0.0.1:{server.port}/a", tmp_path / "net.pth", digest=SHA256)
    assert path.read_bytes() == CONTENT


def test_what_follows_the_length_is_not_part_of_the_file(tmp_path):
    with raw_server(once(OK + LENGTH + b"\r\n" + CONTENT + b"more")) as server:
        path = download(f"http://127.0.0.1:{server.port}/a", tmp_path / "net.pth", digest=SHA256)
    assert path.read_bytes() == CONTENT


@pytest.fixture
def second_loopback_is_public(monkeypatch):
    """Make 127.0.0.2 stand for a public server, as none can be reached from tests."""
    monkeypatch.setattr(http_route, "is_public_address", lambda address: address == "127.0.0.2")


@pytest.mark.usefixtures("second_loopback_is_public")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost.", "127.0.0.%31", "2130706433", "[::1]"])
def test_a_public_server_leads_to_no_private_address(tmp_path, host):
    with raw_server(once(OK + LENGTH + b"\r\n" + CONTENT)) as inner:
        to = f"http://{host}:{inner.port}/secret"
        front = PublicServer(b"HTTP/1.1 302 x\r\nLocation: " + to.encode() + b"\r\n\r\n")
        with contextlib.closing(front):
            url = f"http://127.0.0.2:{front.port}/net.pth"
            message = one_line_of(lambda: download(url, tmp_path / "net.pth"), DownloadError)
        assert "from a public server to the private address" in message or host in {"a.localhost.", "[::1]"}
        assert not inner.requests


class PublicServer:
    """A server on the second loopback address."""

    def __init__(self, content):
        self._socket = socket.create_server(("127.0.0.2", 0))
        self.port = self._socket.getsockname()[1]
        self._content = content
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.recv(65536)
                connection.sendall(self._content)
                connection.close()

    def close(self):
        self._socket.close()


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
    ],
)
def test_public_addresses(address, is_public):
    assert http_route.is_public_address(address) is is_public


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:9/", "http://169.254.169.254/latest", "http://localhost/", "http://[::1]/"]
)
def test_behind_a_proxy_redirects_to_private_addresses_are_refused(tmp_path, monkeypatch, target):
    with raw_server(once(b"HTTP/1.1 302 x\r\nLocation: " + target.encode() + b"\r\n\r\n")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        message = one_line_of(lambda: download("http://example.org/net.pth", tmp_path / "net.pth"), DownloadError)
        assert "from a public server to the private address" in message
        assert len(proxy.requests) == 1
        assert proxy.requests[0].startswith(b"GET http://example.org/net.pth HTTP/1.1\r\n")


def test_a_proxy_on_this_machine_serves_public_files(tmp_path, monkeypatch):
    with raw_server(once(OK + LENGTH + b"\r\n" + CONTENT)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert download("http://example.org/a", tmp_path / "net.pth", digest=SHA256).read_bytes() == CONTENT


def test_a_redirect_to_another_host_carries_no_credentials(tmp_path):
    with raw_server(once(OK + LENGTH + b"\r\n" + CONTENT)) as storage:
        location = f"http://127.0.0.1:{storage.port}/signed?key=1".encode()
        answer = b"HTTP/1.1 302 x\r\nSet-Cookie: a=b\r\nLocation: " + location + b"\r\n\r\n"
        with raw_server(once(answer)) as release:
            download(f"http://127.0.0.1:{release.port}/a", tmp_path / "net.pth", digest=SHA256)
        names = {line.partition(b":")[0].lower() for line in storage.requests[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"user-agent", b"accept-encoding", b"connection"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("not installed: openssl, which makes the certificate of the test")
    paths = [str(tmp_path_factory.mktemp("tls") / name) for name in ("cert.pem", "key.pem")]
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([openssl, *words.split(), "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


def test_https_is_verified_and_leads_to_https_only(tmp_path, monkeypatch, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def script(server, connection, _):
        with context.wrap_socket(connection, server_side=True) as secure:
            request = server.receive(secure)
            if b"/moved" in request:
                secure.sendall(b"HTTP/1.1 302 x\r\nLocation: http://localhost:1/net.pth\r\n\r\n")
            elif b"/slow" in request:
                secure.sendall(OK + LENGTH + b"\r\n")
                time.sleep(3)
            else:
                secure.sendall(OK + LENGTH + b"\r\n" + CONTENT)

    with raw_server(script) as server:
        url = f"https://localhost:{server.port}"
        message = one_line_of(lambda: download(f"{url}/a", tmp_path / "net.pth"), DownloadError)
        assert "certificate verify failed" in message
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        message = one_line_of(lambda: download(f"{url}/moved", tmp_path / "net.pth"), DownloadError)
        assert "a redirect to http://localhost:1/net.pth, which is refused" in message
        message = one_line_of(lambda: download(f"{url}/slow", tmp_path / "net.pth"), DownloadError)
        assert "no more data" in message
        assert download(f"{url}/a", tmp_path / "net.pth", digest=SHA256).read_bytes() == CONTENT


def test_a_password_in_a_url_is_neither_sent_nor_shown(tmp_path):
    with raw_server(once(OK + LENGTH + b"\r\n" + CONTENT)) as server:
        url = f"http://me:hunter2@127.0.0.1:{server.port}/a?token=hunter2"
        message = one_line_of(lambda: download(url, tmp_path / "net.pth"), DownloadError)
        assert "a user name or password in the URL" in message
        assert "hunter2" not in message
        assert server.connections == 0


PARTIAL = CONTENT[:1000]


def leave_partial(path, content=PARTIAL, validator='"v1"'):
    path.with_name("net.pth.partial").write_bytes(content)
    path.with_name("net.pth.partial.etag").write_text(validator)


def ranged(head, content):
    """A server that responds to a Range request with a head, and to another one with the whole file."""

    def script(server, connection, _):
        request = server.receive(connection)
        if b"\r\nRange: " in request:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        else:
            connection.sendall(OK + LENGTH + b'ETag: "v1"\r\n\r\n' + CONTENT)

    return script


REST = b"bytes 1000-%d/%d" % (len(CONTENT) - 1, len(CONTENT))


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (b"HTTP/1.1 206 x\r\nContent-Range: " + REST + b"\r\n", CONTENT[1000:]),
        (b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-5/6\r\n", b"abcdef"),
        (b"HTTP/1.1 206 x\r\nContent-Range: bytes 1000-1/2\r\n", b"abcdef"),
        (b"HTTP/1.1 206 x\r\nContent-Range: bytes 1000-99999999999999999999999999/1\r\n", b"abcdef"),
        (b"HTTP/1.1 206 x\r\n", b"abcdef"),
        (b'HTTP/1.1 206 x\r\nETag: "v2"\r\nContent-Range: ' + REST + b"\r\n", bytes(len(CONTENT) - 1000)),
        (b"HTTP/1.1 206 x\r\nContent-Type: multipart/byteranges; boundary=b\r\n", b"--b--"),
        (b"HTTP/1.1 416 x\r\n", b""),
        (b"HTTP/1.1 200 x\r\n", CONTENT),
    ],
    ids=["right", "start", "end", "digits", "none", "changed", "multipart", "416", "200"],
)
def test_a_partial_is_continued_or_fetched_anew(tmp_path, head, content):
    path = tmp_path / "net.pth"
    leave_partial(path)
    with raw_server(ranged(head, content)) as server:
        assert download(f"http://127.0.0.1:{server.port}/net.pth", path).read_bytes() == CONTENT
    assert [one.name for one in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("validator", ['"v\r\nX: y"', "\x1b[2J", "x" * 5000, "", "é", '"' + "x" * 300 + '"'])
def test_a_validator_that_cannot_be_sent_is_forgotten(tmp_path, validator):
    path = tmp_path / "net.pth"
    leave_partial(path, validator=validator)
    with raw_server(ranged(b"HTTP/1.1 206 x\r\n", b"")) as server:
        assert download(f"http://127.0.0.1:{server.port}/net.pth", path, digest=SHA256).read_bytes() == CONTENT
        assert b"Range" not in server.requests[0]


@pytest.mark.parametrize("tag", ['"a\x01b"', '"' + "x" * 30_000 + '"', "\x85"])
def test_a_hostile_entity_tag_is_not_kept(tmp_path, tag):
    path = tmp_path / "net.pth"
    head = OK + LENGTH + b"ETag: " + tag.encode("latin-1") + b"\r\n\r\n"
    with raw_server(once(head + PARTIAL)) as server:
        one_line_of(lambda: download(f"http://127.0.0.1:{server.port}/net.pth", path), DownloadError)
        assert all(b"Range" not in request for request in server.requests)


@pytest.mark.parametrize("name", ["net.pth.partial", "net.pth.partial.etag", "net.pth"])
@pytest.mark.parametrize("kind", ["pipe", "link", "broken link"])
def test_pipes_and_links_in_the_cache_are_not_followed(tmp_path, name, kind):
    path, outside = tmp_path / "cache" / "net.pth", tmp_path / "outside"
    path.parent.mkdir()
    outside.write_bytes(b"mine")
    leave_partial(path)
    place = path.with_name(name)
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif name != "net.pth" or kind == "broken link":  # a link to a file under the final name is the user's
        place.symlink_to(outside if kind == "link" else tmp_path / "gone")
    with raw_server(ranged(b"HTTP/1.1 206 x\r\nContent-Range: " + REST + b"\r\n", CONTENT[1000:])) as server:
        assert download(f"http://127.0.0.1:{server.port}/net.pth", path, digest=SHA256).read_bytes() == CONTENT
    assert outside.read_bytes() == b"mine"
    assert not (tmp_path / "gone").exists()
    assert path.is_file()
    assert not path.is_symlink()


def test_a_full_disk_is_one_line_and_the_rest_is_fetched_later(tmp_path, monkeypatch):
    path = tmp_path / "net.pth"
    real = download_module._copy

    class Full:
        def __init__(self, file):
            self._file, self.name = file, file.name

        def write(self, chunk):
            self._file.write(chunk[:500])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(body, file, *rest):
        real(body, Full(file), *rest)

    script = ranged(b"HTTP/1.1 206 x\r\nContent-Range: bytes 500-%d/*\r\n" % (len(CONTENT) - 1), CONTENT[500:])
    with raw_server(script) as server:
        url = f"http://127.0.0.1:{server.port}/net.pth"
        with monkeypatch.context() as patch:
            patch.setattr(download_module, "_copy", full)
            message = one_line_of(lambda: download(url, path, digest=SHA256), DownloadError)
        assert "No space left on device" in message
        assert not path.exists()
        assert download(url, path, digest=SHA256).read_bytes() == CONTENT
        assert b"Range: bytes=500-" in server.requests[-1]


def test_nothing_has_the_name_before_its_digest_is_known(tmp_path):
    with raw_server(once(OK + LENGTH + b"\r\n" + bytes(len(CONTENT)))) as server:
        message = one_line_of(
            lambda: download(f"http://127.0.0.1:{server.port}/net.pth", tmp_path / "net.pth", digest=SHA256[:8]),
            DownloadError,
        )
    assert f"starting with {SHA256[:8]}, got {hashlib.sha256(bytes(len(CONTENT))).hexdigest()}" in message
    assert list(tmp_path.iterdir()) == []


def test_two_processes_share_one_download_and_a_killed_one_frees_it(tmp_path):
    path = tmp_path / "net.pth"
    arrived = threading.Event()

    def script(server, connection, number):
        request = server.receive(connection)
        start = int(request.partition(b"bytes=")[2].partition(b"-")[0] or 0)
        status = b"HTTP/1.1 206 x\r\nContent-Range: bytes %d-%d/*\r\n" % (start, len(CONTENT) - 1) if start else OK
        connection.sendall(status + b'ETag: "v1"\r\nContent-Length: %d\r\n\r\n' % (len(CONTENT) - start))
        connection.sendall(CONTENT[start : start + 1000])
        if number == 1:
            arrived.set()
            time.sleep(20)
        connection.sendall(CONTENT[start + 1000 :])

    with raw_server(script) as server:
        code = "import sys; from pathlib import Path; from hrnet_deploy.system.download import download\n"
        code += "download(sys.argv[1], Path(sys.argv[2]), digest=sys.argv[3])"
        words = [sys.executable, "-c", code, f"http://127.0.0.1:{server.port}/net.pth", str(path), SHA256]
        first = subprocess.Popen(words)
        assert arrived.wait(60)
        others = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for other in others:  # each has reported that it waits
            assert "waiting for another process to download net.pth" in other.stderr.readline()
        assert server.connections == 1
        first.kill()
        first.wait()
        assert [other.wait(60) for other in others] == [0, 0]
        for other in others:
            other.stderr.close()
        assert path.read_bytes() == CONTENT
        assert server.connections == 2


NAMES = [
    "../../../../etc/cron.d/x.pth",
    "..%2f..%2fx.pth",
    "%2e%2e%5c%2e%2e%5cx.pth",
    "..",
    "%00x.pth",
    "a%1b%5b2J%e2%80%ae.pth",
    "x" * 300 + ".pth",
    "%E7%B6%B2" * 100 + ".pth",
    "CON.pth",
    ".hidden",
    "",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_of_urls_stay_in_the_cache(tmp_path, caplog, name):
    head = OK + LENGTH + b'Content-Disposition: attachment; filename="../../evil"\r\n\r\n'

    def script(server, connection, _):
        request = server.receive(connection)
        connection.sendall(b"HTTP/1.1 404 x\r\n\r\n" if b"config.json" in request else head + CONTENT)

    with raw_server(script) as server:
        path = resolve_weights(f"http://127.0.0.1:{server.port}/a/{name}?x#{name}")
    assert path.parent == tmp_path / "cache" / "weights"
    assert re.fullmatch(r"unverified-[0-9a-f]{16}-[A-Za-z0-9_.-]{1,100}", path.name)
    assert path.read_bytes() == CONTENT
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cache"]
    (warning,) = caplog.messages
    assert warning == f"{path.name} is not verified, because no digest is published for it; its SHA-256 is {SHA256}"


@pytest.mark.parametrize("url", ["http://[x/a.pth", "http://a:b/c.pth", "http://a:99999/c.pth", "gopher://a/b.pth"])
def test_a_malformed_url_is_one_line(url):
    with pytest.raises(HrnetDeployError) as caught:
        resolve_weights(url)
    assert isinstance(caught.value, UsageError)
    assert not CONTROL.search(str(caught.value))


@pytest.mark.parametrize(
    "config", [b"[" * 100_000, b'{"architecture": ' + b"9" * 100_000 + b"}", b"\xff\xfe{", b"3", b'"\\ud800"']
)
def test_hostile_configurations_beside_weights_are_none(config):
    def script(server, connection, _):
        request = server.receive(connection)
        body = config if b"config.json" in request else CONTENT
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    with raw_server(script) as server:
        path = resolve_weights(f"http://127.0.0.1:{server.port}/net.pth")
    assert not path.with_name(path.name + weights.CONFIG_SUFFIX).exists()


@pytest.mark.parametrize("name", ["one byte at a time", "a loop", "to a file", "half a head", "two lengths"])
def test_a_hostile_configuration_server_is_one_line(monkeypatch, name):
    monkeypatch.setattr(http_client, "_SMALL_S", 1.0)
    with raw_server(HOSTILE[name][0]) as server:
        url = f"http://127.0.0.1:{server.port}/config.json"
        message = one_line_of(lambda: http_client.fetch_small(url, 1000_000), DownloadError)
    assert "must be downloadable or absent" in message

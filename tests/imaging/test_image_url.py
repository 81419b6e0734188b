"""Images from the web: on request only, within bounds. The server is in this process."""

import contextlib
import http.server
import threading

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging import image_url
from hrnet_deploy.imaging.sources import is_single, items, read_frame

BGR = np.random.default_rng(5).integers(0, 256, (12, 17, 3), np.uint8)
PNG = cv2.imencode(".png", BGR)[1].tobytes()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, body, length = self.path.lstrip("/"), PNG, None
        self.server.asked.append(name)
        if name == "gone.png":
            self.send_error(404)
            return
        if name.startswith("to/"):
            self.send_response(302)
            self.send_header("Location", {"to/file": "file:///etc/passwd", "to/cat": "/cat.png"}.get(name, "ftp://a/b"))
            self.end_headers()
            return
        if name == "huge.png":
            length = 1 << 40
        if name == "cut.png":
            length = 2 * len(PNG)
        if name == "page.html":
            body = b"<!DOCTYPE html><html></html>"
        self.send_response(200)
        if name != "endless.png":
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        if name == "endless.png":
            with contextlib.suppress(OSError):
                while not self.server.over.is_set():
                    self.wfile.write(bytes(1 << 16))

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.asked, found.over = [], threading.Event()
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        found.url = f"http://127.0.0.1:{found.server_port}"
        yield found
        found.over.set()
        found.shutdown()
        thread.join()


@pytest.mark.slow
def test_urls_are_refused_unless_allowed(server):
    url = f"{server.url}/cat.png"
    assert is_single(url)
    for given in (url, [url]):
        with pytest.raises(ImageError, match=r"got a URL, which is fetched only on request\. Add --allow-url"):
            [item.load() for item in items(given)]
    assert server.asked == []


@pytest.mark.slow
def test_an_allowed_url_is_fetched(server):
    frame = read_frame(f"{server.url}/cat.png", allow_url=True)
    np.testing.assert_array_equal(frame.image, BGR)
    assert (frame.name, frame.path) == (f"{server.url}/cat.png", None)
    (item,) = items([f"{server.url}/to/cat"], allow_url=True)
    np.testing.assert_array_equal(item.load().image, BGR)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "must be downloadable, got: HTTP 404"),
        ("to/file", "a redirect to file:///etc/passwd, which is refused"),
        ("to/ftp", "a redirect to ftp://a/b, which is refused"),
        ("huge.png", "must have at most 1000000 bytes, got 1099511627776 bytes"),
        ("endless.png", "must have at most 1000000 bytes, got more"),
        ("cut.png", "the connection closed after"),
        ("page.html", "got a web page"),
    ],
)
def test_bad_responses_are_one_line(server, monkeypatch, name, message):
    monkeypatch.setattr(image_url, "IMAGE_URL_BYTES", 1_000_000)
    with pytest.raises(ImageError, match=message) as caught:
        read_frame(f"{server.url}/{name}", allow_url=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_slow_response_ends(server, monkeypatch):
    monkeypatch.setattr(image_url, "IMAGE_URL_S", 0.05)
    with pytest.raises(ImageError, match="not complete after"):
        read_frame(f"{server.url}/endless.png", allow_url=True)


def test_nobody_there():
    with pytest.raises(ImageError, match="must be downloadable, got"):
        read_frame("http://127.0.0.1:1/cat.png", allow_url=True)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("HTTPS://a/b", "https"),
        ("C:/cat.jpg", None),
        ("a/b.png", None),
        ("http:b", None),
        ("data:x", "data"),
        ("", None),
    ],
)
def test_schemes(text, scheme):
    assert image_url.url_scheme(text) == scheme

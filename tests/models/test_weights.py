"""Downloads against a real HTTP server on this machine, honest and otherwise."""

import contextlib
import dataclasses
import hashlib
import http.server
import os
import re
import sys
import threading
import time

import pytest

from hrnet_deploy.errors import DownloadError, MissingFileError, UsageError
from hrnet_deploy.models import weights, zoo
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.models.zoo import entries, find_entry
from hrnet_deploy.system import download as download_module
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.download import download
from hrnet_deploy.system.http_route import Route

CONTENT = bytes(range(256)) * 4096
"""One MiB."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the server's `content` in the way its settings say."""

    def do_GET(self):
        here = self.server
        requested = self.headers.get("Range")
        if self.path.partition("?")[0].endswith("/config.json"):
            here.configs.append(self.path)
            if here.config is None:
                self.send_error(here.no_config)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(here.config)
            return
        here.requested.append((self.path, requested, self.headers.get("If-Range")))
        if here.redirect:
            self.send_response(302)
            self.send_header("Location", here.redirect)
            self.end_headers()
            return
        if here.status != 200:
            self.send_error(here.status)
            return
        start = 0
        if requested and here.ranges and self.headers.get("If-Range") == here.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1])
        if start and here.refuse_ranges:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start + here.wrong_start
            self.send_header("Content-Range", f"bytes {first}-{len(here.content) - 1}/{len(here.content)}")
        self.send_header("Content-Type", here.kind)
        if here.length:
            self.send_header("Content-Length", str(len(here.content) - start))
        if here.etag:
            self.send_header("ETag" if here.etag.endswith('"') else "Last-Modified", here.etag)
        for name, value in here.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = here.content[start:]
        if here.drops:
            body = body[: here.drops.pop(0)]
        time.sleep(here.delay_s)
        here.served.append(len(body))  # before the bytes: the client may look as soon as it has them
        with contextlib.suppress(ConnectionError):  # a client may hang up
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download_module, "_PAUSE_S", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.content, running.status, running.kind = CONTENT, 200, "application/octet-stream"
        running.ranges, running.refuse_ranges, running.wrong_start = True, False, 0
        running.etag, running.length, running.redirect, running.headers = '"v1"', True, None, {}
        running.config, running.no_config, running.configs = None, 404, []
        running.drops, running.delay_s, running.requested, running.served = [], 0, [], []
        running.url = f"http://127.0.0.1:{running.server_port}/net.pth"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def one_attempt(monkeypatch):
    monkeypatch.setattr(download_module, "_ATTEMPTS", 1)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download(server, tmp_path, capsys):
    path = tmp_path / "new" / "folder" / "net.pth"
    assert download(server.url, path, digest=SHA256[:8]) == path
    assert path.read_bytes() == CONTENT
    assert listing(path.parent) == ["net.pth"], "no partial, validator or lock is left"
    assert capsys.readouterr().out == ""
    download(server.url, path, digest=SHA256[:8])
    assert len(server.requested) == 1


def test_dropped_connection_is_resumed_at_once(server, tmp_path):
    server.drops = [300_000, 200_000]
    path = download(server.url, tmp_path / "net.pth", digest=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.served == [300_000, 200_000, len(CONTENT) - 500_000]
    assert [requested[1] for requested in server.requested] == [None, "bytes=300000-", "bytes=500000-"]
    assert listing(tmp_path) == ["net.pth"]


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("validator", ['"v1"', "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_next_call_fetches_only_the_rest(server, tmp_path, validator):
    server.etag, server.drops = validator, [700_000]
    path = tmp_path / "net.pth"
    with pytest.raises(DownloadError, match="closed after 700000 of 1048576 bytes"):
        download(server.url, path)
    assert not path.exists()
    assert (tmp_path / "net.pth.partial").stat().st_size == 700_000
    assert download(server.url, path, digest=SHA256).read_bytes() == CONTENT
    assert server.served == [700_000, len(CONTENT) - 700_000]
    assert server.requested[1][2] == validator
    assert listing(tmp_path) == ["net.pth"]


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("change", ["no ranges", "other file", "weak etag", "no validator"])
def test_what_cannot_be_resumed_is_fetched_whole(server, tmp_path, change):
    server.drops = [1000]
    server.etag = {"weak etag": 'W/"v1"', "no validator": ""}.get(change, '"v1"')
    path = tmp_path / "net.pth"
    with pytest.raises(DownloadError):
        download(server.url, path)
    if change == "no ranges":
        server.ranges = False
    if change == "other file":
        server.etag, server.content = '"v2"', CONTENT[::-1]
    assert download(server.url, path).read_bytes() == server.content
    assert server.served == [1000, len(CONTENT)]


@pytest.mark.parametrize("fault", ["refuse_ranges", "wrong_start"])
def test_server_that_mishandles_ranges_ends_in_a_whole_file(server, tmp_path, fault):
    setattr(server, fault, 1)
    server.drops = [1000]
    assert download(server.url, tmp_path / "net.pth").read_bytes() == CONTENT


def test_endless_drops_are_given_up(server, tmp_path):
    server.drops = [10] * 20
    with pytest.raises(DownloadError, match="closed after 40 of"):
        download(server.url, tmp_path / "net.pth")
    assert len(server.requested) == 4


def test_wrong_digest_removes_the_file_and_names_both(server, tmp_path):
    with pytest.raises(DownloadError, match=f"starting with 12345678, got {SHA256}"):
        download(server.url, tmp_path / "net.pth", digest="12345678")
    assert listing(tmp_path) == []


def test_digest_covers_the_resumed_part(server, tmp_path):
    (tmp_path / "net.pth.partial").write_bytes(b"x" * 1000)
    (tmp_path / "net.pth.partial.etag").write_text('"v1"')
    with pytest.raises(DownloadError, match=f"starting with {SHA256}"):
        download(server.url, tmp_path / "net.pth", digest=SHA256)
    assert listing(tmp_path) == []


def test_file_put_there_by_hand_is_checked_and_kept(server, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"something else")
    with pytest.raises(DownloadError, match="Delete it"):
        download(server.url, path, digest=SHA256[:8])
    assert path.read_bytes() == b"something else"
    assert download(server.url, path) == path
    assert server.requested == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_http_error_says_where_to_put_the_file(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError) as caught:
        download(server.url, tmp_path / "net.pth")
    message = str(caught.value)
    assert server.url in message
    assert f"HTTP {status}" in message
    assert f"net.pth in {tmp_path}" in message
    assert "with --weights" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_no_server(tmp_path, server):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(DownloadError, match="refused"):
        download(url, tmp_path / "net.pth")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirect_out_of_http_is_refused(server, tmp_path, target):
    server.redirect = target
    with pytest.raises(DownloadError, match=re.escape(target)):
        download(server.url, tmp_path / "net.pth")
    assert listing(tmp_path) == []


def test_redirect_from_https_to_http_is_refused():
    with pytest.raises(ValueError, match="refused"):
        Route(1).target("https://example.org/a", "http://example.org/a")


def test_redirect_within_http_is_followed(server, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as front:
        front.redirect, front.requested = server.url, []
        thread = threading.Thread(target=front.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{front.server_port}/moved"
        assert download(url, tmp_path / "net.pth").read_bytes() == CONTENT
        thread.join()


@pytest.mark.parametrize(
    ("kind", "content"),
    [("text/html; charset=utf-8", CONTENT), ("application/octet-stream", b"\n<!DOCTYPE html><title>Sign in</title>")],
)
def test_web_page_is_not_weights(server, tmp_path, kind, content):
    server.kind, server.content = kind, content
    with pytest.raises(DownloadError, match="web page"):
        download(server.url, tmp_path / "net.pth")
    assert not (tmp_path / "net.pth").exists()


def test_web_page_does_not_spoil_what_has_arrived(server, tmp_path):
    partial = tmp_path / "net.pth.partial"
    partial.write_bytes(CONTENT[:5000])
    (tmp_path / "net.pth.partial.etag").write_text('"v1"')
    server.kind, server.ranges = "text/html", False
    with pytest.raises(DownloadError, match="web page"):
        download(server.url, tmp_path / "net.pth")
    assert partial.stat().st_size == 5000


def test_compressed_and_empty_responses_are_refused(server, tmp_path):
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="gzip"):
        download(server.url, tmp_path / "net.pth")
    server.headers, server.content = {}, b""
    with pytest.raises(DownloadError, match="empty"):
        download(server.url, tmp_path / "net.pth")


def test_unknown_length(server, tmp_path):
    server.length = False
    assert download(server.url, tmp_path / "net.pth", digest=SHA256).read_bytes() == CONTENT


def test_interruption_leaves_the_partial_file(server, tmp_path, monkeypatch):
    class Interrupting:
        def __init__(self, *args, **kwargs):
            self.seen = 0

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def update(self, count):
            self.seen += count
            if self.seen > 100_000:
                raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm", Interrupting)
    path = tmp_path / "net.pth"
    with pytest.raises(KeyboardInterrupt):
        download(server.url, path)
    monkeypatch.undo()
    kept = (tmp_path / "net.pth.partial").stat().st_size
    assert kept > 100_000
    assert listing(tmp_path) == ["net.pth.partial", "net.pth.partial.etag"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert download(server.url, path).read_bytes() == CONTENT
    assert server.served[-1] == len(CONTENT) - kept


def test_file_appears_only_when_complete(server, tmp_path):
    server.delay_s = 0.2
    path = tmp_path / "net.pth"
    thread = threading.Thread(target=download, args=(server.url, path))
    thread.start()
    while thread.is_alive():
        if path.exists():
            assert path.stat().st_size == len(CONTENT)
        time.sleep(0.005)
    thread.join()
    assert path.read_bytes() == CONTENT


@pytest.mark.slow
def test_threads_share_one_download(server, tmp_path):
    server.delay_s = 0.2
    path, found = tmp_path / "net.pth", []
    threads = [
        threading.Thread(target=lambda: found.append(download(server.url, path, digest=SHA256).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(server.requested) == 1
    assert listing(tmp_path) == ["net.pth"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="a read-only folder binds only other users")
def test_read_only_cache(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match="Permission denied"):
        download(server.url, tmp_path / "net.pth")


def test_cache_that_is_a_file(server, tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(DownloadError, match="weights"):
        resolve_weights(server.url)


def test_existing_file_is_itself(tmp_path, monkeypatch):
    path = tmp_path / "hrnet_w18.mm_in1k"
    path.write_bytes(b"x")
    assert resolve_weights(path) == path
    assert resolve_weights(str(path)) == path
    monkeypatch.chdir(tmp_path)
    assert resolve_weights("hrnet_w18.mm_in1k").read_bytes() == b"x"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_weights("~/hrnet_w18.mm_in1k") == path


def test_url_is_cached_under_its_own_name(server, tmp_path):
    first = resolve_weights(server.url + "?download=1")
    second = resolve_weights(server.url)
    odd = resolve_weights(server.url.replace("net.pth", "a%2F..%2Fb%20c.pth"))
    assert first != second
    assert {first.parent, second.parent, odd.parent} == {tmp_path / "weights"}
    assert first.name.endswith("-net.pth")
    assert odd.name.endswith("-a_.._b_c.pth")
    assert resolve_weights(server.url.replace("net.pth", "")).name.endswith("-weights")


@pytest.fixture
def local_zoo(server, monkeypatch):
    """The zoo with its one row at this machine's server."""
    real = find_entry("hrnet_w18.mm_in1k")
    row = dataclasses.replace(real, url=server.url, digest=SHA256[:8])
    everything = tuple(row if entry is real else entry for entry in entries())
    monkeypatch.setattr(zoo, "entries", lambda: everything)
    monkeypatch.setattr(weights, "entries", lambda: everything)
    return row


def test_zoo_name(server, local_zoo, tmp_path):
    path = resolve_weights("HRNet_w18.mm_in1k")
    assert path == tmp_path / "weights" / "hrnet-w18_3rdparty_8xb32_in1k_20220120-0c10b180.pth"
    assert path.read_bytes() == CONTENT
    assert resolve_weights("hrnet_w18.mm_in1k") == path
    assert resolve_weights(server.url) == path, "a zoo URL is the zoo row, digest and all"
    assert len(server.requested) == 1


def test_zoo_row_without_url(tmp_path):
    with pytest.raises(DownloadError) as caught:
        resolve_weights("hrnetv2_w48.cityscapes")
    path = tmp_path / "weights" / "hrnet_w48_cityscapes_cls19_1024x2048_trainset.pth"
    for part in ("fetched by hand", str(path), "https://1drv.ms/", "--weights"):
        assert part in str(caught.value)
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert resolve_weights("hrnetv2_w48.cityscapes") == path
    assert resolve_weights("hrnetv2_w48.cityscapes_512x512") == path


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("hrnet_w18", UsageError, r"Did you mean hrnet_w18\.official_in1k or hrnet_w18\.cutmix_in1k"),
        ("hrnet_w18.mm_in2k", UsageError, r"a file, a zoo name such as .*Did you mean hrnet_w18\.mm_in1k"),
        ("nonsense", UsageError, "a file, a zoo name such as hrnet_w18.mm_in1k or an http"),
        ("*", UsageError, "a file, a zoo name"),
        ("", UsageError, "folder"),
        ("x" * 5000, UsageError, "a file, a zoo name"),
        ("w18.pth", MissingFileError, "must exist, got w18.pth"),
        ("some/where", MissingFileError, "must exist"),
        ("ftp://host/w18.pth", UsageError, "http or https"),
        ("file:///etc/passwd", UsageError, "http or https"),
        ("~nobody-by-this-name/w18.pth", MissingFileError, "must exist"),
    ],
)
def test_what_is_no_weights(source, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        resolve_weights(source)
    assert caught.value.exit_code == 2


def test_folder_and_missing_path(tmp_path):
    with pytest.raises(UsageError, match="got the folder"):
        resolve_weights(tmp_path)
    with pytest.raises(MissingFileError):
        resolve_weights(tmp_path / "none")


def test_url_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="must be valid"):
        resolve_weights("http://[bad/w18.pth")
    with pytest.raises(DownloadError, match="must be downloadable"):
        resolve_weights("http:///w18.pth")


def test_download_opens_no_local_file(tmp_path):
    with pytest.raises(UsageError, match="http or https"):
        download("file:///etc/passwd", tmp_path / "net.pth")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HRNET_DEPLOY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("weights") == tmp_path / "home" / ".cache" / "hrnet_deploy" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("weights") == tmp_path / "xdg" / "hrnet_deploy" / "weights"
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "own"))
    assert cache_folder("weights") == tmp_path / "own" / "weights"


def test_progress_bar_is_silent_without_a_terminal_and_under_quiet(server, tmp_path, capsys, monkeypatch):
    download(server.url, tmp_path / "a.pth")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    download(server.url, tmp_path / "b.pth")
    assert capsys.readouterr().err == ""


CONFIG = b'{"architecture": "hrnet_w18", "pretrained_cfg": {"crop_pct": 0.95}}'


def test_timms_config_comes_with_weights_from_a_url(server, tmp_path):
    server.config = CONFIG
    path = resolve_weights(server.url.replace("net.pth", "resolve/main/model.safetensors?download=true"))
    assert server.configs == ["/resolve/main/config.json?download=true"]
    assert path.with_name(path.name + weights.CONFIG_SUFFIX).read_bytes() == CONFIG
    other = resolve_weights(server.url)
    assert other.with_name(other.name + weights.CONFIG_SUFFIX).is_file()
    resolve_weights(server.url)
    assert len(server.configs) == 2, "once for each file"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (None, 404),
        (None, 403),
        (b"<html>nothing here</html>", 200),
        (b"[1]", 200),
        (b'{"a": 1}', 200),
        (b"x" * 2_000_000, 200),
    ],
)
def test_weights_from_a_url_need_no_config(server, tmp_path, content, status):
    server.config, server.no_config = content, status
    path = resolve_weights(server.url)
    assert path.read_bytes() == CONTENT
    assert listing(path.parent) == [path.name]


def test_weights_never_stay_without_the_config_that_could_not_be_requested(server, tmp_path):
    server.no_config = 500
    with pytest.raises(DownloadError, match=r"config\.json must be downloadable or absent, got: HTTP 500"):
        resolve_weights(server.url)
    assert not server.requested
    server.config = CONFIG
    path = resolve_weights(server.url)
    assert path.with_name(path.name + weights.CONFIG_SUFFIX).is_file()


def test_published_names_fetch_their_own_file(server, local_zoo, tmp_path):
    path = resolve_weights("hrnet-w18_3rdparty_8xb32_in1k")
    assert path.name == local_zoo.filename
    assert weights.zoo_entry(server.url) == local_zoo
    assert not server.configs, "a zoo row says itself how it is evaluated"
    assert weights.web_address("hrnet-w18_3rdparty_8xb32_in1k") == server.url
    assert weights.web_address("http://me:secret@host/a/b.pth?token=secret#x") == "http://host/a/b.pth"
    assert weights.web_address(str(path)) is None

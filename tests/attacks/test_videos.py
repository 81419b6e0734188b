"""Videos that name other files or servers, or whose frames have any size: nothing else is opened."""

import http.server
import struct
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.sources import items, read_frame

SECONDS = 10


def write_video(path, codec="MJPG", size_hw=(48, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, size_hw[::-1])
    for level in range(0, 200, 40):
        writer.write(np.full((*size_hw, 3), level, np.uint8))
    writer.release()
    return path


def load_all(path):
    return [item.load() for item in items(path)]


def outcome(path):
    """Frames of a video; none where it is refused."""
    try:
        return load_all(path)
    except ImageError:
        return []


@pytest.fixture
def server():
    """A server on this machine, and the requests that reached it."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", seen
        running.shutdown()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{name}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 45678 RTP/AVP 96\n",
}


def test_the_server_sees_what_a_playlist_opens(server, tmp_path):
    """OpenCV alone follows the playlist: the other tests can fail."""
    address, seen = server
    path = tmp_path / "a.m3u8"
    path.write_text(PLAYLISTS["hls"].format(name=f"{address}/a.ts"))
    program = "import cv2, sys; cv2.VideoCapture(sys.argv[1])"
    environment = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file,http,tcp"}
    subprocess.run([sys.executable, "-c", program, path], env=environment, timeout=60, check=True)
    assert "/a.ts" in seen


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_no_video(server, tmp_path, kind, suffix, monkeypatch):
    address, seen = server
    # What the user set for cameras must not open the way.
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file,http,tcp,udp,rtp")
    write_video(tmp_path / "other.avi")
    for name in (f"{address}/a.ts", "other.avi", str(tmp_path / "other.avi"), f"concat:{tmp_path / 'other.avi'}"):
        path = tmp_path / f"a{suffix}"
        path.write_text(PLAYLISTS[kind].replace("{name}", name))
        start = time.monotonic()
        with pytest.raises(ImageError, match="cannot be opened"):
            load_all(path)
        assert time.monotonic() - start < SECONDS
    assert seen == []


@pytest.mark.parametrize(
    "name", ["concat:other.avi|other.mp4", "file:other.mp4", "http:||127.0.0.1:1|a.mp4", "a%03d.mp4"]
)
def test_the_name_of_a_video_is_a_path_only(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "other.avi")
    cv2.imwrite(str(tmp_path / "a000.png"), np.zeros((4, 4, 3), np.uint8))
    content = write_video(tmp_path / "some.avi", size_hw=(16, 32)).read_bytes()
    (tmp_path / name).write_bytes(content)
    assert [frame.image.shape for frame in load_all(name)] == [(16, 32, 3)] * 5


@pytest.mark.parametrize("side", [14_000, 30_000, 65_000])
def test_frames_of_many_pixels_are_refused(tmp_path, side):
    path = write_video(tmp_path / "a.avi", "MPNG")
    content = path.read_bytes()
    size = struct.pack(">II", 64, 48)
    assert content.count(b"IHDR" + size) == 5
    path.write_bytes(
        content.replace(b"IHDR" + size, b"IHDR" + struct.pack(">II", side, side)).replace(
            struct.pack("<II", 64, 48), struct.pack("<II", side, side)
        )
    )
    start = time.monotonic()
    with pytest.raises(ImageError) as caught:
        load_all(path)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("codec", ["MJPG", "MPNG", "mp4v"])
def test_a_damaged_video_is_one_line_or_frames(tmp_path, codec):
    content = write_video(tmp_path / "a.avi", codec).read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(40):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 8):
            damaged[at] = rng.integers(0, 256)
        path = tmp_path / "b.avi"
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)])
        assert len(outcome(path)) <= 5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".3gp", ".m4v", ".avi"])
def test_videos_of_all_kinds_still_play(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", "MJPG" if suffix == ".avi" else "mp4v")
    frames = load_all(path)
    assert len(frames) == 5
    assert frames[0].video.fps == 25


def test_an_image_named_as_a_video_is_no_video(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match="cannot be opened"):
        load_all(tmp_path / "a.mp4")
    assert read_frame((tmp_path / "a.mp4").read_bytes()).image.shape == (4, 4, 3)

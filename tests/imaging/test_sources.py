"""Collections of images: folders, patterns, lists, videos and cameras."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hrnet_deploy.errors import HrnetDeployError, ImageError, MissingFileError
from hrnet_deploy.imaging.decoder_process import DecoderProcess
from hrnet_deploy.imaging.sources import as_image_error, is_live, is_single, items, read_frame

RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def frames(source):
    """Read every image of a source."""
    return (item.load() for item in items(source))


def encode(suffix, image=BGR, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 16))
    for level in (0, 60, 120, 180):
        writer.write(np.full((16, 32, 3), level, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "b" / "deep").mkdir(parents=True)
    for name in ("z.png", "A.PNG", "b/one.bmp", "b/deep/two.webp", ".hidden.png"):
        cv2.imwrite(str(root / name.replace("A.PNG", "a.png")), BGR)
    (root / "a.png").rename(root / "A.PNG")
    (root / "notes.txt").write_text("no image")
    return root


# Collections --------------------------------------------------------------------------------------------------------


def test_is_single(tmp_path, folder, video):
    for one in (BGR, b"x", bytearray(b"x"), Image.new("L", (2, 2)), "cat.jpg", tmp_path / "cat.jpg", "missing"):
        assert is_single(one)
    for many in ([BGR], (BGR,), iter([BGR]), folder, str(video), video, "no/*.png", 0, "0", None, [[]]):
        assert not is_single(many)


def test_a_folder_is_read_recursively_and_sorted(folder):
    assert [frame.name for frame in frames(folder)] == ["A.PNG", "two.webp", "one.bmp", "z.png"]
    assert [frame.name for frame in frames(str(folder))] == ["A.PNG", "two.webp", "one.bmp", "z.png"]
    assert all(frame.path.is_file() for frame in frames(folder))


def test_links_in_a_folder_are_followed_once(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.png").write_bytes(encode(".png"))
    (folder / "link.png").symlink_to(outside / "far.png")
    (folder / "outside").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    assert sorted(f.name for f in frames(folder)) == ["A.PNG", "far.png", "link.png", "one.bmp", "two.webp", "z.png"]


def test_a_pattern_is_expanded(folder):
    assert [f.name for f in frames(f"{folder}/**/*.[pw]*")] == ["two.webp", "z.png"]
    assert [f.name for f in frames(f"{folder}/*")] == ["A.PNG", "z.png"]


def test_a_file_whose_name_looks_like_a_pattern_or_a_camera_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat[1].png", "0"):
        (tmp_path / name).write_bytes(encode(".png"))
        assert is_single(name)
        assert next(frames(name)).name == name


def test_empty_collections_say_so(tmp_path):
    with pytest.raises(ImageError, match="must hold images, got none"):
        list(frames(tmp_path))
    with pytest.raises(MissingFileError, match="got no match"):
        list(frames(f"{tmp_path}/*.png"))
    with pytest.raises(MissingFileError, match=r"video must exist, got no file .*gone\.mp4"):
        list(frames(tmp_path / "gone.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"bad\.mp4' cannot be opened"):
        list(frames(tmp_path / "bad.mp4"))
    assert list(frames([])) == []


def test_lists_tuples_and_iterators_mix_sources(folder, video):
    mixed = [BGR, folder, encode(".png"), video]
    expected = ["image_0", "A.PNG", "two.webp", "one.bmp", "z.png", "image_2", *(f"clip.avi#{i}" for i in range(4))]
    for source in (mixed, tuple(mixed), iter(mixed)):
        assert [f.name for f in frames(source)] == expected


def test_a_bad_item_is_raised_or_reported(folder):
    (folder / "broken.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"broken\.png"):
        list(frames(folder))
    loaded, failed = [], []
    for item in items([folder, folder / "gone.png", None]):
        try:
            loaded.append(item.load())
        except (ImageError, MissingFileError) as error:  # noqa: PERF203
            failed.append((Path(item.name).name, str(error), as_image_error(error)))
    assert len(loaded) == 4
    assert [name for name, _, _ in failed] == ["broken.png", "gone.png", "image_2"]
    assert all(isinstance(error, ImageError) and str(error) == text for _, text, error in failed)


# Video --------------------------------------------------------------------------------------------------------------


def test_a_video_is_read_frame_by_frame(video):
    got = list(frames(video))
    assert [f.name for f in got] == [f"clip.avi#{i}" for i in range(4)]
    assert [round(float(f.image.mean()), -1) for f in got] == [0, 60, 120, 180]
    assert got[0].path == video


def test_closing_the_stream_ends_the_decoder_of_a_video(video, monkeypatch):
    ended = []
    close = DecoderProcess.close
    monkeypatch.setattr(DecoderProcess, "close", lambda process: ended.append(process) or close(process))
    stream = frames(video)
    assert next(stream).name == "clip.avi#0"
    stream.close()
    assert len(ended) == 1
    assert len(list(frames(video))) == 4  # a decoder that finished waits for the next
    assert len(ended) == 1


def test_closing_the_stream_releases_the_camera(monkeypatch):
    released = []

    class Capture:
        def __init__(self, address):
            self.address = address

        def isOpened(self):  # noqa: N802
            return True

        def get(self, what):
            return 25.0 if what == cv2.CAP_PROP_FPS else 0.0

        def read(self):
            return True, BGR

        def release(self):
            released.append(self.address)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    camera = frames(0)
    assert next(camera).name == "camera0#0"
    camera.close()
    text = frames(["1"])
    assert next(text).name == "camera1#0"
    text.close()
    assert released == [0, 1]


@pytest.mark.parametrize(
    "number",
    ["9" * 400, "9" * 5000, 10**5000, -(10**5000), -1, np.int64(-3), 10_000, "10000"],
    ids=lambda n: len(repr(n)) if isinstance(n, str) else type(n).__name__,
)
def test_the_number_of_a_camera_is_bounded(number):
    with pytest.raises(ImageError, match="camera must have a number below 10000"):
        next(frames(number))


def test_threads_read_side_by_side():
    contents = [encode(".png", np.full((50, 60, 3), i, np.uint8)) for i in range(8)]
    wrong = []

    def work(i):
        wrong.extend(i for _ in range(20) if not (read_frame(contents[i]).image == i).all())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Found, not yet read ------------------------------------------------------------------------------------------------


def test_items_read_nothing_until_they_are_loaded_and_failures_keep_their_place(folder, tmp_path):
    (folder / "b" / "one.bmp").write_bytes(b"no image")
    found = list(items([folder / "z.png", tmp_path / "none", folder, 3.5, BGR]))
    outcomes = []
    for item in found:
        try:
            outcomes.append(item.load().name)
        except HrnetDeployError as error:  # noqa: PERF203 - each has an outcome
            outcomes.append(type(error).__name__)
    assert outcomes == [
        "z.png",
        "MissingFileError",
        "A.PNG",
        "two.webp",
        "ImageError",
        "z.png",
        "ImageError",
        "image_4",
    ]
    assert [item.name for item in found[3:]] == [
        *(str(folder / name) for name in ("b/deep/two.webp", "b/one.bmp", "z.png")),
        "image_3",
        "image_4",
    ]


@pytest.mark.parametrize(("source", "live"), [(0, True), ("0", True), ("a.mp4", False), (BGR, False), (True, False)])
def test_only_cameras_are_live(source, live, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_live(source) is live


@pytest.mark.parametrize(
    ("draft_px", "shape"), [(None, (160, 240)), (161, (160, 240)), (80, (80, 120)), (20, (20, 30))]
)
def test_drafts_of_jpegs_keep_the_requested_pixels(draft_px, shape):
    image = cv2.resize(BGR, (240, 160))
    assert read_frame(encode(".jpg", image), draft_px=draft_px).image.shape[:2] == shape
    assert read_frame(encode(".png", image), draft_px=draft_px).image.shape[:2] == (160, 240)

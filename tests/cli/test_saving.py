"""hrnet-predict --save: a picture for a picture, a video for a video."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.cli.predict import parse_args, run
from hrnet_deploy.cli.saving import Saver
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging import video_file
from hrnet_deploy.imaging.frame import VideoFrame
from hrnet_deploy.imaging.sources import items
from hrnet_deploy.imaging.video_file import VideoFile, usable_fps
from hrnet_deploy.results import ClassificationResult, SegmentationResult

PALETTE = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)


def write_video(path, levels, size=(48, 32), fps=12.5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, size)
    for level in levels:
        writer.write(np.full((size[1], size[0], 3), level, np.uint8))
    writer.release()
    return path


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1])
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return found, fps


def result(level, video=None, size=(32, 48), name="a.png"):
    """A mask of class 1 over a grey picture, so that its overlay is lighter than the picture."""
    return SegmentationResult(
        name=name,
        path=None,
        image=np.full((*size, 3), level, np.uint8),
        classes=("a", "b"),
        speed={},
        video=video,
        mask=np.ones(size, np.uint8),
        palette=PALETTE,
    )


@pytest.fixture
def save(tmp_path):
    """Saves results; returns the files' names in order, and what was told."""

    def run_saver(results):
        told = []
        with ThreadPoolExecutor(3) as pool:
            paths = [path for _, path in Saver(tmp_path / "out", pool, told.append).saved(results)]
        return paths, told

    return run_saver


def test_frames_of_a_video_become_a_video_of_the_same_size_and_speed(save, tmp_path):
    levels = [0, 40, 80, 120]
    paths, told = save(result(level, VideoFrame(Path("in/v.avi"), i, 12.5)) for i, level in enumerate(levels))
    assert set(paths) == {tmp_path / "out/v.mp4"}
    assert told == []
    got, fps = read_video(paths[0])
    assert [frame.shape for frame in got] == [(32, 48, 3)] * 4
    assert fps == pytest.approx(12.5)
    for frame, level in zip(got, levels, strict=True):  # 0.55 of white over the picture
        assert abs(float(frame.mean()) - (0.55 * 255 + 0.45 * level)) < 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["v.mp4"]


def test_pictures_and_videos_in_turn_have_names_of_their_own(save, tmp_path):
    first, second = Path("in/v.avi"), Path("other/v.mov")
    results = [result(9), *(result(9, VideoFrame(first, i, 5)) for i in range(2))]
    results += [result(9, VideoFrame(second, i, 5)) for i in range(3)] + [
        result(9, VideoFrame(second, 0, 5)),
        result(9),
    ]
    paths, _ = save(results)
    names = ["a.png", "v.mp4", "v.mp4", "v_2.mp4", "v_2.mp4", "v_2.mp4", "v_3.mp4", "a_2.png"]
    assert [path.name for path in paths] == names
    counts = [len(read_video(tmp_path / "out" / name)[0]) for name in ("v.mp4", "v_2.mp4", "v_3.mp4")]
    assert counts == [2, 3, 1]


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (2, 3)])
def test_odd_sides_lose_nothing(save, size):
    paths, _ = save([result(50, VideoFrame(Path("v.mp4"), 0, 25), size)])
    (frame,), _ = read_video(paths[0])
    assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)


def test_a_frame_of_another_size_is_brought_to_the_first_ones(save):
    video = Path("v.mp4")
    sizes = [(32, 48), (64, 96), (16, 20)]
    paths, _ = save(result(9, VideoFrame(video, i, 25), size) for i, size in enumerate(sizes))
    assert [frame.shape for frame in read_video(paths[0])[0]] == [(32, 48, 3)] * 3


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_a_video_that_does_not_say_its_speed_gets_a_usual_one(save, fps):
    assert usable_fps(fps) == 25
    paths, told = save([result(9, VideoFrame(Path("v.mp4"), 0, fps))])
    assert read_video(paths[0])[1] == pytest.approx(25)
    assert told == ["v.mp4 does not say its frames per second; its copy has 25"]


def test_a_run_that_breaks_leaves_no_part_of_a_video(save, tmp_path):
    def broken():
        yield result(9, VideoFrame(Path("v.mp4"), 0, 25))
        yield result(9, VideoFrame(Path("v.mp4"), 1, 25))
        raise UsageError("stop")

    with pytest.raises(UsageError, match="stop"):
        save(broken())
    assert list((tmp_path / "out").iterdir()) == []


def test_without_mpeg4_it_is_an_avi_and_without_any_codec_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(video_file, "_FORMATS", ((".mp4", "nope"), (".avi", "MJPG")))
    with VideoFile(tmp_path / "v.mp4", 25, (32, 48)) as video:
        video.write(np.zeros((32, 48, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["v.avi"] == [video.path.name]
    monkeypatch.setattr(video_file, "_FORMATS", ((".mp4", "nope"),))
    with pytest.raises(UsageError, match=r"got no codec for 'w.mp4'"):
        VideoFile(tmp_path / "w.mp4", 25, (32, 48))
    assert [path.name for path in tmp_path.iterdir()] == ["v.avi"]


def test_frames_know_their_place_in_a_video(tmp_path):
    path = write_video(tmp_path / "v.avi", [0, 99])
    assert [item.load().video for item in items(path)] == [VideoFrame(path, 0, 12.5), VideoFrame(path, 1, 12.5)]


@pytest.mark.parametrize("video", [None, VideoFrame(Path("v.mp4"), 0, 25)])
@pytest.mark.parametrize("size", [(20, 30), (400, 600)])
def test_overlays_of_video_frames_have_the_pictures_size(video, size):
    common = {"name": "a", "path": None, "image": np.full((*size, 3), 128, np.uint8), "classes": ("a" * 200, "b")}
    common |= {"speed": {}, "video": video}
    classified = ClassificationResult(**common, indices=np.array([0, 1]), scores=np.array([0.75, 0.25], np.float32))
    for one in (result(9, video, size), classified):
        assert one.overlay(legend=False).shape == (*size, 3)
        assert one.overlay(legend=True).shape[0] > size[0]
        assert (one.overlay().shape == (*size, 3)) == (video is not None)
    assert not np.array_equal(classified.overlay(legend=False), classified.image)


def test_the_command_writes_the_video(photos_onnx, tmp_path, capsys):
    source = write_video(tmp_path / "clip.avi", [0, 60, 120, 180, 240])
    given = [photos_onnx, source, "--save", tmp_path / "out", "--json", "--device", "cpu", "--batch", "2"]
    assert run(parse_args([str(one) for one in given])) == 0
    saved = {json.loads(line)["saved"] for line in capsys.readouterr().out.splitlines()}
    assert saved == {str(tmp_path / "out/clip.mp4")}
    got, fps = read_video(tmp_path / "out/clip.mp4")
    assert ([frame.shape for frame in got], fps) == ([(32, 48, 3)] * 5, pytest.approx(12.5))

"""examples/*.py as a user runs them: the commands, their files and messages, compared with `Predictor`."""

import csv
import importlib.util
import os
import re
import sys

import cv2
import numpy as np
import pytest
from helpers.example_program import EXAMPLES, run
from helpers.peer_environment import ROOT

from hrnet_deploy import Predictor

pytestmark = pytest.mark.slow

MAX_LINES = 80
FRAMES = 12
FORMULA = "=HYPERLINK(1).jpg"


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PEAK = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def example(name, *words):
    """Run an example in a process of its own."""
    return run(sys.executable, EXAMPLES / name, *words, environment=ENVIRONMENT)


def loaded(name):
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def video(jpegs, tmp_path):
    """A video of 12 frames of odd height, which moves over an image."""
    path = tmp_path / "drive.avi"
    image = cv2.resize(cv2.imdecode(np.frombuffer(jpegs[3], np.uint8), cv2.IMREAD_COLOR), (360, 241))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (240, 241))
    for frame in range(FRAMES):
        writer.write(np.ascontiguousarray(image[:, 10 * frame : 10 * frame + 240]))
    writer.release()
    return path


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return capture.get(cv2.CAP_PROP_FPS), frames


def test_photos_become_rows_that_no_spreadsheet_runs(photos_onnx, jpegs, tmp_path):
    folder = tmp_path / "photos"
    (folder / "holiday").mkdir(parents=True)
    for name, content in zip((FORMULA, "a,b.jpg", "holiday/a.jpg"), jpegs, strict=False):
        (folder / name).write_bytes(content)
    (folder / "broken.jpg").write_bytes(jpegs[0][:200])
    done = example("photos_to_csv.py", photos_onnx, folder, tmp_path / "photos.csv")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert re.match(r"skipped: image '.*/broken.jpg' must be complete", done.stderr)
    with (tmp_path / "photos.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {f"'{FORMULA}", "a,b.jpg", "holiday/a.jpg"}
    with Predictor(photos_onnx, device="cpu") as predictor:
        for row in rows:
            result = predictor.predict(folder / row["name"].removeprefix("'"))
            assert (row["label"], row["score"]) == (result.label, f"{result.score:.6f}")
            assert row["top5"] == "; ".join(f"{name} {score:.4f}" for name, score in result.topk(5))


def test_a_video_becomes_an_overlay_video_with_a_legend(street_onnx, video, tmp_path):
    done = example("video_overlay.py", street_onnx, video, tmp_path / "overlay.mp4")
    assert done.returncode == 0, done.stderr
    fps, frames = frames_of(tmp_path / "overlay.mp4")
    assert (fps, len(frames), frames[0].shape) == (10.0, FRAMES, (240, 240, 3))
    assert not list(tmp_path.glob("*.partial.*"))
    with Predictor(street_onnx, device="cpu") as predictor:
        expected = [result.overlay(legend=False)[:240] for result in predictor.stream(video)]
    for shown, plain in zip(frames, expected, strict=True):
        difference = np.abs(shown.astype(int) - plain).mean(axis=2)
        assert difference[120:, 160:].mean() < 12  # what compression changes
        assert difference[:60, :120].mean() > 2 * difference[120:, 160:].mean()  # the legend


def test_a_long_video_takes_no_more_memory(street_onnx, video, tmp_path):
    """Kept frames and overlays of the long video would take 120 MB."""
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (240, 241))
    frames = frames_of(video)[1]
    for number in range(300):
        writer.write(frames[number % FRAMES])
    writer.release()
    short_mib, long_mib = (_peak_mib(street_onnx, source, tmp_path / "overlay.mp4") for source in (video, long))
    assert len(frames_of(tmp_path / "overlay.mp4")[1]) == 300
    assert long_mib < short_mib + 40


def _peak_mib(*words):
    """Largest memory of a run of video_overlay.py."""
    pytest.importorskip("resource")
    done = run(sys.executable, "-c", PEAK, EXAMPLES / "video_overlay.py", *words, environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) >> 10


def test_the_webcam_program_predicts_frames(photos_onnx, street_onnx, video):
    for model, pattern in ((photos_onnx, r"\w+ 0\.\d{3}"), (street_onnx, r"[\w ]+ \d+\.\d%")):
        done = example("webcam.py", model, "--source", video, "--headless", "--frames", "5")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rf"5 frames, \d+\.\d frames/s; last: {pattern}(, .*)?\n", done.stdout), done.stdout
    done = example("webcam.py", photos_onnx, "--source", video, "--headless")
    assert done.stdout.startswith(f"{FRAMES} frames, ")


def test_the_webcam_program_shows_frames_until_q_is_pressed(photos_onnx, video, monkeypatch, capsys):
    """The window itself needs a screen: its two functions are replaced, and the loop is the example's own."""
    shown = []
    monkeypatch.setattr(cv2, "imshow", lambda _, frame: shown.append(frame.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 3 else -1)
    with Predictor(photos_onnx, device="cpu") as predictor:
        assert loaded("webcam").loop(predictor, str(video), None, headless=False) == 3
        plain = next(predictor.stream(video)).overlay(legend=False)
    assert "3 frames" in capsys.readouterr().out
    assert shown[0].shape == plain.shape
    assert (shown[0] != plain).any()  # the frames per second


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["photos_to_csv.py", "street", "photos", "out.csv"], "MODEL must be a classifier"),
        (["photos_to_csv.py", "photos", "missing", "out.csv"], "FOLDER must be a folder, got missing"),
        (["photos_to_csv.py", "photos", "photos", "missing/out.csv"], "CSV must be a file that can be written"),
        (["photos_to_csv.py", "missing.onnx", "photos", "out.csv"], "missing.onnx"),
        (["video_overlay.py", "photos", "video", "out.mp4"], "MODEL must segment"),
        (["video_overlay.py", "street", "missing.mp4", "out.mp4"], "missing.mp4"),
        (["video_overlay.py", "street", "video", "missing/out.mp4"], "OUTPUT must be a file that OpenCV can write"),
        (["webcam.py", "photos", "--source", "97", "--headless"], "97"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_an_example_cannot_use_is_one_line(
    photos_onnx, street_onnx, video, jpegs, tmp_path, monkeypatch, words, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpegs[0])
    script, model, *others = words
    model = {"photos": photos_onnx, "street": street_onnx}.get(model, model)
    done = example(script, model, *(video if word == "video" else word for word in others))
    assert done.returncode in {1, 2}
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.mp4").exists()


def test_a_machine_without_windows_is_told_so(photos_onnx, video):
    if not re.search(r"GUI: +NONE", cv2.getBuildInformation()):
        pytest.skip("not installed: this OpenCV may have windows")
    done = example("webcam.py", photos_onnx, "--source", video)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "OpenCV must have windows" in done.stderr


def test_programs_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= MAX_LINES, path.name

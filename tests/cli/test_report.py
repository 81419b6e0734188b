"""hrnet-report as typed: four files, a table, the next command; bad input is one line and leaves nothing behind."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest

from hrnet_deploy import export
from hrnet_deploy.cli import report as report_command
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.report import write

CLASSES = ("airplane", "bird", "cat")


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    """Run the command in an empty folder; returns (exit code, stdout, stderr lines)."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hrnet-report", "--seconds", "0.05", *map(str, words)])
        try:
            code = report_command.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, [line for line in err.splitlines() if line.strip()]

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images in class folders."""
    root = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(synthetic_images(6, (64, 64))):
        path = root / CLASSES[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two images with label images."""
    root = tmp_path_factory.mktemp("scenes")
    for index, image in enumerate(synthetic_images(2, (64, 96))):
        for folder, values in (("images", image), ("labels", np.full((64, 96), index, np.uint8))):
            (root / folder).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{index}.png"), values)
    return root


@pytest.fixture(scope="module")
def photos_fp16(demo, tmp_path_factory):
    """The photo classifier in half precision."""
    return export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=64,
        resize="squash",
        classes=demo / "photos10.txt",
        precision="fp16",
        output=tmp_path_factory.mktemp("fp16") / "photos_fp16.onnx",
    ).path


@pytest.mark.slow
def test_a_classification_report(command, photos_onnx, photos_fp16, photos, tmp_path):
    code, out, err = command(photos_onnx, photos_fp16, "--data", photos, "--device", "cpu", "--threads", 1)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["R", "photos.onnx", "fp32"],
        ["A", "photos_fp16.onnx", "fp16"],
    ]
    assert "(predicted for a GPU)" in lines[2]
    assert any(line.startswith("Report: report_photos/report.html") for line in err)
    assert err[-1].startswith("Next: hrnet-predict ")
    folder = tmp_path / "work/report_photos"
    assert sorted(p.name for p in folder.iterdir()) == ["report.csv", "report.html", "report.json", "report.md"]
    found = json.loads((folder / "report.json").read_text())
    assert found["command"].startswith(f"hrnet-report --seconds 0.05 {photos_onnx}")
    assert [row["evaluation"]["data"]["images"] for row in found["rows"]] == [6, 6]


@pytest.mark.slow
def test_a_segmentation_report_as_json(command, street_onnx, scenes, tmp_path):
    other = shutil.copy(street_onnx, tmp_path / "other.onnx")
    words = ("--data", scenes, "--device", "cpu", "--out", "here", "--limit", 1, "--no-photos", "--json", "-q")
    code, out, err = command(street_onnx, other, *words)
    assert (code, err) == (0, [])
    found = json.loads(out)
    assert found == json.loads((tmp_path / "work/here/report.json").read_text())
    assert found["metric"] == "mIoU"
    assert found["rows"][1]["agreement"] == 1


@pytest.mark.slow
def test_a_waterfall_stands_in_the_report(command, photos_onnx, photos_fp16, photos, demo, tmp_path):
    weights = demo / "hrnet_w18_small_v1_photos10.safetensors"
    words = ("--data", photos, "--device", "cpu", "--limit", 3, "--out", "here", "--waterfall", weights)
    code, _, _ = command(photos_onnx, photos_fp16, *words)
    assert code == 0
    steps = json.loads((tmp_path / "work/here/report.json").read_text())["waterfall"]
    assert [step["name"] for step in steps][1:] == [
        "checkpoint, our preprocessing", "ONNX as traced", "ONNX simplified", "photos.onnx", "photos_fp16.onnx",
    ]  # fmt: skip
    assert "Steps from the checkpoint" in (tmp_path / "work/here/report.html").read_text()
    assert "| ONNX simplified |" in (tmp_path / "work/here/report.md").read_text()


@pytest.mark.slow
def test_an_interrupted_run_goes_on(command, photos_onnx, photos, tmp_path, monkeypatch):
    words = (photos_onnx, photos_onnx, "--data", photos, "--device", "cpu", "--out", "here")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hrnet_deploy.report.build.time_interleaved", interrupt)
        code, out, err = command(*words)
    assert (code, out, err) == (130, "", ["hrnet-report: interrupted"])
    assert [p.name for p in (tmp_path / "work/here").iterdir()] == [".journal"]
    code, _, _ = command(*words)
    assert code == 0
    run = json.loads((tmp_path / "work/here/report.json").read_text())["rows"][0]["evaluation"]["run"]
    assert (run["computed"], run["resumed"]) == (0, 6)
    assert not (tmp_path / "work/here/.journal").exists()


@pytest.mark.slow
def test_processes_find_the_same(command, photos_onnx, photos_fp16, photos, tmp_path):
    for name, words in (("here", ()), ("there", ("--executor", "processes:2"))):
        code, _, _ = command(photos_onnx, photos_fp16, "--data", photos, "--device", "cpu", "--out", name, *words)
        assert code == 0
    here, there = (json.loads((tmp_path / "work" / name / "report.json").read_text()) for name in ("here", "there"))
    assert there["rows"][0]["evaluation"]["run"]["executor"] == "processes:2"
    for ours, theirs in zip(here["rows"], there["rows"], strict=True):
        assert theirs["evaluation"]["metrics"] == ours["evaluation"]["metrics"]
        assert theirs["evaluation"]["data"] == ours["evaluation"]["data"]
    assert "processes:2; 6 images in this run" in (tmp_path / "work/there/report.md").read_text()
    code, out, err = command(photos_onnx, photos_fp16, "--data", photos, "--out", "new", "--executor", "threads:2")
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith("hrnet-report: executor must be one of processes:N, ")
    assert err[0].endswith(", got 'threads:2'. Choose one.")
    assert not (tmp_path / "work/new").exists()


@pytest.mark.slow
def test_other_files_of_the_folder_stay(command, photos_onnx, photos, tmp_path):
    keep = tmp_path / "work/here/.journal/mine.txt"
    keep.parent.mkdir(parents=True)
    keep.write_text("mine")
    code, _, _ = command(photos_onnx, photos_onnx, "--data", photos, "--device", "cpu", "--out", "here")
    assert code == 0
    assert keep.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{photos}", "{street}", "--data", "{data}"), "must do classification as the reference"),
        (("{photos}", "{few}", "--data", "{data}"), "must have the 10 classes of the reference"),
        (("{photos}", "gone.onnx", "--data", "{data}"), "artifact must be a file, got gone.onnx"),
        (("{photos}", "{photos}", "--data", "nowhere"), "evaluation data must exist, got nowhere"),
        (("{photos}", "{photos}", "--data", "{unlabelled}"), "images need labels"),
        (("{photos}", "{photos}", "--data", "{scenes}"), "one class an image"),
        (("{street}", "{street}", "--data", "{data}"), "segmentation data must be laid out"),
        (
            ("{photos}", "{photos}", "--data", "{data}", "--limit", "0"),
            "argument --limit: must be a whole number from 1 to 1000000000, got '0'",
        ),
        (
            ("{photos}", "{photos}", "--data", "{data}", "--batch", "0"),
            "argument --batch: must be a whole number from 1 to 4096, got '0'",
        ),
        (("{photos}", "{photos}", "--data", "{data}", "--out", "{photos}"), "report needs a folder, got the file"),
        (("{photos}", "{photos}", "--data", "{data}", "--window", "wide"), "window must be H or HxW"),
        (("{photos}", "{photos}", "--data", "{data}", "--seconds", "0"), "seconds must be above 0"),
        (("{photos}", "{photos}", "--data", "{data}", "--waterfall", "gone.pth"), "gone.pth"),
        (("{photos}", "{photos}", "--data", "{data}", "--waterfall", "{weights}"), "needs the weights photos.onnx was"),
        (("{street}", "{street}", "--data", "{scenes}", "--waterfall", "x", "--window", "64"), "on whole images"),
        (("{photos}", "{photos}", "--data", "{data}", "--window", "64"), "sliding windows are for segmentation"),
        (("{photos}", "{photos}", "--data", "{data}", "--device", "warp"), "warp"),
        (("{photos}", "--data", "{data}"), "the following arguments are required: CANDIDATE"),
        (("{photos}", "{photos}"), "the following arguments are required: --data"),
    ],
)
def test_bad_input_is_one_line(command, words, message, photos_onnx, street_onnx, photos, scenes, few, demo, tmp_path):
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    shutil.copy(next(photos.rglob("*.png")), unlabelled)
    places = {
        "photos": photos_onnx, "street": street_onnx, "data": photos, "scenes": scenes, "few": few,
        "unlabelled": unlabelled, "weights": demo / "hrnetv2_w18_small_v1_street.pth",
    }  # fmt: skip
    code, out, err = command(*(word.format_map(places) for word in words))
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith("hrnet-report: ")
    assert message in err[0]
    assert list((tmp_path / "work").iterdir()) == []


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """An untrained classifier of 3 classes."""
    return export(
        "hrnet_w18_small_v1",
        weights="random",
        num_classes=3,
        imgsz=64,
        resize="squash",
        output=tmp_path_factory.mktemp("few") / "few.onnx",
    ).path


@pytest.mark.slow
def test_a_place_that_fails_after_all_is_one_line(command, photos_onnx, photos, monkeypatch):
    def full(_):
        raise write.UsageError("output folder must be writable, got here (No space left on device). Choose another.")

    monkeypatch.setattr("hrnet_deploy.report.write.as_html", full)
    code, _, err = command(photos_onnx, photos_onnx, "--data", photos, "--device", "cpu", "--out", "here")
    assert code == 2
    assert err[-1].startswith("hrnet-report: output folder must be writable")

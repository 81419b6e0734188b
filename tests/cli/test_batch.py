"""hrnet-predict with --out: large sources into a folder, and flags that would do nothing."""

import json
import tarfile

import cv2
import pytest
from helpers.v2_server import Scorer, serving, toy_card

from hrnet_deploy.cli.predict import main
from hrnet_deploy.imaging.synthetic_images import synthetic_images


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run hrnet-predict in a folder with images; returns (exit code, stdout, stderr lines)."""
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        cv2.imwrite(f"{index}.png", synthetic_images(1, (40, 48))[0])
    with tarfile.open("s.tar", "w") as archive:
        archive.add("0.png")
    (tmp_path / "list.txt").write_text("0.png\n1.png\nno.png\n")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["hrnet-predict", *map(str, words)])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return run


@pytest.fixture
def url():
    card = toy_card()
    with serving(Scorer(card), card) as server:
        yield server.url


def test_counts_are_reported_and_errors_exit_with_2(command, url):
    code, out, err = command(url, "0.png", "s.tar", "--out", "good", "--chunk", "1", "--json")
    assert (code, json.loads(out)) == (0, {"folder": "good", "images": 2, "errors": 0, "parts": 2, "resumed": 0})
    assert err == ["2 images in 2 parts: good"]
    code, out, err = command(url, "@list.txt", "--out", "bad", "--skip-bad")
    assert (code, out) == (2, "")
    assert err == ["3 images in 1 parts, 1 with an error in place of a prediction: bad"]


def test_zoo_of_flags_that_do_nothing(command, url):
    for words, text in (
        (("0.png", "--chunk", "5"), "--chunk applies with --out only"),
        (("0.png", "--format", "jsonl"), "--format applies with --out only"),
        (("0.png", "--executor", "processes:2"), "--executor applies with --out only"),
        (("@list.txt",), "lists, .tar and .parquet files need a folder for results, got @list.txt alone"),
        (("s.tar",), "got s.tar alone"),
        (("0.png", "--out", "o", "--save", "s"), "--save applies without --out only"),
        (("0.png", "--out", "o", "--allow-url"), "--allow-url applies without --out only"),
        (("0.png", "--out", "o", "--root", "."), "root applies to list files"),
        (("0.png", "--out", "o", "--format", "masks"), "format masks needs a model for segmentation"),
    ):
        code, out, err = command(url, *words)
        assert (code, out, len(err)) == (2, "", 1)
        assert text in err[0]


@pytest.mark.slow
def test_an_executor_and_a_second_run(command, photos_onnx):
    words = (photos_onnx, "0.png", "1.png", "--out", "o", "--chunk", "1", "--device", "cpu")
    assert command(*words, "--executor", "processes:2")[0] == 0
    assert command(*words)[2] == ["2 images in 2 parts, 2 of them from an earlier run: o"]

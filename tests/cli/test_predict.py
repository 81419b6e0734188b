"""hrnet-predict: one line an image, in order, whatever is written beside it."""

import json
import threading

import cv2
import pytest

from hrnet_deploy.cli.predict import parse_args, run
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.predictor import Predictor


@pytest.fixture
def folder(tmp_path):
    """Pictures of different sizes, one of which is none."""
    root = tmp_path / "pictures"
    root.mkdir()
    for index, size in enumerate([(40, 60), (640, 480), (33, 90), (120, 80), (64, 64), (64, 65)]):
        cv2.imwrite(str(root / f"{index}.jpg"), synthetic_images(1, size)[0])
    (root / "2.jpg").write_bytes(b"no image")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "4"])
def test_lines_and_pictures_come_in_order(photos_onnx, folder, tmp_path, capsys, batch):
    out = tmp_path / "out"
    given = [photos_onnx, folder, folder, "--save", out, "--batch", batch, "--skip-bad", "--json", "--device", "cpu"]
    assert run(parse_args([str(one) for one in given])) == 2
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [f"{index}.jpg" for index in (0, 1, 3, 4, 5)]
    assert [record["name"] for record in records] == names + names
    assert sorted(record["saved"] for record in records) == sorted(str(path) for path in out.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hrnet-")]


@pytest.mark.parametrize(("names", "streams"), [(["0.jpg"], 1), (["0.jpg", "1.jpg", "3.jpg"], None), ([], None)])
def test_several_images_are_one_source_and_run_in_lanes(photos_onnx, folder, monkeypatch, capsys, names, streams):
    seen = []

    class Watched(Predictor):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            seen.append(options["streams"])

        def predict(self, source, **options):
            seen.append(source)
            return super().predict(source, **options)

    monkeypatch.setattr("hrnet_deploy.cli.predict.Predictor", Watched)
    files = [str(folder / name) for name in names] or [str(folder)]
    run(parse_args([str(photos_onnx), *files, "--skip-bad", "--device", "cpu"]))
    assert seen == [streams, files[0] if len(files) == 1 else files]
    assert len(capsys.readouterr().out.splitlines()) == (len(names) or 5)


def test_drafts_are_asked_for(photos_onnx, folder, capsys):
    given = [str(photos_onnx), str(folder / "1.jpg"), "--draft", "--device", "cpu"]
    assert run(parse_args(given)) == 0
    assert capsys.readouterr().out.startswith("1.jpg: ")


@pytest.mark.slow
def test_options_that_would_do_nothing_are_errors(photos_onnx, street_onnx, demo, tmp_path, monkeypatch, capsys):
    from hrnet_deploy import export
    from hrnet_deploy.cli.predict import main

    fixed = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors", imgsz=32, batch=2, output=tmp_path / "two.onnx"
    ).path
    for words, named in (
        ((street_onnx, "--topk", "3"), "--topk applies to classification only, got a model for segmentation"),
        ((fixed, "--batch", "3"), "--batch must be 2, the only one that"),
    ):
        monkeypatch.setattr("sys.argv", ["hrnet-predict", *map(str, words), str(tmp_path / "x.png")])
        assert main() == 2
        assert named in capsys.readouterr().err

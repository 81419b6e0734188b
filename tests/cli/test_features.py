"""hrnet-predict --features: one file for all images."""

import json

import numpy as np
import pytest
from helpers.image_content import save_images

from hrnet_deploy.cli.predict import parse_args, run
from hrnet_deploy.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    return save_images(root)


def test_the_file_holds_every_image_and_the_line_says_so(features_onnx, folder, tmp_path, capsys):
    (folder / "zz.jpg").write_bytes(b"no image")
    path = tmp_path / "f.npz"
    given = [features_onnx, folder, "--features", path, "--batch", "2", "--skip-bad", "--json", "--device", "cpu"]
    assert run(parse_args([str(one) for one in given])) == 2
    record = json.loads(capsys.readouterr().out)
    assert (record["features"], record["images"]) == (str(path), 5)
    assert record["shapes"]["map_32"] == [128, 2, 2]
    with np.load(path) as found:
        assert len(set(found["names"].tolist())) == len(found["pooled"]) == 5


@pytest.mark.parametrize("flag", [["--save", "x"], ["--topk", "3"], ["--out", "x"]], ids=str)
def test_flags_of_predictions_are_refused(features_onnx, folder, tmp_path, flag):
    with pytest.raises(UsageError, match=f"{flag[0]} applies without --features only"):
        run(parse_args([str(features_onnx), str(folder), "--features", str(tmp_path / "f.npz"), *flag]))


def test_an_artifact_without_features_leaves_no_file(photos_onnx, folder, tmp_path):
    path = tmp_path / "f.npz"
    with pytest.raises(UsageError, match="Export it with --features"):
        run(parse_args([str(photos_onnx), str(folder), "--features", str(path), "--device", "cpu"]))
    assert not path.exists()

"""hrnet-export and hrnet-predict as a person types them."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.cli import export as export_command
from hrnet_deploy.cli import predict as predict_command
from hrnet_deploy.imaging.synthetic_images import synthetic_images


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(module, *words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        code = module.main()
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.slow
def test_export_prints_the_path_and_says_what_was_measured(run, demo, tmp_path):
    target = tmp_path / "s.onnx"
    code, out, err = run(
        export_command, "--weights", demo / "hrnetv2_w18_small_v1_street.pth", "--imgsz", "64x96", "-o", target
    )
    assert (code, out.strip()) == (0, str(target))
    assert "max abs error" in err
    assert "max rel error" in err
    assert f"Next: hrnet-predict {target}" in err


@pytest.mark.slow
def test_export_json_is_complete_and_quiet_is_quiet(run, demo, tmp_path):
    code, out, err = run(
        export_command, "hrnet_w18_small_v1", "--weights", demo / "hrnet_w18_small_v1_photos10.safetensors",
        "--imgsz", "64", "--precision", "fp16", "--json", "-q", "-o", tmp_path / "p.onnx",
    )  # fmt: skip
    record = json.loads(out)
    assert (code, err) == (0, "")
    assert record["precision"] == "fp16"
    assert record["opset"] == 20
    assert record["inputs"] == [["input", "float32", ["batch", 3, 64, 64]]]
    assert record["measured"]["parity_max_rel"] < 0.05


@pytest.mark.slow
def test_int8_is_one_line_and_answers_like_fp32(run, demo, street_onnx, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index, made in enumerate(synthetic_images(8, (64, 96))):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), made)
    target = tmp_path / "street.onnx"
    code, out, err = run(
        export_command, "--weights", demo / "hrnetv2_w18_small_v1_street.pth", "--imgsz", "64x96",
        "--precision", "int8", "--calib-data", tmp_path / "pictures", "-o", target, "--json",
    )  # fmt: skip
    record = json.loads(out)
    assert code == 0
    assert "entropy calibration on 7 images, for cpu; floating point: what the recipe keeps" in err
    assert "validation images" in err
    assert {p.name for p in tmp_path.iterdir()} == {"pictures", "street.onnx", "street.calib.json"}
    assert record["lineage"]["calib_method"] == "entropy"
    assert record["lineage"]["calib_images"] == "7"
    assert record["measured"]["heldout_agreement"] > 0.9
    pictures = sorted(map(str, (tmp_path / "pictures").iterdir()))
    masks = [
        [found.mask for found in Predictor(path, device="cpu").predict(pictures)] for path in (target, street_onnx)
    ]
    assert np.mean([np.mean(a == b) for a, b in zip(*masks, strict=True)]) > 0.9


@pytest.mark.slow
def test_int8_of_a_classifier_names_the_same_class(run, demo, photos_onnx, tmp_path):
    (tmp_path / "pictures").mkdir()
    for index, made in enumerate(synthetic_images(24, (64, 64))):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), made)
    target = tmp_path / "photos.onnx"
    code, out, _ = run(
        export_command, "--weights", demo / "hrnet_w18_small_v1_photos10.safetensors", "--imgsz", "64",
        "--resize", "squash", "--classes", demo / "photos10.txt", "--precision", "int8",
        "--calib-data", tmp_path / "pictures", "-o", target, "-q",
    )  # fmt: skip
    assert (code, out.strip()) == (0, str(target))
    pictures = sorted(map(str, (tmp_path / "pictures").iterdir()))
    ours, wanted = (
        [r.scores for r in Predictor(path, device="cpu").predict(pictures)] for path in (target, photos_onnx)
    )
    assert np.abs(np.subtract(ours, wanted)).max() < 0.25


def test_predict_prints_a_line_per_image_and_saves_pictures(run, photos_onnx, picture, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "same.png"), picture)
    code, out, err = run(predict_command, photos_onnx, tmp_path / "a", tmp_path / "b", "--save", tmp_path / "out")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "2 images on cpu" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["same.png", "same_2.png"]


def test_predict_json_is_one_record_per_line(run, street_onnx, picture, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    code, out, _ = run(predict_command, street_onnx, tmp_path / "a.png", "--json")
    (record,) = map(json.loads, out.splitlines())
    assert code == 0
    assert (record["height"], record["width"]) == picture.shape[:2]


def test_skip_bad_goes_on_and_says_so_in_the_exit_code(run, photos_onnx, picture, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    (tmp_path / "b.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "c.png"), picture)
    code, out, err = run(predict_command, photos_onnx, tmp_path, "--skip-bad", "--batch", "2")
    assert code == 2
    assert len(out.splitlines()) == 2
    assert "skipped" in err
    assert "b.png" in err


def test_verbose_shows_the_traceback(run, tmp_path):
    code, _, err = run(predict_command, tmp_path / "none.onnx", "x.png", "-v")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet-export", "hrnet-predict", "hrnet-models"])
def test_installed_commands_help(name):
    command = shutil.which(name, path=str(__import__("pathlib").Path(sys.executable).parent))
    if command is None:
        pytest.skip("the package is not installed in this environment: pip install -e .")
    found = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert name in found.stdout
    assert "--json" in found.stdout


@pytest.mark.slow
def test_the_card_of_another_file_serves_one_without(run, photos_onnx, picture, tmp_path):
    import onnx

    model = onnx.load(photos_onnx)
    del model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"  # another name for the same open size
    onnx.save(model, tmp_path / "plain.onnx")
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    words = [tmp_path / "a.png", "--json", "-q"]
    with_card = run(predict_command, photos_onnx, *words)
    without = run(predict_command, tmp_path / "plain.onnx", *words, "--card", photos_onnx)
    assert without[0] == with_card[0] == 0
    ours, theirs = (json.loads(out.splitlines()[0]) for _, out, _ in (without, with_card))
    assert ours["pred_scores"] == theirs["pred_scores"]
    code, _, err = run(predict_command, tmp_path / "plain.onnx", *words, "--card", tmp_path / "plain.onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "--card must name a file with a model card" in err

"""Names and colours of classes, from the weights to what is drawn; weights by name."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from hrnet_deploy import DownloadError, Predictor, UsageError, export
from hrnet_deploy.cli import export as export_command
from hrnet_deploy.cli import predict as predict_command
from hrnet_deploy.export import export_artifact
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.models.zoo import find_entry
from hrnet_deploy.spec import ModelCard

FACE = tuple(f"part {index}" for index in range(19))
COLOURS = [[13 * index, 255 - 13 * index, index] for index in range(19)]


@pytest.fixture
def street(demo):
    return demo / "hrnetv2_w18_small_v1_street.pth"


@pytest.fixture
def named(street, tmp_path):
    """The street net as a training file that says what its classes are."""
    state = torch.load(street, map_location="cpu", weights_only=True)
    torch.save({"meta": {"CLASSES": FACE, "PALETTE": COLOURS}, "state_dict": state}, tmp_path / "face.pth")
    return tmp_path / "face.pth"


@pytest.mark.slow
def test_names_and_colours_of_the_file_are_drawn(named, tmp_path, caplog):
    path = export(weights=named, imgsz="64x96", output=tmp_path / "face.onnx").path
    assert "class names" not in caplog.text
    result = Predictor(path).predict(synthetic_images(1, (64, 96))[0])
    assert result.classes == FACE
    assert set(result.shares) <= set(FACE)
    np.testing.assert_array_equal(result.palette, COLOURS)
    drawn = result.overlay(alpha=1.0)
    best = FACE.index(next(iter(result.shares)))
    assert (drawn == COLOURS[best][::-1]).all(axis=2).any()
    again = export_artifact(str(path), output=tmp_path / "again.onnx").card
    assert (again.classes, again.palette) == (FACE, tuple(map(tuple, COLOURS)))


@pytest.mark.slow
def test_names_the_user_gives_win(named, tmp_path):
    names = [f"mine {index}" for index in range(19)]
    (tmp_path / "names.txt").write_text("".join(f"{index} {name}\n" for index, name in enumerate(names)))
    card = export_artifact(weights=named, imgsz=64, classes=tmp_path / "names.txt", output=tmp_path / "x.onnx").card
    assert card.classes == tuple(names)


@pytest.mark.slow
def test_assumed_names_are_said_to_be_so(street, tmp_path, caplog):
    export(weights=street, imgsz=64, output=tmp_path / "x.onnx")
    assert caplog.text.count("those of Cityscapes are assumed for a head of 19 classes; --classes gives others") == 1


@pytest.mark.slow
def test_names_of_another_head_are_left_out(street, tmp_path, caplog):
    state = torch.load(street, map_location="cpu", weights_only=True)
    torch.save({"meta": {"CLASSES": FACE[:7], "PALETTE": COLOURS[:7]}, "state_dict": state}, tmp_path / "x.pth")
    card = export_artifact(weights=tmp_path / "x.pth", imgsz=64, output=tmp_path / "x.onnx").card
    assert (card.classes[0], card.palette) == ("road", None)
    assert "the 7 in the file are not used" in caplog.text
    assert "the 7 colors in the file are not used" in caplog.text


def test_old_cards_are_read_and_new_ones_say_no_more_than_they_must(street_onnx):
    card = Predictor(street_onnx).card
    content = json.loads(card.to_json())
    assert not {"threshold", "palette"} & set(content)
    assert ModelCard.from_json(json.dumps(content)) == card


@pytest.fixture
def fetched(demo, monkeypatch, tmp_path):
    """A zoo row whose file lies in the cache; it has ten classes, but the row's name and preprocessing."""
    entry = find_entry("hrnet_w18_small_v1.ms_in1k")
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/weights").mkdir(parents=True)
    shutil.copy(demo / "hrnet_w18_small_v1_photos10.safetensors", tmp_path / "cache/weights" / entry.filename)
    cv2.imwrite(str(tmp_path / "a.png"), synthetic_images(1, (240, 300))[0])
    return entry


@pytest.mark.slow
def test_predicting_by_name_exports_once(fetched, tmp_path, capsys):
    words = [str(tmp_path / "a.png"), "--json", "--device", "cpu"]
    first, second = [], []
    for name, record in (("timm/hrnet_w18_small.ms_in1k", first), (fetched.name, second)):
        assert predict_command.run(predict_command.parse_args([name, *words])) == 0
        out, err = capsys.readouterr()
        record.append(json.loads(out)["pred_scores"])
        assert f"{fetched.name}, published by timm, weights SHA-256" in err
        (made,) = (tmp_path / "cache/artifacts").iterdir()
        record.append(made.stat().st_mtime_ns)
    assert first == second
    assert made.name.startswith(f"{fetched.name}-")
    card = Predictor(made).card
    assert (card.lineage["zoo"], card.lineage["weights_url"]) == (fetched.name, fetched.url)
    assert card.preprocessing == fetched.preprocessing


def test_a_predictor_takes_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"got the zoo name HRNet_W18_C\. Make one: hrnet-export HRNet_W18_C -o"):
        Predictor("HRNet_W18_C")


@pytest.mark.slow
def test_the_export_says_which_weights_it_took(fetched, tmp_path, capsys):
    args = export_command.parse_args(["hrnet_w18_small.ms_in1k", "--imgsz", "64", "-o", str(tmp_path / "x.onnx")])
    assert export_command.run(args) == 0
    err = capsys.readouterr().err
    assert f"weights: {fetched.name}, published by timm: {fetched.url}, SHA-256 " in err


@pytest.mark.parametrize("name", ["SE_HRNet_W64_C", "HRNet_W60_C", "hrnet_w18_small_v1.ms_in2k", "SE_HRNet_W18_C"])
def test_no_name_leads_to_another_publishers_weights(name):
    with pytest.raises(UsageError, match="Did you mean"):
        export(name)


def test_by_hand_means_by_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match=r"hrnet_w18\.official_in1k must be fetched by hand"):
        export("HRNet-W18-C")


def test_model_and_weights_of_two_rows_are_refused():
    with pytest.raises(UsageError, match=r"same zoo row, got HRNet_W18_C and hrnet_w18\.mm_in1k"):
        export("HRNet_W18_C", weights="hrnet_w18.mm_in1k")


def test_a_bare_export_shows_its_usage_and_fetches_nothing(capsys):
    with pytest.raises(UsageError, match="an export needs a model or weights, got neither") as caught:
        export_command.run(export_command.parse_args(["-o", "x.onnx"]))
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err.startswith("usage: hrnet-export [MODEL|FILE.onnx]")

"""From the checkpoint to INT8, row by row, on the demo's nets and real images."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hrnet_deploy.cli.export import main
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation import compare
from hrnet_deploy.export import export_artifact
from hrnet_deploy.export.accuracy_waterfall import measure_waterfall
from hrnet_deploy.export.reference_transforms import own_transform
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing

FIRST = [
    "checkpoint, its own preprocessing",
    "checkpoint, our preprocessing",
    "ONNX as traced",
    "ONNX simplified",
]


@pytest.fixture
def weights(demo):
    return demo / "hrnet_w18_small_v1_photos10.safetensors"


@pytest.mark.slow
def test_each_row_stands_on_the_one_before(photos_onnx, weights, demo, shared, tmp_path):
    int8 = export_artifact(
        weights=weights, imgsz=64, resize="squash", classes=demo / "photos10.txt", precision="int8",
        calib_data=shared / "data/photos", calib_images=16, keep_fp=("head",), output=tmp_path / "p8.onnx",
    ).path  # fmt: skip
    data = shared / "data/photos"
    found = measure_waterfall([int8, photos_onnx], data, weights=weights, limit=40)
    assert [step.name for step in found.steps] == [*FIRST, "FP16", "photos.onnx", "p8.onnx"]
    first, *rest = found.steps
    assert (first.drop, first.agreement, first.total) == (None, None, 0)
    assert sum(step.drop.points for step in rest) == pytest.approx(rest[-1].total, abs=1e-9)
    assert rest[-1].total == pytest.approx(100 * (first.value - rest[-1].value), abs=1e-9)
    # Preprocessing, tracing and simplifying cost nothing; what INT8 costs is what a comparison says.
    assert [step.agreement for step in found.steps[1:4]] == [1, 1, 1]
    contrast = compare(photos_onnx, [int8], data, limit=40).candidates[0]
    assert found.steps[-1].agreement == contrast.agreement
    assert found.steps[-1].drop == contrast.drop
    assert len(str(found).splitlines()) == len(found.steps) + 2
    assert [row["name"] for row in json.loads(json.dumps(found.to_dict()))["steps"]] == [s.name for s in found.steps]


@pytest.mark.slow
def test_without_pillow_its_row_says_so(photos_onnx, weights, shared, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = measure_waterfall([photos_onnx], shared / "data/photos", weights=weights, limit=4)
    assert found.steps[0].value is None
    assert "pip install pillow" in found.steps[0].reason
    assert found.steps[1].drop is None
    assert "left out: the checkpoint's own preprocessing needs Pillow" in str(found)


@pytest.mark.slow
def test_a_street_net_with_pixels_in_and_labels_out(demo, shared, tmp_path):
    weights = demo / "hrnetv2_w18_small_v1_street.pth"
    done = export_artifact(
        weights=weights, imgsz="96x128", pixels_in=True, labels_out=True, output=tmp_path / "s.onnx",
        waterfall=True, eval_data=shared / "data/street", eval_limit=3,
    )  # fmt: skip
    steps = done.waterfall.steps
    assert [step.name for step in steps] == [*FIRST, "s.onnx"]
    assert all(step.agreement > 0.999 for step in steps[1:4])
    assert 0.9 < steps[4].agreement < 1  # labels at the graph's size are coarser
    assert done.waterfall.metric == "mIoU"


@pytest.mark.slow
def test_the_command_prints_it_and_puts_it_into_the_json(demo, shared, tmp_path, monkeypatch, capsys):
    words = ["--weights", demo / "hrnetv2_w18_small_v1_street.pth", "--imgsz", "64x96", "--waterfall", "--json"]
    words += ["--eval-data", shared / "data/street", "--eval-limit", 2, "-o", tmp_path / "s.onnx"]
    monkeypatch.setattr(sys, "argv", ["hrnet-export", *map(str, words)])
    assert main() == 0
    out, err = capsys.readouterr()
    assert [row["name"] for row in json.loads(out)["waterfall"]["steps"]] == [*FIRST, "s.onnx"]
    assert "waterfall: mIoU on 2 images" in err


def test_other_weights_than_the_artefact_s_are_refused(street_onnx, weights, shared):
    with pytest.raises(UsageError, match=r"needs the weights street\.onnx was made from \(hrnetv2_w18.*Give those"):
        measure_waterfall([street_onnx], shared / "data/street", weights=weights)
    with pytest.raises(UsageError, match="needs an artifact"):
        measure_waterfall([], shared / "data/street", weights=weights)


@pytest.mark.parametrize(
    "spec",
    [
        Preprocessing(),
        Preprocessing(interpolation="bicubic", crop_pct=0.95),
        Preprocessing(interpolation="opencv-linear", rounding="paddle"),
        Preprocessing(resize="squash", size_hw=(64, 96)),
        Preprocessing(resize="long-side", size_hw=(100, 200), rounding="paddle", interpolation="opencv-linear"),
        Preprocessing(resize="none", size_hw=None, mean=(0.1, 0.5, 0.9)),
        Preprocessing(size_hw=(160, 96), crop_pct=0.9),
        Preprocessing(resize="squash", size_hw=(64, 96), channel_order="bgr"),
        Preprocessing().for_channels(1),
        Preprocessing(interpolation="opencv-linear", rounding="paddle").for_channels(1),
    ],
    ids=str,
)
@pytest.mark.parametrize("size_hw", [(120, 160), (301, 240), (64, 64)], ids=str)
def test_our_preprocessing_is_the_dialects_own(spec, size_hw):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    whole = image if spec.channel_order.value == "bgr" else image[:, :, ::-1]
    np.testing.assert_allclose(own_transform(np.ascontiguousarray(whole), spec), Preprocessor(spec)(image), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_another_number_of_channels(weights, channels, demo, shared, tmp_path):
    tensors = load_file(weights)
    kernel = tensors["conv1.weight"]
    tensors["conv1.weight"] = (
        kernel.sum(1, keepdim=True) if channels == 1 else torch.cat([kernel, 0 * kernel[:, :1]], 1)
    )
    save_file(tensors, own := tmp_path / "own.safetensors")
    options = {"weights": own, "imgsz": 64, "resize": "squash", "classes": demo / "photos10.txt"}
    done = export_artifact(**options, output=tmp_path / "own.onnx")
    if channels == 4:
        with pytest.raises(UsageError, match=r"got the RGBA model own\.onnx"):
            measure_waterfall([done.path], shared / "data/photos", weights=own, limit=4)
    else:
        found = measure_waterfall([done.path], shared / "data/photos", weights=own, limit=20)
        assert [step.agreement for step in found.steps[1:]] == [1, 1, 1, 1]
        assert found.steps[0].value > 0.3  # a model of colors still recognizes many gray photos

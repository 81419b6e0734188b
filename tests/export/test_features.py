"""Features beside the scores, or instead of them, in every precision and from every source."""

import contextlib
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from hrnet_deploy import AgreementError, Predictor, UsageError, export
from hrnet_deploy.cli.export import main
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.integrity.fingerprint import check_fingerprint
from hrnet_deploy.models.network import build_headless
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import ModelCard, OutputKind, Task

MAPS = ["map_4", "map_8", "map_16", "map_32"]


def outputs(path):
    return [output.name for output in onnx.load(path, load_external_data=False).graph.output]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve small images."""
    folder = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(synthetic_images(12, (64, 64))):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A checkpoint of a trunk alone."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "trunk.pth"
    torch.save(build_headless(find_variant("hrnet_w18_small_v1"), "trunk").state_dict(), path)
    return path


def test_features_come_behind_the_scores(features_onnx, photos_onnx):
    assert outputs(features_onnx) == ["logits", "pooled", *MAPS]
    image = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    with Predictor(features_onnx, device="cpu") as with_features, Predictor(photos_onnx, device="cpu") as plain:
        card = with_features.card
        assert [spec.name for spec in card.features] == ["pooled", *MAPS]
        assert card.features[0].shape == ("batch", 2048)
        found = with_features.infer(image)
        np.testing.assert_array_equal(found["logits"], plain.infer(image)["logits"])
    assert all(card.measured[f"parity_cosine_{spec.name}"] > 0.999999 for spec in card.features)
    assert ModelCard.from_json(card.to_json()) == card
    # A reader of schema 2 finds nothing new in the card of a model with a head.
    assert plain.card.to_record().keys() == card.to_record().keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "extra"),
    [
        ("fp32", {"labels_out": "softmax", "pixels_in": "rgb"}),
        ("fp16", {"labels_out": "topk"}),
        ("int8", {"labels_out": "topk", "pixels_in": "rgb"}),
    ],
    ids=["fp32", "fp16", "int8"],
)
def test_features_are_float_outputs_in_every_precision(features_onnx, photos, tmp_path, precision, extra):
    calibration = {} if precision == "fp32" else {"calib_data": photos, "keep_rejected": True}
    path = tmp_path / "f.onnx"
    with contextlib.suppress(AgreementError):  # noise is no photo; the file is kept
        export(features_onnx, precision=precision, output=path, **calibration, **extra)
    scores = ["labels", "scores"] if extra["labels_out"] == "topk" else ["probabilities"]
    assert outputs(path) == [*scores, "pooled", *MAPS]
    with Predictor(path, device="cpu") as ours, Predictor(features_onnx, device="cpu") as reference:
        card = ours.card
        image = next(photos.glob("*.png"))
        found, wanted = ours.features(image), reference.features(image)
        assert len(ours.predict(image).scores) == (5 if extra["labels_out"] == "topk" else 10)
    assert {array.dtype for array in found.arrays().values()} == {np.dtype("float32")}
    for name, array in wanted.arrays().items():
        other = found.arrays()[name]
        cosine = (array * other).sum() / np.linalg.norm(array) / np.linalg.norm(other)
        assert cosine > {"fp32": 0.9999, "fp16": 0.9999, "int8": 0.8}[precision]
    if precision != "fp32":
        figures = card.measured
        assert all(figures[f"cosine_{one.name}"] >= figures[f"cosine_worst_{one.name}"] for one in card.features)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_trunk_alone_has_its_features_as_only_outputs(trunk, photos, tmp_path, precision, capsys, monkeypatch):
    calibration = [] if precision == "fp32" else ["--calib-data", str(photos), "--keep-rejected"]
    path = tmp_path / "f.onnx"
    given = ["--weights", str(trunk), "--features", "stage2,maps", "--imgsz", "64", "-o", str(path), *calibration]
    monkeypatch.setattr(sys, "argv", ["hrnet-export", *given, "--precision", precision])
    assert main() in {0, 3 if precision == "int8" else 0}
    assert outputs(path) == ["stage2_4", "stage2_8", *MAPS]
    if precision == "fp32":
        assert "features only" in capsys.readouterr().err
    with Predictor(path, device="cpu") as predictor:
        card = predictor.card
        assert (card.output_kind, card.classes, card.task) == (OutputKind.FEATURES, (), Task.CLASSIFICATION)
        found = predictor.features(synthetic_images(1, (80, 90))[0])
        assert (list(found.maps), dict(found.vectors)) == (outputs(path), {})
        with pytest.raises(UsageError, match="pooled needs an artifact with that output"):
            found.normalized()
        with pytest.raises(UsageError, match="predict needs a model with a head"):
            predictor.predict(synthetic_images(1, (80, 90))[0])
    engine = open_engine(path, device="cpu", backend="onnxruntime")
    assert check_fingerprint(engine, card).verdict == "same"


@pytest.mark.slow
def test_the_trunk_of_a_segmentation_model_may_have_open_sizes(demo, tmp_path):
    weights = demo / "hrnetv2_w18_small_v1_street.pth"
    path = export(weights=weights, imgsz="dynamic", features=["maps"], labels_out=True, output=tmp_path / "s.onnx").path
    assert outputs(path) == ["labels", *MAPS]
    with Predictor(path, device="cpu") as predictor:
        found = predictor.features([*synthetic_images(1, (64, 96)), *synthetic_images(1, (128, 64))], batch=2)
        assert [one.maps["map_8"].shape for one in found] == [(32, 8, 12), (32, 16, 8)]
        assert predictor.predict(synthetic_images(1, (64, 96))[0]).mask.shape == (64, 96)


FOREIGN = (
    "g (float[N, 3, 32, 32] x) => (float[N, 4] y, float[N, 4] v, float[N, 4, 16, 16] m) "
    "{ c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) m = Relu(c) "
    "p = GlobalAveragePool(m) v = Flatten(p) y = Gemm(v, k) }"
)


@pytest.fixture
def foreign(tmp_path):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{FOREIGN}')
    rng = np.random.default_rng(3)
    for name, shape in (("w", (4, 3, 3, 3)), ("k", (4, 4))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("features", "more", "expected"),
    [("v", {"graph_output": "y"}, ["y", "v"]), ("m,v", {}, ["y", "m", "v"]), ("m,v,y", {}, ["m", "v", "y"])],
)
def test_features_of_a_foreign_graph_are_named_by_its_outputs(foreign, tmp_path, features, more, expected):
    options = {"task": "classification", "features": features, **more}
    path = export(foreign, output=tmp_path / "f.onnx", simplify=False, **options).path
    assert outputs(path) == expected
    with Predictor(path, device="cpu") as predictor:
        assert predictor.card.headless is ("y" in features)
        assert list(predictor.features(synthetic_images(1, (32, 32))[0]).arrays().keys()) == sorted(
            features.split(","), key=lambda name: (name == "m", expected.index(name))
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "expected"), [((), ["pooled", *MAPS]), ("stage4", MAPS), ("map_8,pooled", ["pooled", "map_8"])]
)
def test_a_graph_made_here_keeps_its_features_or_those_that_are_named(features_onnx, tmp_path, features, expected):
    path = export(features_onnx, features=features, output=tmp_path / "f.onnx", simplify=False).path
    assert outputs(path) == ["logits", *expected]


def test_a_graph_made_here_has_no_other_features(features_onnx, tmp_path):
    with pytest.raises(UsageError, match=r"--features must be those of features.onnx, pooled, .*got final"):
        export(features_onnx, features="final", output=tmp_path / "f.onnx")


BAD = {
    "unknown block": ({"features": "stage5"}, "--features must be of pooled, maps"),
    "no head": ({"features": "pooled"}, "--features pooled is the embedding"),
    "classes": ({"features": "maps", "classes": ["a"]}, "--classes needs a model with a head"),
    "labels": ({"features": "maps", "labels_out": "topk"}, "--labels-out needs a model with a head"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_features_cannot_do_is_refused_in_one_line(trunk, tmp_path, case):
    options, message = BAD[case]
    with pytest.raises(UsageError, match=message):
        export(weights=trunk, output=tmp_path / "f.onnx", imgsz=64, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_output_of_a_foreign_graph_is_refused_with_all_there_are(foreign, tmp_path):
    with pytest.raises(UsageError, match=r"--features must be other outputs of foreign.onnx: y .*, v .*got 'z'"):
        export(foreign, task="classification", features="z", output=tmp_path / "f.onnx")


@pytest.mark.slow
def test_features_are_those_of_timm(demo, tmp_path):
    """Source: timm's own forward_features, forward_head and forward_intermediates."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # timm asks for an operator of a package that is absent
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    timm = pytest.importorskip("timm", exc_type=ImportError)
    weights = demo / "hrnet_w18_small_v1_photos10.safetensors"
    network = timm.create_model("hrnet_w18_small", num_classes=10).eval()
    network.load_state_dict(load_file(weights))
    path = export(weights=weights, imgsz=64, features="pooled,final,incre,conv1", output=tmp_path / "f.onnx").path
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        final, (stem, *wide) = network.forward_intermediates(image)
        wanted = {"final_32": final, "pooled": network.forward_head(final, pre_logits=True), "conv1_2": stem}
    wanted |= {f"incre_{4 << index}": array for index, array in enumerate(wide)}
    with Predictor(path, device="cpu") as predictor:
        found = predictor.infer(image.numpy())
    assert found.keys() == {"logits", *wanted}
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array.numpy(), atol=2e-5)

"""Export: what is written is the net, describes itself, and is there whole or not at all."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hrnet_deploy import DownloadError, Predictor, UsageError, VerificationError, export
from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.export import export_artifact, publish
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.spec import Interpolation, OutputKind, Precision, Resize, Task


@pytest.fixture
def street(demo):
    return {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": "64x96"}


@pytest.fixture
def photos(demo):
    return {"weights": demo / "hrnet_w18_small_v1_photos10.safetensors", "imgsz": 64, "classes": demo / "photos10.txt"}


def card_in(path):
    model = onnx.load(path, load_external_data=False)
    return card_from_metadata({p.key: p.value for p in model.metadata_props}, path.name)


@pytest.mark.slow
def test_the_card_tells_the_whole_story(photos, tmp_path):
    done = export_artifact(precision="fp16", output=tmp_path / "p.onnx", batch="1:4:8", **photos)
    card = card_in(done.path)
    assert card == done.card
    assert (Path(done), str(done)) == (done.path, str(done.path))
    assert Predictor(done).card == card
    assert (card.task, card.variant, card.precision) == (Task.CLASSIFICATION, "hrnet_w18_small_v1", Precision.FP16)
    assert card.classes[:2] == ("airplane", "automobile")
    assert card.preprocessing.size_hw == (64, 64)
    assert card.shapes.max_nhw == (8, 64, 64)
    assert card.inputs[0].shape == ("batch", 3, 64, 64)
    assert card.outputs[0].shape == ("batch", 10)
    assert card.opset == 20
    assert card.lineage["weights_sha256"] == sha256_file(photos["weights"])
    assert card.lineage["dialect"] == "official"
    assert 0 < card.measured["parity_max_abs"] < 0.05
    assert card.measured["parity_agreement"] == 1


@pytest.mark.slow
def test_overrides_reach_the_card(photos, tmp_path):
    wishes = {"interpolation": "bicubic", "resize": "squash", "mean": (0.5,) * 3, "std": (0.25,) * 3}
    spec = export_artifact(output=tmp_path / "p.onnx", **photos, **wishes).card.preprocessing
    assert (spec.interpolation, spec.resize) == (Interpolation.BICUBIC, Resize.SQUASH)
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("opset", [17, 19, 20, 21])
def test_the_opset_asked_for_is_the_one_written(street, tmp_path, precision, opset):
    path = export(output=tmp_path / "s.onnx", precision=precision, opset=opset, **street).path
    model = onnx.load(path)
    assert [(e.domain, e.version) for e in model.opset_import] == [("", opset)]
    onnx.checker.check_model(model, full_check=True)
    assert card_in(path).opset == opset


@pytest.mark.slow
def test_one_file_and_nothing_else(street, tmp_path):
    path = export(output=tmp_path / "new" / "s.onnx", **street).path
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "s.onnx"]
    assert path.stat().st_size < 7e6


@pytest.mark.slow
def test_equal_input_gives_equal_bytes(street, tmp_path):
    first, second = (export(output=tmp_path / name, **street).path for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_static_graph_has_no_shape_arithmetic(street, tmp_path):
    kinds = {n.op_type for n in onnx.load(export(output=tmp_path / "s.onnx", **street).path).graph.node}
    assert kinds == {"Conv", "Relu", "Add", "Resize", "Concat"}


@pytest.mark.slow
def test_fp16_has_few_casts_and_float_ends(street, tmp_path):
    done = export_artifact(output=tmp_path / "s.onnx", precision="fp16", **street)
    model = onnx.load(done.path)
    assert sum(n.op_type == "Cast" for n in model.graph.node) == 2
    assert done.card.inputs[0].dtype == done.card.outputs[0].dtype == "float32"
    assert done.size_bytes < 3.3e6
    assert done.kept_fp32 == ()


@pytest.mark.slow
def test_fp16_keeps_nodes_whose_values_it_cannot_hold(demo, tmp_path):
    """A net whose stem is scaled up by 1e6 and down again overflows half precision in between."""
    state = torch.load(demo / "hrnetv2_w18_small_v1_street.pth", weights_only=True)
    for leaf in ("weight", "bias"):
        state[f"bn1.{leaf}"] = state[f"bn1.{leaf}"] * 1e6
    state["conv2.weight"] = state["conv2.weight"] / 1e6
    torch.save(state, tmp_path / "hot.pth")
    done = export_artifact(weights=tmp_path / "hot.pth", imgsz="64x96", precision="fp16", output=tmp_path / "hot.onnx")
    assert 0 < len(done.kept_fp32) < 8
    assert done.difference.max_rel < 0.05


@pytest.mark.slow
def test_a_wrong_graph_is_refused_and_leaves_the_old_file(street, tmp_path, monkeypatch):
    path = export(output=tmp_path / "s.onnx", **street).path
    before = path.read_bytes()
    convert = Converter.convert

    def spoiled(*words):
        made = convert(*words)
        weight = made.graph.graph.initializer[3]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, weight.name))
        return made

    monkeypatch.setattr(Converter, "convert", spoiled)
    with pytest.raises(VerificationError, match="must agree with its original") as caught:
        export(output=path, **street)
    assert caught.value.exit_code == 3
    assert [p.name for p in tmp_path.iterdir()] == ["s.onnx"]
    assert path.read_bytes() == before


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(street, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(output=tmp_path / "s.onnx", **street)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_default_file_name_says_what_it_is(street, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(export(precision="fp16", **street).path) == "hrnetv2_w18_small_v1_fp16.onnx"


@pytest.mark.slow
def test_random_weights_serve_for_measuring_speed(tmp_path):
    done = export_artifact("hrnet_w18_small_v2", weights="random", num_classes=7, imgsz=64, output=tmp_path / "r.onnx")
    assert len(done.card.classes) == 7
    assert done.card.lineage["weights"] == "random"


def test_weights_that_cannot_be_fetched_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match="by hand"):
        export("hrnetv2_w48.cityscapes", output=tmp_path / "s.onnx")
    with pytest.raises(UsageError, match=r"hrnetv2_w48\.cityscapes"):
        export("hrnetv2_w48", output=tmp_path / "s.onnx")


@pytest.mark.slow
def test_zoo_weights_bring_their_own_preprocessing(demo, tmp_path, monkeypatch):
    """A file put into the cache by hand is taken for the zoo row, which says how its figures were measured."""
    from hrnet_deploy.models import zoo

    row = next(e for e in zoo.entries() if e.name == "hrnetv2_w18_small_v1.cityscapes")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / row.filename).write_bytes((demo / "hrnetv2_w18_small_v1_street.pth").read_bytes())
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    done = export_artifact(row.name, imgsz="dynamic", output=tmp_path / "s.onnx")
    assert done.card.lineage["zoo"] == row.name
    assert done.card.preprocessing.resize is Resize.LONG_SIDE
    image = np.zeros((30, 60, 3), np.uint8)
    predictor = Predictor(done.path)
    assert predictor.card.preprocessing.size_hw == (1024, 2048)
    assert predictor._loop.pipeline.preprocessor.output_hw(image.shape[:2]) == (1024, 2048)


@pytest.mark.slow
def test_a_foreign_file_gets_a_card(photos, tmp_path):
    source = export(output=tmp_path / "own.onnx", **photos).path
    model = onnx.load(source)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    done = export_artifact(
        str(tmp_path / "foreign.onnx"), task="classification", precision="fp16", output=tmp_path / "new.onnx"
    )
    assert done.card.variant == "foreign"
    assert done.card.lineage["graph_sha256"] == sha256_file(tmp_path / "foreign.onnx")
    assert done.card.output_kind is OutputKind.LOGITS
    assert done.difference.agreement == 1


@pytest.mark.slow
def test_a_foreign_softmax_is_not_applied_twice(shared, tmp_path):
    path = shared / "weights" / "person_w18_small_v1.onnx"
    half = (0.5, 0.5, 0.5)
    done = export_artifact(str(path), task="segmentation", mean=half, std=half, output=tmp_path / "p.onnx")
    assert done.card.output_kind is OutputKind.PROBABILITIES
    assert done.difference.max_abs == 0
    mask = Predictor(done.path).predict(shared / "weights" / ".." / "data" / "imagenet" / "val").pop().mask
    assert set(np.unique(mask)) <= {0, 1}
    with pytest.raises(UsageError, match="batch 1"):
        export(str(path), task="segmentation", batch="1:2:4", output=tmp_path / "b.onnx")
    with pytest.raises(UsageError, match="192"):
        export(str(path), task="segmentation", imgsz=256, output=tmp_path / "b.onnx")


@pytest.mark.slow
def test_cards_in_files_are_short(demo, tmp_path):
    """ImageNet's thousand names are written as one word, so that a card fits a TensorRT network name."""
    done = export_artifact("hrnet_w18_small_v1", weights="random", imgsz=64, output=tmp_path / "r.onnx")
    text = onnx.load(done.path).metadata_props[0].value
    assert len(text.encode()) < 4096
    assert json.loads(text)["classes"] == "imagenet"
    assert len(card_in(done.path).classes) == 1000
    assert dataclasses.asdict(card_in(done.path)) == dataclasses.asdict(done.card)

"""Cards of schema 1, as the exports of version 0.1.0 wrote them, are read like those of today."""

import json
from pathlib import Path

import pytest

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.engine_sidecar import read_sidecar
from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.quantization_info import QdqTarget, Residual
from hrnet_deploy.spec import Precision

FOLDER = Path(__file__).parent / "schema1"
NAMES = ("fp32", "fp16", "int8_cpu", "int8_tensorrt")


def text_of(name):
    return (FOLDER / f"{name}.json").read_text()


def read(text):
    return card_from_metadata({CARD_KEY: text}, "old.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_an_old_card_keeps_everything_it_said(name):
    old, card = json.loads(text_of(name)), read(text_of(name))
    assert old.pop("schema") == 1
    record = card.to_record()
    assert record.pop("schema") == 2
    assert (record.pop("quantization", None) is None) == (not name.startswith("int8"))
    # JSON for people and scripts repeats the quantization under its old names, so nothing they read is missing.
    assert record == old


@pytest.mark.parametrize("name", NAMES)
def test_an_old_card_is_written_as_a_new_one(name):
    card = read(text_of(name))
    (text,) = card_metadata(card).values()
    assert json.loads(text)["schema"] == 2
    assert read(text) == card
    assert not {"qdq_target", "calib_method", "kept_fp"} & json.loads(text)["lineage"].keys()


def test_the_quantization_of_an_old_card_is_typed():
    card = read(text_of("int8_cpu"))
    info = card.quantization
    assert (info.target, info.method, info.images, info.validation_images) == (QdqTarget.CPU, "entropy", 8, 2)
    assert (info.kept_in_float, info.residual, info.implicit) == (("c4", "c7"), None, False)
    assert info.remainder == ""  # schema 1 does not record it
    assert 0.9 < info.validation.worst <= info.validation.agreement <= 1
    assert card.measured == {}
    info = read(text_of("int8_tensorrt")).quantization
    assert (info.target, info.residual, info.kept_in_float) == (QdqTarget.TENSORRT, Residual.INT8, ())
    assert set(info.method_divergence) == {"entropy", "percentile", "minmax", "mse"}
    assert min(info.method_divergence.values()) == info.validation.divergence


def test_figures_of_half_precision_stay_among_the_measured():
    card = read(text_of("fp16"))
    assert card.precision is Precision.FP16
    assert card.measured["heldout_images"] == 2
    assert card.measured["parity_agreement"] > 0.9


def test_the_sidecar_of_an_old_engine_is_read():
    card = read_sidecar(FOLDER / "implicit.engine.json").card
    assert card.quantization.implicit
    assert card.quantization.kept_in_float == ("c5",)
    assert "measured_quantization" not in card.lineage
    assert card.to_record()["lineage"]["measured_quantization"] == "qdq"


@pytest.mark.parametrize(
    ("key", "value"), [("calib_images", "many"), ("qdq_target", "tpu"), ("residual", "half"), ("kept_fp", 1)]
)
def test_a_damaged_old_card_is_refused(key, value):
    content = json.loads(text_of("int8_cpu"))
    content["lineage"][key] = value
    with pytest.raises(ArtifactError, match=r"old\.onnx: model card cannot be read"):
        read(json.dumps(content))

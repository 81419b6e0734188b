"""The golden answer: the same artefact gives it again, a damaged one does not."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.onnx_header import graph_sha256, read_header
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.integrity.fingerprint import ANSWER_KEY, GRAPH_KEY, PICTURE_KEY, check_fingerprint, fingerprint
from hrnet_deploy.spec import OutputKind, Precision


def read_card(path):
    return card_from_metadata(read_header(path).metadata, path.name)


@pytest.fixture(params=["photos_onnx", "street_onnx"])
def artefact(request):
    """A classifier, and a segmenter of open size."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def engine(artefact):
    opened = open_engine(artefact, device="cpu", backend="onnxruntime")
    yield opened
    opened.close()


def test_an_export_seals_its_graph_and_its_answer(artefact, engine):
    card = read_card(artefact)
    assert card.lineage[GRAPH_KEY] == graph_sha256(artefact)
    assert fingerprint(engine, card) == {key: card.lineage[key] for key in (PICTURE_KEY, ANSWER_KEY)}
    assert len(card.lineage[ANSWER_KEY]) < 1000
    assert check_fingerprint(engine, card).verdict == "same"


@pytest.mark.slow
def test_another_weight_gives_another_answer(artefact, tmp_path):
    model = onnx.load(artefact)
    weights = [entry for entry in model.graph.initializer if len(entry.dims) == 4]
    values = numpy_helper.to_array(weights[0]).copy()
    values[0] *= 1.5
    weights[0].CopyFrom(numpy_helper.from_array(values, weights[0].name))
    onnx.save_model(model, tmp_path / "changed.onnx")
    engine = open_engine(tmp_path / "changed.onnx", device="cpu", backend="onnxruntime")
    card = read_card(artefact)
    found = check_fingerprint(engine, card)
    assert found.verdict == "different"
    assert "limit" in found.detail
    assert card.lineage[GRAPH_KEY] != graph_sha256(tmp_path / "changed.onnx")


class Noisy:
    """An engine whose answers are off, or of another type."""

    def __init__(self, engine, noise=0.0):
        self.engine, self.noise = engine, noise
        self.device, self.backend, self.arithmetic = engine.device, engine.backend, engine.arithmetic

    def run(self, feed):
        rng = np.random.default_rng(0)
        return {
            name: value + self.noise * value.std() * rng.uniform(-1, 1, value.shape).astype(value.dtype)
            for name, value in self.engine.run(feed).items()
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "noise", "verdict"),
    [
        (Precision.FP32, 1e-5, "same"),
        (Precision.FP32, 0.05, "different"),
        (Precision.FP16, 5e-3, "same"),
        (Precision.FP16, 0.5, "different"),
        (Precision.INT8, 0.05, "same"),
        (Precision.FP32, np.nan, "different"),
    ],
)
def test_last_bits_are_forgiven_and_no_more(photos_onnx, precision, noise, verdict):
    engine = open_engine(photos_onnx, device="cpu", backend="onnxruntime")
    card = dataclasses.replace(read_card(photos_onnx), precision=precision)
    assert check_fingerprint(Noisy(engine, noise), card).verdict == verdict


def test_labels_on_another_place_are_another_answer(street_onnx):
    engine = open_engine(street_onnx, device="cpu", backend="onnxruntime")
    card = read_card(street_onnx)
    stored = json.loads(card.lineage[ANSWER_KEY])
    flipped = bytes.fromhex(stored["grid"])[::-1].hex()
    lineage = {**card.lineage, ANSWER_KEY: json.dumps(stored | {"grid": flipped})}
    found = check_fingerprint(engine, dataclasses.replace(card, lineage=lineage))
    assert found.verdict == "different"
    assert "sampled labels" in found.detail


class Top:
    """An engine that answers with its two best classes."""

    device, backend, arithmetic = "cpu", "onnxruntime", "float32"

    def __init__(self, labels, scores):
        self.labels, self.scores = labels, scores

    def run(self, feed):
        (batch,) = feed.values()
        count = len(batch)
        return {
            "labels": np.tile(np.array(self.labels, np.int64), (count, 1)),
            "scores": np.tile(np.array(self.scores, np.float32), (count, 1)),
        }


@pytest.mark.parametrize(
    ("labels", "scores", "verdict"),
    [
        ([3, 1], [0.7, 0.2], "same"),
        ([3, 1], [0.7001, 0.2], "same"),
        ([3, 2], [0.7, 0.2], "same"),  # as good as the one it replaces
        ([1, 3], [0.7, 0.2], "different"),
        ([3, 2], [0.7, 0.1], "different"),
    ],
)
def test_a_top_k_is_compared_by_class(photos_onnx, labels, scores, verdict):
    card = read_card(photos_onnx)
    outputs = (
        dataclasses.replace(card.outputs[0], name="labels", dtype="int64"),
        dataclasses.replace(card.outputs[0], name="scores"),
    )
    card = dataclasses.replace(card, outputs=outputs, output_kind=OutputKind.TOPK)
    card = dataclasses.replace(card, lineage=fingerprint(Top([3, 1], [0.7, 0.2]), card))
    assert check_fingerprint(Top(labels, scores), card).verdict == verdict


def test_cards_without_one_and_pictures_drawn_otherwise_are_told_apart(photos_onnx):
    engine = open_engine(photos_onnx, device="cpu", backend="onnxruntime")
    card = read_card(photos_onnx)
    assert check_fingerprint(engine, dataclasses.replace(card, lineage={})).verdict == "none"
    lineage = {**card.lineage, PICTURE_KEY: "80x80 0123456789abcdef"}
    assert check_fingerprint(engine, dataclasses.replace(card, lineage=lineage)).verdict == "other-picture"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[]",
        "{}",
        '{"spread":1,"values":{}}',
        '{"spread":"x","values":{"1":1}}',
        '{"values":{"1":[]}}',
        "[" * 9999,
    ],
)
def test_a_golden_answer_that_cannot_be_read_is_refused(photos_onnx, text):
    engine = open_engine(photos_onnx, device="cpu", backend="onnxruntime")
    card = read_card(photos_onnx)
    with pytest.raises(ArtifactError, match="fingerprint of the card must be readable"):
        check_fingerprint(engine, dataclasses.replace(card, lineage={**card.lineage, ANSWER_KEY: text}))

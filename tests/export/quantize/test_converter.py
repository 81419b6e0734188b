"""Predictions and features of a converted graph against their floors."""

import types

import pytest

from hrnet_deploy.engines.difference import Cosine
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.export.quantize.similarity import Scored
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.spec import Precision, Task


def judged(agreement, features, *, headless=False, weights="w.pth"):
    info = types.SimpleNamespace(headless=headless, task=Task.CLASSIFICATION, lineage={"weights": weights})
    converter = Converter.__new__(Converter)
    converter.plan = types.SimpleNamespace(info=info, precision=Precision.INT8)
    figures = dict.fromkeys(("worst", "expected", "divergence", "sqnr_db", "max_abs", "max_rel"), 0.0)
    similar = {name: Cosine(mean, mean) for name, mean in features.items()}
    return converter.agreement(Scored(Similarity(agreement=agreement, **figures), similar), 20)


@pytest.mark.parametrize(
    ("agreement", "features", "feature", "share", "passed"),
    [
        (0.95, {}, "", 0.95, True),
        (0.95, {"a": 0.99, "b": 0.92}, "", 0.95, True),
        (0.95, {"a": 0.99, "b": 0.8}, "b", 0.8, False),
        (0.5, {"a": 0.99}, "", 0.5, False),
        (0.5, {"a": 0.6, "b": 0.8}, "a", 0.6, False),  # labels may excuse the predictions, but no feature
        (0.95, {"a": float("nan")}, "a", float("nan"), False),
    ],
)
def test_what_misses_its_floor_is_named(agreement, features, feature, share, passed):
    found = judged(agreement, features)
    assert (found.feature, found.passed) == (feature, passed)
    assert found.share == pytest.approx(share, nan_ok=True)


def test_without_a_head_the_least_similar_feature_counts():
    found = judged(0.0, {"a": 0.99, "b": 0.95}, headless=True)
    assert (found.feature, found.share, str(found)) == ("b", 0.95, "cosine similarity 0.95000 of b (floor 0.9)")


def test_random_weights_have_no_floor():
    assert judged(0.0, {"a": 0.1}, weights="random") is None

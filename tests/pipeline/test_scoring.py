"""Scores: likeness to the float graph, image by image."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.pipeline import scoring
from hrnet_deploy.pipeline.scoring import Scorer


def net(bias, batch="N", outputs="float[{batch}, 2, 4, 4] y"):
    """Two classes per pixel: the first channel, and the second plus a bias."""
    text = (
        f"g (float[{batch}, 3, 4, 4] x) => ({outputs.format(batch=batch)}) "
        f"<float[2, 3, 1, 1] w = {{1, 0, 0, 0, 1, 0}}, float[2] b = {{0, {bias}}}> {{ y = Conv(x, w, b) z = Neg(y) }}"
    )
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    made = [rng.normal(size=(1, 3, 4, 4)).astype(np.float32) for _ in range(4)]
    made[0][:, 0] = made[0][:, 1] + 9  # no small bias changes this one's answer
    return made


def test_the_graph_itself_is_perfect(images):
    score = Scorer(net(0.0), images).score(net(0.0))
    assert (score.agreement, score.worst, score.max_abs, score.max_rel) == (1, 1, 0, 0)
    assert score.sqnr_db > 200


def test_a_shifted_logit_gives_the_numbers_of_the_definition(images):
    score = Scorer(net(0.0), images).score(net(0.5))
    wanted = [image[:, :2] for image in images]
    equal = [np.mean((a[:, 0] >= a[:, 1]) == (a[:, 0] >= a[:, 1] + 0.5)) for a in wanted]
    signal = sum(((a - a.mean()) ** 2).sum() for a in wanted)
    assert score.agreement == pytest.approx(np.mean(equal))
    assert score.worst == pytest.approx(min(equal))
    assert score.worst < score.agreement < 1
    assert score.max_abs == pytest.approx(0.5, rel=1e-5)
    assert score.sqnr_db == pytest.approx(10 * np.log10(signal / (0.25 * 16 * 4)), rel=1e-5)
    assert score.max_rel == pytest.approx(0.5 / np.sqrt(signal / (32 * 4)), rel=1e-5)


def test_a_graph_with_a_fixed_batch_is_fed_one_image_at_a_time(images):
    free, fixed = Scorer(net(0.0), images), Scorer(net(0.0, batch=3), images)
    assert fixed.count == 4
    assert fixed.score(net(0.5, batch=3)) == free.score(net(0.5))


def test_the_first_output_is_the_one_that_counts(images):
    both = "float[{batch}, 2, 4, 4] y, float[{batch}, 2, 4, 4] z"
    assert Scorer(net(0.0, outputs=both), images).score(net(0.5, outputs=both)).max_abs == pytest.approx(0.5, rel=1e-5)


def test_a_graph_that_answers_nan_agrees_with_nothing(images):
    score = Scorer(net(0.0), images).score(net("nan"))
    assert (score.agreement, score.max_abs) == (0, np.inf)


def test_answers_that_never_vary_give_finite_numbers():
    black = [np.zeros((1, 3, 4, 4), np.float32)]
    score = Scorer(net(0.0), black).score(net(0.0))
    assert np.isfinite([score.sqnr_db, score.max_rel]).all()


def test_as_many_images_are_held_as_memory_allows_and_one_at_least(images, monkeypatch):
    monkeypatch.setattr(scoring, "_MAX_VALUES", 2 * (48 + 32))
    assert Scorer(net(0.0), iter(images)).count == 2
    monkeypatch.setattr(scoring, "_MAX_VALUES", 1)
    assert Scorer(net(0.0), iter(images)).count == 1

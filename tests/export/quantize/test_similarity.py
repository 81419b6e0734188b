"""Scores: likeness to the float graph, image by image."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.export.quantize import similarity
from hrnet_deploy.export.quantize.similarity import SimilarityScorer


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
    score = SimilarityScorer(net(0.0), images).score(net(0.0))
    assert (score.agreement, score.worst, score.max_abs, score.max_rel) == (1, 1, 0, 0)
    assert score.sqnr_db > 200


def labels(shift):
    """Two classes an image: the means of the first two channels, and a shift of the second."""
    text = (
        "g (float[N, 3, 4, 4] x) => (float[N, 2, 1, 1] y) <float[2, 3, 1, 1] w = {1, 0, 0, 0, 1, 0}, "
        f"float[2] b = {{0, {shift}}}> {{ m = GlobalAveragePool(x) y = Conv(m, w, b) }}"
    )
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')


def flat(*margins):
    """An image each, whose first class leads by that much."""
    return [np.broadcast_to(np.float32([m, 0, 0]).reshape(1, 3, 1, 1), (1, 3, 4, 4)).copy() for m in margins]


def test_what_is_to_be_expected_of_labels_counts_the_margins_of_other_images():
    scorer = SimilarityScorer(labels(0.0), flat(3.0, -4.0), flat(0.25, -0.25, 0.75, 2.0, -3.0, 5.0))
    score = scorer.score(labels(0.5))
    assert (score.agreement, scorer.count) == (1, 2)
    # Two of eight margins are below the noise, and it has the wrong sign half of the time.
    assert score.expected == pytest.approx(1 - 2 / 8 / 2)
    assert SimilarityScorer(labels(0.0), flat(3.0, -4.0)).score(labels(0.5)).expected == 1


def test_pixels_need_no_expectation(images):
    score = SimilarityScorer(net(0.0), images, images).score(net(0.5))
    assert score.expected == score.agreement < 1


def test_the_divergence_is_in_proportion_to_the_noise():
    found = [
        SimilarityScorer(labels(0.0), flat(1.0, 1.0)).score(labels(shift)).divergence for shift in (0.0, 0.01, 0.02)
    ]
    shares = [1 / (1 + np.exp(-m)) for m in (1.0, 0.99)]
    by_hand = sum(p * np.log(p / q) for p, q in ((shares[0], shares[1]), (1 - shares[0], 1 - shares[1])))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] == pytest.approx(by_hand**0.5, rel=1e-2)
    assert found[2] == pytest.approx(2 * found[1], rel=2e-2)


def test_a_shifted_logit_gives_the_numbers_of_the_definition(images):
    score = SimilarityScorer(net(0.0), images).score(net(0.5))
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
    free, fixed = SimilarityScorer(net(0.0), images), SimilarityScorer(net(0.0, batch=3), images)
    assert fixed.count == 4
    assert fixed.score(net(0.5, batch=3)) == free.score(net(0.5))


def test_the_first_output_is_the_one_that_counts(images):
    both = "float[{batch}, 2, 4, 4] y, float[{batch}, 2, 4, 4] z"
    assert SimilarityScorer(net(0.0, outputs=both), images).score(net(0.5, outputs=both)).max_abs == pytest.approx(
        0.5, rel=1e-5
    )


def test_a_graph_that_answers_nan_agrees_with_nothing(images):
    score = SimilarityScorer(net(0.0), images).score(net("nan"))
    assert (score.agreement, score.max_abs, score.divergence) == (0, np.inf, np.inf)


def test_answers_that_never_vary_give_finite_numbers():
    black = [np.zeros((1, 3, 4, 4), np.float32)]
    score = SimilarityScorer(net(0.0), black).score(net(0.0))
    assert np.isfinite([score.sqnr_db, score.max_rel]).all()


def test_as_many_images_are_held_as_memory_allows_and_one_at_least(images, monkeypatch):
    monkeypatch.setattr(similarity, "_MAX_VALUES", 2 * (48 + 32))
    assert SimilarityScorer(net(0.0), iter(images)).count == 2
    monkeypatch.setattr(similarity, "_MAX_VALUES", 1)
    assert SimilarityScorer(net(0.0), iter(images)).count == 1


def single(shift):
    """One score an image: the mean of the first channel and a shift."""
    text = (
        "g (float[N, 3, 4, 4] x) => (float[N, 1, 1, 1] y) <float[1, 3, 1, 1] w = {1, 0, 0}, "
        f"float[1] b = {{{shift}}}> {{ m = GlobalAveragePool(x) y = Conv(m, w, b) }}"
    )
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')


def test_one_score_is_judged_by_its_side_of_the_cut():
    scorer = SimilarityScorer(single(0.0), flat(3.0, 0.9, -4.0), flat(0.25, 5.0), cut=1.0)
    score = scorer.score(single(0.5))
    assert score.agreement == pytest.approx(2 / 3), "0.9 crosses the cut, 3 and -4 do not"
    assert score.worst == 0
    # The margins are 2, 0.1, 5, 0.75 and 4; the noise of a half has the wrong sign half of the time.
    assert score.expected == pytest.approx(1 - 1 / 5 / 2)
    assert score.divergence > 0
    assert score.max_abs == pytest.approx(0.5)
    assert 10 < score.sqnr_db < 20
    assert scorer.score(single(0.0)).divergence == 0

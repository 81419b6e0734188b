"""One output channel for two classes."""

import numpy as np
import pytest

from hrnet_deploy.processing.postprocess import best_classes, upsampled_argmax
from hrnet_deploy.processing.two_classes import cut_of, ranked_two, sigmoid, two_scores
from hrnet_deploy.spec import OutputKind


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9, 1e-6])
def test_the_cut_is_the_logit_of_the_threshold(threshold):
    cut = cut_of(threshold, OutputKind.LOGITS)
    assert sigmoid(cut) == pytest.approx(threshold)
    assert cut_of(threshold, OutputKind.PROBABILITIES) == threshold
    assert cut_of(None, OutputKind.LOGITS) is None


@pytest.mark.parametrize(
    ("logit", "threshold", "predicted", "score"),
    [
        (0.0, 0.5, 0, 0.5),  # not above it
        (1e-6, 0.5, 1, 0.5),
        (1.0, 0.5, 1, 0.731059),
        (1.0, 0.75, 0, 0.268941),
        (-0.5, 0.3, 1, 0.377541),
        (800.0, 0.5, 1, 1.0),
        (-800.0, 0.5, 0, 1.0),
    ],
)
def test_a_classifiers_prediction_comes_first_with_its_own_probability(logit, threshold, predicted, score):
    indices, scores = best_classes(np.array([logit], np.float32), OutputKind.LOGITS, threshold)
    assert indices.tolist() == [predicted, 1 - predicted]
    assert scores[0] == pytest.approx(score, abs=1e-5)
    assert scores.sum() == pytest.approx(1)
    assert (indices.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("row", [[0.6], [0.4, 0.6]])
def test_probabilities_are_taken_as_they_are(row):
    indices, scores = ranked_two(np.array(row, np.float32), 0.7, OutputKind.PROBABILITIES)
    assert indices.tolist() == [0, 1]
    np.testing.assert_allclose(scores, [0.4, 0.6], rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_a_mask_marks_what_lies_above_the_cut_after_upsampling(threshold):
    plane = np.random.default_rng(0).normal(size=(1, 6, 8)).astype(np.float32)
    cut = cut_of(threshold, OutputKind.LOGITS)
    mask = upsampled_argmax(two_scores(plane, cut), (24, 32))
    wide = upsampled_argmax(np.concatenate([-plane, plane]), (24, 32))  # at a threshold of a half
    assert mask.shape == (24, 32)
    assert set(np.unique(mask)) == {0, 1}
    assert (mask == wide).all() if threshold == 0.5 else mask.sum() > wide.sum()


def test_more_channels_and_no_cut_are_left_alone():
    scores = np.zeros((2, 3), np.float32)
    assert two_scores(scores, None) is scores
    assert two_scores(scores, 0.0) is scores
    assert two_scores(np.zeros((4, 1, 2)), 0.5, axis=1).shape == (4, 2, 2)

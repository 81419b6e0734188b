"""Records survive the way through JSON, and nothing else passes for one."""

import json

import numpy as np
import pytest

from hrnet_deploy.evaluation.image_record import ImageRecord, MaskCounts
from hrnet_deploy.evaluation.metrics.classification import Ranking


def sent(record, **sizes):
    return ImageRecord.from_json(
        json.loads(json.dumps(record.to_json())), **({"images": 9, "models": 2, "classes": 3} | sizes)
    )


def test_rankings():
    first, second = Ranking((1, 0), (float(np.float32(0.7)), 0.25)), Ranking((2,), (1.0,))
    found = sent(ImageRecord(4, "ab", (first, second)))
    assert (found.index, found.content, found.predictions) == (4, "ab", (first, second))


def test_masks():
    confusion, transitions = (np.random.default_rng(i).integers(0, 3, (3, 3)) * (1 << 40) for i in range(2))
    found = sent(ImageRecord(0, "", (MaskCounts(confusion, transitions, 5, 6),) * 2)).predictions[1]
    assert (found.confusion == confusion).all()
    assert (found.transitions == transitions).all()
    assert (found.lost, found.gained, found.changed) == (5, 6, transitions.sum() - np.trace(transitions))


@pytest.mark.parametrize(
    "change",
    [
        {"index": 9},
        {"index": -1},
        {"index": "1"},
        {"content": 3},
        {"answers": []},
        {"answers": [{"top": [3], "scores": [1.0]}] * 2},
        {"answers": [{"top": [0, 1], "scores": [1.0]}] * 2},
        {"answers": [{"top": [], "scores": []}] * 2},
        {"answers": [{"confusion": [[9, 1]], "moves": [], "lost": 0, "gained": 0}] * 2},
        {"answers": [{"confusion": [[0, -1]], "moves": [], "lost": 0, "gained": 0}] * 2},
        {"answers": [{"confusion": [[0, 1]], "lost": 0, "gained": 0}] * 2},
    ],
)
def test_anything_else_is_refused(change):
    good = {"index": 0, "content": "", "answers": [{"top": [0], "scores": [1.0]}] * 2}
    ImageRecord.from_json(good, 9, 2, 3)
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        ImageRecord.from_json(good | change, 9, 2, 3)

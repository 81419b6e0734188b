"""Parts: rows and masks in three formats, whole or absent."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.batch_prediction.part_writer import open_part, part_digest, part_name, remove_unfinished
from hrnet_deploy.batch_prediction.row import make_row
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.results import ClassificationResult, SegmentationResult
from hrnet_deploy.spec import Task

COMMON = {"name": "x", "path": None, "image": np.zeros((2, 3, 3), np.uint8), "speed": {"inference": 3.0}}
MASK = np.array([[0, 1, 1], [1, 1, 1]], np.uint8)


@pytest.fixture
def classified():
    scores = np.array([0.5, 0.375, 0.125], np.float32)
    return ClassificationResult(**COMMON, classes=("a", "é", "c"), indices=np.array([1, 2, 0]), scores=scores)


@pytest.fixture
def segmented():
    palette = np.zeros((2, 3), np.uint8)
    return SegmentationResult(**COMMON, classes=("road", "sky"), mask=MASK, palette=palette)


def write(folder, form, task, *outcomes, first=0):
    with open_part(folder, 3, form, task) as writer:
        for index, (name, outcome) in enumerate(outcomes, first):
            result = None if isinstance(outcome, ImageError) else outcome
            writer.add(make_row(index, name, outcome, topk=2), result)
    return folder / part_name(3, form)


CLASSIFIED = {
    "index": 7,
    "name": "é.jpg",
    "pred_label": 1,
    "pred_score": 0.5,
    "pred_class": "é",
    "pred_labels": [1, 2],
    "pred_scores": [0.5, 0.375],
}
FAILED = {"index": 8, "name": "b\\udcff.jpg", "error": "no image: line two"}


def test_json_lines(tmp_path, classified):
    outcomes = [("é.jpg", classified), ("b\udcff.jpg", ImageError("no image:\nline two"))]
    part = write(tmp_path, "jsonl", Task.CLASSIFICATION, *outcomes, first=7)
    assert part.name == "part-000003.jsonl"
    assert [json.loads(line) for line in part.read_text("utf-8").splitlines()] == [CLASSIFIED, FAILED]


def test_parquet(arrow, tmp_path, classified, segmented):
    outcomes = [("é.jpg", classified), ("b\udcff.jpg", ImageError("no image:\nline two"))]
    part = write(tmp_path, "parquet", Task.CLASSIFICATION, *outcomes, first=7)
    empty = dict.fromkeys(CLASSIFIED)
    assert arrow.parquet.read_table(part).to_pylist() == [CLASSIFIED | {"error": None}, empty | FAILED]
    part = write(tmp_path, "parquet", Task.SEGMENTATION, *[("s.jpg", segmented)] * 2500)
    rows = arrow.parquet.read_table(part).to_pylist()
    assert [row["index"] for row in rows] == list(range(2500))
    assert rows[0] | {"shares": dict(rows[0]["shares"])} == {
        "index": 0,
        "name": "s.jpg",
        "height": 2,
        "width": 3,
        "shares": {"sky": 5 / 6, "road": 1 / 6},
        "error": None,
    }


@pytest.mark.parametrize("name", ["a/b.jpg", "../../x.jpg", "s.tar/..\\é\n.jpg", "t.parquet#3", "..", "l" * 400])
def test_masks_are_named_by_index_and_stay_in_their_part(tmp_path, segmented, name):
    outcomes = [(name, segmented), (name, ImageError("broken")), (name, segmented)]
    (tmp_path / "out").mkdir()
    part = write(tmp_path / "out", "masks", Task.SEGMENTATION, *outcomes)
    rows = [json.loads(line) for line in (part / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row.get("error") for row in rows] == [None, "broken", None]
    assert sorted(path.name for path in part.iterdir()) == [rows[0]["mask"], rows[2]["mask"], "rows.jsonl"]
    assert (cv2.imread(str(part / rows[0]["mask"]), cv2.IMREAD_UNCHANGED) == MASK).all()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [part.name]


@pytest.mark.parametrize("form", ["jsonl", "masks", "parquet"])
def test_an_interrupted_part_leaves_nothing(arrow, tmp_path, segmented, form):
    def interrupted():
        with open_part(tmp_path, 3, form, Task.SEGMENTATION) as writer:
            writer.add(make_row(0, "a.jpg", segmented, 5), segmented)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    before = write(tmp_path, form, Task.SEGMENTATION, ("a.jpg", segmented))
    digest = part_digest(before)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert part_digest(before) == digest
    assert part_digest(write(tmp_path, form, Task.SEGMENTATION, ("a.jpg", segmented))) == digest
    assert part_digest(write(tmp_path, form, Task.SEGMENTATION, ("b.jpg", segmented))) != digest
    (tmp_path / ".hrnet_deploy-another_host-abc").mkdir()
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_one_line(tmp_path, classified, monkeypatch):
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *given: real(Path("/dev/full"), *given))
    with pytest.raises(UsageError, match=r"output must be writable, got .*No space left"):
        write(tmp_path, "jsonl", Task.CLASSIFICATION, ("a.jpg", classified))

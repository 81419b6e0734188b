import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult

CLASSES = ("cat", "犬", "Käse")


def common(image, classes):
    return {
        "name": "a.png",
        "path": Path("in/a.png"),
        "image": image,
        "classes": classes,
        "speed": {"preprocess": 1.23456, "inference": 2.0, "postprocess": 0.0},
    }


def classification(indices=(2, 0, 1), scores=(0.5, 0.3, 0.2), image=None, **changes):
    image = np.full((48, 64, 3), 9, np.uint8) if image is None else image
    content = common(image, CLASSES) | changes
    return ClassificationResult(**content, indices=np.array(indices, np.int64), scores=np.array(scores, np.float32))


def segmentation(mask, classes=CLASSES, **changes):
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[: len(classes)]
    content = common(np.full((*mask.shape, 3), 9, np.uint8), classes) | changes
    return SegmentationResult(**content, mask=mask, palette=palette)


@pytest.fixture
def stripes():
    mask = np.zeros((40, 400), np.uint8)
    mask[:, 200:] = 2
    mask[:4, :200] = 255
    return segmentation(mask)


def test_the_best_class_has_a_name_an_index_and_a_score():
    result = classification()
    assert (result.label, result.index) == ("Käse", 2)
    assert result.score == pytest.approx(0.5)


def test_probabilities_are_by_class_index_whatever_the_ranking():
    probs = classification().probs
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, [0.3, 0.2, 0.5])


@pytest.mark.parametrize(("k", "names"), [(1, ["Käse"]), (2, ["Käse", "cat"]), (9, ["Käse", "cat", "犬"]), (0, [])])
def test_topk_gives_the_best_and_never_more_than_there_are(k, names):
    assert [name for name, _ in classification().topk(k)] == names


def test_topk_of_a_negative_number_is_refused():
    with pytest.raises(UsageError, match="got -1"):
        classification().topk(-1)


def test_an_artefact_that_answers_with_a_topk_has_no_probabilities_to_give():
    result = classification(indices=(2, 0), scores=(0.5, 0.3))
    with pytest.raises(UsageError, match=r"probs need every class, got a top-2 .* Use topk\(\)"):
        _ = result.probs
    content = json.loads(result.to_json())
    assert content["pred_labels"] == [2, 0]
    assert content["pred_scores"] == pytest.approx([0.5, 0.3])
    assert result.topk(5) == [("Käse", pytest.approx(0.5)), ("cat", pytest.approx(0.3))]


def test_a_classification_is_plain_json_under_mmpretrains_names():
    content = json.loads(classification().to_json())
    assert content["pred_scores"] == pytest.approx([0.3, 0.2, 0.5])
    del content["pred_scores"]
    assert content == {
        "name": "a.png",
        "path": str(Path("in/a.png")),
        "speed": {"preprocess": 1.235, "inference": 2.0, "postprocess": 0.0},
        "pred_label": 2,
        "pred_score": pytest.approx(0.5),
        "pred_class": "Käse",
    }


def test_json_keeps_letters_readable_and_is_one_line():
    text = classification(path=None, name="a\nb").to_json()
    assert "Käse" in text
    assert "\n" not in text
    assert json.loads(text)["path"] is None


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (480, 640)])
def test_an_overlay_is_the_picture_with_a_row_for_each_of_the_best(size):
    image = np.full((*size, 3), 9, np.uint8)
    drawn = classification(image=image).overlay()
    assert drawn.shape[1] == max(320, size[1])
    assert drawn.shape[0] > size[0]
    assert (image == 9).all()


def test_segmentation_counts_the_classes_largest_first_and_leaves_out_what_is_absent(stripes):
    assert list(stripes.shares.items()) == [("Käse", pytest.approx(0.5)), ("cat", pytest.approx(0.45))]
    content = json.loads(stripes.to_json())
    assert (content["height"], content["width"]) == (40, 400)
    assert content["shares"] == pytest.approx({"Käse": 0.5, "cat": 0.45})


def test_classes_of_the_same_name_share_one_entry():
    mask = np.repeat(np.array([[0, 0, 0, 1]], np.uint8), 4, axis=0)
    assert segmentation(mask, ("thing", "thing")).shares == {"thing": 1.0}


def test_a_segmentation_overlay_is_tinted_above_a_legend_of_what_is_there(stripes):
    drawn = stripes.overlay()
    assert drawn.shape[1:] == (400, 3)
    assert drawn[20, 300].tolist() == [144, 4, 4]  # blue class 2, in BGR
    assert drawn[20, 100].tolist() == [4, 4, 144]
    assert drawn[0, 0].tolist() == [9, 9, 9]  # ignored
    one = segmentation(np.zeros((40, 400), np.uint8)).overlay()
    assert one.shape[0] < drawn.shape[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (2000, 1)])
def test_tiny_and_thin_masks_can_be_drawn(size):
    assert segmentation(np.ones(size, np.uint8)).overlay().shape[1] == 320


def test_a_plain_result_has_no_overlay():
    with pytest.raises(NotImplementedError):
        Result(**common(np.zeros((1, 1, 3), np.uint8), CLASSES)).overlay()


@pytest.mark.parametrize("name", ["o.png", "o.PNG", "o.jpg", "o.webp", "o.bmp", "o.tiff", "neu/日本.png"])
def test_an_overlay_is_saved_in_the_format_its_name_asks_for(tmp_path, stripes, name):
    path = stripes.save(tmp_path / name)
    assert path == tmp_path / name
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert read.shape == stripes.overlay().shape
    if path.suffix.lower() in {".png", ".bmp", ".tiff"}:
        np.testing.assert_array_equal(read, stripes.overlay())


@pytest.mark.parametrize("name", ["o", "o.", "o.txt", "o.onnx", ".png"])
def test_a_name_that_is_no_image_is_refused_and_nothing_is_written(tmp_path, stripes, name):
    with pytest.raises(UsageError, match=r"image file needs an image extension, got .* Use \.png"):
        stripes.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_large_for_its_format_is_refused_and_nothing_is_written(tmp_path):
    wide = classification(image=np.zeros((1, 20000, 3), np.uint8))
    with pytest.raises(UsageError, match=r"o\.webp"):
        wide.save(tmp_path / "o.webp")
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_folder_or_below_a_file_is_refused(tmp_path, stripes):
    (tmp_path / "o.png").mkdir()
    with pytest.raises(UsageError, match="got the folder"):
        stripes.save(tmp_path / "o.png")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="must be writable"):
        stripes.save_mask(tmp_path / "file" / "o.png")


@pytest.mark.parametrize("name", ["m.png", "m.TIF", "m.tiff", "m.bmp"])
def test_a_saved_mask_comes_back_to_the_last_id(tmp_path, name):
    mask = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    path = segmentation(mask).save_mask(str(tmp_path / name))
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), mask)


@pytest.mark.parametrize("name", ["m.jpg", "m.webp", "m", "m.npy"])
def test_a_mask_in_a_lossy_or_unknown_format_is_refused(tmp_path, stripes, name):
    with pytest.raises(UsageError, match="a mask needs a lossless image format"):
        stripes.save_mask(tmp_path / name)
    assert list(tmp_path.iterdir()) == []

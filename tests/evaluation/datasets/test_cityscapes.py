"""Layouts of labelled scenes, and label images."""

import cv2
import numpy as np
import pytest

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.cityscapes import CITYSCAPES_TRAIN_IDS, find_scenes, is_scenes, read_label


@pytest.mark.parametrize("where", [".", "leftImg8bit", "leftImg8bit/val", "leftImg8bit/val/a"])
def test_cityscapes_from_the_root_down_to_a_city(scenes, where):
    dataset = find_scenes(scenes() / where, "abcd")
    assert dataset.layout == "Cityscapes labelTrainIds"
    assert len(dataset) == (3 if where.endswith("a") else 6)
    for sample in dataset.samples:
        assert sample.label.is_file()
        assert sample.label.name == sample.path.name.replace("_leftImg8bit", "_gtFine_labelTrainIds")
    assert dataset.label_ids is None


def test_label_ids_are_mapped(scenes):
    dataset = find_scenes(scenes(kind="labelIds"), CITYSCAPES_CLASSES)
    assert dataset.layout == "Cityscapes labelIds"
    assert dataset.label_ids == CITYSCAPES_TRAIN_IDS
    with pytest.raises(UsageError, match=r"Cityscapes label ids need a model of 19 classes, got one of 4"):
        find_scenes(scenes(), "abcd") and find_scenes(scenes(kind="labelIds", root=scenes().parent / "ids"), "abcd")


def test_train_ids_are_preferred_where_they_are_complete(scenes):
    root = scenes()
    scenes(kind="labelIds")
    assert find_scenes(root, CITYSCAPES_CLASSES).layout == "Cityscapes labelTrainIds"
    next(root.rglob("*labelTrainIds.png")).unlink()
    assert find_scenes(root, CITYSCAPES_CLASSES).layout == "Cityscapes labelIds"


def test_the_34_label_ids_give_the_19_train_ids(tmp_path):
    path = tmp_path / "label.png"
    cv2.imwrite(str(path), np.array([[*range(34), 255]], np.uint8))
    found = read_label(path, 19, CITYSCAPES_TRAIN_IDS)[0]
    evaluated = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    evaluated |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert found.tolist() == [evaluated.get(index, 255) for index in range(34)] + [255]


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images", "masks"), ("img_dir", "ann_dir")])
@pytest.mark.parametrize("split", ["", "val/"])
def test_images_beside_labels(tmp_path, picture_file, images, labels, split):
    for name in ("1", "2"):
        picture_file(tmp_path / f"{images}/{split}{name}.jpg")
        picture_file(tmp_path / f"{labels}/{split}{name}.png")
    for data in (tmp_path, tmp_path / images):
        dataset = find_scenes(data, "ab")
        assert [(s.path.name, s.label.name) for s in dataset.samples] == [("1.jpg", "1.png"), ("2.jpg", "2.png")]
        assert dataset.layout == "images and label images"
    (tmp_path / f"{labels}/{split}2.png").unlink()
    with pytest.raises(UsageError, match=r"each image needs a label image of its name, got none for 2.jpg"):
        find_scenes(tmp_path, "ab")


def test_other_folders_are_no_scenes(tmp_path, scenes):
    assert is_scenes(scenes())
    assert not is_scenes(tmp_path)
    with pytest.raises(UsageError, match=r"must be laid out as leftImg8bit/ beside gtFine/"):
        find_scenes(tmp_path, "ab")


def test_missing_labels(scenes):
    root = scenes()
    first, second, *_ = sorted(root.rglob("*labelTrainIds.png"))
    first.unlink()
    with pytest.raises(UsageError, match=r"each image needs a label .* got none for scene_0_leftImg8bit.png in"):
        find_scenes(root, "abcd")
    second.unlink()
    with pytest.raises(UsageError, match=r"got none for scene_0_leftImg8bit.png and 1 more"):
        find_scenes(root, "abcd")


def test_labels_of_two_kinds_are_told_apart_from_missing_ones(scenes):
    root = scenes()
    for kind in ("labelTrainIds", "labelIds"):
        for path in root.rglob(f"*_{kind}.png"):
            path.unlink()
    places = [root / "gtFine" / p.relative_to(root / "leftImg8bit") for p in sorted(root.rglob("*_leftImg8bit.png"))]
    for index, place in enumerate(places):
        kind = ("labelTrainIds", "labelIds")[index == 0]
        name = place.name.replace("leftImg8bit", f"gtFine_{kind}")
        cv2.imwrite(str(place.with_name(name)), np.zeros((8, 8), np.uint8))
    count = len(places)
    with pytest.raises(
        UsageError, match=rf"one kind for all {count} images, got {count - 1} labelTrainIds and 1 label"
    ):
        find_scenes(root, "abcd")


def test_no_frames(tmp_path):
    (tmp_path / "leftImg8bit/val").mkdir(parents=True)
    with pytest.raises(ImageError, match=r"must hold images, got no \*_leftImg8bit.png"):
        find_scenes(tmp_path, "ab")
    with pytest.raises(UsageError, match=r"split must be a folder of .* Choose of: val"):
        find_scenes(tmp_path, "ab", split="test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 5]], np.uint8), r"must hold ids 0\.\.3 or 255, got 5"),
        (np.array([[0, 254]], np.uint8), "got 254"),
        (np.array([[0, 300]], np.uint16), "got 300"),
        (np.zeros((2, 2, 3), np.uint8), "must have one channel of class ids"),
    ],
)
def test_bad_label_images(tmp_path, values, message):
    path = tmp_path / "label.png"
    cv2.imwrite(str(path), values)
    with pytest.raises(ImageError, match=message) as caught:
        read_label(path, 4)
    assert str(path) in str(caught.value)


def test_16_bits_are_fine(tmp_path):
    path = tmp_path / "label.png"
    cv2.imwrite(str(path), np.array([[0, 3, 255]], np.uint16))
    assert read_label(path, 4).tolist() == [[0, 3, 255]]


def test_a_label_image_cut_short_is_refused(tmp_path, capfd):
    path = tmp_path / "label.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 4, (64, 64), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    with pytest.raises(ImageError, match=r"label image '.*' must be complete, got a truncated file of \d+ bytes"):
        read_label(path, 4)
    assert capfd.readouterr().err == ""  # the decoder has nothing to say


@pytest.mark.parametrize(("content", "error"), [(None, MissingFileError), (b"", ImageError), (b"no image", ImageError)])
def test_label_images_that_cannot_be_read(tmp_path, content, error):
    path = tmp_path / "label.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=r"label image"):
        read_label(path, 4)


def test_shared_set(shared):
    dataset = find_scenes(shared / "data/street", CITYSCAPES_CLASSES)
    assert (len(dataset), dataset.layout) == (51, "Cityscapes labelTrainIds")
    assert len(find_scenes(shared / "data/street", CITYSCAPES_CLASSES, split="train")) == 53
    used = np.unique(read_label(dataset.samples[0].label, 19))
    assert used.max() == 255
    assert set(used) <= {*range(19), 255}

"""Which files of a folder may be calibrated on."""

import os
from collections import Counter
from pathlib import Path

import pytest

from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError


@pytest.fixture
def tree(tmp_path):
    """Makes empty files; returns their folder."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "data"

    return make


def found(folder: Path, **options) -> dict[str, str]:
    return {i.path.relative_to(folder).as_posix(): i.group for i in find_images(folder, **options)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["b.jpg", "a.PNG", "notes.txt"], {"a.PNG": "", "b.jpg": ""}, id="plain"),
        pytest.param(["x/1.jpg", "y/z/2.jpg"], {"x/1.jpg": "x", "y/z/2.jpg": "y/z"}, id="recursive"),
        pytest.param(["a.jpg", ".b.jpg", ".git/c.jpg"], {"a.jpg": ""}, id="hidden"),
        pytest.param(
            ["n01440764/a.JPEG", "n01443537/b.JPEG"],
            {"n01440764/a.JPEG": "n01440764", "n01443537/b.JPEG": "n01443537"},
            id="classes",
        ),
        pytest.param(["train/n1/a.JPEG", "val/n1/b.JPEG"], {"train/n1/a.JPEG": "n1"}, id="train-beside-val"),
        pytest.param(
            ["train/n1/a.JPEG", "val/n1/b.JPEG", "calib/n1/c.JPEG"], {"calib/n1/c.JPEG": "n1"}, id="calib-first"
        ),
        pytest.param(["train2017/a.jpg", "val2017/b.jpg"], {"train2017/a.jpg": ""}, id="coco"),
        pytest.param(["Train/a.jpg", "Test/b.jpg", "cover.jpg"], {"Train/a.jpg": ""}, id="any-case"),
        pytest.param(
            ["Data/CLS-LOC/train/n1/a.JPEG", "Data/CLS-LOC/val/b.JPEG", "Data/CLS-LOC/test/c.JPEG"],
            {"Data/CLS-LOC/train/n1/a.JPEG": "n1"},
            id="imagenet-as-downloaded",
        ),
        pytest.param(
            [
                *("leftImg8bit/train/ulm/u_leftImg8bit.png", "leftImg8bit/val/bonn/b_leftImg8bit.png"),
                *("gtFine/train/ulm/u_gtFine_labelTrainIds.png", "gtFine/train/ulm/u_gtFine_color.png"),
            ],
            {"leftImg8bit/train/ulm/u_leftImg8bit.png": "ulm"},
            id="cityscapes",
        ),
        pytest.param(
            ["leftImg8bit/train/ulm/u_leftImg8bit.png", "leftImg8bit/train/ulm/overview.png"],
            {"leftImg8bit/train/ulm/u_leftImg8bit.png": "ulm"},
            id="cityscapes-frames-only",
        ),
        pytest.param(
            ["u_leftImg8bit.png", "u_gtFine_labelIds.png", "u_gtCoarse_color.png", "u_disparity.png"],
            {"u_leftImg8bit.png": ""},
            id="cityscapes-flat",
        ),
        pytest.param(
            ["images/training/a.jpg", "images/validation/b.jpg", "annotations/training/a.png"],
            {"images/training/a.jpg": ""},
            id="ade20k",
        ),
        pytest.param(["masks/a.jpg", "hats/b.jpg"], {"masks/a.jpg": "masks", "hats/b.jpg": "hats"}, id="class-masks"),
        pytest.param(
            ["bus/a.jpg", "car/b.jpg", "train/c.jpg"],
            {"bus/a.jpg": "bus", "car/b.jpg": "car", "train/c.jpg": "train"},
            id="class-train",
        ),
        pytest.param(
            ["train/test/a.jpg", "train/train/b.jpg", "val/test/c.jpg"],
            {"train/test/a.jpg": "test", "train/train/b.jpg": "train"},
            id="classes-named-like-splits",
        ),
        pytest.param(["extra/a.jpg", "val/b.jpg"], {"extra/a.jpg": "extra"}, id="val-left-out"),
    ],
)
def test_layouts(tree, names, expected):
    assert found(tree(*names)) == expected


@pytest.mark.parametrize(
    ("names", "below"),
    [
        (["val/n1/a.jpg"], "val"),
        (["val/n1/a.jpg"], ""),
        (["Test/a.jpg"], "Test"),
        (["val2017/a.jpg"], "val2017"),
        (["ILSVRC2012_img_val/a.jpg"], "ILSVRC2012_img_val"),
        (["val/n01440764/a.jpg"], "val/n01440764"),
        (["train/cat/a.jpg", "val/cat/b.jpg"], "val/cat"),
        (["leftImg8bit/val/bonn/b_leftImg8bit.png"], "leftImg8bit/val"),
        (["leftImg8bit/val/bonn/b_leftImg8bit.png"], "leftImg8bit/val/bonn"),
        (["leftImg8bit/test/bonn/b_leftImg8bit.png"], "leftImg8bit"),
        (["leftImg8bit/test/bonn/b_leftImg8bit.png"], ""),
    ],
)
def test_a_split_for_evaluation_needs_permission(tree, names, below):
    folder = tree(*names) / below
    with pytest.raises(UsageError, match=r"split for evaluation, got .*allow_val=True \(--allow-val\)"):
        find_images(folder)
    assert len(find_images(folder, allow_val=True)) == 1


def test_permission_to_use_val_does_not_prefer_it(tree):
    assert found(tree("train/a.jpg", "val/b.jpg"), allow_val=True) == {"train/a.jpg": ""}


def test_a_link_and_a_dot_do_not_hide_a_split(tree, monkeypatch):
    folder = tree("val/a.jpg")
    (folder / "train").symlink_to("val")
    with pytest.raises(UsageError, match="split for evaluation"):
        find_images(folder / "train")
    monkeypatch.chdir(folder / "val")
    with pytest.raises(UsageError, match="split for evaluation"):
        find_images(".")


def test_links_in_a_circle_end(tree):
    folder = tree("a/1.jpg")
    (folder / "a" / "back").symlink_to(folder)
    assert found(folder) == {"a/1.jpg": "a"}


@pytest.mark.parametrize(
    ("below", "kind", "message"),
    [
        ("absent", MissingFileError, "calibration folder must exist, got .*absent"),
        ("notes.txt", UsageError, "must be a folder, got the file .*notes.txt"),
        ("", ImageError, "must hold images, got none"),
        ("gtFine", ImageError, "must hold images, got none"),
    ],
)
def test_a_folder_without_images_is_one_clear_line(tree, below, kind, message):
    folder = tree("notes.txt", "gtFine/train/u_gtFine_color.png")
    with pytest.raises(kind, match=message) as caught:
        find_images(folder / below)
    assert "\n" not in str(caught.value)


def test_a_closed_folder_is_named(tree, monkeypatch):
    folder = tree("a/1.jpg")
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ImageError, match=r"folder '.*a' cannot be read \(Permission denied\)"):
        find_images(folder)


def test_real_layouts(shared):
    street = find_images(shared / "data" / "street")
    assert len(street) == 53
    assert {i.group for i in street} == {"camvid"}
    assert {i.path.parent.parent.name for i in street} == {"train"}
    assert street == find_images(shared / "data" / "street" / "leftImg8bit" / "train")

    photos = find_images(shared / "data" / "photos")
    assert set(Counter(i.group for i in photos).values()) == {30}

    assert len({i.group for i in find_images(shared / "data" / "imagenet")}) == 100
    with pytest.raises(UsageError, match="evaluation"):
        find_images(shared / "data" / "imagenet" / "val")

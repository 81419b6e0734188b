"""Which images are calibrated on, in which order, and what the network is given."""

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrnet_deploy.calibration import images as module
from hrnet_deploy.calibration.images import (
    Batches,
    CalibrationImage,
    check_disjoint,
    choose,
    content_hashes,
    find_images,
    image_list_hash,
)
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.preprocess import Preprocessor
from hrnet_deploy.sources import read_frame
from hrnet_deploy.spec import Preprocessing, Resize

SQUASH = Preprocessing(resize=Resize.SQUASH, size_hw=(8, 8))
WHOLE = Preprocessing(resize=Resize.NONE, size_hw=None)


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


@pytest.fixture
def pictures(tmp_path):
    """Seven pictures of random pixels."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 16, 3), np.uint8))
    return paths


def found(folder: Path, **options) -> dict[str, str]:
    return {i.path.relative_to(folder).as_posix(): i.group for i in find_images(folder, **options)}


def fake(group: str, name: str) -> CalibrationImage:
    return CalibrationImage(group, Path(group, name))


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

    monkeypatch.setattr(module.os, "scandir", closed)
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


def test_choice_takes_one_of_each_group_in_turn():
    available = [fake("a", f"{i}") for i in range(50)] + [fake("b", "0"), fake("c", "0"), fake("c", "1")]
    chosen = choose(available, 7)
    assert Counter(i.group for i in chosen[:3]) == {"a": 1, "b": 1, "c": 1}
    assert Counter(i.group for i in chosen) == {"a": 4, "b": 1, "c": 2}


def test_choice_depends_on_the_seed_alone():
    available = [fake(f"group{g}", f"{i}.jpg") for g in range(20) for i in range(5)]
    chosen = choose(available, 30, seed=3)
    assert choose(available[::-1], 30, seed=3) == choose(available[50:] + available[:50], 30, seed=3) == chosen
    assert choose(available, 12, seed=3) == chosen[:12]
    assert choose(available, 30, seed=4) != chosen
    moved = [CalibrationImage(i.group, Path("/elsewhere", i.path)) for i in available]
    assert [i.path.relative_to("/elsewhere") for i in choose(moved, 30, seed=3)] == [i.path for i in chosen]
    # Golden: a table in use must not become stale because a library changed.
    assert [i.path.as_posix() for i in chosen[:2]] == ["group14/0.jpg", "group12/2.jpg"]


def test_choice_takes_all_where_there_are_fewer():
    available = [fake("a", "1"), fake("b", "2")]
    assert sorted(choose(available)) == available


@pytest.mark.parametrize("count", [0, -5])
def test_choice_of_none_is_refused(count):
    with pytest.raises(UsageError, match="must be positive"):
        choose([fake("a", "1")], count)


def test_hashes_follow_content_and_order(pictures, tmp_path):
    copy = tmp_path / "other name.png"
    copy.write_bytes(pictures[0].read_bytes())
    hashes = content_hashes([*pictures[:2], CalibrationImage("x", copy)])
    assert hashes[0] == hashes[2] != hashes[1]
    assert image_list_hash(hashes) != image_list_hash(hashes[::-1][:2])
    assert len(image_list_hash(hashes)) == 64
    with pytest.raises(MissingFileError, match="gone"):
        content_hashes([tmp_path / "gone.png"])


def test_overlap_is_found_by_content(pictures, tmp_path):
    copy = tmp_path / "renamed.png"
    copy.write_bytes(pictures[2].read_bytes())
    check_disjoint(pictures[:3], pictures[3:])
    with pytest.raises(UsageError, match=r"2\.png = .*renamed\.png"):
        check_disjoint(pictures[:3], [pictures[4], copy])
    check_disjoint(pictures[:3], [copy], allow=True)
    with pytest.raises(MissingFileError, match="gone"):
        check_disjoint(pictures, [tmp_path / "gone.png"])


def test_overlap_reads_only_what_can_clash(tmp_path, monkeypatch):
    for name, content in {"a": b"1", "b": b"2", "long": b"33"}.items():
        (tmp_path / name).write_bytes(content)
    read = []
    monkeypatch.setattr(module, "sha256_file", lambda path: read.append(path.name) or path.name)
    check_disjoint([tmp_path / "a"], [tmp_path / "long", tmp_path / "b"])
    assert sorted(read) == ["a", "b"]


def test_batches_are_what_the_preprocessor_gives(pictures):
    batches = Batches(pictures, SQUASH, 3)
    assert len(batches) == 3
    arrays = list(batches)
    assert [a.shape for a in arrays] == [(3, 3, 8, 8), (3, 3, 8, 8), (1, 3, 8, 8)]
    assert all(a.dtype == np.float32 for a in arrays)
    expected = [Preprocessor(SQUASH)(read_frame(path).image) for path in pictures]
    np.testing.assert_array_equal(np.concatenate(arrays), np.stack(expected))


@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize("start", range(5))
def test_batches_continue_where_they_were_left(pictures, start, skipping):
    if skipping:
        pictures[1].write_bytes(b"broken")
    batches = Batches(pictures, SQUASH, 2, on_error=(lambda *_: None) if skipping else None)
    whole, rest = list(batches), list(batches.from_index(start))
    assert len(rest) == max(len(whole) - start, 0)
    for ours, theirs in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_whole_images_come_one_by_one(pictures):
    cv2.imwrite(str(pictures[1]), np.zeros((20, 30, 3), np.uint8))
    batches = Batches(pictures, WHOLE, 4)
    assert batches.batch == 1
    assert [a.shape for a in batches][:2] == [(1, 3, 12, 16), (1, 3, 20, 30)]


def test_an_unreadable_image_is_named_or_skipped(pictures):
    pictures[3].write_bytes(b"broken")
    pictures[5].unlink()
    with pytest.raises(ImageError, match=r"3\.png"):
        list(Batches(pictures, SQUASH, 2))
    with pytest.raises(MissingFileError, match=r"5\.png"):
        list(Batches(pictures[4:], SQUASH, 2))
    told = []
    arrays = list(Batches(pictures, SQUASH, 2, on_error=lambda name, error: told.append((Path(name).name, error))))
    assert [len(a) for a in arrays] == [2, 2, 1]
    assert [name for name, _ in told] == ["3.png", "5.png"]
    assert all(isinstance(error, ImageError) for _, error in told)


def test_an_image_of_another_size_is_named(pictures):
    exact = Preprocessing(resize=Resize.NONE, size_hw=(12, 16))
    cv2.imwrite(str(pictures[2]), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ImageError, match=r"2\.png: image must be 12x16 .*got 20x30"):
        list(Batches(pictures, exact, 2))


def test_nothing_but_unreadable_images_is_an_error(pictures):
    for path in pictures:
        path.write_bytes(b"broken")
    with pytest.raises(ImageError, match="got 7 that cannot"):
        list(Batches(pictures, SQUASH, 2, on_error=lambda *_: None))


@pytest.mark.parametrize(("count", "batch", "start"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_batches_refuse_what_makes_no_sense(pictures, count, batch, start):
    with pytest.raises(UsageError):
        list(Batches(pictures[:count], SQUASH, batch).from_index(start))


def test_real_images_become_batches(shared):
    images = choose(find_images(shared / "data" / "imagenet"), 5)
    arrays = list(Batches(images, Preprocessing(), 4))
    assert [a.shape for a in arrays] == [(4, 3, 224, 224), (1, 3, 224, 224)]
    assert len(set(content_hashes(images))) == 5
    held_out = find_images(shared / "data" / "imagenet" / "val", allow_val=True)
    check_disjoint(find_images(shared / "data" / "imagenet"), held_out)

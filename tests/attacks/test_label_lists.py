"""Class files, lists of images and lists of labels that reach out of their folder, or that cost too much to parse."""

import os
import time

import cv2
import numpy as np
import pytest

from hrnet_deploy.batch_prediction.inputs import find_inputs
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.datasets.imagenet import find_photos
from hrnet_deploy.evaluation.datasets.label_file import read_label_file
from hrnet_deploy.imaging.class_list import names_in
from hrnet_deploy.imaging.class_names import read_classes
from hrnet_deploy.limits import CLASSES, LINE_CHARACTERS, LIST_LINES

SECONDS = 10
ANIMALS = ("cat", "dog")


@pytest.fixture
def photos(tmp_path):
    """A folder of two photos, beside one that no list of it may name."""
    folder = tmp_path / "set"
    folder.mkdir()
    for path in (folder / "a.png", folder / "b.png", tmp_path / "secret.png"):
        cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    "name", ["../secret.png", "sub/../../secret.png", "..\\secret.png", "{above}/secret.png", "C:/secret.png"]
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_a_label_list_stays_in_its_folder(photos, name, first):
    lines = ["a.png 0", f"{name.format(above=photos.parent)} 1"]
    (photos / "val.txt").write_text("\n".join(lines[::-1] if first else lines))
    with pytest.raises(UsageError, match="must lie in its folder"):
        find_photos(photos / "val.txt", ANIMALS)


def test_a_link_of_the_folder_s_owner_is_followed(photos):
    (photos / "link.png").symlink_to(photos.parent / "secret.png")
    (photos / "val.txt").write_text("link.png 1\n")
    assert find_photos(photos / "val.txt", ANIMALS).samples[0].path == photos / "link.png"


def test_names_that_are_looked_up_only_may_be_absolute(photos):
    (photos.parent / "labels.txt").write_text("/data/set/a.png 0\n/data/set/b.png 1\n")
    found = find_photos(photos, ANIMALS, labels=photos.parent / "labels.txt")
    assert [(sample.path, sample.label) for sample in found.samples] == [(photos / "a.png", 0), (photos / "b.png", 1)]


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x" * 3000, "sub/" * 900 + "a.png"])
def test_a_name_that_no_file_can_have_is_one_line(photos, name):
    (photos / "val.txt").write_text(f"{name} 1\n")
    with pytest.raises(UsageError, match="must lie beside its images"):
        find_photos(photos / "val.txt", ANIMALS)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "sub/../../secret.png"])
def test_a_list_file_stays_in_its_folder(photos, name):
    (photos / "list.txt").write_text(f"a.png\n{name}\n")
    with pytest.raises(UsageError, match="must stay in"):
        find_inputs([f"@{photos / 'list.txt'}"])


LISTS = {
    "too many lines": ("a\n" * (LIST_LINES + 1), "lines, got more"),
    "a line without an end": ("a.png " + "x " * 5_000_000, f"at most {LINE_CHARACTERS} characters"),
    "a long number": ("a.png " + "9" * 4000, "must end in an index"),
    "a quotation without an end": ('"a,' + "b" * 4000 + "\n" + 'a.png 0\n"b\n', "got only"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_hostile_list_is_one_line_in_time(tmp_path, name):
    text, message = LISTS[name]
    (tmp_path / "val.txt").write_text(text)
    start = time.monotonic()
    with pytest.raises(UsageError, match=message) as caught:
        read_label_file(tmp_path / "val.txt", ANIMALS)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in str(caught.value)


CLASS_FILES = {
    "spaces that fit a pattern in many ways": "\n".join(["a" + " " * 198 + "b"] * 20_000),
    "long lines of spaces": "\n".join(["a" + " " * 4000 + "b"] * 1000),
    "long lines of separators": "\n".join(["a" + " :" * 2000 + "x"] * 1000),
    "one line of 4 MB": "x " * (2 << 20),
    "a number of 5,000 digits": "9" * 5000 + " cat\n",
    "too many names": "".join(f"name {number}\n" for number in range(CLASSES + 1)),
    "too many entries": "{" + ",".join(f"{number}: 'a{number}'" for number in range(CLASSES + 2)) + "}",
    "parentheses": "{" + "(" * 1_000_000 + "}",
    "signs": "{1: " + "-" * 1_000_000 + "1}",
    "sums": "{1: " + "1+" * 1_000_000 + "1}",
    "brackets": "[" * 1_000_000,
    "a long integer in JSON": '{"cat": ' + "9" * 6000 + "}",
    "a text without an end": "{0: '" + "\\a" * (1 << 20),
    "a quotation without an end": 'id,name\n0,"' + "a\n" * 80_000,
}


@pytest.mark.parametrize("name", CLASS_FILES)
def test_a_hostile_class_file_is_one_line_in_time(tmp_path, name):
    path = tmp_path / "classes.txt"
    path.write_text(CLASS_FILES[name])
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        read_classes(path)
    assert time.monotonic() - start < SECONDS
    assert len(str(caught.value)) < 1000 + len(os.fspath(path))


def test_names_of_a_training_file_have_bounded_numbers():
    with pytest.raises(UsageError, match="must hold class names by index"):
        names_in({"cat": 10**6000}, "checkpoint")


def test_a_printed_dict_keeps_its_quotation_marks(tmp_path):
    (tmp_path / "classes.txt").write_text("{0: 'cat\\'s', 1: \"dog, 'big'\",\n 2: 'c\\\\d', }")
    assert read_classes(tmp_path / "classes.txt") == ("cat's", "dog, 'big'", "c\\d")

"""Label files in the forms people keep them, and in those that cannot be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.artifact.known_classes import imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.label_file import read_label_file

ANIMALS = ("cat", "great white shark", "hen")


def read(folder, text, classes=ANIMALS):
    path = folder / "val.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_label_file(path, classes)


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg 0\nb c.jpg 1\n",
        "a.jpg\t0\nb c.jpg\t1",
        "a.jpg,0\nb c.jpg,1\n",
        "filename,label\na.jpg, cat\nb c.jpg, great white shark\n",
        'ImageId,PredictionString\r\na.jpg,0\r\n"b c.jpg",1\r\n',
        "\ufeff# made by hand\n\n./a.jpg cat\nb c.jpg Great_White-Shark\n",
        "a.jpg 0\nb c.jpg great white shark",
    ],
)
def test_forms(tmp_path, text):
    assert read(tmp_path, text) == {"a.jpg": 0, "b c.jpg": 1}


def test_imagenet_ids_and_kaggle(tmp_path):
    wnids = imagenet_wnids()
    text = f"ImageId,PredictionString\nILSVRC2012_val_00048981,{wnids[7]} 85 1 499 272 {wnids[7]} 1 1 2 2\n"
    assert read(tmp_path, text, imagenet_classes()) == {"ILSVRC2012_val_00048981": 7}


VAL = "ILSVRC2012_val_{:08d}.JPEG {}"


def test_the_order_of_ilsvrc(tmp_path):
    right = [65, 970, 230, 809, 516, 57]
    text = "\n".join(VAL.format(i + 1, label) for i, label in enumerate(right))
    assert list(read(tmp_path, text, imagenet_classes()).values()) == right
    assert read(tmp_path, VAL.format(1, 2), ANIMALS)  # another model's classes follow no such order


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([490, 361, 171, 822, 297], "the development kit's ids, which are in another order"),
        ([66, 971, 231, 810, 517], "labels counted from 1"),
        ([65, 970, 3], "3 for number 3, which is 230"),
    ],
)
def test_another_order_of_ilsvrc_is_refused(tmp_path, labels, got):
    text = "\n".join(VAL.format(i + 1, label) for i, label in enumerate(labels))
    with pytest.raises(UsageError, match=r"sorted WordNet id") as caught:
        read(tmp_path, text, imagenet_classes())
    assert got in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name images, got none"),
        ("490\n361\n", "line 1, must hold an image and its label, got only a number"),
        ("a.jpg\n", "got only 'a.jpg'"),
        ("a.jpg 0\nb.jpg 3\n", r"line 2, must name a class 0..2, got 3"),
        ("a.jpg -1\n", r"must name a class 0..2, got -1"),
        ("a.jpg dog\n", "must end in an index or a class name, got 'dog'"),
        ("a.jpg n01440764\n", "got 'n01440764'"),
        ("a.jpg 0\na.jpg 1\n", "line 2, must name another image than line 1, got 'a.jpg' twice"),
        (b"\xff\xfe\x00", "must be UTF-8 text"),
        ("a.jpg 0\0\n", "must be a text, got binary"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"label file must exist"):
        read_label_file(tmp_path / "val.txt", ANIMALS)
    with pytest.raises(UsageError, match=r"must be a file, got the folder"):
        read_label_file(tmp_path, ANIMALS)


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="surrogateescape")))
def test_any_content_is_read_or_refused_in_one_line(tmp_path_factory, content):
    said = ""
    found = {}
    try:
        found = read(tmp_path_factory.mktemp("any"), content)
    except HrnetDeployError as error:
        said = str(error)
    assert found or said
    assert "\n" not in said
    assert all(0 <= label < len(ANIMALS) for label in found.values())

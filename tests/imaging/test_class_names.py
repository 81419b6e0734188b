"""Class names and colours."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.artifact.known_classes import (
    CITYSCAPES_CLASSES,
    imagenet_classes,
    imagenet_wnids,
    pack_classes,
    unpack_classes,
)
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.cityscapes import CITYSCAPES_TRAIN_IDS
from hrnet_deploy.imaging.class_names import default_classes, read_classes
from hrnet_deploy.imaging.palettes import CITYSCAPES_PALETTE, palette
from hrnet_deploy.spec import Task


def test_imagenet_has_1000_names_that_no_reader_can_confuse():
    names = imagenet_classes()
    assert len(names) == 1000
    assert len({name.casefold() for name in names}) == 1000
    assert (names[0], names[-1]) == ("tench", "toilet tissue")
    assert all(name.isprintable() and name == name.strip() for name in names)


@pytest.mark.parametrize(
    ("index", "name", "wnid"),
    [
        (134, "crane (bird)", "n02012849"),
        (517, "crane (machine)", "n03126707"),
        (264, "Cardigan Welsh corgi", "n02113186"),
        (474, "cardigan", "n02963159"),
        (638, "maillot (tights)", "n03710637"),
        (639, "maillot (tank suit)", "n03710721"),
        (207, "golden retriever", "n02099601"),
        (281, "tabby", "n02123045"),
    ],
)
def test_imagenet_index(index, name, wnid):
    assert imagenet_classes()[index] == name
    assert imagenet_wnids()[index] == wnid


def test_wnids_are_sorted_as_class_folders_are():
    assert list(imagenet_wnids()) == sorted(set(imagenet_wnids()))
    assert len(imagenet_wnids()) == 1000


@pytest.mark.parametrize("count", [-1, 0, 100_001, 2**31, 2**63])
def test_a_graph_cannot_claim_any_number_of_classes(count):
    with pytest.raises(UsageError, match=f"number of classes must be 1 to 100000, got {count}"):
        default_classes(Task.CLASSIFICATION, count)


def test_names_are_wordnets_first_lemmas():
    timm = importlib.util.find_spec("timm")
    if timm is None:
        pytest.skip("needs timm's WordNet tables")
    info = Path(timm.origin).parent / "data" / "_info"
    lemmas = dict(line.split("\t") for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    assert list(imagenet_wnids()) == (info / "imagenet_synsets.txt").read_text().split()
    changed = [
        wnid
        for wnid, name in zip(imagenet_wnids(), imagenet_classes(), strict=True)
        if name != lemmas[wnid].split(", ")[0]
    ]
    assert len(changed) == 5


def test_imagenets_long_names_are_its_names(tmp_path):
    timm = importlib.util.find_spec("timm")
    if timm is None:
        pytest.skip("needs timm's WordNet tables")
    info = Path(timm.origin).parent / "data" / "_info"
    lines = (info / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemmas = dict(line.split("\t") for line in lines)
    names = [lemmas[wnid] for wnid in imagenet_wnids()]
    assert len(set(names)) < 1000 or ", " in names[0]
    (tmp_path / "names.json").write_text(json.dumps(names))
    assert read_classes(tmp_path / "names.json") == imagenet_classes()
    (tmp_path / "ids.txt").write_text("\n".join(imagenet_wnids()))
    assert read_classes(tmp_path / "ids.txt") == imagenet_classes()


def test_cityscapes_tables_agree():
    assert len(CITYSCAPES_CLASSES) == len(set(CITYSCAPES_CLASSES)) == 19
    assert CITYSCAPES_PALETTE.shape == (19, 3)
    assert CITYSCAPES_PALETTE.dtype == np.uint8
    colour = dict(zip(CITYSCAPES_CLASSES, CITYSCAPES_PALETTE.tolist(), strict=True))
    assert colour["road"] == [128, 64, 128]
    assert colour["terrain"] == [152, 251, 152]
    assert colour["sky"] == [70, 130, 180]
    assert colour["car"] == [0, 0, 142]
    assert colour["bicycle"] == [119, 11, 32]
    with pytest.raises(ValueError):
        CITYSCAPES_PALETTE[0, 0] = 1


def test_cityscapes_train_ids():
    evaluated = [label for label, train in CITYSCAPES_TRAIN_IDS.items() if train != 255]
    assert evaluated == [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [CITYSCAPES_TRAIN_IDS[label] for label in evaluated] == list(range(19))
    assert set(CITYSCAPES_TRAIN_IDS) == set(range(-1, 34))


@pytest.mark.parametrize(
    ("task", "count", "first", "last"),
    [
        (Task.CLASSIFICATION, 1000, "tench", "toilet tissue"),
        (Task.SEGMENTATION, 19, "road", "bicycle"),
        (Task.CLASSIFICATION, 19, "class_0", "class_18"),
        (Task.SEGMENTATION, 1000, "class_0", "class_999"),
        (Task.CLASSIFICATION, 1, "class_0", "class_0"),
    ],
)
def test_default_classes(task, count, first, last):
    names = default_classes(task, count)
    assert (len(names), names[0], names[-1]) == (count, first, last)


def test_palette_of_cityscapes_is_its_own_and_may_be_changed_by_its_owner():
    colours = palette(list(CITYSCAPES_CLASSES))
    np.testing.assert_array_equal(colours, CITYSCAPES_PALETTE)
    colours[0] = 0
    assert CITYSCAPES_PALETTE[0, 0] == 128


@pytest.mark.parametrize("count", [1, 2, 19, 150, 255, 1000])
def test_palette_colours_differ_and_are_never_black_or_white(count):
    colours = palette(default_classes(Task.SEGMENTATION, count) if count != 19 else ["x"] * 19)
    assert colours.shape == (count, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == count
    assert not (colours == 0).all(axis=1).any()
    assert not (colours == 255).all(axis=1).any()


@pytest.mark.slow
def test_palette_is_stable():
    np.testing.assert_array_equal(palette(["a"] * 5), palette(["b"] * 255)[:5])
    few = palette(["a"] * 21).astype(int)
    apart = np.abs(few[:, None] - few[None]).sum(-1) + 999 * np.eye(21, dtype=int)
    assert apart.min() >= 60, "twenty-one classes are told apart at a glance"
    assert palette([]).shape == (0, 3)
    assert palette(["a"] * 5000).shape == (5000, 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\ndog\r\n\r\n  \n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\ndog", ("cat", "dog")),
        (b"n02123045\ttabby\nn02012849\tcrane (bird)\n", ("tabby", "crane (bird)")),
        ("Straße\n信号\n".encode(), ("Straße", "信号")),
        (b"  traffic light \n", ("traffic light",)),
        (b"0 tench\n1 goldfish\n", ("tench", "goldfish")),
        (b"1 goldfish\n0 tench\n2 ray, manta\n", ("tench", "goldfish", "ray, manta")),
        (b"1. cat\n2. dog\n", ("cat", "dog")),
        (b"0: tench\n1: goldfish", ("tench", "goldfish")),
        (b"tench,0\ngoldfish,1\n", ("tench", "goldfish")),
        (b"tench 0\ntraffic light 1\n", ("tench", "traffic light")),
        (b"0\tn01440764\ttench\n1\tn01443537\tgoldfish\n", ("tench", "goldfish")),
        (b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n", ("tench, Tinca tinca", "goldfish")),
        (b"n01443537\nn01440764\n", ("goldfish", "tench")),
        (b"0\n1\n2\n", ("0", "1", "2")),
        (b"level 1\nlevel 2\n", ("level 1", "level 2")),
        (b"10 pounds\n20 pounds\n", ("10 pounds", "20 pounds")),
        (b"boeing 737\nairbus 320\n", ("boeing 737", "airbus 320")),
        (b"0 cat\n0 cat\n1 dog\n", ("cat", "dog")),
        (b"id,name\n1,dog\n0,cat\n", ("cat", "dog")),
        (b'label,class_name,colour\n0,"cat, tabby",red\n1,dog,blue\n', ("cat, tabby", "dog")),
        (b"id;label\n0;cat\n1;dog\n", ("cat", "dog")),
        (b"wnid,name\nn02123045,tabby\nn02012849,crane\n", ("tabby", "crane")),
        (b"[void]\nroad\n", ("[void]", "road")),
        (b'["cat", "1 dog"]', ("cat", "1 dog")),
        (b'{"1": "dog", "0": "cat"}', ("cat", "dog")),
        (b'{"cat": 0, "dog": 1}', ("cat", "dog")),
        (b'{"model_type": "x", "id2label": {"0": "cat", "1": "dog"}}', ("cat", "dog")),
        (b'{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
        (b"{0: 'tench, Tinca tinca',\n 1: \"goldfish\"}\n", ("tench, Tinca tinca", "goldfish")),
        (b'[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}]', ("cat", "dog")),
    ],
)
def test_read_classes(tmp_path, content, expected):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    assert read_classes(path) == expected
    assert read_classes(str(path)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least one name"),
        (b"\n \r\n", "at least one name"),
        (b"cat\ndog\ncat\n", "line 3, must differ from line 1, got 'cat' twice"),
        (b"cat\n\ndog\n", "line 2, must hold a name, got a blank line"),
        (b"n02123045\t\nn02012849\tcrane\n", "line 1, must hold a name"),
        (b"\x80\x02}q\x00", "UTF-8 text"),
        (b"PK\x03\x04\x00\x00", "short text, got binary"),
        ("cat\ndog\n".encode("utf-16"), "UTF-8 text"),
        (b"x" * 201, "line 1, must have at most 200 characters, got 201"),
        (b"ok\n" + b"\tb\tc", "printable"),
        (b"x\n" * (1 << 22), "must have at most 4194304 bytes"),
        (b"0 cat\n1 dog\n3 cow\n", "without gaps, got no 2"),
        (b'{"0": "cat", "2": "dog"}', "without gaps, got no 1"),
        (b'{"2": "cat", "3": "dog"}', "number the classes from 0 or 1"),
        (b"0 cat\n1 dog\n1 cow\n", "line 3, must have a number of its own, got 1 for 'dog' and 'cow'"),
        (b"0,cat\n1,cat\n", "line 2, must differ from line 1, got 'cat' twice"),
        (b'["cat", 3]', "entry 1, must hold a name, got a blank entry"),
        (b'{"cat": "dog"}', "must hold class names by index"),
        (b"[1, 2", "must be JSON where it begins like it"),
        (b"[" * 100_000, "must be JSON where it begins like it"),
        (b"[]", "at least one class name"),
    ],
)
def test_read_classes_refuses(tmp_path, content, message):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_classes(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_read_classes_needs_a_file(tmp_path):
    with pytest.raises(MissingFileError, match="must exist"):
        read_classes(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="must be a file, got the folder"):
        read_classes(tmp_path)


@pytest.mark.parametrize(
    ("classes", "packed"),
    [
        (imagenet_classes(), "imagenet"),
        (list(CITYSCAPES_CLASSES), "cityscapes"),
        (["a", "b"], ("a", "b")),
        (["imagenet"], ("imagenet",)),
    ],
)
def test_pack_classes(classes, packed):
    assert pack_classes(classes) == packed
    assert unpack_classes(json.loads(json.dumps(pack_classes(classes)))) == tuple(classes)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=20), max_size=30))
def test_packing_loses_nothing(classes):
    assert unpack_classes(pack_classes(classes)) == tuple(classes)


def test_unknown_packed_name_is_refused():
    with pytest.raises(ArtifactError, match="got 'coco'"):
        unpack_classes("coco")

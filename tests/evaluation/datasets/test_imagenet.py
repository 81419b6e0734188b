"""Layouts of labelled photos."""

from pathlib import Path

import pytest

from hrnet_deploy.artifact.known_classes import imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.evaluation.datasets.imagenet import find_photos

ANIMALS = ("cat", "great white shark", "hen")


@pytest.fixture
def tree(tmp_path):
    def make(*names, **texts):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for name, text in texts.items():
            (tmp_path / f"{name}.txt").write_text(text)
        return tmp_path

    return make


def labels(dataset):
    return {sample.name: sample.label for sample in dataset.samples}


@pytest.mark.parametrize(
    ("names", "layout", "found"),
    [
        (["cat/1.jpg", "hen/2.PNG", "hen/.h.jpg", "hen/x.txt"], "class folders", {"cat/1.jpg": 0, "hen/2.PNG": 2}),
        (["Great_White_Shark/deep/1.jpg"], "class folders", {"Great_White_Shark/deep/1.jpg": 1}),
        (["train/cat/1.jpg", "val/cat/2.jpg"], "class folders", {"cat/2.jpg": 0}),
        (["0/1.jpg", "2/2.jpg"], "index folders", {"0/1.jpg": 0, "2/2.jpg": 2}),
        (
            ["a/1.jpg", "b/2.jpg", "c/3.jpg"],
            "class folders in sorted order",
            {"a/1.jpg": 0, "b/2.jpg": 1, "c/3.jpg": 2},
        ),
    ],
)
def test_class_folders(tree, names, layout, found):
    dataset = find_photos(tree(*names), ANIMALS)
    assert (dataset.layout, labels(dataset), dataset.total) == (layout, found, len(found))


def test_links_in_a_circle_end(tree):
    root = tree("cat/1.jpg")
    (root / "cat/again").symlink_to(root / "cat")
    assert labels(find_photos(root, ANIMALS)) == {"cat/1.jpg": 0}


def test_imagenet_folders(tree):
    last = imagenet_wnids()[999]
    dataset = find_photos(tree(f"val/{last}/a.JPEG", "val/n01440764/b.JPEG"), imagenet_classes())
    assert dataset.layout == "ImageNet folders"
    assert labels(dataset) == {"n01440764/b.JPEG": 0, f"{last}/a.JPEG": 999}


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["a.jpg", "b.jpg"], "a.jpg 0\nb.jpg 2\nelsewhere.jpg 1"),
        (["a.jpg", "b.jpg"], "val/a.jpg 0\nval/b.jpg 2"),
        (["a.jpg", "b.jpg"], "ImageId,Label\na,0\nb,2"),
        (["a.jpg", "b.jpg"], "./a.jpg cat\nb.jpg hen"),
    ],
)
def test_flat_folder_with_a_list(tree, names, listed):
    root = tree(*(f"val/{name}" for name in names), val=listed)
    for data in (root, root / "val"):
        assert labels(find_photos(data, ANIMALS)) == {"a.jpg": 0, "b.jpg": 2}
    assert labels(find_photos(root / "val", ANIMALS, labels=root / "val.txt")) == {"a.jpg": 0, "b.jpg": 2}


@pytest.mark.parametrize("place", ["", "val/", "images/"])
def test_a_list_is_the_data(tree, place):
    root = tree(f"{place}a.jpg", f"{place}b.JPEG", f"{place}c.jpg", val=f"{'images/' * (place == 'images/')}b.JPEG 1\n")
    (sample,) = find_photos(root / "val.txt", ANIMALS).samples
    assert (sample.path.name, sample.label) == ("b.JPEG", 1)
    assert sample.path.is_file()


def test_a_bare_name_in_two_folders_decides_nothing(tree):
    root = tree("val/x/1.jpg", "val/y/1.jpg", val="x/1.jpg 0\ny/1.jpg 1")
    found = find_photos(root / "val", ANIMALS, labels=root / "val.txt")
    assert labels(found) == {"x/1.jpg": 0, "y/1.jpg": 1}


def test_a_split_by_name(tree):
    root = tree("train/cat/1.jpg", "val/cat/2.jpg")
    assert labels(find_photos(root, ANIMALS, split="train")) == {"cat/1.jpg": 0}
    with pytest.raises(UsageError, match=r"split must be a folder of .* Choose of: train, val"):
        find_photos(root, ANIMALS, split="test")


@pytest.mark.parametrize(
    ("names", "listed", "error", "message"),
    [
        ([], None, ImageError, "must hold images, got none"),
        (["cat/note.txt"], None, ImageError, "must hold images, got none"),
        (["a.jpg"], None, UsageError, "images need labels, got none for"),
        (["cat/1.jpg", "dog/2.jpg"], None, UsageError, "must name a class of the model, got 'dog'"),
        (["x/1.jpg", "y/2.jpg"], None, UsageError, r"named as the model's 3 classes .'cat', \.{3}., got 2 such as 'x'"),
        (["0/1.jpg", "3/2.jpg"], None, UsageError, "must be a class index 0..2, got 3"),
        (["cat/1.jpg", "2.jpg"], None, UsageError, "needs a class folder or a line in a label file, got 2.jpg"),
        (["a.jpg", "b.jpg"], "a.jpg 0", UsageError, "each image needs a label, got none for b.jpg in"),
        (["a.jpg", "b.jpg", "c.jpg"], "a.jpg 0", UsageError, "got none for b.jpg and 1 more"),
        (["a.jpg"], "b.jpg 0\nc.jpg 1", UsageError, "must name the images of .* got none of its 2 names there"),
    ],
)
def test_bad_layouts(tree, names, listed, error, message):
    root = tree(*names, **({} if listed is None else {"val": listed}))
    with pytest.raises(error, match=message) as caught:
        find_photos(root, ANIMALS)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_lists_that_do_not_fit(tree):
    root = tree("val/a.jpg", val="a.jpg 0\nb.jpg 1\nc.jpg 1")
    with pytest.raises(UsageError, match=r"each image of .* must exist, got no b.jpg and 1 more"):
        find_photos(root / "val.txt", ANIMALS)
    (root / "val.txt").write_text("z.jpg 0")
    with pytest.raises(UsageError, match=r"must lie beside its images, got no 'z.jpg' there"):
        find_photos(root / "val.txt", ANIMALS)
    tree(labels="a.jpg 0")
    with pytest.raises(UsageError, match=r"must be in one file, got val.txt and labels.txt"):
        find_photos(root, ANIMALS)


def test_foreign_wordnet_ids(tree):
    with pytest.raises(UsageError, match=r"ImageNet's 1000 WordNet ids, got n00000001"):
        find_photos(tree("n00000001/a.JPEG"), imagenet_classes())


def test_limit_is_spread_over_classes(tree):
    dataset = find_photos(tree(*(f"{name}/{i}.jpg" for name in ("cat", "hen") for i in range(10))), ANIMALS)
    assert [sample.name for sample in dataset.limited(4).samples] == [
        "cat/0.jpg",
        "cat/5.jpg",
        "hen/0.jpg",
        "hen/5.jpg",
    ]
    assert dataset.limited(None) is dataset
    assert len(dataset.limited(99)) == dataset.limited(4).total == 20
    with pytest.raises(UsageError, match=r"limit must be positive, got 0"):
        dataset.limited(0)


def test_the_listing_digest_follows_files_and_labels(tree):
    root = tree("cat/1.jpg", "hen/2.jpg")
    before = find_photos(root, ANIMALS).listing_digest()
    assert find_photos(root, ANIMALS).listing_digest() == before
    (root / "cat/1.jpg").write_bytes(b"x")
    changed = find_photos(root, ANIMALS)
    assert changed.listing_digest() != before
    assert changed.limited(1).listing_digest() != changed.listing_digest()


def test_shared_sets(shared):
    photos = find_photos(shared / "data/photos", (shared / "weights/photos10.txt").read_text().split())
    assert (len(photos), photos.root.name, photos.layout) == (300, "val", "class folders")
    imagenet = find_photos(shared / "data/imagenet", imagenet_classes())
    assert (len(imagenet), imagenet.layout) == (100, "ImageNet folders")
    for sample in imagenet.samples:
        assert imagenet_wnids()[sample.label] == Path(sample.name).parent.name

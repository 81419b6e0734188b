"""The image files of a folder: every one once, none that is hidden, and an error that names the folder."""

import os

import pytest

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.folders import images_below, is_image, list_folder


@pytest.fixture
def root(tmp_path):
    for name in ("b.JPG", "a/1.png", "a/deep/2.tif", "notes.txt", ".hidden.png", ".git/3.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_images_are_found_at_any_depth_and_sorted(root):
    assert [path.relative_to(root).as_posix() for path in images_below(root)] == ["a/1.png", "a/deep/2.tif", "b.JPG"]


def test_links_that_form_a_circle_end(root):
    (root / "a/circle").symlink_to(root, target_is_directory=True)
    assert len(images_below(root)) == 3


def test_a_listing_has_folders_and_all_visible_files(root):
    assert list_folder(root) == (["a"], ["b.JPG", "notes.txt"])


@pytest.mark.parametrize("find", [images_below, list_folder])
def test_a_missing_folder_is_named(root, find):
    with pytest.raises(ImageError, match=r"folder '.*gone' cannot be read \(No such file"):
        find(root / "gone")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_closed_subfolder_is_named(root):
    (root / "a/deep").chmod(0)
    try:
        with pytest.raises(ImageError, match="deep' cannot be read"):
            images_below(root)
    finally:
        (root / "a/deep").chmod(0o700)


@pytest.mark.parametrize(("name", "image"), [("x.jpeg", True), ("x.WEBP", True), ("x.mp4", False), ("png", False)])
def test_the_suffix_decides(name, image):
    assert is_image(name) is image

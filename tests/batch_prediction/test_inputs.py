"""Sources: folders, patterns, lists and shards, in a fixed order; what has no fixed number of images is refused."""

import os
import tarfile

import pytest

from hrnet_deploy.batch_prediction.inputs import find_inputs
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with images, a shard and a list."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "deep/b.png", "deep/er/c.webp", "deep/.hidden.jpg", "deep/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with tarfile.open("s.tar", "w") as archive:
        archive.add("a.jpg", "in.jpg")
    return tmp_path


def names(*sources, **options):
    return [image.name for span in find_inputs(sources, **options).spans for image in span.images()]


def test_sources_keep_their_order_and_names(here):
    (here / "deep/list.txt").write_text("b.png\r\n\n../deep/er/c.webp\nmissing é.jpg\n")
    folder = ["deep/b.png", "deep/er/c.webp"]
    assert names("deep", "a.jpg", "s.tar", "*.jpg") == [*folder, "a.jpg", "s.tar/in.jpg", "a.jpg"]
    assert names("*") == ["a.jpg", "s.tar/in.jpg"]
    assert names("deep/**/*.webp") == ["deep/er/c.webp"]
    assert names("@deep/list.txt") == ["b.png", "../deep/er/c.webp", "missing é.jpg"]
    assert names(str(here / "deep")) == [str(here / name) for name in folder]


def test_lists_are_relative_to_their_folder_or_root(here):
    (here / "deep/list.txt").write_text("a.jpg\ns.tar\n")
    first = find_inputs(["@deep/list.txt"], root=".").spans[0]
    assert next(first.images()).read() == b"a.jpg"
    assert names("@deep/list.txt", root=".") == ["a.jpg", "s.tar/in.jpg"]
    with pytest.raises(MissingFileError, match="tar shard must exist"):
        find_inputs(["@deep/list.txt"])


@pytest.mark.parametrize("text", ["../a.jpg", "/etc/passwd", "er/../../a.jpg", "../deep2/a.jpg", "."])
def test_lists_stay_in_their_folder(here, text):
    (here / "deep/list.txt").write_text(f"b.png\n{text}\n")
    with pytest.raises(UsageError, match=r"paths in deep/list\.txt must stay in .*--root DIR"):
        find_inputs(["@deep/list.txt"])


def test_the_whole_disk_can_be_the_root(here):
    (here / "list.txt").write_text(f"{here}/a.jpg\n")
    assert names("@list.txt", root="/") == [f"{here}/a.jpg"]


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("street.mp4", UsageError, "needs images, got the video"),
        ("s.tar.gz", UsageError, "must not be compressed"),
        ("https://example.org/a.jpg", UsageError, "got the URL"),
        ("none.jpg", MissingFileError, "source must exist"),
        ("none-*.jpg", MissingFileError, "must match images or shards"),
        ("empty", ImageError, "must hold images"),
        ("@none.txt", MissingFileError, "list file must exist"),
        ("@empty.txt", UsageError, "list file must name images"),
        ("@a.bin", UsageError, "list file must be"),
        ("empty.tar", ImageError, "sources must hold images"),
    ],
)
def test_unusable_sources_are_named(here, source, kind, text):
    (here / "empty").mkdir()
    (here / "empty.txt").write_text("\n \n")
    (here / "a.bin").write_bytes(b"\xff\x00")
    tarfile.open("empty.tar", "w").close()
    for name in ("street.mp4", "s.tar.gz"):
        (here / name).touch()
    with pytest.raises(kind, match=text):
        find_inputs([source])


def test_options_that_do_nothing_are_errors(here):
    with pytest.raises(UsageError, match="column applies to Parquet files"):
        find_inputs(["a.jpg"], column="image")
    with pytest.raises(UsageError, match="root applies to list files"):
        find_inputs(["a.jpg"], root=".")
    (here / "list.txt").write_text("a.jpg\n")
    with pytest.raises(MissingFileError, match="root must be a folder"):
        find_inputs(["@list.txt"], root="none")


def test_digest_follows_names_sizes_and_times(here):
    def digest(*sources):
        return find_inputs(sources).sha256

    before = digest("deep", "s.tar")
    assert digest("deep", "s.tar") == before
    assert digest("s.tar", "deep") != before
    os.utime("deep/b.png", (1, 1))
    changed = digest("deep", "s.tar")
    assert changed != before
    os.utime("s.tar", (1, 1))
    assert digest("deep", "s.tar") != changed


def test_a_file_that_changed_is_refused(here):
    span = find_inputs(["a.jpg"]).spans[0]
    span.check()
    (here / "a.jpg").write_bytes(b"longer than before")
    with pytest.raises(UsageError, match="5 bytes, got 18 bytes"):
        span.check()

"""Selection of calibration images, and the check that evaluation uses others."""

from collections import Counter
from pathlib import Path

import pytest

from hrnet_deploy.calibration import image_selection as module
from hrnet_deploy.calibration.image_selection import (
    CalibrationImage,
    check_disjoint,
    choose,
    content_hashes,
    image_list_hash,
)
from hrnet_deploy.errors import MissingFileError, UsageError


@pytest.fixture
def images(tmp_path):
    """Seven files of different content."""
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]))
    return paths


def fake(group: str, name: str) -> CalibrationImage:
    return CalibrationImage(group, Path(group, name))


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
    assert sorted(choose(available, 512)) == available


def test_hashes_follow_content_and_order(images, tmp_path):
    copy = tmp_path / "other name.png"
    copy.write_bytes(images[0].read_bytes())
    hashes = content_hashes([*images[:2], CalibrationImage("x", copy)])
    assert hashes[0] == hashes[2] != hashes[1]
    assert image_list_hash(hashes) != image_list_hash(hashes[::-1][:2])
    assert len(image_list_hash(hashes)) == 64
    with pytest.raises(MissingFileError, match="gone"):
        content_hashes([tmp_path / "gone.png"])


def test_overlap_is_found_by_content(images, tmp_path):
    copy = tmp_path / "renamed.png"
    copy.write_bytes(images[2].read_bytes())
    check_disjoint(images[:3], images[3:])
    with pytest.raises(UsageError, match=r"2\.png = .*renamed\.png"):
        check_disjoint(images[:3], [images[4], copy])
    check_disjoint(images[:3], [copy], allow=True)
    with pytest.raises(MissingFileError, match="gone"):
        check_disjoint(images, [tmp_path / "gone.png"])


def test_overlap_reads_only_what_can_clash(tmp_path, monkeypatch):
    for name, content in {"a": b"1", "b": b"2", "long": b"33"}.items():
        (tmp_path / name).write_bytes(content)
    read = []
    monkeypatch.setattr(module, "read_file", lambda path: read.append(path.name) or path.read_bytes())
    check_disjoint([tmp_path / "a"], [tmp_path / "long", tmp_path / "b"])
    assert sorted(read) == ["a", "b"]

"""Journals: what was written is read, whatever happened to the last line."""

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.evaluation.journal import Journal
from hrnet_deploy.evaluation.metrics.classification import Ranking


def record(index):
    return ImageRecord(index, f"{index:02x}", (Ranking((index % 3,), (0.5,)),))


def write(journal, *indices):
    journal.open()
    for index in indices:
        journal.write(record(index))


def read(journal):
    return [found.index for found in journal.read(images=10, models=1, classes=3)]


def test_runs_add_to_each_other(tmp_path):
    journal = Journal(tmp_path / "new/folder", {"a": 1})
    assert read(journal) == []
    write(journal, 0, 1)
    write(journal, 5)
    write(journal)
    assert read(journal) == [0, 1, 5]


def test_other_facts_are_another_file(tmp_path):
    first, second = (Journal(tmp_path, {"a": a}) for a in (1, 2))
    write(first, 0)
    assert read(second) == []
    assert first.path != second.path
    assert Journal(tmp_path, {"a": 1}).path == first.path


def test_a_torn_line_is_not_there_and_spoils_no_other(tmp_path):
    journal = Journal(tmp_path, {})
    write(journal, 0, 1, 2)
    content = journal.path.read_bytes()
    start = content.index(b"\n") + 1
    for end in range(len(content) + 1):
        journal.path.write_bytes(content[:end])
        whole = content[start:end].count(b"\n")
        assert read(journal) in (list(range(whole)), list(range(whole + 1)))
        write(journal, 7)
        kept = read(journal)
        assert kept[-1] == 7
        assert kept[:-1] in (list(range(whole)), list(range(whole + 1)))


def test_foreign_lines_and_repeated_ones_do_not_count(tmp_path):
    journal = Journal(tmp_path, {})
    write(journal, 0, 0)
    with journal.path.open("ab") as file:
        file.write(b'{"index": 99}\n[]\nnull\n\n\xff\n{"index": 3, "content": "", "answers": 7}\n')
    write(journal, 1, 0)
    assert read(journal) == [0, 1]


def test_a_file_of_another_key_is_started_anew(tmp_path):
    journal = Journal(tmp_path, {})
    journal.path.write_text('{"schema": 1, "key": "other"}\n{"index": 0, "content": "", "answers": []}\n')
    assert read(journal) == []
    write(journal, 4)
    assert read(journal) == [4]


def test_places_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"output must be writable"):
        Journal(tmp_path / "file", {}).open()
    journal = Journal(tmp_path, {})
    journal.path.mkdir()
    with pytest.raises(UsageError, match=r"journal must be a file"):
        read(journal)

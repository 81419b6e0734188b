"""The manifest: whole parts are skipped, damaged ones computed again, folders of other runs refused."""

import json

import pytest

from hrnet_deploy.batch_prediction.manifest import Manifest, Part
from hrnet_deploy.batch_prediction.part_writer import part_digest
from hrnet_deploy.errors import UsageError

KEY = {"artifact": "abc", "format": "jsonl", "inputs": "123"}
ODD = b'{"number": "x", "file": 3, "images": 1, "errors": 0, "sha256": "", "runtime": null}\n'


def write_part(folder, number, text="row\n"):
    path = folder / f"part-{number:06d}.jsonl"
    path.write_text(text)
    return Part(number, path.name, 1, 0, part_digest(path), "onnxruntime")


@pytest.fixture
def run(tmp_path):
    """A folder with two recorded parts of an interrupted run."""
    folder = tmp_path / "out"
    manifest = Manifest(folder, KEY)
    assert manifest.open() == {}
    parts = {number: write_part(folder, number) for number in (0, 2)}
    for part in parts.values():
        manifest.record(part)
    return folder, parts


def test_recorded_parts_are_found_again(run):
    folder, parts = run
    assert Manifest(folder, KEY).open() == parts
    assert Manifest(folder, KEY).open() == parts


def test_finished_folder_holds_sorted_parts_and_no_progress(run):
    folder, parts = run
    manifest = Manifest(folder, KEY)
    manifest.finish([parts[2], parts[0]])
    assert [part["number"] for part in json.loads((folder / "_manifest.json").read_text())["parts"]] == [0, 2]
    assert not (folder / "_progress.jsonl").exists()
    assert Manifest(folder, KEY).open() == parts


@pytest.mark.parametrize("finished", [False, True])
def test_damaged_parts_are_computed_again(run, finished):
    folder, parts = run
    if finished:
        Manifest(folder, KEY).finish(list(parts.values()))
    (folder / parts[2].file).write_text("other\n")
    assert Manifest(folder, KEY).open() == {0: parts[0]}
    (folder / parts[0].file).unlink()
    assert Manifest(folder, KEY).open() == {}


def test_a_run_without_parts_gives_way(tmp_path):
    Manifest(tmp_path, KEY).open()
    assert Manifest(tmp_path, KEY | {"inputs": "456"}).open() == {}
    write_part(tmp_path, 0)
    with pytest.raises(UsageError, match="got inputs '123', was '456'"):
        Manifest(tmp_path, KEY).open()


@pytest.mark.parametrize("line", [b'{"number": 5, "fi', b"\xff\n", b"[1]\n", b'{"number": 1}\n', ODD, b"[" * 100000])
def test_torn_lines_are_skipped(run, line):
    folder, parts = run
    with (folder / "_progress.jsonl").open("ab") as file:
        file.write(line)
    assert Manifest(folder, KEY).open() == parts


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "part-000001.jsonl", "_manifest.json"])
def test_files_of_other_names_are_no_parts(run, name):
    folder, parts = run
    Manifest(folder, KEY).record(Part(7, name, 1, 0, "", ""))
    assert Manifest(folder, KEY).open() == parts


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"artifact": "def"}, "got artifact 'def', was 'abc'"),
        ({"inputs": "456"}, "got inputs '456', was '123'"),
        ({"more": 1}, "got more 1, was None"),
    ],
)
def test_other_runs_are_refused(run, changed, text):
    folder, _ = run
    with pytest.raises(UsageError, match="must be of the same artifact, options and inputs") as caught:
        Manifest(folder, KEY | changed).open()
    assert text in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"run": 3}', "[" * 100000])
def test_other_content_is_refused(run, content):
    folder, _ = run
    (folder / "_manifest.json").write_text(content)
    with pytest.raises(UsageError, match="manifest must be readable"):
        Manifest(folder, KEY).open()


def test_folders_with_other_files_are_refused(tmp_path):
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(UsageError, match="output folder must be new, empty or of an earlier run"):
        Manifest(tmp_path, KEY).open()


def test_lost_parts_are_noticed(run):
    folder, parts = run
    (folder / parts[2].file).unlink()
    with pytest.raises(UsageError, match=r"shared by all workers, got no part-000002\.jsonl"):
        Manifest(folder, KEY).finish(list(parts.values()))

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.files import atomic_folder, atomic_output, check_output, sha256_file
from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES, imagenet_classes
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard, Preprocessing, ShapeRange, TensorSpec


def card(classes=("cat", "dog"), task="classification"):
    return ModelCard(
        task=task,
        variant="hrnet_w18",
        classes=classes,
        preprocessing=Preprocessing(),
        precision="fp32",
        inputs=(TensorSpec("input", "float32", ("batch", 3, 224, 224)),),
        outputs=(TensorSpec("logits", "float32", ("batch", len(classes))),),
        shapes=ShapeRange((1, 224, 224), (1, 224, 224), (16, 224, 224)),
    )


def test_a_written_file_appears_with_its_folder_and_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "deep" / "net.onnx"
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
        assert temporary.name == target.name
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_file_is_replaced_only_at_the_end(tmp_path):
    target = tmp_path / "net.onnx"
    target.write_bytes(b"old")
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, error, old):
    target = tmp_path / "net.onnx"
    if old is not None:
        target.write_bytes(old)

    def interrupted():
        with atomic_output(target) as temporary:
            temporary.write_bytes(b"half")
            temporary.with_name("net.onnx.data").write_bytes(b"weights")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


def test_weights_written_beside_the_graph_come_along(tmp_path):
    target = tmp_path / "net.onnx"
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"graph")
        temporary.with_name("net.onnx.data").write_bytes(b"weights")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"net.onnx": b"graph", "net.onnx.data": b"weights"}


def test_a_folder_as_output_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UsageError, match="output must be a file, got the folder"), atomic_output(tmp_path):
        pytest.fail("the body ran")


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    target = tmp_path / "file" / "net.onnx"
    with pytest.raises(UsageError, match="output must be writable"), atomic_output(target):
        pytest.fail("the body ran")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run as another user")
def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="output must be writable"), atomic_output(tmp_path / "net.onnx"):
        pytest.fail("the body ran")


def test_a_folder_left_by_the_body_is_cleared_away_without_hiding_its_error(tmp_path):
    def leaves_a_folder():
        with atomic_output(tmp_path / "net.onnx") as temporary:
            temporary.with_name("cache").mkdir()
            (temporary.with_name("cache") / "part").write_bytes(b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leaves_a_folder()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_the_digest_is_sha256_of_all_bytes(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["missing", "."])
def test_the_digest_of_what_is_no_file_names_it(tmp_path, name):
    with pytest.raises(MissingFileError, match="file must exist"):
        sha256_file(tmp_path / name)


@pytest.mark.parametrize(
    ("classes", "task", "written"),
    [
        (imagenet_classes(), "classification", "imagenet"),
        (CITYSCAPES_CLASSES, "segmentation", "cityscapes"),
        (("Käse", "犬", "a\nb"), "classification", ["Käse", "犬", "a\nb"]),
        (("imagenet",), "classification", ["imagenet"]),
    ],
)
def test_a_card_travels_through_metadata_with_known_classes_by_name(classes, task, written):
    metadata = card_metadata(card(classes, task))
    assert json.loads(metadata[CARD_KEY])["classes"] == written
    assert card_from_metadata(metadata, "net.onnx") == card(classes, task)


def test_a_packed_card_fits_a_tensorrt_network_name():
    assert len(card_metadata(card(imagenet_classes()))[CARD_KEY].encode()) < 4096


def test_an_artefact_without_a_card_names_the_command_that_makes_one():
    with pytest.raises(ArtifactError, match=r"got none in net\.onnx\. Make one: hrnet-export net\.onnx --task"):
        card_from_metadata({"producer": "me"}, "net.onnx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"classes": "imagenet"}',
        '{"classes": "coco"}',
        '{"classes": 5}',
        '{"classes": null}',
        '{"classes": {"0": "cat"}}',
        "[" * 100_000,
        '{"classes":' * 50_000,
        card_metadata(card())[CARD_KEY].replace("float32", '", "x": "'),
    ],
)
def test_a_damaged_card_is_a_bad_artefact_named_in_the_error(text):
    with pytest.raises(ArtifactError, match=r"net\.onnx: "):
        card_from_metadata({CARD_KEY: text}, "net.onnx")


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_card_with_a_stretch_cut_out_is_the_same_card_or_a_bad_artefact(data):
    text = card_metadata(card())[CARD_KEY]
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    try:
        read = card_from_metadata({CARD_KEY: text[:start] + text[stop:]}, "net.onnx")
    except ArtifactError:
        return
    assert isinstance(read, ModelCard)


@pytest.mark.parametrize("moves", range(4))
def test_the_marker_of_several_files_never_stands_beside_others(tmp_path, monkeypatch, moves):
    target = tmp_path / "report.json"
    names = ("report.csv", "report.html", "report.json")
    for name in names:
        (tmp_path / name).write_text("old")
    real, done = type(target).replace, []

    def ends(self, to):
        if len(done) == moves:
            raise RuntimeError
        done.append(to)
        return real(self, to)

    monkeypatch.setattr(type(target), "replace", ends)

    def write():
        with atomic_output(target) as temporary:
            for name in names:
                temporary.with_name(name).write_text("new")

    if moves == len(names):
        write()
    else:
        with pytest.raises(RuntimeError):
            write()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert ("report.json" in found) == (moves == len(names))
    if "report.json" in found:
        assert found == dict.fromkeys(names, "new")


def test_a_file_that_fails_before_the_moves_leaves_all_old_ones(tmp_path):
    (tmp_path / "report.json").write_text("old")
    (tmp_path / "report.html").mkdir()

    def write():
        with atomic_output(tmp_path / "report.json") as temporary:
            temporary.write_text("new")
            temporary.with_name("report.html").write_text("new")

    with pytest.raises(UsageError, match="output must be a file, got the folder"):
        write()
    assert (tmp_path / "report.json").read_text() == "old"


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "target").write_text("mine")
    for name, target in (("link", "target"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(target)
        with atomic_output(tmp_path / name) as temporary:
            temporary.write_text("new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_name_may_have_all_bytes_that_the_disk_takes(tmp_path):
    with atomic_output(tmp_path / ("x" * 250 + ".onnx")) as temporary:
        temporary.write_text("whole")
    with pytest.raises(UsageError, match=r"got 'File name too long' for .*Choose a shorter name\."):
        check_output(tmp_path / ("x" * 251 + ".onnx"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs devices and pipes")
def test_devices_pipes_and_impossible_paths_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/full"), tmp_path / "pipe"):
        with pytest.raises(UsageError, match="output must be a regular file, got a device, pipe or socket"):
            check_output(path)
    for path in (Path("a\0b"), tmp_path / "\ud800"):
        with pytest.raises(UsageError, match="output must be a path"):
            check_output(path)


def test_an_output_is_none_of_the_inputs_under_any_name(tmp_path):
    (tmp_path / "in").touch()
    (tmp_path / "link").symlink_to("in")
    check_output(tmp_path / "out", [tmp_path / "in"])
    check_output(tmp_path / "in", [tmp_path / "out", Path("n" * 5000)])
    for path in ("in", "link"):
        with pytest.raises(UsageError, match="output must be another file than the inputs"):
            check_output(tmp_path / path, [tmp_path / "none", tmp_path / "in"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("durable", [True, False])
def test_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch, durable):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    with atomic_output(tmp_path / "out", durable=durable) as temporary:
        temporary.write_text("whole")
    assert [each.name for each in synced] == (["out", tmp_path.name] if durable else [])


def test_a_folder_appears_whole_and_replaces_another(tmp_path):
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "part") as folder:
            (folder / "rows").write_text(text)
            assert not (tmp_path / "part").exists() or (tmp_path / "part/rows").read_text() == "first"
        assert [path.read_text() for path in (tmp_path / "part").iterdir()] == [text]
    assert [path.name for path in tmp_path.iterdir()] == ["part"]

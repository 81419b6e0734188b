"""Reading .engine files: plain, behind Ultralytics' header, foreign, damaged."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.artifact.plan_file import (
    PlanFile,
    card_from_ultralytics,
    check_plan,
    read_plan,
    same_version,
)
from hrnet_deploy.errors import ArtifactError, MissingFileError
from hrnet_deploy.spec import OutputKind, Precision, Resize, ShapeRange, Task, TensorSpec

METADATA = {
    "description": "Ultralytics YOLOv8n-cls model",
    "task": "classify",
    "batch": 1,
    "imgsz": [224, 224],
    "names": {"0": "tench", "1": "goldfish"},
    "args": {"batch": 1, "half": True, "int8": False},
}


def plan_bytes(tag=b"ftrt", version=(10, 13, 3, 9), size=None, body=b"\0" * 100, layout=0):
    return struct.pack("<4sIQQ4B", tag, layout, 2, 28 + len(body) if size is None else size, *version) + body


def with_header(metadata, plan):
    text = json.dumps(metadata).encode()
    return len(text).to_bytes(4, "little", signed=True) + text + plan


@pytest.fixture
def engine(tmp_path):
    """A function that writes an .engine file."""

    def write(content):
        path = tmp_path / "w18.engine"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("content", "flavour", "version"),
    [
        (plan_bytes(), "tensorrt", "10.13.3.9"),
        (plan_bytes(version=(8, 6, 1, 6)), "tensorrt", "8.6.1.6"),
        (plan_bytes(b"vtrt", (1, 7, 1, 116)), "tensorrt-rtx", "1.7.1.116"),
        (plan_bytes(layout=1), "tensorrt", ""),
        (plan_bytes(b"xtrt"), "", ""),
    ],
)
def test_plain_plan(engine, content, flavour, version):
    found = read_plan(engine(content))
    assert (found.flavour, found.version, found.metadata) == (flavour, version, {})
    assert bytes(found.plan) == content


def test_plan_is_not_copied(engine):
    assert isinstance(read_plan(engine(plan_bytes())).plan, memoryview)


def test_plan_behind_the_header_of_ultralytics(engine):
    found = read_plan(engine(with_header(METADATA, plan_bytes())))
    assert bytes(found.plan) == plan_bytes()
    assert found.version == "10.13.3.9"
    assert found.metadata["task"] == "classify"
    assert json.loads(found.metadata["names"]) == {"0": "tench", "1": "goldfish"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"f", "got text inside"),
        (b"ftrt", "at least 28 bytes, got 4: it is cut short"),
        (plan_bytes(b"vtrt")[:-1], "at least 128 bytes, got 127: it is cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 99, "a ZIP or PyTorch file"),
        (b"\x80\x02}q\0", "a Python pickle"),
        (b"\x08\x0a\x12\x07pytorch\x1a\x06", "an ONNX model inside. Build from it: hrnet-export"),
        (b"<!DOCTYPE html>\n<html>", "text"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "unknown bytes (ff d8 ff e0)"),
        (with_header(METADATA, b""), "it is cut short"),
        (with_header(METADATA, plan_bytes())[:100], "it is cut short"),
        (with_header(METADATA, b"ftrt"), "it is cut short"),
        (with_header(METADATA, b"nothing"), "text after its metadata header"),
        (b"\x04\0\0\0{\xff\xff}" + plan_bytes(), "must hold JSON in its metadata header"),
        (b"\x04\0\0\0{no}" + plan_bytes(), "must hold JSON in its metadata header"),
        ((90_005).to_bytes(4, "little") + b'{"a":' + b"[" * 90_000 + plan_bytes(), "must hold JSON"),
    ],
)
def test_foreign_and_damaged_files_are_one_line(engine, content, words):
    with pytest.raises(ArtifactError) as caught:
        read_plan(engine(content))
    message = str(caught.value)
    assert words in message
    assert message.startswith("w18.engine must")
    assert "\n" not in message


@pytest.mark.slow
def test_real_onnx_renamed(engine, photos_onnx):
    with pytest.raises(ArtifactError, match="an ONNX model"):
        read_plan(engine(photos_onnx.read_bytes()))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingFileError, match="must exist"):
        read_plan(tmp_path / "none.engine")
    with pytest.raises(ArtifactError, match="got the folder"):
        read_plan(tmp_path)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda tail: plan_bytes(b"vtrt") + tail),
        st.tuples(st.sampled_from([b"ftrt", b"vtrt"]), st.binary(max_size=80)).map(b"".join),
        st.tuples(st.integers(-5, 90), st.binary(max_size=90)).map(
            lambda pair: pair[0].to_bytes(4, "little", signed=True) + b"{" + pair[1]
        ),
        st.dictionaries(st.text(), st.none() | st.floats() | st.text()).map(
            lambda content: with_header(content, plan_bytes())
        ),
    )
)
def test_any_bytes_are_a_plan_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.engine"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    try:
        found = read_plan(path)
    except ArtifactError as error:
        message = str(error)
    else:
        message = ""
        assert bytes(found.plan)[1:4] == b"trt"
        assert all(isinstance(value, str) for value in found.metadata.values())
    assert "\n" not in message


@pytest.mark.parametrize(
    ("built", "running", "same"),
    [
        ("10.13.3.9", "10.13.3.9", True),
        ("8.6.1.6", "8.6.1", True),
        ("8.6.1", "8.6.1.6", True),
        ("10.13.3.9", "10.13.3.10", False),
        ("10.13.3.9", "10.13", False),
        ("10.4.0.26", "10.5.0.18", False),
        ("", "10.13.3.9", False),
    ],
)
def test_same_version(built, running, same):
    assert same_version(built, running) is same


def test_check_plan():
    plan = PlanFile(plan=b"", flavour="tensorrt", version="10.4.0.26")
    check_plan(plan, name="w18.engine", flavour="tensorrt", version="10.4.0.26")
    check_plan(PlanFile(plan=b""), name="w18.engine", flavour="tensorrt", version="10.4.0.26")
    for flavour, version in (("tensorrt", "10.13.3.9"), ("tensorrt-rtx", "1.7.1.116")):
        with pytest.raises(ArtifactError, match=rf"{flavour} {version}.*got tensorrt 10\.4\.0\.26"):
            check_plan(plan, name="w18.engine", flavour=flavour, version=version)


def test_plan_of_this_machines_tensorrt_rtx(engine):
    trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    tensor = network.add_input("x", trt.float32, (1, 4))
    network.mark_output(network.add_activation(tensor, trt.ActivationType.RELU).get_output(0))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    content = bytes(builder.build_serialized_network(network, config))
    found = read_plan(engine(content))
    assert (found.flavour, found.version) == ("tensorrt-rtx", trt.__version__)
    assert trt.Runtime(logger).get_engine_validity(found.plan)  # takes the mapped view as it is
    with pytest.raises(ArtifactError, match="cut short"):
        read_plan(engine(content[:-1]))


TENSORS = {
    "inputs": (TensorSpec("images", "float32", (1, 3, 224, 224)),),
    "outputs": (TensorSpec("output0", "float32", (1, 2)),),
    "shapes": ShapeRange((1, 224, 224), (1, 224, 224), (1, 224, 224)),
}


def metadata_of(engine, **changes):
    return read_plan(engine(with_header(METADATA | changes, plan_bytes()))).metadata


def test_card_from_ultralytics(engine):
    card = card_from_ultralytics(metadata_of(engine), **TENSORS)
    assert card.task is Task.CLASSIFICATION
    assert card.classes == ("tench", "goldfish")
    assert card.precision is Precision.FP16
    assert card.output_kind is OutputKind.PROBABILITIES
    assert card.preprocessing.resize is Resize.SHORT_SIDE
    assert card.preprocessing.mean == (0, 0, 0)
    assert card.preprocessing.size_hw == (224, 224)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "detect"},
        {"names": {"0": "a", "2": "b"}},
        {"names": {"x": "a"}},
        {"names": {}},
        {"names": 3},
        {"names": [1, 2]},
        {"names": "tench"},
        {"args": []},
        {"args": "x"},
        {"args": None},
    ],
)
def test_metadata_that_says_too_little_gives_no_card(engine, changes):
    assert card_from_ultralytics(metadata_of(engine, **changes), **TENSORS) is None
    assert card_from_ultralytics({}, **TENSORS) is None

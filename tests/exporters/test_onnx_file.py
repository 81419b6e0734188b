import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.exporters.onnx_file import describe, read, write
from hrnet_deploy.spec import TensorSpec

ADD = "g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"


@pytest.fixture
def model(parse):
    return parse("g (float[N, 400] x) => (float[N, 400] y) { y = Add(x, w) }", {"w": np.arange(400)})


def with_data_beside(model, folder, name="net.onnx"):
    onnx.save_model(model, str(folder / name), save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    return folder / name


def pointing_to(model, folder, location):
    """The graph, its weights said to lie at `location`."""
    path = with_data_beside(model, folder)
    graph = onnx.load(str(path), load_external_data=False)
    for entry in graph.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = str(location)
    path.write_bytes(graph.SerializeToString())
    return path


def test_what_was_written_is_read_back_with_its_metadata(tmp_path, model, run, noise):
    wanted = run(model, noise(2, 400))
    write(model, tmp_path / "net.onnx", {"card": "ü", "note": ""})
    back = read(tmp_path / "net.onnx")
    assert {p.key: p.value for p in back.metadata_props} == {"card": "ü", "note": ""}
    np.testing.assert_array_equal(run(back, noise(2, 400)), wanted)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_metadata_is_replaced_when_a_graph_is_written_again(tmp_path, model):
    write(model, tmp_path / "net.onnx", {"card": "1"})
    write(model, tmp_path / "net.onnx", {"card": "2"})
    assert [(p.key, p.value) for p in read(tmp_path / "net.onnx").metadata_props] == [("card", "2")]


@pytest.mark.parametrize("beside", [False, True])
def test_weights_too_large_for_one_file_are_refused_before_they_are_read(tmp_path, model, monkeypatch, beside):
    path = with_data_beside(model, tmp_path) if beside else tmp_path / "net.onnx"
    if not beside:
        write(model, path, {})
    monkeypatch.setattr(onnx_file, "_ONE_FILE_LIMIT_BYTES", 1599)
    with pytest.raises(UsageError, match=r"weights of net\.onnx must take less than 1\.599e-06 GB, .* got 1\.6e-06 GB"):
        read(path)
    monkeypatch.setattr(onnx_file, "_ONE_FILE_LIMIT_BYTES", 1600)
    assert read(path).graph.initializer[0].dims == [400]


def test_weights_beside_a_foreign_graph_are_read(tmp_path, model):
    (weights,) = read(with_data_beside(model, tmp_path)).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weights), np.arange(400))


@pytest.mark.parametrize(
    "location", ["../net.onnx.data", "sub/../../net.onnx.data", "{folder}/net.onnx.data", "", "gone"]
)
def test_weights_that_are_not_in_the_graphs_folder_are_refused(tmp_path, model, location):
    folder = tmp_path / "in"
    folder.mkdir()
    path = pointing_to(model, folder, location.format(folder=tmp_path))
    (folder / "net.onnx.data").rename(tmp_path / "net.onnx.data")
    with pytest.raises(ArtifactError, match=r"net\.onnx must be a valid ONNX model, got: .*\. Export it again\."):
        read(path)


def test_weights_behind_a_link_are_refused(tmp_path, model):
    folder = tmp_path / "in"
    folder.mkdir()
    path = with_data_beside(model, folder)
    (folder / "net.onnx.data").rename(tmp_path / "secret")
    (folder / "net.onnx.data").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="must be a valid ONNX model"):
        read(path)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_what_is_no_file_is_missing(tmp_path, name):
    with pytest.raises(MissingFileError, match="ONNX file must exist"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\0", b"not a model", b"\x80\x02}q\x00.", b"PK\x03\x04", os.urandom(4096)])
def test_a_file_that_is_no_onnx_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"^net\.onnx must be a valid ONNX model, got: .*\. Export it again\.$"):
        read(tmp_path / "net.onnx")


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_or_damaged_file_is_read_or_refused_and_never_a_traceback(tmp_path, parse, data):
    content = bytearray(parse(ADD).SerializeToString())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "net.onnx"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        inputs, outputs = describe(read(path))
    except ArtifactError:
        return
    assert len(inputs) == 1
    assert outputs


def test_a_size_whose_name_is_no_text_is_refused(tmp_path, parse):
    content = parse(ADD).SerializeToString()
    size = content.index(b"\x12\x01N")  # the dimension's name, in protobuf
    (tmp_path / "net.onnx").write_bytes(content[: size + 2] + b"\x80" + content[size + 3 :])
    with pytest.raises(ArtifactError, match=r"net\.onnx must be a valid ONNX model"):
        read(tmp_path / "net.onnx")


@pytest.mark.slow
def test_a_file_cut_in_half_is_refused(tmp_path, simplified):
    content = simplified("classification").SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="must be a valid ONNX model"):
        read(tmp_path / "net.onnx")


def test_weights_that_an_old_file_lists_as_inputs_are_none(tmp_path, parse):
    model = parse(ADD)
    model.ir_version = 3
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 8))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    back = read(tmp_path / "net.onnx")
    assert [v.name for v in back.graph.input] == ["x"]
    assert describe(model)[0] == (TensorSpec("x", "float32", ("N", 4)),)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("g (float[2] a, float[2] b) => (float[2] y) { y = Add(a, b) }", 2),
        ("g () => (float[2] y) { y = Constant<value_floats = [1.0, 2.0]>() }", 0),
    ],
)
def test_a_graph_must_have_one_input(tmp_path, parse, text, count):
    (tmp_path / "net.onnx").write_bytes(parse(text).SerializeToString())
    with pytest.raises(ArtifactError, match=rf"net\.onnx must have one input, got {count}\."):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "text", ["g (float[2] x) => () { y = Relu(x) }", "g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct(x) }"]
)
def test_a_graph_must_output_tensors(tmp_path, text):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"net\.onnx must"):
        read(tmp_path / "net.onnx")


def test_a_description_names_types_numbers_names_and_open_dimensions(parse):
    inputs, outputs = describe(
        parse(
            "g (float16[N, 3, ?, 8] x) => (float[N, 3, ?, 8] y, int64[1] z) "
            "{ y = Cast<to = 1>(x) z = Shape<start = 1, end = 2>(x) }"
        )
    )
    assert inputs == (TensorSpec("x", "float16", ("N", 3, "?", 8)),)
    assert outputs == (TensorSpec("y", "float32", ("N", 3, "?", 8)), TensorSpec("z", "int64", (1,)))

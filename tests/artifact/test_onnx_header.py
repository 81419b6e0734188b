import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.artifact.onnx_header import OnnxHeader, graph_sha256, read_header


def graph(text, version=9):
    return onnx.parser.parse_model(f'<ir_version: {version}, opset_import: ["" : 20]>\n{text}')


NET = graph(
    "g (float[N, 3, ?, 8] input, int64[1] k) => (float[N, 3, A, B] y) "
    "<float[2] w = {1.0, 2.0}> { r = Relu(input) y = Clip(r) }"
)
onnx.helper.set_model_props(NET, {"hrnet_deploy.card": "{}", "note": "ü", "empty": ""})


@pytest.mark.parametrize("as_file", [False, True])
def test_a_header_tells_metadata_operators_and_input_shapes(tmp_path, as_file):
    content = NET.SerializeToString()
    if as_file:
        (tmp_path / "net.onnx").write_bytes(content)
    found = read_header(tmp_path / "net.onnx" if as_file else content)
    assert found.metadata == {"hrnet_deploy.card": "{}", "note": "ü", "empty": ""}
    assert found.operators == {"Relu", "Clip"}
    assert found.opset == 20
    assert found.inputs == {"input": ("N", 3, "?", 8), "k": (1,)}
    assert found.nodes == {"Relu": 1, "Clip": 1}
    assert found.outputs == {"y": ("N", 3, "A", "B")}
    assert found.dtypes == {"input": "float32", "k": "int64", "y": "float32"}
    assert not found.complete
    assert found.open_sizes
    assert not found.quantized


@pytest.mark.parametrize(
    ("ends", "complete"),
    [
        ("(float[N, 3] x) => (float[N, 3] y)", True),
        ("(uint8[1, 3] x) => (float16[1, 3] y)", True),
        ("(float[N, ?] x) => (float[N, 3] y)", False),
        ("(float[N, 3] x) => (float[?, 3] y)", False),
        ("(float[N, 3] x) => (float[A, 3] y)", False),
        ("(float[N, 3] x) => (float y)", False),
        ("(double[N, 3] x) => (float[N, 3] y)", False),
        ("() => (float[N, 3] y)", False),
    ],
)
def test_a_header_is_complete_if_nothing_has_to_be_inferred(ends, complete):
    model = graph(f"g {ends} {{ y = Relu(x) }}")
    assert read_header(model.SerializeToString()).complete is complete


def test_weights_that_old_files_list_as_inputs_are_none():
    model = graph("g (float[N, 3] input, float[2] w) => (float[N, 3] y) { y = Relu(input) }", version=3)
    model.graph.initializer.append(onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0]))
    assert read_header(model.SerializeToString()).inputs == {"input": ("N", 3)}


@pytest.mark.parametrize("shape", ["1, 3, 8, 8", "N, 3, 8, 8"])
def test_a_batch_that_is_open_leaves_the_sizes_fixed(shape):
    model = graph(f"g (float[{shape}] x) => (float[A] y) {{ y = Relu(x) }}")
    assert not read_header(model.SerializeToString()).open_sizes


@pytest.mark.parametrize(
    ("node", "quantized"),
    [
        ("y = QuantizeLinear(x, s)", True),
        ("y = DequantizeLinear(x, s)", True),
        ("y = ConvInteger(x, s)", True),
        ("y = Add(x, s)", False),
        ("y = QuantizeLinearly(x, s)", False),
    ],
)
def test_integer_nodes_make_a_graph_quantized(node, quantized):
    model = graph(f"g (float[N] x, float s) => (float[N] y) {{ {node} }}")
    assert read_header(model.SerializeToString()).quantized is quantized


def test_a_file_that_is_not_there_has_an_empty_header(tmp_path):
    assert read_header(tmp_path / "missing.onnx") == OnnxHeader()
    (tmp_path / "empty.onnx").touch()
    assert read_header(tmp_path / "empty.onnx") == OnnxHeader()


@given(st.binary(max_size=200))
def test_any_bytes_have_a_header(content):
    assert isinstance(read_header(content), OnnxHeader)


@given(st.integers(0, len(NET.SerializeToString())), st.integers(0, 255))
def test_damaged_files_have_a_header(position, value):
    content = bytearray(NET.SerializeToString())
    content[position : position + 1] = bytes([value])
    assert isinstance(read_header(bytes(content)), OnnxHeader)
    assert isinstance(read_header(bytes(content[:position])), OnnxHeader)


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=300), max_size=4),
    st.lists(st.one_of(st.integers(1, 1 << 40), st.from_regex(r"\A[A-Za-z]\w{0,6}\Z")), min_size=1, max_size=5),
)
def test_what_onnx_writes_is_read(metadata, dims):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims)
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [value]))
    onnx.helper.set_model_props(model, metadata)
    found = read_header(model.SerializeToString())
    shape = tuple(dims)
    ends = {"x": shape}
    opset = model.opset_import[0].version
    versions = {"opset": opset, "newest": opset}
    assert found == OnnxHeader(metadata, frozenset({"Relu"}), ends, {"Relu": 1}, ends, {"x": "float32"}, **versions)


def test_the_digest_of_a_graph_covers_its_weights_and_not_its_metadata(tmp_path):
    def digest(model):
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        return graph_sha256(tmp_path / "net.onnx")

    other, heavier = onnx.ModelProto(), onnx.ModelProto()
    other.CopyFrom(NET)
    onnx.helper.set_model_props(other, {"note": "another"})
    assert digest(other) == digest(NET)
    heavier.CopyFrom(NET)
    heavier.graph.initializer[0].float_data[0] += 1
    assert digest(heavier) != digest(NET)


def test_what_is_no_graph_has_no_digest(tmp_path):
    (tmp_path / "text.onnx").write_text("no graph at all")
    (tmp_path / "empty.onnx").touch()
    assert [graph_sha256(tmp_path / f"{name}.onnx") for name in ("text", "empty", "missing")] == ["", "", ""]


@pytest.mark.parametrize(
    ("kind", "dims", "half"),
    [
        (onnx.TensorProto.FLOAT16, (8, 3, 3, 3), True),
        (onnx.TensorProto.FLOAT, (8, 3, 3, 3), False),
        (onnx.TensorProto.FLOAT16, (8,), False),  # a scale or bias alone does not convolve
        (onnx.TensorProto.FLOAT16, (), False),
        (onnx.TensorProto.BFLOAT16, (1, 1, 1, 1), False),
    ],
)
def test_weights_of_convolutions_tell_the_precision_of_a_graph_without_a_card(kind, dims, half):
    model = graph("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    model.graph.initializer.append(onnx.TensorProto(name="w", data_type=kind, dims=dims, raw_data=b"\0" * 500))
    assert read_header(model.SerializeToString()).half is half


def test_half_inputs_tell_it_as_well():
    assert read_header(graph("g (float16[N] x) => (float16[N] y) { y = Relu(x) }").SerializeToString()).half


def test_packed_dimensions_are_counted():
    tensor = b"\x0a\x04\x08\x03\x03\x03\x10\x0a"  # as proto3 writes dims: one field; then data_type FLOAT16
    found = read_header(b"\x3a\x0a\x2a\x08" + tensor)
    assert found.filters == {"float16"}


def test_weights_in_other_files_are_named(tmp_path):
    weights = {name: onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), name) for name in ("a", "b", "c")}
    graph = onnx.helper.make_graph([], "g", [], [], initializer=list(weights.values()))
    model = onnx.helper.make_model(graph)
    assert not read_header(model.SerializeToString()).external
    for name, file in (("a", "one.data"), ("b", "deep/two.data")):
        tensor = next(entry for entry in model.graph.initializer if entry.name == name)
        onnx.external_data_helper.set_external_data(tensor, file, offset=0, length=64)
    header = read_header(model.SerializeToString())
    assert header.external_files == {"one.data", "deep/two.data"}
    assert header.external

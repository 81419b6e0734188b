"""Which kernels an engine has, from every text TensorRT writes about them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.engines.tensorrt.layers import (
    Layer,
    PrecisionShare,
    int8_throughout,
    layers_from_inspector,
    layers_from_log,
    precision_share,
)
from hrnet_deploy.errors import BuildError
from hrnet_deploy.spec import Precision


def tensor(dtype, name="x"):
    return (
        f"{{ Name: {name}, Dimensions: [-1,4,64,64], Strides: [16384,1,256,4], StrideOrder: [3,0,2,1], "
        f"Datatype: {dtype}, Format: (NHWC) Channel major format }}"
    )


def record(name, kind, inputs=(), outputs=(), metadata="", *, constants=("Half", "Float"), tactic="", event=""):
    """One line as TensorRT-RTX 1.7.1 writes it."""
    lists = [f"[ {', '.join(map(tensor, t))}]" if t else "[]" for t in (inputs, constants, outputs)]
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: {lists[0]}, Constants: {lists[1]}, Outputs: {lists[2]}, "
        f"TacticName: {tactic}, StreamId: 0, {event}Metadata: {metadata}"
    )


def nodes(*names, separator="\x1f"):
    return separator.join(f"[ONNX Layer: {name}]" for name in names)


DUMP = "\n".join(
    [
        "Layers:",
        record("__mye4150_0_myl0_0", "shape_call", constants=()),
        record("__mye1_myl0_11", "signal", constants=(), event="EventId: 1, "),
        record("__mye2_myl0_12", "wait", constants=(), event="EventId: 1, "),
        record(
            "__myl_CastReplConc_myl0_4",
            "kgen",
            ["Float"],
            ["Half"],
            nodes("input_cast", "/conv1/Conv"),
            tactic="k, 0x5",
        ),
        record("/conv1/Conv_myl0_5", "correlation", ["Half"], ["Half"], nodes("/conv1/Conv", "/Relu"), tactic="stub"),
        record(
            "__myl_CorrAddRelu_myl0_52",
            "runtime_fusion",
            ["Half"] * 3,
            ["Half"],
            nodes("/fuse/Conv", "/Add", "/Relu_1"),
        ),
        record(
            "__myl_FcAdd_myl0_163", "runtime_fusion", ["Half"], ["Half"], nodes("/conv3/Conv") + "__gemm_from_conv1x1"
        ),
        record("__mye6_168", "gemm", ["Float"], ["Float"], nodes("/last/Conv", "/Relu_2") + "__gemm_from_conv1x1"),
        record(
            "__myl_FcAddCast_myl0_170", "runtime_fusion", ["Half"], ["Float"], nodes("/classifier/Gemm", "logits_cast")
        ),
        record("/weird]name, LayerType/Conv_myl0_7", "correlation", ["Int8"], ["Float"], nodes("/a]b", "/weird]name")),
        "",
        "I/O Tensors:",
        " Name: input, IOMode: Input, DataType: Float, Dimensions: [-1,3,64,64], Location: Device, ProfileInfo: [ ]",
    ]
)


def test_the_log_of_rtx():
    layers = layers_from_log(DUMP)
    assert [layer.kind for layer in layers] == [
        "shape_call",
        "kgen",
        "correlation",
        "runtime_fusion",
        "runtime_fusion_from_conv1x1",
        "gemm_from_conv1x1",
        "runtime_fusion",
        "correlation",
    ]
    assert layers[2] == Layer("/conv1/Conv_myl0_5", "correlation", ("Half",), ("Half",), ("/conv1/Conv", "/Relu"))
    assert layers[0].onnx_nodes == layers[0].inputs == ()
    assert layers[3].inputs == ("Half", "Half", "Half")
    assert layers[-1].onnx_nodes == ("/a]b", "/weird]name")
    assert [layer.convolves for layer in layers] == [False, False, True, True, True, True, False, True]


def test_convolutions_are_counted_by_kernel_or_by_node():
    layers = layers_from_log(DUMP)
    missing = ("__mye6_168", "/weird]name, LayerType/Conv_myl0_7")
    by_kernel = precision_share(layers, Precision.FP16)
    assert by_kernel == PrecisionShare(5, 3, missing, ())
    asked = ["/conv1/Conv", "/fuse/Conv", "/conv3/Conv", "/last/Conv", "/lost/Conv"]
    by_node = precision_share(layers, Precision.FP16, asked)
    assert by_node == PrecisionShare(5, 3, ("/last/Conv",), ("/lost/Conv",))
    assert precision_share(layers, Precision.INT8).achieved == 1
    in_float = precision_share(layers, Precision.FP32, asked)
    assert in_float.missing == ("/conv1/Conv", "/fuse/Conv", "/conv3/Conv")
    assert in_float.unidentified == ("/lost/Conv",)


LOGS = Path(__file__).parent / "logs"
"""Layer dumps as each version words them (NVIDIA/TensorRT issues 2011, 3583, 3876, 4020 and 4397), of other layers."""
CONVOLUTIONS = ("/conv1/Conv", "/layer1/conv1/Conv", "/fuse/Conv")


@pytest.mark.parametrize(
    ("name", "types", "outputs"),
    [
        ("trt_8_6.log", ("Half", "Int8", "Int8", "Half"), ("Int8", "Int8", "Int8", "Float")),
        ("trt_9_1.log", ("Half", "Half", "Float"), ("Half", "Half", "Float")),
        ("trt_10_4.log", ("Half", "Int8", "Half"), ("Int8", "Int8", "Half")),
    ],
)
def test_recorded_logs(name, types, outputs):
    convolutions = [layer for layer in layers_from_log((LOGS / name).read_text()) if layer.convolves]
    assert tuple(layer.data_type for layer in convolutions) == types
    assert tuple(layer.outputs[0] for layer in convolutions) == outputs
    assert convolutions[0].onnx_nodes[0] == "/conv1/Conv"


def test_worded_formats_keep_their_precision():
    layers = layers_from_log((LOGS / "trt_9_1.log").read_text())
    assert precision_share(layers, Precision.FP16, CONVOLUTIONS) == PrecisionShare(3, 2, ("/fuse/Conv",), ())


def test_joined_names_stand_for_their_nodes():
    layers = layers_from_log((LOGS / "trt_8_6.log").read_text())
    nodes = ("/conv1/Conv", "/layer1/conv1/Conv", "/layer1/conv2/Conv", "/head/Conv")
    assert precision_share(layers, Precision.INT8, nodes).missing == ("/conv1/Conv", "/head/Conv")
    assert layers[3].inputs == ("Int8", "Int8")


@pytest.mark.parametrize(("name", "count"), [("trt_8_6.log", 2), ("trt_9_1.log", 0), ("trt_10_4.log", 1)])
def test_convolutions_that_read_and_write_int8_are_counted(name, count):
    assert int8_throughout(layers_from_log((LOGS / name).read_text())) == count


def test_with_dynamic_shapes_the_weights_tell_the_precision():
    layers = layers_from_inspector((LOGS / "trt_10_1_dynamic.json").read_text())
    assert [layer.data_type for layer in layers] == ["Half", "Int8", ""]
    share = precision_share(layers, Precision.INT8, CONVOLUTIONS)
    assert share == PrecisionShare(3, 1, ("/conv1/Conv",), ("/fuse/Conv",))


def test_a_pointwise_kernel_is_no_convolution_though_it_names_one():
    """RTX ends an INT8 convolution with a kernel of its own that adds, rescales and quantises anew."""
    kernels = (
        record("/a/Conv_1", "correlation", ["Float"], ["Float"], nodes("/a/Conv")),
        record("__myl_MulAddRelu_2", "kgen", ["Int8"], ["Int8"], nodes("/a/Conv", "/Relu")),
    )
    assert precision_share(layers_from_log("\n".join(kernels)), Precision.INT8, ["/a/Conv"]).achieved == 0


def test_fake_quantisation_reaches_nothing():
    """What RTX makes of Q/DQ on SM 7.5: half convolutions whose dequantised weights are an input."""
    kernel = record("/a/Conv_1", "correlation", ["Half", "Half", "Half"], ["Half"], nodes("/a/Conv"))
    assert precision_share(layers_from_log(kernel), Precision.INT8) == PrecisionShare(1, 0, ("/a/Conv_1",), ())


def test_no_layers_hold_no_convolutions():
    assert layers_from_log("") == ()
    assert precision_share((), Precision.INT8) == PrecisionShare(0, 0, (), ())


CLASSIC = "Channel major FP16 format where channel % 8 == 0"
PACKED = "Thirty-two wide channel vectorized row major Int8 format"


@pytest.mark.parametrize(
    ("io", "dtype"),
    [
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": "Row major linear FP32"}, "Float"),
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": CLASSIC}, "Half"),
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": "Row major linear FP16 format"}, "Half"),
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": PACKED}, "Int8"),
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": "Row major linear INT8 format"}, "Int8"),
        ({"Name": "x", "Dimensions": [1, 3], "Format/Datatype": "Half"}, "Half"),
        ({"Name": "x", "Datatype": "Half", "Format": "(NHWC) Channel major format"}, "Half"),
        ({"Name": "x", "DataType": "Float", "Format": "Row major linear"}, "Float"),
        ({"Name": "x", "Datatype": "BFloat16", "Format": "Row major linear"}, "BFloat16"),
        ({"Name": "x", "Datatype": "UInt8", "Format": "Row major linear"}, "UInt8"),
        ({"Name": "x", "Format/Datatype": "Unknown format"}, "Unknown format"),
        ({"Name": "x"}, ""),
    ],
)
def test_types_of_every_inspector(io, dtype):
    entry = {"Name": "/c/Conv", "LayerType": "CaskConvolution", "Inputs": [io], "Outputs": [io], "TacticName": "t"}
    layer = layers_from_inspector(json.dumps({"Layers": [entry], "Bindings": ["x"]}))[0]
    assert layer.inputs == layer.outputs == (dtype,)


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        ("/conv1/Conv + /Relu", None, ("/conv1/Conv", "/Relu")),
        ("/a/Conv || /b/Conv", None, ("/a/Conv", "/b/Conv")),
        ("{ForeignNode[...]}", nodes("/a/Conv", "/b/Conv", separator="\x1e"), ("/a/Conv", "/b/Conv")),
        ("Reformatting CopyNode for Input Tensor 0", "", ()),
    ],
)
def test_nodes_of_classic_layers(name, metadata, expected):
    entry = {"Name": name, "LayerType": "CaskConvolution"} | ({} if metadata is None else {"Metadata": metadata})
    assert layers_from_inspector(json.dumps({"Layers": [entry]}))[0].onnx_nodes == expected


@pytest.mark.parametrize(
    ("kind", "convolves"),
    [
        ("CaskConvolution", True),
        ("FusedConvActConvolution", True),
        ("CaskDeconvolution", False),
        ("PointWiseV2", False),
        ("NoOp", False),
    ],
)
def test_kinds_of_classic_layers(kind, convolves):
    text = json.dumps({"Layers": [{"Name": "x", "LayerType": kind}]})
    assert layers_from_inspector(text)[0].convolves is convolves


def test_an_engine_that_keeps_names_only_claims_nothing():
    layers = layers_from_inspector('{"Layers": ["/conv1/Conv + /Relu", "Reformat"]}')
    assert layers[0].onnx_nodes == ("/conv1/Conv", "/Relu")
    share = precision_share(layers, Precision.FP16, ["/conv1/Conv"])
    assert (share.achieved, share.missing, share.unidentified) == (0, (), ("/conv1/Conv",))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [3]}', '{"Layers": [{}]}', "null", "[" * 99999]
)
def test_what_is_no_inspection_is_refused(text):
    with pytest.raises(BuildError, match="must return a JSON object of Layers"):
        layers_from_inspector(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["Layers", "Name", "LayerType", "Inputs", "Metadata", "Datatype"]), inner)
    ),
)


@pytest.mark.slow
@given(json_values)
def test_any_json_is_read_or_refused(value):
    try:
        layers = layers_from_inspector(json.dumps(value))
    except BuildError:
        return
    assert all(isinstance(layer, Layer) for layer in layers)
    precision_share(layers, Precision.FP16, ["a"])


@given(st.text() | st.lists(st.sampled_from(DUMP.split("\n"))).map("\n".join))
def test_any_log_is_read(text):
    precision_share(layers_from_log(text), Precision.INT8)


node_names = st.text(st.characters(exclude_characters="\n\x1e\x1f", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: "[ONNX Layer: " not in name and not name.endswith("_from_conv1x1")
)


@given(st.lists(node_names, unique=True, max_size=4))
def test_node_names_survive(names):
    assert layers_from_log(record("k", "kgen", ["Half"], ["Half"], nodes(*names)))[0].onnx_nodes == tuple(names)

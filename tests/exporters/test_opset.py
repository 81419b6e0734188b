import onnx
import onnxruntime
import pytest

from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import ArtifactError, ExportError, UsageError
from hrnet_deploy.exporters.opset import DEFAULT_OPSET, MIN_OPSET, check, convert, newest, written
from hrnet_deploy.exporters.simplify import simplify

ALL = range(MIN_OPSET, newest() + 1)
IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}
"""Source: onnx/docs/Versioning.md, as released."""
ORT_OPENS = 26
"""The newest that ONNX Runtime 1.31 opens; to be raised with it."""


@pytest.mark.slow
@pytest.mark.parametrize("opset", ALL)
def test_every_opset_that_may_be_requested_is_the_one_written(traced, opset):
    converted = simplify(convert(traced("classification"), opset))
    assert written(converted) == opset
    assert converted.ir_version == IR_VERSIONS.get(opset, onnx.helper.find_min_ir_version_for(converted.opset_import))
    onnx.checker.check_model(converted, full_check=True)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(MIN_OPSET, ORT_OPENS + 1))
def test_onnx_runtime_computes_the_same_at_every_opset_it_knows(traced, run, noise, opset):
    images = noise(2, 3, 64, 64)
    original = run(traced("classification"), images)
    converted = run(convert(traced("classification"), opset), images)
    assert abs(converted - original).max() <= 1e-4 * original.std()


@pytest.mark.skipif(not onnxruntime.__version__.startswith("1.31."), reason="states what ONNX Runtime 1.31 opens")
@pytest.mark.parametrize("opset", range(ORT_OPENS + 1, newest() + 1))
def test_onnx_runtime_1_31_refuses_the_opsets_that_onnx_is_ahead_with(parse, opset):
    model = convert(parse("g (float[2] x) => (float[2] y) { y = Relu(x) }"), opset)
    with pytest.raises(ArtifactError, match="ONNX Runtime can open"):
        OrtEngine(model.SerializeToString(), device="cpu")


@pytest.mark.parametrize("opset", [MIN_OPSET, DEFAULT_OPSET, newest()])
def test_an_opset_in_range_passes(opset):
    assert check(opset) == opset


@pytest.mark.parametrize("opset", [-1, 0, MIN_OPSET - 1, newest() + 1])
def test_an_opset_out_of_range_is_refused_with_the_range(opset):
    with pytest.raises(UsageError, match=rf"opset must be {MIN_OPSET} to {newest()}, got {opset}"):
        check(opset)


@pytest.mark.parametrize(
    ("imports", "expected"),
    [([("", 18)], 18), ([("ai.onnx", 19)], 19), ([("com.microsoft", 1), ("", 17)], 17), ([("com.microsoft", 1)], 0)],
)
def test_the_opset_is_that_of_the_default_domain(imports, expected):
    model = onnx.ModelProto(opset_import=[onnx.helper.make_opsetid(*entry) for entry in imports])
    assert written(model) == expected


def test_a_graph_of_that_opset_already_keeps_its_nodes_and_loses_a_needless_ir_version(parse):
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=17, ir_version=10)
    converted = convert(model, 17)
    assert converted is model
    assert converted.ir_version == 8


def test_an_old_graph_is_brought_up(parse, run, noise):
    model = parse("g (float[2, 3] x) => (float[2, 1] y) { y = ReduceSum<axes = [1]>(x) }", opset=11, ir_version=6)
    converted = convert(model, MIN_OPSET)
    assert written(converted) == MIN_OPSET
    assert run(converted, noise(2, 3)) == pytest.approx(noise(2, 3).sum(axis=1, keepdims=True), abs=1e-6)


def test_a_graph_with_another_domain_beside_is_taken(parse):
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert convert(model, 20).ir_version == 9


def test_a_graph_that_cannot_be_converted_says_which_opset_to_ask_for(parse):
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match=r"graph must convert to opset 17, got .* Ask for 20\."):
        convert(model, 17)

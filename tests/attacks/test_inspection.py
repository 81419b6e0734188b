"""Graphs that stop, or fill the memory of, libraries which infer shapes or count up to a number of the file."""

import onnx
import pytest
from attacks import seeds
from onnx import helper

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.exporters.convolutions import conv_precisions
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.spec import Precision


def _no_operator_set(model):
    del model.opset_import[:]


def _endless_side(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**63 - 1
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1


def _claiming_weight(model):
    model.graph.initializer[1].dims[:] = [2**31]


@pytest.mark.parametrize("change", [_no_operator_set, _endless_side, _claiming_weight])
def test_inspect_reads_a_graph_without_inferring_its_shapes(tmp_path, change):
    model = onnx.ModelProto.FromString(seeds.float_model(with_card=True))
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert inspect(path).convolutions == {"fp32": 1}


@pytest.mark.parametrize("domain", ["", "ai.onnx.ml"])
def test_a_version_that_a_runtime_would_count_up_to_is_refused(tmp_path, domain):
    model = onnx.ModelProto.FromString(seeds.model())
    model.opset_import.append(helper.make_opsetid(domain, 2**31))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="operators of a version up to 1000, got 2147483648"):
        Predictor(path)


def test_a_cast_to_a_list_of_types_is_refused(tmp_path):
    model = onnx.ModelProto.FromString(seeds.model())
    cast = next(node for node in model.graph.node if node.op_type == "Cast")
    cast.attribute[0].CopyFrom(helper.make_attribute("to", [7, 7]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="its type is no number"):
        Predictor(path)


@pytest.mark.parametrize("loops", [False, True])
def test_a_convolution_has_the_type_of_its_stored_weight(loops):
    model = onnx.ModelProto.FromString(seeds.float_model(with_card=False))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    source = "cast" if loops else conv.input[1]
    model.graph.node.insert(0, helper.make_node("Identity", [source], ["weight"]))
    model.graph.node.insert(0, helper.make_node("Identity", ["weight"], ["cast"]))
    conv.input[1] = "weight"
    model.graph.initializer[0].data_type = onnx.TensorProto.FLOAT16
    assert list(conv_precisions(model).values()) == [Precision.FP32 if loops else Precision.FP16]

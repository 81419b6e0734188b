"""Q/DQ graphs: laid out as each runtime's kernels want them, and as near to the float graph as INT8 allows."""

import collections
import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.exporters.intermediate_outputs import expose_tensors
from hrnet_deploy.exporters.qdq import SCALE_FLOOR, to_qdq
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.exporters.trace import trace
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget
from hrnet_deploy.spec import ShapeRange

CPU, TENSORRT = QdqTarget.CPU, QdqTarget.TENSORRT
KINDS = ["classification", "open segmentation"]
CHAIN = "g (float[N, 3, H, W] x) => (float[N, 2, A, B] y) {{ {body} }}"


@pytest.fixture(scope="session")
def _ranges():
    known = {}

    def measure(model, *batches):
        key = hash((model.SerializeToString(deterministic=True), *(b.tobytes() for b in batches)))
        if key not in known:
            names = tuple(dict.fromkeys(n for target in QdqTarget for n in place_qdq(model, target, ()).measured))
            content, outputs = expose_tensors(model, names)
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            seen = [session.run(list(outputs), {session.get_inputs()[0].name: batch}) for batch in batches]
            known[key] = {
                name: ActivationRange(
                    min(0.0, *(float(s[i].min()) for s in seen)), max(0.0, *(float(s[i].max()) for s in seen))
                )
                for i, name in enumerate(outputs.values())
            }
        return known[key]

    return measure


@pytest.fixture
def quantized(_ranges, noise):
    """(model, target, keep, batch) -> Q/DQ graph with the ranges of that batch."""

    def make(model, target, keep=None, batch=None, **options):
        keep = float_by_default(model, target) if keep is None else keep
        images = noise(1, 3, 64, 64) if batch is None else batch
        return to_qdq(model, place_qdq(model, target, keep), _ranges(model, images), **options)

    return make


def optimized(model, tmp_path):
    """Kinds of nodes ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return kinds(onnx.load(options.optimized_model_filepath))


def kinds(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def arrays(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def makers(model):
    return {name: node for node in model.graph.node for name in node.output}


def sqnr_db(found, wanted):
    return 10 * np.log10(np.var(wanted) / max(float(np.mean((found - wanted) ** 2)), 1e-30))


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_valid_keeps_its_opset_and_its_outputs(simplified, quantized, run, noise, kind, target):
    model = simplified(kind)
    before = model.SerializeToString(deterministic=True)
    found = quantized(model, target)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(found, full_check=True)
    assert found.opset_import == model.opset_import
    assert found.ir_version == model.ir_version
    assert [v.name for v in found.graph.output] == [v.name for v in model.graph.output]
    images = noise(1, 3, 64, 64)
    assert sqnr_db(run(found, images), run(model, images)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
@pytest.mark.parametrize("kind", KINDS)
def test_every_convolution_but_the_kept_ones_reads_int8_weights(simplified, quantized, kind, target):
    model = simplified(kind)
    keep = float_by_default(model, target)
    found = quantized(model, target)
    created, tensors = makers(found), arrays(found)
    for node in (n for n in found.graph.node if n.op_type == "Conv"):
        if node.name in keep:
            assert tensors[node.input[1]].dtype == np.float32
            continue
        weights = created[node.input[1]]
        stored, scales, zeros = (tensors[name] for name in weights.input)
        assert (weights.op_type, stored.dtype, weights.attribute[0].i) == ("DequantizeLinear", np.int8, 0)
        assert scales.shape == zeros.shape == stored.shape[:1]
        assert not zeros.any()
        assert created[node.input[0]].op_type == "DequantizeLinear"
    wanted = sum(n.op_type == "Conv" and n.name not in keep for n in model.graph.node)
    assert sum(t.dtype == np.int8 and t.ndim == 4 for t in tensors.values()) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
def test_no_float_copy_of_a_quantized_weight_is_left(simplified, quantized, target):
    model = simplified("classification")
    assert len(quantized(model, target).SerializeToString()) < 0.35 * len(model.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_fuses_the_cpu_layout(simplified, quantized, noise, tmp_path, kind):
    model = simplified(kind)
    found = optimized(quantized(model, CPU), tmp_path)
    answering = kind == "open segmentation"  # its last layer reads INT8, too, but no kernel of that kind gives floats
    assert found["QLinearConv"] == kinds(model)["Conv"] - 1 - answering
    content, outputs = expose_tensors(model, [n.output[0] for n in model.graph.node if n.op_type == "Add"])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    heights = [s.shape[2] for s in session.run(list(outputs), {session.get_inputs()[0].name: noise(1, 3, 64, 64)})]
    assert found["QLinearAdd"] == heights.count(max(heights)) > 10
    assert found["Add"] == len(heights) - found["QLinearAdd"] > 20
    assert found["QLinearConcat"] == (kind == "open segmentation")


@pytest.mark.slow
def test_for_the_cpu_biases_are_int32_at_the_product_of_both_scales(simplified, quantized):
    model = simplified("classification")
    found, tensors, old = quantized(model, CPU), None, arrays(model)
    tensors, created = arrays(found), makers(found)
    biased = {n.name: n for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2}
    checked = 0
    for node in found.graph.node:
        if node.op_type == "Conv" and node.name in biased and node.name not in float_by_default(model, CPU):
            stored, scales, _ = (tensors[name] for name in created[node.input[2]].input)
            source = tensors[created[node.input[0]].input[1]]
            np.testing.assert_allclose(scales, source * tensors[created[node.input[1]].input[1]], rtol=1e-6)
            assert stored.dtype == np.int32
            np.testing.assert_allclose(stored * scales, old[biased[node.name].input[2]], atol=scales.max())
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("kind", KINDS)
def test_for_the_cpu_resized_values_have_their_input_s_scale(simplified, quantized, kind):
    found = quantized(simplified(kind), CPU)
    tensors, created = arrays(found), makers(found)
    readers = {name: n for n in found.graph.node for name in n.input if n.op_type == "QuantizeLinear"}
    resized = [n for n in found.graph.node if n.op_type == "Resize"]
    shared = [n for n in resized if n.output[0] in readers]
    assert len(shared) >= 10
    for node in shared:
        for slot in (1, 2):
            assert tensors[readers[node.output[0]].input[slot]] == tensors[created[node.input[0]].input[slot]]


def test_for_the_cpu_values_after_a_relu_use_all_of_uint8(simplified, quantized):
    found = quantized(simplified("classification"), CPU)
    tensors, created = arrays(found), makers(found)
    pairs = [n for n in found.graph.node if n.op_type == "QuantizeLinear"]
    assert all(tensors[n.input[2]].dtype == np.uint8 for n in pairs)
    after = [tensors[n.input[2]] for n in pairs if n.input[0] in created and created[n.input[0]].op_type == "Relu"]
    assert len(after) > 50
    assert not any(after)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensorrt_layout_is_symmetric_and_leaves_relus_and_biases_alone(simplified, quantized, kind):
    model = simplified(kind)
    found = quantized(model, TENSORRT)
    tensors, created = arrays(found), makers(found)
    assert all(not t.any() for name, t in tensors.items() if name.endswith("_zero_point"))
    assert {t.dtype.name for t in tensors.values() if t.dtype.kind in "iu" and t.dtype != np.int64} == {"int8"}
    for node in found.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            assert tensors[node.input[2]].dtype == np.float32
        if node.op_type == "Relu":
            assert created[node.input[0]].op_type in {"Conv", "Add"}
        if node.op_type in {"Resize", "Concat"}:
            assert "DequantizeLinear" not in {created[name].op_type for name in node.input if name in created}


def test_for_tensorrt_sums_read_the_values_themselves(simplified, quantized):
    found = quantized(simplified("classification"), TENSORRT)
    created = makers(found)
    sums = [n for n in found.graph.node if n.op_type == "Add"]
    assert len(sums) >= 16
    assert "DequantizeLinear" not in {created[name].op_type for node in sums for name in node.input}


@pytest.mark.parametrize("target", QdqTarget)
def test_no_scale_is_zero_and_all_are_finite(simplified, quantized, target):
    scales = {
        name: t for name, t in arrays(quantized(simplified("classification"), target)).items() if "_scale" in name
    }
    assert len(scales) > 100
    assert all(np.isfinite(t).all() and t.dtype == np.float32 and t.min() > 0 for t in scales.values())
    assert all(t.min() >= np.float32(SCALE_FLOOR) for name, t in scales.items() if not name.endswith("_bias_scale"))


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
def test_kept_nodes_take_and_give_floats(simplified, quantized, run, noise, target):
    model = simplified("classification")
    keep = {n.name for n in model.graph.node if "stage4" in n.name} | float_by_default(model, target)
    found = quantized(model, target, keep)
    tensors = arrays(found)
    onnx.checker.check_model(found, full_check=True)
    for node in found.graph.node:
        if node.name in keep:
            assert all(tensors[i].dtype in (np.float32, np.int64) for i in node.input if i in tensors)
            assert not any(name.endswith("_QuantizeLinear_Output") for name in node.input)
    images = noise(1, 3, 64, 64)
    assert sqnr_db(run(found, images), run(model, images)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
def test_with_everything_kept_the_output_is_the_float_graph_s(simplified, quantized, run, noise, target):
    model = simplified("classification")
    found = quantized(model, target, {n.name for n in model.graph.node})
    assert kinds(found) == kinds(model)
    np.testing.assert_array_equal(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64)))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["Resize", "Relu", "Add", "Conv"])
@pytest.mark.parametrize("target", QdqTarget)
def test_any_kind_of_node_can_be_kept_with_the_same_ranges(simplified, quantized, run, noise, target, pattern):
    model = simplified("open segmentation")
    keep = {n.name for n in model.graph.node if n.op_type == pattern} | float_by_default(model, target)
    found = quantized(model, target, keep)
    images = noise(1, 3, 64, 64)
    assert sqnr_db(run(found, images), run(model, images)) > 15


@pytest.mark.slow
def test_open_sizes_stay_open(simplified, quantized, run, noise):
    model = simplified("open segmentation")
    for target in QdqTarget:
        found = quantized(model, target)
        images = noise(1, 3, 96, 160)
        assert run(found, images).shape == run(model, images).shape


@pytest.mark.slow
@pytest.mark.parametrize("target", QdqTarget)
def test_per_tensor_weights_have_one_scale(simplified, quantized, run, noise, target):
    model = simplified("classification")
    found = quantized(model, target, per_channel=False)
    tensors, created = arrays(found), makers(found)
    for node in (n for n in found.graph.node if n.op_type == "Conv" and n.input[1] in created):
        assert np.unique(tensors[created[node.input[1]].input[1]]).size == 1
    images = noise(1, 3, 64, 64)
    assert sqnr_db(run(found, images), run(model, images)) > 10


@pytest.mark.slow
def test_squeeze_and_excitation_quantizes_and_runs(quantized, run, noise):
    torch.manual_seed(0)
    small = find_variant("hrnet_w18_small_v1")
    network = build_network(dataclasses.replace(small, squeeze_excitation=True, head_bias=False), 10)
    model = simplify(trace(network, ShapeRange((1, 64, 64), (1, 64, 64), (4, 64, 64)), 20))
    assert "Sigmoid" in kinds(model)
    images = noise(1, 3, 64, 64)
    for target in QdqTarget:
        found = quantized(model, target)
        onnx.checker.check_model(found, full_check=True)
        assert sqnr_db(run(found, images), run(model, images)) > 20


def small(parse, noise, body, *, names=False, **weights):
    model = parse(CHAIN.format(body=body), {"v": noise(2, 3, 1, 1), "w": noise(2, 2, 1, 1, seed=1), **weights})
    for node in model.graph.node if names else ():
        node.name = f"node {node.output[0]}"
    return model


@pytest.mark.parametrize("target", QdqTarget)
@pytest.mark.parametrize("bias", [0.0, 1.0, -300.0])
def test_dead_channels_keep_their_bias(parse, run, noise, quantized, target, bias):
    dead = noise(2, 3, 1, 1)
    dead[1] = 0
    model = small(parse, noise, "a = Conv(x, v, b) y = Relu(a)", v=dead, b=[0.5, bias])
    found = quantized(model, target, {"y"})
    images = noise(1, 3, 64, 64)
    for name, scale in arrays(found).items():
        assert not name.endswith("_scale") or scale.min() > 0
    for optimize in (False, True):
        np.testing.assert_allclose(
            run(found, images, optimize=optimize), run(model, images), atol=0.1 + abs(bias) / 255
        )


def test_weights_that_come_rounded_are_stored_as_they_are_but_where_a_bias_needs_another_scale(parse, noise, quantized):
    weights = noise(2, 3, 1, 1)
    weights[1] *= 1e-9
    model = small(parse, noise, "a = Conv(x, v, b) y = Conv(a, w)", v=weights, b=[0.5, 300.0])
    given = np.array([[1, 2, 3], [4, 5, 6]], np.int8).reshape(2, 3, 1, 1)
    for target, second in ((TENSORRT, [4, 5, 6]), (CPU, [0, 0, 0])):
        stored = arrays(quantized(model, target, (), rounded={"v": given}))["int8/v_quantized"]
        np.testing.assert_array_equal(stored.reshape(2, 3), [[1, 2, 3], second])


@pytest.mark.parametrize("target", QdqTarget)
def test_values_that_are_all_zero_stay_zero(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, z) r = Relu(a) y = Conv(r, w, b)", z=np.zeros((2, 3, 1, 1)), b=[1, -2])
    found = quantized(model, target, ())
    result = run(found, noise(1, 3, 64, 64))
    assert all(scale.min() > 0 for name, scale in arrays(found).items() if name.endswith("_scale"))
    np.testing.assert_allclose(result[0, :, 0, 0], [1, -2], rtol=1e-3)


@pytest.mark.parametrize("target", QdqTarget)
def test_a_silent_input_is_no_division_by_zero(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) y = Conv(a, w)")
    black = np.zeros((1, 3, 8, 8), np.float32)
    found = quantized(model, target, (), black)
    assert np.array_equal(run(found, black), np.zeros((1, 2, 8, 8)))


@pytest.mark.parametrize("target", QdqTarget)
def test_shared_weights_are_stored_once(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) b = Conv(a, w, p) c = Conv(b, w, q) y = Relu(c)", p=[1, 2], q=[3, 4])
    found = quantized(model, target, ())
    assert sum(t.dtype == np.int8 and t.ndim == 4 for t in arrays(found).values()) == 2
    images = noise(1, 3, 64, 64)
    assert sqnr_db(run(found, images), run(model, images)) > 25


def test_shared_weights_that_cannot_hold_the_second_bias_are_stored_twice(parse, run, noise, quantized):
    dead = noise(2, 2, 1, 1)
    dead[1] = 0
    model = small(parse, noise, "a = Conv(x, v) b = Conv(a, w) c = Conv(b, w, q) y = Relu(c)", w=dead, q=[0, 40])
    found = quantized(model, CPU, ())
    images = noise(1, 3, 64, 64)
    np.testing.assert_allclose(run(found, images)[:, 1], 40, rtol=0.01)


@pytest.mark.parametrize("target", QdqTarget)
def test_a_weight_that_a_kept_node_reads_too_stays_in_float_for_it(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) b = Conv(a, w) y = Conv(b, w)", names=True)
    found = quantized(model, target, {"node y"})
    assert arrays(found)["w"].dtype == np.float32
    assert arrays(found)["int8/w_quantized"].dtype == np.int8
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64))) > 25


@pytest.mark.parametrize("target", QdqTarget)
def test_graphs_without_node_names_quantize_equally(simplified, quantized, target, parse, run, noise):
    body = "a = Conv(x, v) r = Relu(a) b = Conv(r, w) s = Add(b, r) t = Relu(s) y = Conv(t, w)"
    images = noise(1, 3, 64, 64)
    nameless, named = (quantized(small(parse, noise, body, names=n), target, ()) for n in (False, True))
    assert kinds(nameless) == kinds(named)
    np.testing.assert_array_equal(run(nameless, images), run(named, images))


@pytest.mark.parametrize("target", QdqTarget)
def test_a_sum_of_a_value_with_itself_reads_one_copy(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) r = Relu(a) b = Conv(r, w) s = Add(b, b) y = Conv(s, w)")
    found = quantized(model, target, ())
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64))) > 25


@pytest.mark.parametrize("target", QdqTarget)
def test_weights_in_constant_nodes_are_quantized_and_leave_no_copy(parse, run, noise, quantized, target):
    body = "u = Constant<value = float[2, 2, 1, 1] {1, 2, 3, 4}>() a = Conv(x, v) b = Conv(a, u) y = Relu(b)"
    model = small(parse, noise, body)
    found = quantized(model, target, ())
    assert kinds(found)["Constant"] == 0
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64))) > 25


def test_a_bias_that_is_left_out_by_an_empty_name_is_none(parse, run, noise, quantized):
    model = small(parse, noise, "a = Conv(x, v) y = Conv(a, w)")
    model.graph.node[1].input.append("")
    found = quantized(model, CPU, ())
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64))) > 25


@pytest.mark.parametrize("target", QdqTarget)
def test_weights_that_are_listed_as_inputs_do_not_become_inputs(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) y = Conv(a, w)")
    wanted = run(model, noise(1, 3, 64, 64))
    for tensor in list(model.graph.initializer):
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    found = quantized(model, target, ())
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), wanted) > 25


@pytest.mark.parametrize("target", QdqTarget)
def test_an_output_that_is_read_inside_is_float_outside(parse, run, noise, quantized, target):
    model = small(parse, noise, "a = Conv(x, v) r = Relu(a) y = Conv(r, w)")
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 2, "A", "B"]))
    found = quantized(model, target, ())
    ours, wanted = (run(m, noise(1, 3, 64, 64), every=True) for m in (found, model))
    assert all(sqnr_db(a, b) > 25 for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("name", ["a_scale", "a_zero_point", "v_quantized", "r_bias", "a_QuantizeLinear_Output"])
def test_a_weight_with_a_name_we_would_choose_is_not_overwritten(parse, run, noise, quantized, name):
    model = small(parse, noise, f"a = Conv(x, v) r = Conv(a, w) y = Mul(r, {name})", **{name: [2.0]})
    found = quantized(model, CPU, ())
    assert sqnr_db(run(found, noise(1, 3, 64, 64)), run(model, noise(1, 3, 64, 64))) > 25

from collections import Counter

import numpy as np
import pytest

from hrnet_deploy.exporters.convolutions import conv_precisions, count_macs
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.onnx_file import read
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget
from hrnet_deploy.spec import Precision


def test_every_convolution_has_a_precision(photos_onnx):
    model = read(photos_onnx)
    names = [n.name for n in model.graph.node if n.op_type == "Conv"]
    assert conv_precisions(model) == dict.fromkeys(names, Precision.FP32)
    halves = conv_precisions(to_fp16(model, [names[3]]).model)
    assert [n for n, p in halves.items() if p is Precision.FP32] == [names[3]]
    assert Counter(halves.values()) == {Precision.FP16: len(names) - 1, Precision.FP32: 1}


def test_a_pair_before_a_convolution_asks_for_int8(photos_onnx):
    model = read(photos_onnx)
    node = [n for n in model.graph.node if n.op_type == "Conv"][5]
    value = node.input[0]
    plan = QdqPlan(QdqTarget.TENSORRT, (value,), frozenset({node.name}), {value: frozenset({node.name})}, {})
    requested = conv_precisions(to_qdq(model, plan, {value: ActivationRange(-1.0, float(np.pi))}))
    assert [n for n, p in requested.items() if p is Precision.INT8] == [node.name]


@pytest.mark.slow
def test_a_classifier_has_the_published_multiply_accumulates(traced):
    macs = count_macs(traced("open classification"), (224, 224))
    linear = 2048 * 1000  # the published figure counts the linear layer too
    assert (sum(macs.values()) + linear) / 1e9 == pytest.approx(1.6015, abs=6e-5)


@pytest.mark.parametrize(("size_hw", "gmac"), [((512, 512), 4.174), ((512, 1024), 8.348)])
def test_a_segmenter_has_the_published_multiply_accumulates(traced, size_hw, gmac):
    # Its last layer has 5 classes here, the published one 19.
    macs = count_macs(traced("open segmentation"), size_hw)
    missing = (19 - 5) * 240 * (size_hw[0] // 4) * (size_hw[1] // 4)
    assert (sum(macs.values()) + missing) / 1e9 == pytest.approx(gmac, abs=6e-4)


def test_convolutions_are_counted_by_name_in_graph_order(parse):
    model = parse(
        "g (float[N, 3, H, W] x) => (float[N, 2, A, B] y) "
        "{ [first] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) b = Relu(a) [last] y = Conv(b, v) }",
        {"w": [[[[1.0] * 3] * 3] * 3] * 4, "v": [[[[1.0]]] * 4] * 2},
    )
    assert count_macs(model, (8, 16)) == {"first": 4 * 8 * 4 * 27, "last": 4 * 8 * 2 * 4}
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["N", "", "H", "W"]

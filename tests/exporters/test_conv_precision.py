from collections import Counter

import numpy as np

from hrnet_deploy.exporters.conv_precision import conv_precisions
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

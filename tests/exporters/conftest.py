"""Real graphs, traced once a session, and a way to run any."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.exporters.trace import trace
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import ShapeRange


def _network(name, classes):
    torch.manual_seed(0)
    return build_network(find_variant(name), classes)


def _copy(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@pytest.fixture(scope="session")
def classifier():
    """hrnet_w18_small_v1 with random weights and 10 classes."""
    return _network("hrnet_w18_small_v1", 10)


@pytest.fixture(scope="session")
def segmenter():
    """hrnetv2_w18_small_v1 with random weights and 5 classes."""
    return _network("hrnetv2_w18_small_v1", 5)


@pytest.fixture(scope="session")
def _traced(classifier, segmenter):
    created = {}

    def make(kind):
        if kind not in created:
            network = classifier if kind.endswith("classification") else segmenter
            low, opt, high = {
                "classification": ((1, 64, 64), (1, 64, 64), (4, 64, 64)),
                "segmentation": ((1, 64, 96), (1, 64, 96), (4, 64, 96)),
                "open classification": ((1, 32, 32), (1, 64, 96), (1, 512, 512)),
                "open segmentation": ((1, 32, 32), (1, 64, 96), (1, 512, 512)),
            }[kind]
            created[kind] = trace(network, ShapeRange(low, opt, high), 20)
        return _copy(created[kind])

    return make


@pytest.fixture(scope="session")
def _simplified(_traced):
    created = {}

    def make(kind):
        if kind not in created:
            created[kind] = simplify(_traced(kind))
        return _copy(created[kind])

    return make


@pytest.fixture
def traced(_traced):
    """kind -> a traced graph of one's own."""
    return _traced


@pytest.fixture
def simplified(_simplified):
    """kind -> the same, simplified."""
    return _simplified


@pytest.fixture
def parse():
    """ONNX text of a graph (and its weights, name -> float values) -> checked model."""

    def read(text, weights=None, *, opset=20, ir_version=9):
        model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\n{text}')
        for name, values in (weights or {}).items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        onnx.checker.check_model(model, full_check=True)
        return model

    return read


@pytest.fixture
def run():
    """(model, *inputs in order) -> its first output, or all with `every`, on ONNX Runtime's CPU provider."""

    def compute(model, *arrays, every=False, optimize=True):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = dict(zip((value.name for value in session.get_inputs()), arrays, strict=True))
        outputs = session.run(None, feed)
        return outputs if every else outputs[0]

    return compute


@pytest.fixture
def noise():
    """(shape) -> the same float32 normal noise each time."""

    def make(*shape, seed=0, scale=1.0):
        return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)

    return make

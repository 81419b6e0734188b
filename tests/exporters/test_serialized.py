"""Other nodes around the same weights, and a graph that nothing touches."""

import numpy as np
import onnx
import pytest

from hrnet_deploy.exporters import fp16_range, intermediate_outputs
from hrnet_deploy.exporters.serialized import with_graph


@pytest.fixture
def model(parse):
    text = "g (float[N, 400] x) => (float[N, 400] y) { s = Add(x, w) y = Mul(s, v) }"
    created = parse(text, {"w": np.arange(400), "v": np.linspace(0, 1, 400)})
    created.metadata_props.add(key="k", value="ü")
    return created


def test_the_same_parts_give_the_same_model(model):
    content = with_graph(model, model.graph.node, model.graph.output)
    assert onnx.load_from_string(content).SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_other_nodes_read_the_same_weights(model, run, noise):
    nodes = [onnx.helper.make_node("Sub", ["x", "w"], ["z"])]
    output = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 400])
    changed = onnx.load_from_string(with_graph(model, nodes, [output]))
    np.testing.assert_array_equal(run(changed, noise(2, 400)), noise(2, 400) - np.arange(400, dtype=np.float32))


@pytest.mark.parametrize("module", [intermediate_outputs, fp16_range])
def test_a_graph_stays_as_it_is_when_its_bytes_cannot_be_created(model, module, monkeypatch):
    """What fails on the way, such as for lack of memory, leaves nothing half done."""
    before = model.SerializeToString(deterministic=True)

    def fails(*_words, **_more):
        raise MemoryError

    monkeypatch.setattr(module, "with_graph", fails)
    with pytest.raises(MemoryError):
        intermediate_outputs.expose_tensors(
            model, ["s"]
        ) if module is intermediate_outputs else fp16_range.expose_absmax(model)
    assert model.SerializeToString(deterministic=True) == before

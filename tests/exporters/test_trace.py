import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hrnet_deploy.errors import ExportError
from hrnet_deploy.exporters.trace import trace
from hrnet_deploy.spec import ShapeRange


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def reference(network, images):
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


class Scaled(nn.Module):
    """The least model with a convolution, a batch norm and a stride of four."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "batch", "size"),
    [
        ("classification", 1, (64, 64)),
        ("classification", 3, (64, 64)),
        ("segmentation", 1, (64, 96)),
        ("segmentation", 3, (64, 96)),
        ("open segmentation", 1, (64, 96)),
        ("open segmentation", 1, (128, 32)),
        ("open segmentation", 1, (50, 70)),
    ],
)
def test_a_traced_model_computes_what_pytorch_does(traced, run, noise, request, kind, batch, size):
    network = request.getfixturevalue("classifier" if kind == "classification" else "segmenter")
    images = noise(batch, 3, *size)
    wanted = reference(network, images)
    found = run(traced(kind), images)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-3 * wanted.std()


@pytest.mark.parametrize(
    ("kind", "entry", "result"),
    [
        ("classification", ["batch", 3, 64, 64], ["batch", 10]),
        ("segmentation", ["batch", 3, 64, 96], ["batch", 5]),
        ("open segmentation", [1, 3, "height", "width"], [1, 5, "height/4", "width/4"]),
    ],
)
def test_what_may_vary_has_a_name_and_the_rest_a_number(traced, kind, entry, result):
    graph = traced(kind).graph
    assert [(v.name, dims(v)) for v in graph.input] == [("input", entry)]
    # The tracer makes up names where it does not follow a number; simplifying finds the number.
    assert [(v.name, [d for d in dims(v) if "logits_dim" not in str(d)]) for v in graph.output] == [("logits", result)]


def test_a_fixed_batch_is_written_as_a_number(run, noise):
    model = trace(Scaled().eval(), ShapeRange((3, 32, 32), (3, 32, 32), (3, 32, 32)), 17)
    assert dims(model.graph.input[0]) == [3, 3, 32, 32]
    assert run(model, noise(3, 3, 32, 32)).shape == (3, 4, 8, 8)


@pytest.mark.parametrize("kind", ["classification", "segmentation", "open segmentation"])
def test_batch_norms_are_folded_and_all_weights_are_inside(traced, kind):
    model = traced(kind)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
    onnx.checker.check_model(model, full_check=True)


def test_images_of_a_small_model_may_be_open_in_every_dimension(run, noise):
    network = Scaled().eval()
    model = trace(network, ShapeRange((1, 8, 8), (1, 32, 32), (4, 64, 64)), 20)
    for shape in ((1, 3, 8, 8), (4, 3, 33, 61)):
        images = noise(*shape)
        np.testing.assert_allclose(run(model, images), reference(network, images), atol=1e-5)


def test_open_sizes_are_traced_on_small_images():
    class Noting(Scaled):
        def forward(self, x):
            sizes.add((int(x.shape[2]), int(x.shape[3])))
            return super().forward(x)

    sizes = set()
    small, large = (trace(Noting().eval(), ShapeRange((1, 32, 32), opt, (1, 4096, 4096)), 20) for opt in
                    ((1, 64, 96), (1, 1024, 2048)))  # fmt: skip
    assert sizes == {(64, 96), (256, 256)}
    assert small == large


def test_a_model_that_cannot_be_traced_says_why():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no such layer")

    with pytest.raises(
        ExportError, match=r"tracing must give an ONNX graph, got ValueError: no such layer\. Run with -v"
    ):
        trace(Broken(), ShapeRange((1, 8, 8), (1, 8, 8), (1, 8, 8)), 20)

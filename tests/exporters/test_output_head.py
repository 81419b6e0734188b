import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from hrnet_deploy.errors import ExportError, UsageError
from hrnet_deploy.exporters.import_onnx import reshape
from hrnet_deploy.exporters.output_head import add_argmax, add_softmax, add_topk
from hrnet_deploy.spec import ShapeRange


def outputs(model):
    return {
        v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in model.graph.output
    }


def exact_softmax(logits):
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def assert_masks_equal(found, logits, size, align_corners):
    """Equal to torch's classes wherever the best leads by more than float32 can blur."""
    wide = torch.from_numpy(logits.astype(np.float64))
    planes = F.interpolate(wide, size=size, mode="bilinear", align_corners=align_corners).numpy()
    assert (found.shape, found.dtype) == ((len(logits), *size), np.uint8)
    chosen = np.take_along_axis(planes, found[:, None].astype(np.intp), axis=1)[:, 0]
    assert (planes.max(axis=1) - chosen).max() <= 1e-4 * np.abs(planes).max()


def segmenting(parse, noise, entry="N, 3, 16, 24", result="N, 5, 4, 6", name="logits"):
    """Five classes from 4x4 patches: a convolution of stride four, padded at the end."""
    text = (
        f"g (float[{entry}] x) => (float[{result}] {name}) "
        f"{{ {name} = Conv<kernel_shape = [4, 4], strides = [4, 4], pads = [0, 0, 3, 3]>(x, w) }}"
    )
    return parse(text, {"w": noise(5, 3, 4, 4)})


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("entry", "result", "size", "whole"),
    [
        ("N, 3, 16, 24", "N, 5, 4, 6", (16, 24), True),
        ("2, 3, 16, 24", "2, 5, 4, 6", (16, 24), True),
        ("N, 3, 18, 23", "N, 5, 5, 6", (18, 23), False),
        ("N, 3, H, W", "N, 5, h, w", (16, 24), False),
        ("N, 3, H, W", "N, 5, h, w", (21, 9), False),
        ("N, 3, H, 24", "N, 5, h, 6", (13, 24), False),
    ],
)
def test_the_mask_is_torchs_upsampled_argmax(parse, run, noise, entry, result, size, whole, align_corners):
    model = segmenting(parse, noise, entry, result)
    images = noise(2, 3, *size, seed=1)
    logits = run(model, images)
    created = add_argmax(model, align_corners=align_corners)
    onnx.checker.check_model(created, full_check=True)
    assert ("Shape" in {n.op_type for n in created.graph.node}) == (not whole)
    assert_masks_equal(run(created, images), logits, size, align_corners)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentation", "open segmentation"])
def test_a_real_models_mask_is_torchs(simplified, run, noise, kind):
    images = noise(1, 3, 64, 96)
    logits = run(simplified(kind), images)
    created = add_argmax(simplified(kind), align_corners=False)
    height_width = [64, 96] if kind == "segmentation" else ["height", "width"]
    assert outputs(created)["labels"][1][1:] == height_width
    assert_masks_equal(run(created, images), logits, (64, 96), align_corners=False)


def test_a_foreign_graph_that_does_not_say_its_output_size_gets_a_mask_all_the_same(parse, run, noise):
    model = segmenting(parse, noise, "N, 3, H, W", "N, 5, h, w")
    model = reshape(model, ShapeRange((1, 16, 24), (1, 16, 24), (4, 16, 24)))
    for dim in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
    images = noise(2, 3, 16, 24)
    logits = run(model, images)
    assert_masks_equal(run(add_argmax(model, align_corners=False), images), logits, (16, 24), align_corners=False)


def test_of_equal_logits_the_lower_class_is_in_the_mask(parse, run, noise):
    model = segmenting(parse, noise)
    assert (run(add_argmax(model, align_corners=False), np.zeros((1, 3, 16, 24), np.float32)) == 0).all()


@pytest.mark.parametrize("name", ["labels", "probabilities", "scores"])
def test_a_foreign_output_may_have_the_name_of_ours(parse, run, noise, name):
    images = noise(1, 3, 16, 24)
    logits = run(segmenting(parse, noise, name=name), images)
    created = add_argmax(segmenting(parse, noise, name=name), align_corners=False)
    onnx.checker.check_model(created, full_check=True)
    assert_masks_equal(run(created, images), logits, (16, 24), align_corners=False)
    text = f"g (float[N, 8] x) => (float[N, 8] {name}) {{ {name} = Neg(x) }}"
    for change in (add_softmax, lambda m: add_topk(m, 3)):
        created = change(parse(text))
        onnx.checker.check_model(created, full_check=True)
        best = run(created, noise(2, 8), every=True)[-1].max(axis=1)
        np.testing.assert_allclose(best, exact_softmax(-noise(2, 8)).max(axis=1), rtol=1e-5)


def test_a_mask_of_a_model_that_classifies_is_refused(simplified):
    with pytest.raises(ExportError, match=r"labels-out needs logits \(N, classes, h, w\), got \['batch', 10\]"):
        add_argmax(simplified("classification"), align_corners=False)


@pytest.mark.slow
def test_probabilities_are_the_softmax_of_the_logits(simplified, run, noise):
    images = noise(3, 3, 64, 64)
    logits = run(simplified("classification"), images)
    created = add_softmax(simplified("classification"))
    assert outputs(created) == {"probabilities": (onnx.TensorProto.FLOAT, ["batch", 10])}
    np.testing.assert_allclose(run(created, images), exact_softmax(logits), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 10])
def test_the_best_classes_and_their_scores_come_best_first(simplified, run, noise, k):
    images = noise(3, 3, 64, 64)
    wanted = exact_softmax(run(simplified("classification"), images))
    created = add_topk(simplified("classification"), k)
    assert outputs(created) == {
        "labels": (onnx.TensorProto.INT64, ["batch", k]),
        "scores": (onnx.TensorProto.FLOAT, ["batch", k]),
    }
    labels, scores = run(created, images, every=True)
    np.testing.assert_array_equal(labels, np.argsort(-wanted, axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(scores, -np.sort(-wanted, axis=1)[:, :k], atol=1e-6)


def test_of_equal_scores_the_lower_class_comes_first(parse, run):
    created = add_topk(parse("g (float[N, 4] x) => (float[N, 4] y) { y = Identity(x) }"), 3)
    labels = run(created, np.array([[0, 1, 1, 0]], np.float32))
    assert labels.tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("k", [0, -1, 11])
def test_more_classes_than_there_are_cannot_be_requested(simplified, k):
    with pytest.raises(UsageError, match=f"top-k must be 1 to 10, got {k}"):
        add_topk(simplified("classification"), k)

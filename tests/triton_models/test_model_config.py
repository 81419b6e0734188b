"""Configurations, from cards alone."""

import dataclasses

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, ShapeRange, Task, TensorSpec
from hrnet_deploy.triton.model_config import has_labels, images_config, labels_text, model_config

CLASSIFIER = ModelCard(
    task=Task.CLASSIFICATION,
    variant="hrnet_w18",
    classes=("cat", "dog"),
    preprocessing=Preprocessing(),
    precision=Precision.FP32,
    inputs=(TensorSpec("input", "float32", ("batch", 3, 224, 224)),),
    outputs=(TensorSpec("logits", "float32", ("batch", 2)),),
    shapes=ShapeRange((1, 224, 224), (8, 224, 224), (16, 224, 224)),
)
TOPK = dataclasses.replace(
    CLASSIFIER,
    output_kind=OutputKind.TOPK,
    outputs=(TensorSpec("labels", "int64", ("batch", 2)), TensorSpec("scores", "float32", ("batch", 2))),
)
SEGMENTER = dataclasses.replace(
    CLASSIFIER,
    task=Task.SEGMENTATION,
    output_kind=OutputKind.LABELS,
    pixels_in=True,
    inputs=(TensorSpec("pixels", "uint8", ("batch", "height", "width", 3)),),
    outputs=(TensorSpec("labels", "uint8", ("batch", "height", "width")),),
    shapes=ShapeRange((1, 64, 64), (2, 512, 1024), (4, 1024, 2048)),
)
FIXED = dataclasses.replace(
    CLASSIFIER,
    inputs=(TensorSpec("input", "float32", (8, 3, 224, 224)),),
    outputs=(TensorSpec("logits", "float32", (8, 2)),),
    shapes=ShapeRange((8, 224, 224), (8, 224, 224), (8, 224, 224)),
)
SHA = "a" * 64


def configured(card, delay_us=0):
    return model_config("w18", card, SHA, "onnxruntime", delay_us)


def tensors(config, place):
    return [(entry["name"], entry["data_type"], entry["dims"]) for entry in config[place]]


def warmups(config):
    return [
        (entry["name"], entry["batch_size"], *(each["value"]["dims"] for each in entry["inputs"]))
        for entry in config["model_warmup"]
    ]


def test_an_open_batch_is_no_dimension_and_is_batched():
    config = configured(CLASSIFIER, 500)
    assert config["max_batch_size"] == 16
    assert tensors(config, "input") == [("input", "TYPE_FP32", [3, 224, 224])]
    assert tensors(config, "output") == [("logits", "TYPE_FP32", [2])]
    assert config["dynamic_batching"] == {"preferred_batch_size": [8, 16], "max_queue_delay_microseconds": 500}
    assert warmups(config) == [("smallest", 1, [3, 224, 224]), ("best", 8, [3, 224, 224])]


def test_a_fixed_batch_is_a_dimension_and_is_not_batched():
    config = configured(FIXED)
    assert config["max_batch_size"] == 0
    assert tensors(config, "input") == [("input", "TYPE_FP32", [8, 3, 224, 224])]
    assert tensors(config, "output") == [("logits", "TYPE_FP32", [8, 2])]
    assert "dynamic_batching" not in config
    assert warmups(config) == [("best", 1, [8, 3, 224, 224])]


def test_open_sizes_are_minus_one_and_warm_up_at_real_sizes():
    config = configured(SEGMENTER)
    assert tensors(config, "input") == [("pixels", "TYPE_UINT8", [-1, -1, 3])]
    assert tensors(config, "output") == [("labels", "TYPE_UINT8", [-1, -1])]
    assert warmups(config) == [("smallest", 1, [64, 64, 3]), ("best", 2, [512, 1024, 3])]
    float_in = dataclasses.replace(
        SEGMENTER, pixels_in=False, inputs=(TensorSpec("input", "float32", ("n", 3, "h", 1024)),)
    )
    assert warmups(configured(float_in)) == [("smallest", 1, [3, 64, 1024]), ("best", 2, [3, 512, 1024])]


def test_a_largest_batch_of_one_is_not_batched():
    single = dataclasses.replace(CLASSIFIER, shapes=ShapeRange((1, 224, 224), (1, 224, 224), (1, 224, 224)))
    config = configured(single)
    assert config["max_batch_size"] == 1
    assert "dynamic_batching" not in config


@pytest.mark.parametrize("opt", [1, 3, 16])
def test_preferred_batches_are_within_the_range(opt):
    card = dataclasses.replace(CLASSIFIER, shapes=ShapeRange((1, 224, 224), (opt, 224, 224), (16, 224, 224)))
    preferred = configured(card)["dynamic_batching"]["preferred_batch_size"]
    assert preferred == sorted({opt, 16} - {1})


def test_a_smallest_batch_above_one_is_refused():
    card = dataclasses.replace(CLASSIFIER, shapes=ShapeRange((4, 224, 224), (8, 224, 224), (16, 224, 224)))
    with pytest.raises(UsageError, match=r"must have batch 1 as its smallest, got 4.*--batch 1:8:16"):
        configured(card)


def test_one_tensor_with_a_fixed_batch_among_others_is_refused():
    with pytest.raises(UsageError, match="all tensors must have an open batch, or none, got 'logits'"):
        configured(dataclasses.replace(CLASSIFIER, outputs=(TensorSpec("logits", "float32", (1, 2)),)))


def test_a_tensor_that_triton_has_no_form_for_is_refused():
    with pytest.raises(UsageError, match="'logits' must have dimensions beside the batch"):
        configured(dataclasses.replace(CLASSIFIER, outputs=(TensorSpec("logits", "float32", ("batch",)),)))
    with pytest.raises(UsageError, match="'logits' must have a data type of Triton, got 'bfloat16'"):
        configured(dataclasses.replace(CLASSIFIER, outputs=(TensorSpec("logits", "bfloat16", ("batch", 2)),)))


@pytest.mark.parametrize(
    ("card", "labels"),
    [
        (CLASSIFIER, True),
        (dataclasses.replace(CLASSIFIER, output_kind=OutputKind.PROBABILITIES), True),
        (FIXED, True),
        (TOPK, False),
        (SEGMENTER, False),
        (
            dataclasses.replace(CLASSIFIER, threshold=0.5, outputs=(TensorSpec("logits", "float32", ("batch", 1)),)),
            False,
        ),
    ],
)
def test_labels_belong_to_scores_of_classes_only(card, labels):
    assert has_labels(card) is labels
    assert ["label_filename" in entry for entry in configured(card)["output"]] == [labels] + [False] * (
        len(card.outputs) - 1
    )


def test_each_class_name_is_one_line():
    card = dataclasses.replace(CLASSIFIER, classes=("a\nb\r", "ü:c"))
    assert labels_text(card) == "a\\nb\\r\nü:c\n"


def test_nothing_depends_on_the_machine_or_the_memory_layout():
    config = configured(CLASSIFIER)
    assert config["instance_group"] == [{"kind": "KIND_AUTO"}]
    assert not any("format" in entry for entry in config["input"])


def test_a_model_for_images_takes_texts_and_has_a_mask_where_there_is_one():
    config = images_config("w18_images", "w18", CLASSIFIER, SHA)
    assert tensors(config, "input") == [("image", "TYPE_STRING", [1])]
    assert tensors(config, "output") == [("result", "TYPE_STRING", [1])]
    assert config["max_batch_size"] == 16
    masks = images_config("s_images", "s", SEGMENTER, SHA)
    assert [name for name, _, _ in tensors(masks, "output")] == ["result", "mask"]
    large = dataclasses.replace(CLASSIFIER, shapes=ShapeRange((1, 224, 224), (8, 224, 224), (64, 224, 224)))
    assert images_config("w18_images", "w18", large, SHA)["max_batch_size"] == 64

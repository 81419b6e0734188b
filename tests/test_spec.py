import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.quantization_info import QdqTarget, QuantizationInfo, Residual, Similarity
from hrnet_deploy.spec import (
    SCHEMA,
    ChannelOrder,
    Interpolation,
    ModelCard,
    OutputKind,
    Precision,
    Preprocessing,
    Resize,
    Rounding,
    ShapeRange,
    Task,
    TensorSpec,
)


def card(**changes):
    content = {
        "task": Task.CLASSIFICATION,
        "variant": "hrnet_w18",
        "classes": ("cat", "dog"),
        "preprocessing": Preprocessing(),
        "precision": Precision.FP32,
        "inputs": (TensorSpec("input", "float32", ("batch", 3, 224, 224)),),
        "outputs": (TensorSpec("logits", "float32", ("batch", 2)),),
        "shapes": ShapeRange((1, 224, 224), (1, 224, 224), (16, 224, 224)),
    }
    return ModelCard(**content | changes)


def edited(change):
    content = json.loads(card().to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": "zoom"}, "resize must be one of short-side, squash, long-side, none, got 'zoom'"),
        ({"interpolation": "lanczos"}, "interpolation must be one of bilinear"),
        ({"rounding": "up"}, "rounding must be one of torchvision, paddle"),
        ({"channel_order": "grb"}, "channel_order must be one of rgb, bgr, gray, rgba"),
        ({"channel_order": "rgba"}, r"mean must be 4 finite number\(s\)"),
        ({"size_hw": None}, "resize 'short-side' needs a size"),
        ({"size_hw": (224,)}, "image size must be 2 integers"),
        ({"size_hw": (224, 224, 3)}, "image size must be 2 integers"),
        ({"size_hw": (0, 224)}, "image size must be 2 integers from 1 to 32768"),
        ({"size_hw": (224, -1)}, "image size must be"),
        ({"size_hw": (224, 65537)}, "image size must be"),
        ({"size_hw": (224.0, 224)}, "image size must be"),
        ({"size_hw": (True, 224)}, "image size must be"),
        ({"crop_pct": 0}, r"crop fraction must be in \(0, 1\], got 0"),
        ({"crop_pct": 1.01}, "crop fraction"),
        ({"crop_pct": math.nan}, "crop fraction"),
        ({"mean": (0.5, 0.5)}, "mean must be three finite numbers"),
        ({"mean": (0.5, 0.5, math.nan)}, "mean must be three finite numbers"),
        ({"std": (1, 1, math.inf)}, "std must be three finite numbers"),
        ({"std": (0.2, 0.2, 0)}, "std must be positive"),
        ({"std": (0.2, 0.2, -0.2)}, "std must be positive"),
    ],
)
def test_preprocessing_refuses_what_could_not_be_used(values, message):
    with pytest.raises(UsageError, match=message):
        Preprocessing(**values)


def test_preprocessing_takes_plain_strings_and_lists_as_json_gives_them():
    given_ = Preprocessing(resize="squash", size_hw=[512, 1024], mean=[0, 0, 0], std=[1, 1, 1], channel_order="bgr")
    assert given_ == Preprocessing(
        resize=Resize.SQUASH,
        size_hw=(512, 1024),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        channel_order=ChannelOrder.BGR,
    )
    assert given_.resize is Resize.SQUASH


def test_a_size_may_be_open_where_nothing_is_resized():
    assert Preprocessing(resize="none", size_hw=None).size_hw is None


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (((1, 64), (1, 64, 64), (1, 64, 64)), "shape range must be 3 integers"),
        (((0, 64, 64), (1, 64, 64), (1, 64, 64)), "shape range must be 3 integers from 1"),
        (((1, 64, 64), (1, 64, 64), (1, 64, 70000)), "shape range must be 3 integers from 1"),
        (((2, 64, 64), (1, 64, 64), (4, 64, 64)), "batch range must satisfy min <= opt <= max, got 2:1:4"),
        (((1, 64, 64), (1, 128, 64), (1, 96, 64)), "height range must satisfy"),
        (((1, 64, 64), (1, 64, 65), (1, 64, 64)), "width range must satisfy"),
    ],
)
def test_a_shape_range_out_of_order_or_bounds_is_refused(ranges, message):
    with pytest.raises(UsageError, match=message):
        ShapeRange(*ranges)


@pytest.mark.parametrize(
    ("smallest", "largest", "batch", "size"),
    [
        ((1, 64, 64), (1, 64, 64), False, False),
        ((1, 64, 64), (2, 64, 64), True, False),
        ((1, 32, 64), (1, 64, 64), False, True),
        ((1, 64, 32), (1, 64, 64), False, True),
    ],
)
def test_a_shape_range_knows_what_varies(smallest, largest, batch, size):
    shapes = ShapeRange(smallest, largest, largest)
    assert (shapes.dynamic_batch, shapes.dynamic_hw) == (batch, size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, "task must be one of classification, segmentation, got 'detection'"),
        ({"precision": "bf16"}, "precision must be one of fp32, fp16, int8"),
        ({"output_kind": "boxes"}, "output_kind must be one of"),
        ({"output_kind": "labels"}, "classification has no output kind 'labels'"),
        ({"task": "segmentation", "output_kind": "topk"}, "segmentation has no output kind 'topk'"),
        ({"classes": ()}, "at least one class name"),
        ({"classes": ("cat", 1)}, "class name"),
        ({"task": "segmentation", "classes": ("c",) * 256}, "got 256 classes"),
        ({"inputs": ()}, "needs an input and an output"),
        ({"outputs": ()}, "needs an input and an output"),
        ({"variant": None}, "variant"),
        ({"pixels_in": "no"}, "pixels_in"),
        ({"align_corners": 1}, "align_corners"),
        ({"opset": "20"}, "opset"),
        ({"lineage": ["a"]}, "lineage"),
        ({"lineage": {"weights": 1}}, "lineage"),
        ({"measured": {"parity": "good"}}, "measured"),
        ({"quantization": {"target": "cpu"}}, "quantization"),
    ],
)
def test_a_card_refuses_what_no_runtime_could_use(changes, message):
    with pytest.raises(UsageError, match=message):
        card(**changes)


def test_a_mask_card_may_have_255_classes():
    assert len(card(task="segmentation", output_kind="labels", classes=("c",) * 255).classes) == 255


@pytest.mark.parametrize("record", [Preprocessing(), ShapeRange((1, 1, 1), (1, 1, 1), (1, 1, 1)), card()])
def test_values_cannot_be_changed_after_they_were_checked(record):
    field = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, field, None)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
sides = st.integers(1, 4096)
channels = st.tuples(*[st.floats(0.001, 1)] * 3)


@st.composite
def ranges(draw):
    axes = [sorted(draw(st.tuples(sides, sides, sides))) for _ in range(3)]
    return ShapeRange(*zip(*axes, strict=True))


figures = st.floats(allow_nan=False)
quantizations = st.builds(
    QuantizationInfo,
    target=st.sampled_from(QdqTarget),
    method=names,
    images=st.integers(0, 999),
    kept_in_float=st.lists(names, max_size=3).map(tuple),
    remainder=st.sampled_from(["", "fp32", "fp16"]),
    residual=st.none() | st.sampled_from(Residual),
    implicit=st.booleans(),
    validation=st.none() | st.builds(Similarity, **dict.fromkeys(vars(Similarity)["__dataclass_fields__"], figures)),
    validation_images=st.integers(0, 99),
    method_divergence=st.dictionaries(names, figures, max_size=2),
)


@st.composite
def cards(draw):
    task = draw(st.sampled_from(Task))
    own = {Task.CLASSIFICATION: OutputKind.TOPK, Task.SEGMENTATION: OutputKind.LABELS}[task]
    tensor = st.builds(TensorSpec, names, names, st.lists(st.integers(0, 9) | names, max_size=4))
    return ModelCard(
        task=task,
        variant=draw(names),
        classes=draw(st.lists(names, min_size=1, max_size=4)),
        preprocessing=draw(
            st.builds(
                Preprocessing,
                resize=st.sampled_from(Resize),
                size_hw=st.tuples(sides, sides),
                crop_pct=st.floats(0.25, 1),
                interpolation=st.sampled_from(Interpolation),
                rounding=st.sampled_from(Rounding),
                mean=channels,
                std=channels,
                channel_order=st.sampled_from([ChannelOrder.RGB, ChannelOrder.BGR]),
            )
        ).for_channels(draw(st.sampled_from([1, 3, 4]))),
        precision=draw(st.sampled_from(Precision)),
        inputs=draw(st.lists(tensor, min_size=1, max_size=2)),
        outputs=draw(st.lists(tensor, min_size=1, max_size=2)),
        shapes=draw(ranges()),
        output_kind=draw(st.sampled_from([OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.FEATURES, own])),
        pixels_in=draw(st.booleans()),
        align_corners=draw(st.booleans()),
        opset=draw(st.integers(0, 99)),
        quantization=draw(st.none() | quantizations),
        lineage=draw(st.dictionaries(names, names, max_size=3)),
        measured=draw(st.dictionaries(names, st.floats(allow_nan=False), max_size=3)),
    )


@pytest.mark.slow
@given(cards())
@settings(max_examples=100, deadline=None)
def test_a_card_comes_back_from_json_as_it_went_in(original):
    text = original.to_json()
    back = ModelCard.from_json(text)
    assert back == original
    assert back.to_json() == text
    assert type(back.task) is Task
    assert type(back.preprocessing.interpolation) is Interpolation


def test_equal_cards_give_equal_bytes_whatever_the_order_of_their_entries():
    one, other = card(lineage={"a": "1", "b": "2"}), card(lineage={"b": "2", "a": "1"})
    assert one.to_json() == other.to_json()
    assert json.loads(one.to_json())["schema"] == SCHEMA


def test_a_card_of_a_newer_schema_asks_for_an_upgrade():
    with pytest.raises(ArtifactError, match=r"schema 3, expected 2\. Upgrade hrnet-deploy"):
        ModelCard.from_json(edited(lambda c: c.update(schema=3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("schema"),
        lambda c: c.pop("task"),
        lambda c: c.pop("shapes"),
        lambda c: c.update(task=None),
        lambda c: c.update(task=["classification"]),
        lambda c: c.update(extra=1),
        lambda c: c.update(classes=None),
        lambda c: c.update(classes=7),
        lambda c: c.update(classes=[["cat"], ["dog"]]),
        lambda c: c.update(classes="cat"),
        lambda c: c.update(preprocessing=[]),
        lambda c: c.update(preprocessing="bilinear"),
        lambda c: c["preprocessing"].update(size_hw="ab"),
        lambda c: c["preprocessing"].update(size_hw=224),
        lambda c: c["preprocessing"].update(mean=None),
        lambda c: c["preprocessing"].update(mean=["a", "b", "c"]),
        lambda c: c["preprocessing"].update(crop_pct="0.875"),
        lambda c: c["preprocessing"].update(crop_pct=None),
        lambda c: c["preprocessing"].update(gamma=2.2),
        lambda c: c.update(inputs={}),
        lambda c: c.update(inputs=[1]),
        lambda c: c.update(inputs=[{"name": "x"}]),
        lambda c: c.update(inputs=[{"name": "x", "dtype": "float32", "shape": 5}]),
        lambda c: c.update(inputs=[{"name": "x", "dtype": "float32", "shape": [[1]]}]),
        lambda c: c.update(inputs=[{"name": 1, "dtype": "float32", "shape": [1]}]),
        lambda c: c.update(shapes=[]),
        lambda c: c["shapes"].update(min_nhw=[1e300, 1, 1]),
        lambda c: c["shapes"].update(min_nhw="abc"),
        lambda c: c.update(lineage=[]),
        lambda c: c.update(measured=[1]),
        lambda c: c.update(opset=None),
        lambda c: c.update(pixels_in="false"),
        lambda c: c.update(quantization={}),
        lambda c: c.update(quantization=["cpu"]),
        lambda c: c.update(quantization={"target": "tpu"}),
        lambda c: c.update(quantization={"target": "cpu", "images": "8"}),
        lambda c: c.update(quantization={"target": "cpu", "kept_in_float": "head"}),
        lambda c: c.update(quantization={"target": "cpu", "remainder": "bf16"}),
        lambda c: c.update(quantization={"target": "cpu", "residual": "half"}),
        lambda c: c.update(quantization={"target": "cpu", "validation": {"agreement": 1}}),
        lambda c: c.update(quantization={"target": "cpu", "method_divergence": [1]}),
    ],
)
def test_a_card_edited_by_hand_is_refused_as_a_bad_artefact(change):
    with pytest.raises(ArtifactError, match="model card cannot be read"):
        ModelCard.from_json(edited(change))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '"card"', "{}", "\0", "[" * 100_000, "9" * 10_000])
def test_text_that_is_no_card_is_refused_as_a_bad_artefact(text):
    with pytest.raises(ArtifactError, match="model card cannot be read"):
        ModelCard.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


FIELDS = (*sorted(json.loads(card().to_json())), "quantization")


@given(st.sampled_from(FIELDS), json_values)
@settings(max_examples=200, deadline=None)
def test_any_value_in_any_field_gives_a_usable_card_or_a_bad_artefact(field, value):
    try:
        read = ModelCard.from_json(edited(lambda c: c.update({field: value})))
    except ArtifactError:
        return
    # Whatever was accepted must survive being written and read again.
    assert ModelCard.from_json(read.to_json()).to_json() == read.to_json()


@pytest.mark.parametrize(
    ("kind", "task", "features"),
    [("logits", "classification", 2), ("topk", "classification", 1), ("labels", "segmentation", 2)],
)
def test_outputs_behind_those_of_the_head_are_features(kind, task, features):
    outputs = tuple(TensorSpec(name, "float32", ("batch", 2)) for name in "abc")
    found = card(task=task, output_kind=kind, outputs=outputs)
    assert found.features == outputs[-features:]
    assert not found.headless


def test_a_card_without_a_head_has_no_classes_and_only_features():
    outputs = (TensorSpec("pooled", "float32", ("batch", 2048)),)
    found = card(output_kind="features", classes=(), outputs=outputs)
    assert (found.headless, found.features, found.classes) == (True, outputs, ())
    assert ModelCard.from_json(found.to_json()) == found
    with pytest.raises(UsageError, match="needs at least one class name"):
        card(classes=())

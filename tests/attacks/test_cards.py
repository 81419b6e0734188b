"""Model cards from strangers: values of all types, sizes and classes that contradict the graph, and unusual texts."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar
from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import CARD_CHARACTERS, CLASS_NAME_CHARACTERS, CLASSES, JSON_DEPTH
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, Task, TensorSpec

CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="foreign",
    classes=("cat", "dog", "frog"),
    preprocessing=Preprocessing(size_hw=(8, 8)),
    precision=Precision.FP32,
    inputs=(TensorSpec("x", "float32", (1, 3, 8, 8)),),
    outputs=(TensorSpec("y", "float32", (1, 3)),),
    shapes=ShapeRange((1, 8, 8), (1, 8, 8), (1, 8, 8)),
)
CONTENT = json.loads(card_metadata(CARD)[CARD_KEY])


def graph(batch=1):
    weights = numpy_helper.from_array(np.zeros((192, 3), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ends = (("x", [batch, 3, 8, 8]), ("y", [batch, 3]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], [weights]), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    return model


def artifact(tmp_path, content, model=None):
    model = model or graph()
    text = content if isinstance(content, str) else json.dumps(content)
    onnx.helper.set_model_props(model, {CARD_KEY: text})
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def opened(path):
    with Predictor(path, device="cpu", backend="onnxruntime", threads=1) as predictor:
        return predictor.predict(np.zeros((8, 8, 3), np.uint8))


def test_the_card_of_these_tests_is_usable(tmp_path):
    assert opened(artifact(tmp_path, CONTENT)).label in CARD.classes


def replaced(path, value):
    """The card with another value at a path of keys."""
    content = json.loads(json.dumps(CONTENT))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


CONTRADICTIONS = {
    "fewer classes": (["classes"], ["cat", "dog"]),
    "more classes": (["classes"], ["cat", "dog", "frog", "owl"]),
    "no classes": (["classes"], []),
    "classes by another name": (["classes"], "imagenet"),
    "size": (["preprocessing", "size_hw"], [16, 16]),
    "range": (["shapes"], {"min_nhw": [1, 16, 16], "opt_nhw": [1, 16, 16], "max_nhw": [1, 16, 16]}),
    "batch": (["shapes"], {"min_nhw": [2, 8, 8], "opt_nhw": [2, 8, 8], "max_nhw": [2, 8, 8]}),
    "large batch": (["shapes"], {"min_nhw": [1, 8, 8], "opt_nhw": [1, 8, 8], "max_nhw": [65_536, 8, 8]}),
    "large size": (["preprocessing", "size_hw"], [10**9, 10**9]),
    "large area": (["preprocessing", "size_hw"], [32_000, 32_000]),
    "small crop": (["preprocessing", "crop_pct"], 1e-9),
    "kind": (["output_kind"], "topk"),
    "task": (["task"], "segmentation"),
    "threshold": (["threshold"], 0.5),
    "pixels": (["pixels_in"], True),
    "another name": (["inputs", 0, "name"], "z"),
    "unknown field": (["extra"], 1),
    "newer schema": (["schema"], 99),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_card_that_contradicts_its_graph_is_refused_when_it_is_opened(tmp_path, kind):
    with pytest.raises(ArtifactError) as caught:
        opened(artifact(tmp_path, replaced(*CONTRADICTIONS[kind])))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


NUMBERS = [
    None,
    True,
    "text",
    -1,
    0,
    0.0,
    1e308,
    1 << 62,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    ["\x1b[2J", "\u202e"],
]
FIELDS = [
    *([name] for name in CONTENT),
    *(["preprocessing", name] for name in CONTENT["preprocessing"]),
    *(["preprocessing", "mean", i] for i in range(3)),
    *(["preprocessing", "std", i] for i in range(3)),
    *(["inputs", 0, name] for name in CONTENT["inputs"][0]),
    *(["outputs", 0, name] for name in CONTENT["outputs"][0]),
    *(["shapes", name] for name in CONTENT["shapes"]),
    ["inputs", 0],
    ["classes", 0],
]


def read_or_refused(path, value):
    """Read a card with another value in a field; an ArtifactError is one line."""
    try:
        card_from_metadata({CARD_KEY: json.dumps(replaced(path, value))}, "net.onnx")
    except ArtifactError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert "Error(" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: "-".join(map(str, path)))
def test_every_field_takes_what_it_needs_or_is_refused(path):
    for value in NUMBERS:
        read_or_refused(path, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '{"schema": 2}',
        '{"classes": 7}',
        "[" * 100_000,
        '{"classes": ' + "9" * 5000 + "}",
        '{"classes": ["\\ud800"]}',
        "\x00",
        " " * (CARD_CHARACTERS + 1),
    ],
    ids=range(12),
)
def test_texts_that_are_no_card_are_one_line(text):
    with pytest.raises(ArtifactError) as caught:
        card_from_metadata({CARD_KEY: text}, "net.onnx")
    assert len(str(caught.value)) < 600


def test_many_classes_and_long_names_are_refused():
    for classes in (["c"] * (CLASSES + 1), ["c" * (CLASS_NAME_CHARACTERS + 1)] * 3):
        with pytest.raises(ArtifactError, match="must have at most"):
            card_from_metadata({CARD_KEY: json.dumps(replaced(["classes"], classes))}, "net.onnx")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FIELDS), values)
def test_any_json_in_any_field_is_read_or_refused(path, value):
    read_or_refused(path, value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_any_json_is_a_sidecar_or_refused(value):
    with pytest.raises(ArtifactError):
        EngineSidecar.from_json(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * (JSON_DEPTH + 1) + "]" * (JSON_DEPTH + 1), "more than 100 levels"),
        ("[" * 200_000, "nested|Expecting"),
        ('{"a": ' * 200 + "1" + "}" * 200, "more than 100 levels"),
        ("1" * 5000, "beyond 64 bits"),
        (str(1 << 64), "beyond 64 bits"),
        (str(-(1 << 63) - 1), "beyond 64 bits"),
        ('"\\ud800"', "surrogate"),
        ('{"\\uDFFF": 1}', "surrogate"),
        ('["\ud800"]', "surrogate"),
        (b'"\xff"', "utf-8"),
        (b"\xff\xfe7\x00", "utf-8"),
        ("", "Expecting"),
        ("{} {}", "Extra"),
    ],
)
def test_json_that_cannot_be_used_is_a_value_error(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


@given(values)
def test_json_that_can_be_used_is_read_as_python_reads_it(value):
    text = json.dumps(value)
    try:
        found = parse_json(text)
    except ValueError:
        assert any(len(part) > 18 for part in text.replace("-", " ").split()) or "\\ud" in text
        return
    assert json.dumps(found) == text


def test_names_of_files_that_are_not_utf_8_are_read_where_they_are_expected():
    text = json.dumps({"file": b"\xff.jpg".decode(errors="surrogateescape")})
    assert parse_json(text, file_names=True)["file"].encode(errors="surrogateescape") == b"\xff.jpg"
    with pytest.raises(ValueError, match="surrogate"):
        parse_json(text)


def test_depth_at_the_limit_is_read():
    text = "[" * JSON_DEPTH + "1" + "]" * JSON_DEPTH
    assert json.dumps(parse_json(text)) == text

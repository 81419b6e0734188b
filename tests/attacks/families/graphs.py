"""ONNX graphs, damaged as bytes and as structure, and the cards inside them."""

import contextlib
import json
from collections.abc import Callable
from random import Random

import cv2
import onnx
from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.mutators import HOSTILE_TEXTS, json_bytes, mutate, mutate_json
from onnx import TensorProto, helper

from hrnet_deploy.artifact.card import CARD_KEY, card_metadata

_SIZES = (0, -1, 1, 7, 65_536, 2**31 - 1, 2**31, 2**40, 2**63 - 1)


def _image() -> bytes:
    return cv2.imencode(".png", seeds.photo())[1].tobytes()


def _case(random: Random, content: bytes) -> Case:
    runtime = ("--backend", random.choice(("onnxruntime",) * 4 + ("auto", "openvino")), "--threads", "1")
    deeds = (
        ("predict", "model.onnx", "a.png", *runtime),
        ("predict", "model.onnx", "a.png", *runtime, "--json"),
        ("inspect", "model.onnx"),
        ("inspect", "model.onnx", "--verify"),
        ("inspect", "model.onnx", "--json", "--runtimes"),
    )
    output = ""
    words = random.choice(deeds)
    if random.random() < 0.08:
        output = "out.onnx"
        words = ("export", "model.onnx", "--task", random.choice(("classification", "segmentation")), "-o", output)
    return Case(words=words, files={"model.onnx": content, "a.png": _image()}, output=output)


def _seeds() -> tuple[bytes, ...]:
    models = (seeds.model(), seeds.model("segmentation"))
    return (*models, seeds.float_model(with_card=True), seeds.float_model(with_card=False))


def graphs(random: Random) -> Case:
    """Graphs with damaged bytes."""
    if random.random() < 0.02:
        return _case(random, random.choice(SPECIALS).encode())
    return _case(random, mutate(random, random.choice(_seeds()), _seeds(), rounds=4))


def structures(random: Random) -> Case:
    """Valid protobuf with a hostile structure."""
    model = onnx.ModelProto.FromString(random.choice(_seeds()))
    for _ in range(random.randint(1, 3)):
        with contextlib.suppress(IndexError):  # an earlier change may have left no node to change
            random.choice(_STRUCTURES)(random, model)
    return _case(random, model.SerializeToString())


def _name(random: Random, model: onnx.ModelProto) -> None:
    graph = model.graph
    named = random.choice([*graph.node, *graph.initializer, *graph.input, *graph.output])
    text = random.choice(HOSTILE_TEXTS).encode("utf-8", "replace").decode()
    named.name = text
    if random.random() < 0.5 and graph.node:
        node = random.choice(graph.node)
        (node.input or node.output).append(text)


def _size(random: Random, model: onnx.ModelProto) -> None:
    value = random.choice([*model.graph.input, *model.graph.output])
    dimensions = value.type.tensor_type.shape.dim
    if dimensions:
        random.choice(dimensions).dim_value = random.choice(_SIZES)
    if random.random() < 0.2:
        dimensions.add().dim_value = random.choice(_SIZES)
    if random.random() < 0.2:
        value.type.tensor_type.elem_type = random.choice((0, 1, 2, 7, 8, 9, 10, 16, 23, 99))


def _initializer(random: Random, model: onnx.ModelProto) -> None:
    tensor = random.choice(model.graph.initializer)
    deed = random.randrange(4)
    if deed == 0:
        tensor.dims[:] = [random.choice(_SIZES) for _ in range(random.randrange(4))]
    elif deed == 1:
        tensor.data_type = random.choice((0, 1, 6, 7, 8, 10, 14, 99))
    elif deed == 2:
        tensor.raw_data = random.randbytes(random.choice((0, 3, 64)))
    else:
        _external(random, tensor)


def _external(random: Random, tensor: TensorProto) -> None:
    """Point a tensor to a file outside the model's folder, or to a special one."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (
        "../outside/secret.bin",
        "/dev/zero",
        "/etc/passwd",
        "a.png",
        "model.onnx",
        "",
        "nowhere",
        "..\\outside\\secret.bin",
    )
    for key, text in (
        ("location", random.choice(places)),
        ("offset", str(random.choice(_SIZES))),
        ("length", str(random.choice(_SIZES))),
    ):
        if key == "location" or random.random() < 0.4:
            tensor.external_data.add(key=key, value=text)


def _hostile_node(random: Random, model: onnx.ModelProto) -> None:
    """Add a node that computes a huge tensor, or never ends, and depends on it."""
    graph = model.graph
    size = random.choice((2**28, 2**31, 2**34, 2**40))
    graph.initializer.append(helper.make_tensor("bomb_shape", TensorProto.INT64, [1], [size]))
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = {
        "ConstantOfShape": [helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"], value=one)],
        "Expand": [
            helper.make_node("Constant", [], ["c"], value=one),
            helper.make_node("Expand", ["c", "bomb_shape"], ["bomb"]),
        ],
        "Tile": [
            helper.make_node("Constant", [], ["c"], value=one),
            helper.make_node("Tile", ["c", "bomb_shape"], ["bomb"]),
        ],
        "Range": [
            helper.make_node("Constant", [], ["z"], value_int=0),
            helper.make_node("Constant", [], ["s"], value_int=1),
            helper.make_node("Squeeze", ["bomb_shape"], ["n"]),
            helper.make_node("Range", ["z", "n", "s"], ["bomb"]),
        ],
        "Loop": _loop(),
    }
    graph.node.extend(nodes[random.choice(list(nodes))])
    graph.node.add(op_type="ReduceMax", input=["bomb"], output=["bomb_max"])
    used = random.random() < 0.7
    if used and graph.node[0].output:
        graph.output.append(helper.make_tensor_value_info("bomb_max", 1, None))


def _loop() -> list[onnx.NodeProto]:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Add", ["v_in", "v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("c_in", 9, []),
            helper.make_tensor_value_info("v_in", 1, [1]),
        ],
        [helper.make_tensor_value_info("c_out", 9, []), helper.make_tensor_value_info("v_out", 1, [1])],
    )
    true, one = helper.make_tensor("t", 9, [], [True]), helper.make_tensor("f", 1, [1], [1.0])
    return [
        helper.make_node("Constant", [], ["forever"], value=true),
        helper.make_node("Constant", [], ["first"], value=one),
        helper.make_node("Loop", ["", "forever", "first"], ["bomb"], body=body),
    ]


def _attribute(random: Random, model: onnx.ModelProto) -> None:
    node = random.choice(model.graph.node)
    if node.attribute and random.random() < 0.6:
        attribute = random.choice(node.attribute)
        attribute.i = random.choice(_SIZES)
        attribute.ints[:] = [random.choice(_SIZES) for _ in range(random.randrange(4))]
        attribute.type = random.choice((0, 1, 2, 3, 5, 7))
    else:
        node.op_type, node.domain = random.choice(
            (("Nothing", ""), ("Conv", "evil"), ("Concat", ""), ("If", ""), ("", ""))
        )


def _whole(random: Random, model: onnx.ModelProto) -> None:
    deed = random.randrange(6)
    if deed == 0:
        model.ir_version = random.choice(_SIZES)
    elif deed == 1:
        model.opset_import[0].version = random.choice(_SIZES)
    elif deed == 2:
        del model.opset_import[:]
    elif deed == 3:
        model.graph.node.extend([model.graph.node[0]] * random.choice((1, 300)))
    elif deed == 4:
        del random.choice((model.graph.node, model.graph.input, model.graph.output, model.graph.initializer))[:]
    else:
        model.metadata_props.add(
            key=random.choice((CARD_KEY, "\x1b[2J", "")), value=random.choice(("{}", "\x1b]0;x\x07"))
        )


_STRUCTURES: tuple[Callable[[Random, onnx.ModelProto], None], ...] = (
    _name, _size, _size, _initializer, _initializer, _hostile_node, _attribute, _whole,
)  # fmt: skip


def cards(random: Random) -> Case:
    """Sound graphs with a hostile card."""
    model = onnx.ModelProto.FromString(random.choice(_seeds()[:3]))
    value = json.loads(next(entry.value for entry in model.metadata_props if entry.key == CARD_KEY))
    if random.random() < 0.15:
        value["classes"] = [random.choice(HOSTILE_TEXTS) for _ in range(3)]
        text = json.dumps(value).encode()
    elif random.random() < 0.1:
        value["shapes"] = {name: [random.choice((65_536, 2**31, 10**9, 1)), 8, 8] for name in value["shapes"]}
        value["preprocessing"]["size_hw"] = random.choice(([10**9, 10**9], [32_768, 32_768], [8, 8]))
        text = json.dumps(value).encode()
    else:
        text = json_bytes(random, mutate_json(random, value))
    del model.metadata_props[:]
    content = model.SerializeToString()
    entry = _field(1, CARD_KEY.encode()) + _field(2, text)  # the bytes may be no text, which protobuf would refuse
    return _case(random, content + _field(14, entry))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    return b"".join(
        bytes([number >> 7 * i & 127 | (128 if number >> 7 * (i + 1) else 0)])
        for i in range(max(1, -(-number.bit_length() // 7)))
    )


def card_text() -> str:
    """Return a sound card as JSON."""
    return card_metadata(seeds.card())[CARD_KEY]

"""An artifact of a few nodes whose output is the gray level of a pixel; it needs no checkpoint."""

from pathlib import Path

import onnx

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.spec import ModelCard, Task

_GRAPHS = {
    Task.CLASSIFICATION: """g (uint8[batch,height,width,3] input) => (float[batch,{classes}] logits) {{
        first = Slice(input, zeros, ones, axes)
        level = Squeeze(first, axes)
        {tail}
        logits = OneHot<axis=-1>(index, depth, values)
    }}""",
    Task.SEGMENTATION: """g (uint8[batch,height,width,3] input) => (float[batch,{classes},height,width] logits) {{
        first = Slice(input, zero, one, last)
        level = Squeeze(first, last)
        {tail}
        logits = OneHot<axis=1>(index, depth, values)
    }}""",
}
_CONSTANTS = {
    "zeros": [0, 0, 0], "ones": [1, 1, 1], "axes": [1, 2, 3], "zero": [0], "one": [1], "last": [3],
}  # fmt: skip


def write_color_artifact(path: Path, card: ModelCard) -> Path:
    """Write a graph with uint8 pixels as input for a card with these inputs and outputs."""
    classes = len(card.classes)
    tail = "whole = Cast<to=7>(level)\n        index = Mod(whole, depth)"
    text = _GRAPHS[card.task].format(classes=classes, tail=tail)
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    used = {name for node in model.graph.node for name in node.input}
    for name, values in (_CONSTANTS | {"depth": [classes]}).items():
        if name in used:
            model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values))
    model.graph.initializer.append(onnx.helper.make_tensor("values", onnx.TensorProto.FLOAT, [2], [0.0, 1.0]))
    onnx.helper.set_model_props(model, card_metadata(card))
    onnx.save(model, path)
    return path

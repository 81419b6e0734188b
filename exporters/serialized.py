"""Serialization of a graph with other nodes and outputs, without copying the graph."""

from __future__ import annotations

import io
from collections.abc import Iterable

import onnx

_GRAPH, _INITIALIZER = 7, 5
"""Source: onnx/onnx.proto, ModelProto.graph and GraphProto.initializer."""
_BYTES = 2
"""Wire type of messages. Source: protobuf.dev/programming-guides/encoding."""


def with_graph(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]
) -> bytes:
    """Serialize a model with other nodes and outputs; the model itself is left as it is.

    Weights are written one after the other behind the rest, since readers of protocol buffers merge the parts of a
    message. They are then in memory twice, not three times as with a copy.
    """
    rest = onnx.ModelProto(ir_version=model.ir_version)
    rest.opset_import.extend(model.opset_import)
    rest.functions.extend(model.functions)
    rest.metadata_props.extend(model.metadata_props)
    graph = rest.graph
    graph.name = model.graph.name
    graph.node.extend(nodes)
    graph.input.extend(model.graph.input)
    graph.output.extend(outputs)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    stream = io.BytesIO()
    stream.write(rest.SerializeToString())
    for tensor in model.graph.initializer:
        content = tensor.SerializeToString()
        field = _head(_INITIALIZER, len(content))
        stream.write(_head(_GRAPH, len(field) + len(content)) + field)
        stream.write(content)
    return stream.getvalue()


def _head(number: int, size: int) -> bytes:
    """Encode the tag and length of a message field."""
    return _varint(number << 3 | _BYTES) + _varint(size)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])

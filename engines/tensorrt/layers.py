"""The kernels of an engine, their precisions, and the ONNX nodes that they compute."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.errors import BuildError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.spec import Precision

_DTYPE_OF = {Precision.FP32: "Float", Precision.FP16: "Half", Precision.INT8: "Int8"}
# TensorRT 8 to 10 write the type inside the format: "Row major linear FP32", "Channel major FP16 format where ...".
_SPELLINGS = (
    (re.compile(r"\b(FP16|Half)\b"), "Half"),
    (re.compile(r"\b(BF16|BFloat16)\b"), "BFloat16"),
    (re.compile(r"\b(FP32|Float)\b"), "Float"),
    (re.compile(r"\b(INT8|Int8)\b", re.IGNORECASE), "Int8"),
    (re.compile(r"\b(INT32|Int32)\b", re.IGNORECASE), "Int32"),
    (re.compile(r"\b(INT64|Int64)\b", re.IGNORECASE), "Int64"),
    (re.compile(r"\b(BOOL|Bool)\b"), "Bool"),
    (re.compile(r"\b(UINT8|UInt8)\b"), "UInt8"),
)
_KNOWN = frozenset(name for _, name in _SPELLINGS)
# One record per line; a list is empty or ends in "}]".
_RECORD = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>|.*?\})\], "
    r"(?:Constants: \[(?:|.*?\})\], )?Outputs: \[(?P<outputs>|.*?\})\], (?P<rest>.*)$"
)
# TensorRT 8 to 10.0 also write "Layer(CaskConvolution): a + b, Tactic: 0x1, x[Half(1,3,8,8)] -> y[Half(1,4,8,8)]".
_PLAIN_RECORD = re.compile(
    r"^Layer\((?P<kind>[^)]*)\): (?P<name>.*?), Tactic: -?(?:0x)?[0-9a-f]+, (?P<inputs>.*) -> (?P<outputs>.*)$"
)
_TENSOR_TYPE = re.compile(r"\bData[tT]ype: ([^,}]*)")
_PLAIN_TYPE = re.compile(r"\[(\w+)\([-\d,]*\)\]")
_WEIGHTS_TYPE = re.compile(r'\bWeights: \{"Type": "(\w+)"')
_NODE = "[ONNX Layer: "
# Myelin computes a 1x1 convolution over few pixels as a matrix product, and marks it at the end of the metadata.
_FROM_CONVOLUTION = "_from_conv1x1"
# Myelin's plain convolution, and its fusions around one: __myl_CorrAddRelu_myl0_52.
_EVENTS = ("signal", "wait")
_CORRELATION = "correlation"
_FUSED_CORRELATION = re.compile(r"^__myl_\w*?Corr(?=[A-Z_])")


@dataclass(frozen=True)
class Layer:
    """One kernel of an engine.

    Attributes:
        kind: such as "correlation" or "CaskConvolution"; "" where the engine keeps names only.
        inputs: element types of its inputs without weights, data first: "Float", "Half", "Int8" ...
        onnx_nodes: names of the ONNX nodes that it computes, whole or in part.
        weights: element type of its weights; "" where none is given.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx_nodes: tuple[str, ...]
    weights: str = ""

    @property
    def data_type(self) -> str:
        """Element type of its data; "" where TensorRT does not name it."""
        # With dynamic shapes, classic TensorRT names the weights' type only ("N/A due to dynamic shapes").
        return next((dtype for dtype in (*self.inputs[:1], self.weights) if dtype in _KNOWN), "")

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, alone or fused with later nodes."""
        if self.kind == _CORRELATION or _FUSED_CORRELATION.match(self.name):
            return True
        return "conv" in self.kind.lower() and "deconv" not in self.kind.lower()


@dataclass(frozen=True)
class PrecisionShare:
    """The number of convolutions that run in a precision.

    Attributes:
        convolutions: number of all convolutions.
        achieved: number of those that read their data in that precision.
        missing: names of those that read it in another one.
        unidentified: names of those for which TensorRT names no kernel or no type.
    """

    convolutions: int
    achieved: int
    missing: tuple[str, ...]
    unidentified: tuple[str, ...]


def layers_from_log(text: str) -> tuple[Layer, ...]:
    """Read the layers in a build's VERBOSE log, from the message "Layers:" or "Engine Layer Information:"."""
    layers = []
    for line in text.split("\n"):  # splitlines would also break at 0x1e
        plain = _PLAIN_RECORD.match(line)
        if plain is not None:
            inputs, outputs = (tuple(map(_dtype, _PLAIN_TYPE.findall(plain[part]))) for part in ("inputs", "outputs"))
            layers.append(Layer(plain["name"], plain["kind"], inputs, outputs, _joined(plain["name"])))
        found = _RECORD.match(line)
        if found is None or found["kind"] in _EVENTS:
            continue
        # Not groups of the record: a tactic's name may hold commas, and metadata anything.
        rest = found["rest"]
        weights = _WEIGHTS_TYPE.search(rest)
        _, described, metadata = rest.partition("Metadata: ")
        layers.append(
            Layer(
                found["name"],
                _kind(found["kind"], metadata),
                tuple(_dtype(t) for t in _TENSOR_TYPE.findall(found["inputs"])),
                tuple(_dtype(t) for t in _TENSOR_TYPE.findall(found["outputs"])),
                _nodes(metadata) if described else _joined(found["name"]),
                _dtype(weights[1]) if weights else "",
            )
        )
    return tuple(layers)


def layers_from_inspector(json_text: str) -> tuple[Layer, ...]:
    """Read the layers in the JSON of IEngineInspector, of any version since 8.6; BuildError on other text."""
    try:
        layers = tuple(_layer(entry) for entry in parse_json(json_text)["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(
            f"engine inspector must return a JSON object of Layers, got {str(json_text)[:60]!r}. "
            "Report it with the version of TensorRT."
        ) from error
    return tuple(layer for layer in layers if layer.kind not in _EVENTS)


def precision_share(layers: Sequence[Layer], precision: Precision, nodes: Collection[str] = ()) -> PrecisionShare:
    """Count the convolutions that run in a precision.

    The type of the data decides, not that of weights or outputs: TensorRT-RTX's INT8 convolutions write floats, and its
    fake quantization on Turing reads halves.

    Args:
        layers: the engine's.
        precision: the requested one.
        nodes: names of the graph's Conv nodes to count; without them the engine's convolutions are counted.
    """
    wanted = _DTYPE_OF[precision]
    convolutions = [layer for layer in layers if layer.convolves]
    if nodes:
        types: dict[str, set[str]] = {name: set() for name in nodes}
        for convolution in convolutions:
            for name in types.keys() & set(convolution.onnx_nodes):
                types[name].add(convolution.data_type)
    else:
        types = {convolution.name: {convolution.data_type} for convolution in convolutions}
    missing = tuple(name for name, found in types.items() if wanted not in found and found - {""})
    unidentified = tuple(name for name, found in types.items() if not found - {""})
    return PrecisionShare(len(types), len(types) - len(missing) - len(unidentified), missing, unidentified)


def int8_throughout(layers: Sequence[Layer]) -> int:
    """Count the convolutions that read and write INT8: later nodes, such as a sum, are fused into them."""
    return sum(layer.convolves and layer.data_type == "Int8" and layer.outputs[:1] == ("Int8",) for layer in layers)


def _layer(entry: str | Mapping[str, Any]) -> Layer:
    # Below DETAILED verbosity a layer is its name alone.
    if isinstance(entry, str):
        return Layer(entry, "", (), (), _joined(entry))
    name, metadata, weights = str(entry["Name"]), entry.get("Metadata"), entry.get("Weights")
    return Layer(
        name,
        _kind(str(entry["LayerType"]), metadata or ""),
        tuple(_tensor_type(t) for t in entry.get("Inputs", ())),
        tuple(_tensor_type(t) for t in entry.get("Outputs", ())),
        _joined(name) if metadata is None else _nodes(metadata),
        _dtype(str(weights.get("Type", ""))) if isinstance(weights, Mapping) else "",
    )


def _kind(layer_type: str, metadata: str) -> str:
    return layer_type + _FROM_CONVOLUTION if metadata.endswith(_FROM_CONVOLUTION) else layer_type


def _tensor_type(tensor: Mapping[str, Any]) -> str:
    for key in ("Datatype", "DataType", "Format/Datatype", "Format"):
        if key in tensor:
            return _dtype(tensor[key])
    return ""


def _dtype(text: str) -> str:
    return next((name for pattern, name in _SPELLINGS if pattern.search(text)), text)


def _nodes(metadata: str) -> tuple[str, ...]:
    """Parse metadata: "[ONNX Layer: a]", an invisible separator (0x1e, 0x1f on RTX), "[ONNX Layer: b]"."""
    return tuple(dict.fromkeys(part.rpartition("]")[0] for part in metadata.split(_NODE)[1:]))


def _joined(name: str) -> tuple[str, ...]:
    """Parse a layer's name, which joins its nodes; for engines without metadata."""
    return tuple(dict.fromkeys(part.strip() for part in re.split(r" \+ | \|\| ", name)))

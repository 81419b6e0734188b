"""What an engine really runs: its kernels, their precisions, and the ONNX nodes they stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.errors import BuildError
from hrnet_deploy.spec import Precision

_DTYPE_OF = {Precision.FP32: "Float", Precision.FP16: "Half", Precision.INT8: "Int8"}
# TensorRT 8 to 10 spell the type inside the format: "Row major linear FP32", "Channel major FP16 format where ...".
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
# One record per line; a list is empty or ends in "}]".
_RECORD = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>|.*?\})\], "
    r"(?:Constants: \[(?:|.*?\})\], )?Outputs: \[(?P<outputs>|.*?\})\], (?P<rest>.*)$"
)
_TENSOR_TYPE = re.compile(r"\bData[tT]ype: (\w+)")
_TACTIC = re.compile(r"TacticName: (.*?), StreamId: ")
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
        name: TensorRT's.
        kind: its type, such as "correlation" or "CaskConvolution"; "" where the engine was built to keep names only.
        inputs: element types of its inputs without weights, data first: "Float", "Half", "Int8" ...
        outputs: element types of its outputs.
        tactic: name of the implementation, "" where none is given.
        onnx_nodes: names of the ONNX nodes it stands for, or has a part of.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str
    onnx_nodes: tuple[str, ...]

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, alone or fused with what follows it."""
        if self.kind == _CORRELATION or _FUSED_CORRELATION.match(self.name):
            return True
        return "conv" in self.kind.lower() and "deconv" not in self.kind.lower()


@dataclass(frozen=True)
class PrecisionShare:
    """How many convolutions run in a precision.

    Attributes:
        precision: the one that was asked for.
        convolutions: how many there are.
        reached: how many of them read their data in that precision.
        missing: names of the others.
    """

    precision: Precision
    convolutions: int
    reached: int
    missing: tuple[str, ...]

    @property
    def share(self) -> float:
        """Reached of all, 0..1; 1 where there is none to reach."""
        return self.reached / self.convolutions if self.convolutions else 1.0


def layers_from_log(text: str) -> tuple[Layer, ...]:
    """Read the dump of layers in a build's VERBOSE log.

    Args:
        text: the message that begins with "Layers:"; "" gives no layers.

    Returns:
        The kernels in order, without the events that order streams.
    """
    layers = []
    for line in text.split("\n"):  # splitlines would also break at 0x1e
        found = _RECORD.match(line)
        if found is None or found["kind"] in _EVENTS:
            continue
        # Not a group of the record: the tactic may hold commas, and metadata anything.
        rest = found["rest"]
        tactic, metadata = _TACTIC.search(rest), rest.partition("Metadata: ")[2]
        layers.append(
            Layer(
                found["name"],
                _kind(found["kind"], metadata),
                tuple(_dtype(t) for t in _TENSOR_TYPE.findall(found["inputs"])),
                tuple(_dtype(t) for t in _TENSOR_TYPE.findall(found["outputs"])),
                tactic[1] if tactic else "",
                _nodes(metadata),
            )
        )
    return tuple(layers)


def layers_from_inspector(json_text: str) -> tuple[Layer, ...]:
    """Read what IEngineInspector says of an engine.

    Args:
        json_text: `get_engine_information(LayerInformationFormat.JSON)`, of any version since 8.6.

    Returns:
        The kernels in order.

    Raises:
        BuildError: the text is not such JSON.
    """
    try:
        layers = tuple(_layer(entry) for entry in json.loads(json_text)["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(
            f"engine inspector must answer with a JSON object of Layers, got {str(json_text)[:60]!r}. "
            "Report it with the version of TensorRT."
        ) from error
    return tuple(layer for layer in layers if layer.kind not in _EVENTS)


def precision_share(layers: Sequence[Layer], precision: Precision, nodes: Collection[str] = ()) -> PrecisionShare:
    """Count the convolutions that really run in a precision.

    The type of the data decides, not that of the weights or the output: TensorRT-RTX's INT8 convolutions write floats,
    and its fake quantisation on Turing reads halves.

    Args:
        layers: the engine's.
        precision: what was asked for.
        nodes: names of the graph's Conv nodes, which are then what is counted; one that no convolution stands for is
            missing. Without them, the engine's convolutions are counted.

    Returns:
        The count, and what misses.
    """
    wanted = _DTYPE_OF[precision]
    convolutions = [layer for layer in layers if layer.convolves]
    if nodes:
        asked = set(nodes)
        names = tuple(dict.fromkeys(nodes))
        fast = {n for c in convolutions if c.inputs[:1] == (wanted,) for n in c.onnx_nodes if n in asked}
        missing = tuple(name for name in names if name not in fast)
        return PrecisionShare(precision, len(names), len(names) - len(missing), missing)
    missing = tuple(c.name for c in convolutions if c.inputs[:1] != (wanted,))
    return PrecisionShare(precision, len(convolutions), len(convolutions) - len(missing), missing)


def _layer(entry: str | Mapping[str, Any]) -> Layer:
    # Below DETAILED verbosity a layer is its name alone.
    if isinstance(entry, str):
        return Layer(entry, "", (), (), "", _joined(entry))
    name, metadata = str(entry["Name"]), entry.get("Metadata")
    return Layer(
        name,
        _kind(str(entry["LayerType"]), metadata or ""),
        tuple(_tensor_type(t) for t in entry.get("Inputs", ())),
        tuple(_tensor_type(t) for t in entry.get("Outputs", ())),
        str(entry.get("TacticName", "")),
        _joined(name) if metadata is None else _nodes(metadata),
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
    """The nodes in the metadata: "[ONNX Layer: a]", an invisible separator (0x1e, 0x1f on RTX), "[ONNX Layer: b]"."""
    return tuple(dict.fromkeys(part.rpartition("]")[0] for part in metadata.split(_NODE)[1:]))


def _joined(name: str) -> tuple[str, ...]:
    """The nodes in a layer's name, which joins those it fuses; for engines that carry no metadata."""
    return tuple(dict.fromkeys(part.strip() for part in re.split(r" \+ | \|\| ", name)))

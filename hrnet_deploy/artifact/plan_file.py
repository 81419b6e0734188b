"""The format of .engine files: a plain TensorRT plan, or one behind Ultralytics' metadata header.

Engines are code that TensorRT runs. Load only files from people you trust; the checks here do not make others safe.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import PLAN_BYTES
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec
from hrnet_deploy.system.regular_file import read_regular

CLASSIC = "tensorrt"
"""TensorRT itself, 8.6 and later."""
RTX = "tensorrt-rtx"
"""TensorRT for RTX: strongly typed only; it builds without a GPU in the machine."""

# First bytes of a plan, both layouts little-endian: tag, format (0), 8 bytes unused here, size, version in 4 bytes.
# "vtrt", the size (of the whole plan) and the version were seen on plans that TensorRT-RTX 1.7.1.116 built for all its
# targets. NVIDIA's trtexec checks "ftrt", format 0 and the version for --getPlanVersionOnly
# (samples/common/sampleEngines.cpp). The size in classic plans was not verified, so it is not used.
_TAGS = {b"ftrt": CLASSIC, b"vtrt": RTX}
_HEADER = struct.Struct("<4sIQQ4B")

_LENGTH_BYTES = 4
_METADATA_LIMIT_BYTES = 16 << 20

_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the file itself: git lfs pull"),
    (b"PK\x03\x04", "a ZIP or PyTorch file", "Export it: hrnet-export --weights FILE -o NAME.engine"),
    (b"\x80", "a Python pickle", "Export it: hrnet-export --weights FILE -o NAME.engine"),
)
_BUILD_ONE = "Build an engine: hrnet-export FILE.onnx -o NAME.engine"


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """The content of an .engine file.

    Attributes:
        plan: the bytes for TensorRT; a view of the file's content, so that a large plan is not copied.
        content: the whole file, read once, so that the plan that was checked is the one that runs.
        metadata: entries of Ultralytics' header, as texts or JSON; empty for a plain plan.
        flavour: "tensorrt", "tensorrt-rtx", or "" where unknown.
        version: version of the TensorRT that built it, such as "10.13.3.9"; "" where unknown.
    """

    plan: bytes | memoryview
    metadata: Mapping[str, str] = field(default_factory=dict)
    flavour: str = ""
    version: str = ""
    content: bytes = b""


def read_plan(path: Path) -> PlanFile:
    """Read an .engine file; ArtifactError where it is empty, cut short, damaged, or no TensorRT plan.

    Source: Ultralytics writes the header (engine/exporter.py, utils/export/engine.py) and reads it
        (nn/autobackend.py): length of the metadata in 4 little-endian bytes, the metadata as JSON, the plan.
    """
    content = read_regular(path, "engine", PLAN_BYTES, ArtifactError)
    if not content:
        raise ArtifactError(f"{path.name} must be a TensorRT engine, got an empty file. {_BUILD_ONE}")
    data = memoryview(content)
    start, metadata = _header(data, path.name)
    plan = data[start:]
    if bytes(plan[1:4]) != b"trt":
        raise _foreign(plan, path.name, after_header=start > 0)
    if len(plan) < _HEADER.size:
        raise _cut_short(path.name, _HEADER.size, len(plan))
    tag, layout, _, size, *version = _HEADER.unpack_from(plan)
    flavour = _TAGS.get(tag, "")
    if flavour == RTX and size > len(plan):
        raise _cut_short(path.name, size, len(plan))
    known = bool(flavour) and layout == 0
    return PlanFile(
        plan=plan,
        metadata=metadata,
        flavour=flavour,
        version=".".join(str(part) for part in version) if known else "",
        content=content,
    )


def check_plan(plan: PlanFile, *, name: str, flavour: str, version: str) -> None:
    """Refuse a plan of another TensorRT than the given flavour and version, where the plan names its own."""
    same = plan.flavour in {"", flavour} and (not plan.version or same_version(plan.version, version))
    if not same:
        raise ArtifactError(
            f"{name} must be built by the TensorRT that runs it ({flavour} {version}), "
            f"got {plan.flavour} {plan.version}. Build it again: hrnet-export FILE.onnx -o {name}"
        )


def same_version(built: str, running: str) -> bool:
    """Return whether major, minor, patch and, where both have it, build are equal (8.6 has no build)."""
    # Source: "version numbers must match (in major, minor, patch, and build)", TensorRT release properties.
    ours, theirs = built.split("."), running.split(".")
    shared = min(len(ours), len(theirs))
    return built == running or (shared >= 3 and ours[:shared] == theirs[:shared])


def card_from_ultralytics(
    metadata: Mapping[str, str], *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], shapes: ShapeRange
) -> ModelCard | None:
    """Create a card from Ultralytics' metadata; None where it is incomplete or of another task than classification.

    Source: classify_transforms in ultralytics/data/augment.py (short side, center crop, no mean, unit std); the
        exported head ends in softmax (nn/modules/head.py, Classify).
    """
    try:
        names, options = parse_json(metadata["names"]), parse_json(metadata.get("args", "{}"))
        table = dict(enumerate(names)) if isinstance(names, list) else {int(k): v for k, v in names.items()}
        classes = tuple(table[index] for index in range(len(table)))
        precision = Precision.INT8 if options.get("int8") else Precision.FP16 if options.get("half") else Precision.FP32
        if metadata.get("task") != "classify":
            return None
        return ModelCard(
            task=Task.CLASSIFICATION,
            variant="foreign",
            classes=classes,
            preprocessing=Preprocessing(
                resize=Resize.SHORT_SIDE, size_hw=shapes.opt_nhw[1:], crop_pct=1.0, mean=(0, 0, 0), std=(1, 1, 1)
            ),
            precision=precision,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            shapes=shapes,
            output_kind=OutputKind.PROBABILITIES,
            lineage={"metadata": "ultralytics"},
        )
    except (UsageError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _header(data: memoryview, name: str) -> tuple[int, dict[str, str]]:
    """Return the start of the plan and the metadata before it."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little", signed=True)
    start = _LENGTH_BYTES + length
    # A plan's tag read as a length exceeds the limit, so that the two formats cannot be confused.
    if not 2 <= length <= _METADATA_LIMIT_BYTES or bytes(data[_LENGTH_BYTES : _LENGTH_BYTES + 1]) != b"{":
        return 0, {}
    if start >= len(data):
        raise _cut_short(name, start + _HEADER.size, len(data))
    try:
        content = parse_json(bytes(data[_LENGTH_BYTES:start]))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{name} must hold JSON in its metadata header, got: {error}. The file is damaged; fetch or build it again."
        ) from error
    return start, {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}


def _cut_short(name: str, wanted: int, got: int) -> ArtifactError:
    return ArtifactError(
        f"{name} must hold at least {wanted:,} bytes, got {got:,}: it is cut short. Copy or build it again."
    )


def _foreign(plan: memoryview, name: str, *, after_header: bool) -> ArtifactError:
    start = bytes(plan[:64])
    what, remedy = f"unknown bytes ({start[:4].hex(' ')})", _BUILD_ONE
    for tag, kind, advice in _FOREIGN:
        if start.startswith(tag):
            what, remedy = kind, advice
            break
    else:
        # A serialized ONNX model begins with field 1, ir_version, a small number, and then another small field.
        if len(start) > 2 and start[0] == 0x08 and start[1] < 0x40 and start[2] & 7 in {0, 2}:
            what, remedy = "an ONNX model", "Build from it: hrnet-export NAME.onnx -o NAME.engine"
        elif start and all(byte in b"\t\r\n" or 0x20 <= byte < 0x7F for byte in start):
            what = "text"
    place = "after its metadata header" if after_header else "inside"
    return ArtifactError(f"{name} must hold a TensorRT plan, got {what} {place}. {remedy}")

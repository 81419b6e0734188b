"""How an option is declared, and the conditions under which it applies: an option without effect is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.export.option_values import ValueType

_DECLARATION = "option"


@dataclass(frozen=True, kw_only=True)
class ExportKind:
    """What decides which options apply to an export.

    Attributes:
        as_is: whether an .onnx file made here is compiled without a change.
        graph: whether the export starts from an .onnx file.
        images: whether the user or the environment names a folder of calibration images.
        given: names of the options that differ from their default.
    """

    precision: str
    engine: bool
    as_is: bool
    graph: bool
    random: bool
    images: bool
    given: frozenset[str]

    def __str__(self) -> str:
        """As "an fp16 .onnx file"."""
        article = "an" if self.precision[0] in "aeiof" else "a"  # "an fp16", "an int8"
        file = "engine" if self.engine else ".onnx file"
        source = " of random weights" if self.random else " from an .onnx file" if self.graph else ""
        return f"{article} {self.precision} {file}{' compiled as it is' if self.as_is else source}"


@dataclass(frozen=True)
class Need:
    """A condition under which an option applies; `text` completes "applies to ..."."""

    text: str
    met: Callable[[ExportKind], bool]


ANY_EXPORT = Need("all exports", lambda _kind: True)
NEW_GRAPH = Need("exports that write a new graph", lambda kind: not kind.as_is)
FOREIGN_GRAPH = Need("a foreign .onnx file", lambda kind: kind.graph and not kind.as_is)
CHECKPOINT = Need("a checkpoint", lambda kind: not kind.graph and not kind.random)
INT8 = Need("--precision int8", lambda kind: kind.precision == "int8" and not kind.as_is)
FP16_OR_INT8 = Need("--precision fp16 or int8", lambda kind: kind.precision != "fp32" and not kind.as_is)
CALIBRATION_IMAGES = Need(
    "--precision int8, or fp16 with --calib-data",
    lambda kind: INT8.met(kind) or (FP16_OR_INT8.met(kind) and kind.images),
)
ENGINE = Need("an .engine output", lambda kind: kind.engine)
INT8_ENGINE = Need("an int8 .engine output", lambda kind: kind.engine and INT8.met(kind))
TRITON = Need("exports with --triton", lambda kind: "triton" in kind.given)
IMAGE_FOLDER = Need("--precision fp16 or int8, and to engines", lambda kind: FP16_OR_INT8.met(kind) or kind.engine)
EVALUATION_FOLDER = Need(
    "--precision fp16 or int8, to engines, and with --max-drop or --waterfall",
    lambda kind: IMAGE_FOLDER.met(kind) or not kind.given.isdisjoint({"max_drop", "waterfall"}),
)
MAX_DROP = Need("exports with --max-drop", lambda kind: "max_drop" in kind.given)
TWO_FOLDERS = Need("--precision int8 with --eval-data", lambda kind: INT8.met(kind) and "eval_data" in kind.given)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What an option is beside its name and default; `help` is a noun phrase, or an imperative for a switch.

    Attributes:
        limits: smallest and largest number; None where another check comes later, or there is none.
    """

    type: ValueType
    help: str
    metavar: str | tuple[str, ...] | None
    group: str
    needs: Need
    limits: tuple[int, int] | None = None


def option(
    default: Any,
    value_type: ValueType,
    help: str,  # noqa: A002  # argparse's word
    *,
    metavar: str | tuple[str, ...] | None = None,
    group: str,
    needs: Need,
    limits: tuple[int, int] | None = None,
) -> Any:
    """Declare a field of `ExportOptions`."""
    declared = Declaration(type=value_type, help=help, metavar=metavar, group=group, needs=needs, limits=limits)
    return dataclasses.field(default=default, metadata={_DECLARATION: declared})


def declared(field: dataclasses.Field[Any]) -> Declaration:
    """Return the declaration of a field made by `option`."""
    found: Declaration = field.metadata[_DECLARATION]
    return found


def flag(name: str, value: Any = None) -> str:
    """Return an option as on the command line; a switch that is turned off has another flag."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}" if name != "model" else "MODEL"


def flag_with_value(switch: str, value: str) -> list[str]:
    """Return a flag and its value as words; a value that begins with a dash would be taken for a flag."""
    return [f"{switch}={value}"] if value.startswith("-") else [switch, value]
